"""The warehouse: dbt run in this process, and what reads the tables it built.

One build at a time: `run/build.lock` is held from the first statement to the last. DuckDB's own lock keeps readers out
of the file meanwhile; the message says so.
"""

from __future__ import annotations

import errno
import json
import os
import re
import time
from _thread import interrupt_main
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb

from ingest.errors import BadInput, LevainError, StateError
from ingest.settings import PROJECT_ROOT, Settings
from levain import interrupts, processes
from levain.terminal import progress, say, show_table, warn
from levain.warehouse import changes

if TYPE_CHECKING:
    from dbt.cli.main import dbtRunnerResult
    from dbt.contracts.graph.manifest import Manifest
    from dbt_common.events.base_types import EventMsg

LOCK_SECONDS = 5.0
"""How long a second build, or a reader, waits for the build that runs."""

SWALLOWED_SECONDS = 2.0
"""After an interrupt that dbt has noticed, it starts no node for this long."""

_LOCKED = re.compile(r"Could not set lock on file.*?held in (?P<program>.+?) \(PID (?P<pid>\d+)\)", re.DOTALL)

_REFUSED = re.compile(
    r"Compilation Error in operation levain-on-run-start\S* .*\n  (?P<why>.+)\n  (?P<hint>.+)\n  \n  > in macro"
)
_UNMATCHED = re.compile(r"The selection criterion ('.+') does not match")

_REBUILT = "it is rebuilt from Bronze, all but what the snapshots knew of earlier reference data"

BRONZE_HINT = "`levain init` creates topics and tables; `levain up` starts what lands events in them."


def build(
    settings: Settings,
    target: str = "duckdb",
    *,
    full_refresh: bool = False,
    audit: bool = False,
    select: str = "",
    manifest: Manifest | None = None,
) -> None:
    """Build and test what new messages, changed code or unfinished builds can touch, or a dbt selection.

    What needs no build is found before dbt is imported, by `changes`.

    Args:
        settings: which home.
        target: `duckdb` or `spark`.
        full_refresh: rebuild every table, from all of Bronze.
        audit: build everything, with every test: also those of the code, and all of them read every row.
        select: dbt selection; empty: what has to be built.
        manifest: the project as `parse` read it; None: read it first.

    Raises:
        LevainError: Bronze has no tables, a contract was changed without `levain generate`, another build runs, the
            selection matches nothing, a model cannot be built, a test fails, or what was built is not whole on disk.
    """
    planned = partial(changes.plan, settings, target, whole=full_refresh or audit) if not select else lambda: None
    plan = planned()
    if plan is not None and plan.is_empty:
        with build_lock(settings):  # who holds it may be about to change something
            plan = planned()
        if _nothing_to_do(plan):
            return
    from levain.warehouse.generate import generate

    generate(check=True)
    check_bronze(settings)
    if target == "spark":
        from levain.warehouse.spark import prepare

        prepare()
        if settings.catalog_uri or settings.catalog_warehouse:
            warn("The Spark target reads the catalog that profiles/profiles.yml names, not LEVAIN_CATALOG_*.")
    if target == "duckdb" and settings.duckdb_file.exists():
        _open(settings.duckdb_file).close()  # who has it is said before dbt is imported
    elif target == "duckdb" and was_built(settings):
        warn(f"{settings.duckdb_file} is lost: {_REBUILT}.")
    arguments = ["build", "--target", target]
    arguments += ["--full-refresh"] if full_refresh else []
    arguments += ["--select", *select.split()] if select else []
    began = time.monotonic()
    with build_lock(settings):
        try:
            plan = planned()  # again: a build that was waited for may have done this one's work, or have failed
            if _nothing_to_do(plan):
                return
            arguments += plan.arguments if plan is not None and not audit else []
            notes = (plan.notes if plan is not None else {}) | ({"AUDIT": "true"} if audit else {})
            result = run_dbt(settings, arguments, "Building", manifest, notes)
        except KeyboardInterrupt:
            warn("The build was interrupted: the next one builds what it did not finish.")
            raise
        if target == "duckdb":
            _check_file(settings)
    if not result.results:
        raise BadInput(f"Nothing is selected by `{select}`.", "`dbt ls --select ...` lists what a selection matches.")
    for each in result.results:
        if str(each.status) == "warn":
            warn(f"{each.node.resource_type} {each.node.name} ({each.node.original_file_path}): {each.message}")
    done = Counter(_PLURAL.get(str(each.node.resource_type), "other nodes") for each in result.results)
    counts = ", ".join(f"{done[kind]} {kind}" for kind in _PLURAL.values() if done[kind])
    say("build", f"{counts} in {time.monotonic() - began:.1f} s")


def _nothing_to_do(plan: changes.Plan | None) -> bool:
    """Whether a plan is empty, which is said."""
    if plan is None or not plan.is_empty:
        return False
    say("build", f"nothing to do: build {plan.build} has judged every message, and the project is the same")
    return True


def parse(settings: Settings, target: str = "duckdb") -> Manifest:
    """Read the project, for a build that follows in this process.

    Raises:
        LevainError: the project has an error.
    """
    manifest: Manifest = run_dbt(settings, ["parse", "--target", target], "")
    return manifest


def run_dbt(
    settings: Settings,
    arguments: Sequence[str],
    title: str,
    manifest: Manifest | None = None,
    notes: Mapping[str, str] | None = None,
) -> Any:
    """Run one dbt command in this process; all that it writes goes below the home.

    Args:
        settings: which home.
        arguments: as on dbt's command line.
        title: of the progress display; empty: none.
        manifest: the project, if it was read before.
        notes: what macros read as `dbt_metadata_envs`.

    Returns:
        what dbt's own runner gives as the command's result.

    Raises:
        LevainError: dbt failed; says at which node, and why.
        KeyboardInterrupt: it was interrupted, and so did not end well.
    """
    os.environ |= {
        "LEVAIN_HOME": str(settings.root),
        "DBT_PROFILES_DIR": str(PROJECT_ROOT / "profiles"),
        "DBT_SEND_ANONYMOUS_USAGE_STATS": "false",
        "DO_NOT_TRACK": "1",
        "LEVAIN_SPARK_JARS": os.environ.get("LEVAIN_SPARK_JARS", str(PROJECT_ROOT / ".cache" / "spark-jars")),
    }
    settings.run_dir.mkdir(parents=True, exist_ok=True)
    places = ["--project-dir", str(PROJECT_ROOT), "--target-path", str(settings.root / "target")]
    places += ["--log-path", str(settings.run_dir), "--quiet", "--log-level", "none", "--log-level-file", "info"]
    places += ["--no-use-colors", "--no-use-colors-file"]
    with progress(title) as advance:
        from dbt.cli.main import dbtRunner  # takes two seconds: the display is there before

        from ingest.patches import dbt_events
        from levain.warehouse.duckdb_plugin import release

        dbt_events.apply(_WATCHED)

        said: list[str] = []
        try:
            with interrupts.noted() as interrupted, changes.noted(notes or {}):
                report = _reporter(advance, interrupted, said)
                outcome = dbtRunner(manifest=manifest, callbacks=[report]).invoke([*arguments, *places])
        finally:
            release()
    if interrupted and not outcome.success:
        raise KeyboardInterrupt
    _raise_if_failed(settings, outcome, said)
    for line in said:
        warn(line)
    return outcome.result


def _check_file(settings: Settings) -> None:
    """The build's last statement was a checkpoint: DuckDB's file holds everything, and opens.

    Raises:
        LevainError: something is still in its log, or the file cannot be opened.
    """
    path = settings.duckdb_file
    log = path.with_name(f"{path.name}.wal")
    try:
        with duckdb.connect(str(path), read_only=True):
            pass
    except duckdb.Error as error:
        raise locked(str(error), path) or StateError(
            f"{path} cannot be opened after the build: {one_line(error)}",
            f"Check the disk, and keep {log} if it is there.",
        ) from error
    if log.exists() and log.stat().st_size:
        raise LevainError(
            f"What was built is not in {path}, only in its log {log.name}: DuckDB could not write it there.",
            "Check that the disk has room and keep both files; the next command that opens them tries again.",
        )


def build_lock(settings: Settings) -> AbstractContextManager[None]:
    """Hold the build lock; waits a little for a build that is about to end.

    Raises:
        LevainError: another build holds it; says which process, and since when.
    """
    return processes.alone(settings.run_dir / "build.lock", "build", LOCK_SECONDS)


def check_bronze(settings: Settings) -> list[tuple[str, str]]:
    """Every contract's Bronze table with the location of its metadata.

    Raises:
        LevainError: one is missing.
    """
    from ingest.contracts import load_contracts
    from levain.warehouse.bronze import bronze_tables

    found = bronze_tables(settings)
    missing = sorted({contract.table for contract in load_contracts().values()} - {name for name, _ in found})
    if missing:
        raise LevainError(f"Bronze has no table {', '.join(missing)}.", BRONZE_HINT)
    return found


@contextmanager
def reader(settings: Settings) -> Iterator[duckdb.DuckDBPyConnection]:
    """A connection to the built tables that only reads, with the Iceberg reader loaded.

    Says on stderr if the last build did not pass.

    Raises:
        LevainError: nothing was built yet, a build writes the file, or it, or what is asked of it in the block, cannot
            be read.
    """
    path = settings.duckdb_file
    if not path.exists():
        raise not_built(settings)
    from levain.warehouse.bronze import UNSIGNED, prepare

    connection = _open(path, read_only=True, config={"python_enable_replacements": False, **UNSIGNED})
    try:
        connection.execute("set TimeZone = 'UTC'")
        prepare(connection, settings)
        if (unpassed := last_state(connection)) is not None:
            warn(unpassed)
        yield connection
    except duckdb.CatalogException as error:
        raise StateError(
            f"{path} lacks a part of what was built: {one_line(error)}",
            "`levain build --full-refresh` builds it again from Bronze.",
        ) from error
    except duckdb.Error as error:
        raise LevainError(
            f"What was built, or the lake, cannot be read: {one_line(error)}",
            "If a file is damaged or missing, restore it from a backup; `levain doctor` looks at catalog and tables.",
        ) from error
    except BaseException:
        connection.interrupt()  # to close it waits for what other threads do for a statement that was interrupted
        raise
    finally:
        connection.close()


def _open(path: Path, **options: Any) -> duckdb.DuckDBPyConnection:
    """Open the built tables; waits a little for whoever has them.

    Raises:
        LevainError: another process has them, or they cannot be read.
    """
    deadline = time.monotonic() + LOCK_SECONDS
    while True:
        try:
            return duckdb.connect(str(path), **options)
        except duckdb.Error as error:
            lock = locked(str(error), path)
            if lock is None:
                raise _unreadable(path, one_line(error)) from error
            if time.monotonic() > deadline:
                raise lock from error
            time.sleep(0.2)


def not_built(settings: Settings) -> LevainError:
    """Why there is no file of built tables: none was made, or it is gone."""
    path = settings.duckdb_file
    if not was_built(settings):
        return LevainError(f"Nothing was built yet: there is no {path}.", "Build the tables with `levain build`.")
    return StateError(
        f"{path} is lost: there is none, and yet this home was built.",
        f"Restore it from a backup. Without one, run `levain build`: {_REBUILT}.",
    )


def was_built(settings: Settings) -> bool:
    """Whether the built tables are there, or were: the last results that dbt wrote are those of a build on DuckDB."""
    if settings.duckdb_file.exists():
        return True
    try:
        ran = json.loads((settings.root / "target" / "run_results.json").read_bytes())["args"]
        return bool(ran["target"] == "duckdb" and ran["which"] == "build")
    except (OSError, ValueError, LookupError, TypeError):
        return False


def last_state(connection: duckdb.DuckDBPyConnection) -> str | None:
    """What whoever reads the tables has to know: a build that failed or was interrupted, with no good one since.

    Counts plain dbt builds too, since the models' own bookkeeping is what is read (macros/incremental/build.sql).

    Returns:
        one sentence or two; None if the last state of every node has passed.
    """
    begun = rows_of(
        connection,
        "meta",
        "outcomes",
        """
        select build, started_at from meta.builds
        where
            build not in (select build from {0})
            and build > (select coalesce(max(build), 0) from {0} where is_complete)
        order by build desc limit 1
        """,
    )
    failed = rows_of(
        connection,
        "meta",
        "failures",
        """
        select build, kind || ' ' || name, status, max(finished_at) from {0} left join meta.outcomes using (build)
        group by all order by build desc, 2
        """,
    )
    found = []
    if begun and begun[1]:
        ((build, moment),) = begun[1]
        found.append(f"Build {build} (begun {_moment(moment)}) was interrupted.")
    if failed and failed[1]:
        build, moment = failed[1][0][0], failed[1][0][3]
        names = [name for _, name, status, _ in failed[1] if status != "skipped"]
        skipped = len(failed[1]) - len(names)
        words = [", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")] if names else []
        words += [f"{skipped} that need what failed were not built"] if skipped else []
        found.append(
            f"Build {build} (ended {_moment(moment)}) failed, and this has not passed since: {'; '.join(words)}."
        )
    if not found:
        return None
    passed = connection.execute(
        """
        select build, max(finished_at) from meta.outcomes
        group by build having bool_and(outcome = 'passed') and bool_or(is_complete) order by build desc limit 1
        """
    ).fetchone()
    last = (
        f"Last whole build that passed: {passed[0]} ({_moment(passed[1])})." if passed else "No build has passed yet."
    )
    return f"{' '.join(found)} Not all that you read is tested. {last}"


def locked(text: str, path: Path) -> LevainError | None:
    """DuckDB's message that its file is locked, in our words; None if the text is no such message."""
    match = _LOCKED.search(text)
    if match is None:
        return None
    return LevainError(
        f"{path} is being used by {Path(match['program']).name} (pid {match['pid']}): while a build writes, nobody "
        "reads, and while somebody reads, no build writes.",
        "Run this again when that has ended.",
    )


def refused(text: str) -> LevainError | None:
    """What our macros say before a build begins, a line that says why and a line that says what to do.

    None if the text is of anything else.
    """
    match = _REFUSED.search(text)
    return LevainError(match["why"], match["hint"]) if match else None


def show(settings: Settings) -> None:
    """Print row counts of Bronze, Silver and Gold, verdicts per topic, and how fresh each topic is.

    Raises:
        LevainError: the catalog cannot be opened, or see `reader`.
    """
    counted = [("bronze", name, rows) for name, rows in bronze_rows(settings)]
    if not counted:
        raise LevainError("Bronze has no tables.", BRONZE_HINT)
    if not was_built(settings):
        show_table("Rows", ("layer", "table", "rows"), counted)
        say("silver", "and gold were not built yet: `levain build`")
        return
    with reader(settings) as connection:
        names = connection.execute(
            """
            select table_schema, table_name from information_schema.tables
            where table_schema in ('silver', 'gold') and table_name not like 'int~_%' escape '~'
            order by table_schema desc, table_name
            """
        ).fetchall()
        for schema, name in names:
            counted.append((schema, name, _one(connection, f'select count(*) from {schema}."{name}"')))
        verdicts = verdict_counts(connection)
        fresh = rows_of(connection, "quality", "quality_freshness", "select * from {} order by topic")
    show_table("Rows", ("layer", "table", "rows"), counted)
    if verdicts:
        show_table("\nMessages by verdict", ("topic", *VERDICTS, "messages"), verdicts)
    if fresh:
        columns, rows = fresh
        show_table("\nFreshness (UTC)", columns, [[_short(value) for value in row] for row in rows])


VERDICTS = ("accepted", "duplicate", "conflict", "rejected", "held")


def verdict_counts(connection: duckdb.DuckDBPyConnection) -> list[tuple[Any, ...]]:
    """Per topic: its messages of each of `VERDICTS`, and how many in all; empty before the first build."""
    sums = ", ".join(f"cast(sum({name}) as bigint)" for name in (*VERDICTS, "messages"))
    found = rows_of(
        connection, "quality", "quality_messages", f"select topic, {sums} from {{}} group by topic order by topic"
    )
    return found[1] if found else []


def rows_of(
    connection: duckdb.DuckDBPyConnection, schema: str, name: str, sql: str
) -> tuple[list[str], list[tuple[Any, ...]]] | None:
    """Columns and rows of a query over one table, `{}` in its text; None if the table was not built yet."""
    there = _one(
        connection,
        f"select count(*) from information_schema.tables where table_schema = '{schema}' and table_name = '{name}'",
    )
    if not there:
        return None
    cursor = connection.execute(sql.format(f"{schema}.{name}"))
    return [column[0] for column in cursor.description or []], cursor.fetchall()


def judged_offsets(connection: duckdb.DuckDBPyConnection) -> dict[tuple[str, str, int], int]:
    """Cluster, topic and partition -> the first offset that no build has judged; empty before the first build."""
    found = rows_of(connection, "meta", "watermarks", changes.JUDGED_OFFSETS)
    return {(cluster, topic, number): offset for cluster, topic, number, offset in (found[1] if found else [])}


def bronze_rows(settings: Settings) -> list[tuple[str, int]]:
    """Each Bronze table with its number of rows, from the Iceberg snapshot's own totals."""
    from levain.warehouse.bronze import known_tables

    counted = []
    for table in known_tables(settings):
        snapshot = table.current_snapshot()
        total = snapshot.summary["total-records"] if snapshot and snapshot.summary else None
        counted.append((table.name()[-1], int(total or 0)))
    return counted


_WATCHED = ("NodeStart", "NodeFinished")
"""Events of level `debug` that the callback takes."""


def _reporter(
    advance: Callable[[int, str, int], None], interrupted: Sequence[float], said: list[str]
) -> Callable[[EventMsg], None]:
    """A callback for dbt's events.

    It moves the progress display, repeats an interrupt that was swallowed, and keeps what the macros say.
    """
    total = done = 0

    def report(event: EventMsg) -> None:
        nonlocal total, done
        name = event.info.name
        if name == "NodeStart" and interrupted and time.monotonic() - interrupted[-1] > SWALLOWED_SECONDS:
            interrupt_main()
        if name == "ConcurrencyLine":
            total = int(event.data.node_count)
        elif name == "NodeFinished":
            done += 1
        elif name == "JinjaLogInfo":
            said.append(str(event.data.msg))
            return
        elif name != "NodeStart":
            return
        advance(done, getattr(getattr(event.data, "node_info", None), "node_name", ""), total)

    return report


_PLURAL = {"seed": "seeds", "snapshot": "snapshots", "model": "models", "unit_test": "unit tests", "test": "tests"}

_FAILED = ("error", "fail", "runtime error", "partial success")


def _raise_if_failed(settings: Settings, outcome: dbtRunnerResult, said: Sequence[str]) -> None:
    log = settings.run_dir / "dbt.log"
    if outcome.exception is not None:
        text = str(outcome.exception)
        if match := _UNMATCHED.search(text):
            raise BadInput(
                f"The selection {match[1]} matches no model, test or other node.", "`dbt ls` lists their names."
            )
        raise (
            _known(text, settings) or refused(text) or LevainError(f"dbt stopped: {text.strip()}", f"Whole log: {log}")
        )
    if outcome.success:
        return
    failed: list[str] = []
    results = getattr(outcome.result, "results", [])
    for each in results:
        if str(each.status) not in _FAILED:
            continue
        text = str(each.message or each.status).strip()
        known = _known(text, settings)
        if known is not None:
            raise known
        lines = "\n".join(f"    {line}" for line in text.splitlines()[:12])
        node = each.node
        failed.append(f"  {node.resource_type} {node.name} ({node.original_file_path}): {each.status}\n{lines}")
    skipped = sum(str(each.status) == "skipped" for each in results)
    more = f"; {skipped} that need them were skipped" if skipped else ""
    raise LevainError(
        "\n".join([f"{len(failed)} of the build's nodes failed{more}.", *failed, *(f"  {line}" for line in said)]),
        f"Repair the model or the data it names, then build again. Whole log: {log}",
    )


def _known(text: str, settings: Settings) -> LevainError | None:
    """An engine's message, in our words: its file is in use or damaged, or the disk takes no more; else None."""
    return locked(text, settings.duckdb_file) or _disk_full(text, settings) or _damaged(text, settings)


def _disk_full(text: str, settings: Settings) -> LevainError | None:
    """An engine's message that the disk takes no more, in our words; None if the text is no such message."""
    for number in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        if os.strerror(number) in text:
            return LevainError(
                f"{os.strerror(number)}: nothing more can be written below {settings.root}.",
                "Free some space, then build again: what did not finish is read again.",
            )
    return None


def _damaged(text: str, settings: Settings) -> LevainError | None:
    """DuckDB's message that its file is damaged, in our words; None if the text is no such message."""
    if "Corrupt database file" not in text and "not a valid DuckDB database file" not in text:
        return None
    return _unreadable(settings.duckdb_file, " ".join(text.split()))


def _unreadable(path: Path, why: str) -> StateError:
    return StateError(
        f"{path} cannot be read: {why}",
        f"Restore it from a backup. Without one, move it away and run `levain build`: {_REBUILT}.",
    )


def _moment(value: datetime | None) -> str:
    return f"{value:%Y-%m-%d %H:%M:%S} UTC" if value else "at an unknown time"


def _short(value: Any) -> Any:
    return f"{value:%Y-%m-%d %H:%M:%S}" if isinstance(value, datetime) else value


def _one(connection: duckdb.DuckDBPyConnection, sql: str) -> int:
    row = connection.execute(sql).fetchone()
    return int(row[0]) if row else 0


def one_line(error: Exception) -> str:
    """DuckDB's message without the excerpt of the query below it."""
    return " ".join(str(error).partition("\n\nLINE ")[0].split())
