"""The command line `levain`: each command is a thin call into one module, imported when it is needed."""

from __future__ import annotations

import atexit
import errno
import gc
import io
import os
import sys
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ingest.errors import BadInput, LevainError
from levain import extra, interrupts, project

if TYPE_CHECKING:
    from ingest.settings import Settings

app = typer.Typer(
    name="levain",
    help="Levain, the lakehouse starter: Kafka events to Iceberg, dbt to tested Silver and Gold.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,  # plain help: the formatted one takes half a second to import
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

source = typer.Typer(
    help="Sources that are published to their topics as they come.",
    no_args_is_help=True,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(source, name="source")


INTERRUPTED = 130
"""Typer's exit code after Ctrl-C."""


class Target(StrEnum):
    """The engines a build runs on."""

    duckdb = "duckdb"
    spark = "spark"


class QueryFormat(StrEnum):
    """How `levain query` prints."""

    table = "table"
    json = "json"
    csv = "csv"


class TableFormat(StrEnum):
    """How `levain ledger`, `lineage` and `explain` print."""

    table = "table"
    json = "json"


def _settings() -> Settings:
    from ingest.settings import load_settings

    return load_settings()


@app.command()
def demo(
    events: Annotated[int, typer.Option(help="how many sample messages", min=1)] = 5000,
    seed: Annotated[int, typer.Option(help="the same seed gives the same events")] = 1,
    faults: Annotated[str, typer.Option(help="none, all, or the name of one fault")] = "all",
) -> None:
    """Run the pipeline end to end; leaves nothing running."""
    from levain.local.demo import run

    run(_settings(), events=events, seed=seed, faults=faults)


@app.command()
def up() -> None:
    """Start the stack, or repair it; waits for health."""
    from levain.local.stack import Stack

    Stack(_settings()).up()


@app.command()
def down() -> None:
    """Stop the stack; exit code 1 if messages are lost."""
    from levain.local.stack import Stack

    if not Stack(_settings()).down():
        raise typer.Exit(1)


@app.command()
def init() -> None:
    """Topics and tables of every contract."""
    from levain.local.stack import init as create

    create(_settings())


@app.command()
def produce(
    events: Annotated[int, typer.Option(help="how many messages in all", min=1)] = 1000,
    rate: Annotated[float, typer.Option(help="messages per second; 0: as fast as the broker takes them", min=0)] = 0,
    seed: Annotated[int, typer.Option(help="the same seed gives the same events")] = 1,
    faults: Annotated[str, typer.Option(help="none, all, or the name of one fault")] = "none",
    topic: Annotated[list[str] | None, typer.Option(help="only this topic; may be given again")] = None,
    history: Annotated[
        int | None, typer.Option(help="spread over so many days, such as 730; else as many as the messages need", min=1)
    ] = None,
    until: Annotated[
        datetime | None, typer.Option(help="the last day of the history; else today", formats=["%Y-%m-%d"])
    ] = None,
) -> None:
    """Sample events, and the expected outcome of each."""
    from levain.samples import produce as send
    from levain.terminal import progress, say, warn

    settings = _settings()
    with progress("Sending sample events") as advance:
        outcome = send(
            settings,
            events,
            rate,
            seed,
            faults,
            topic,
            progress=lambda done: advance(done, "", events),
            history=history,
            until=until.date() if until else None,
        )
    if outcome.again:
        warn(outcome.again)
    for name, sent in sorted(outcome.topics.items()):
        say("sent", f"{sent.messages:,} to {name}")
    say("days", f"{outcome.period.start} to {outcome.period.last}")
    say("expected", str(outcome.file))


@app.command()
def replay(
    topic: Annotated[str, typer.Option(help="the topic the events go into")],
    sql: Annotated[Path, typer.Option(help="a file with a DuckDB query", dir_okay=False)],
    rate: Annotated[float, typer.Option(help="events per second; 0: as fast as the broker takes them", min=0)] = 0,
) -> None:
    """The rows of a query over any file, as events."""
    from ingest.sources.replay import replay as send
    from levain.terminal import progress, say

    with progress("Sending rows") as advance:
        sent = send(_settings(), topic, sql, rate, progress=lambda done: advance(done, "", 0))
    say("sent", f"{sent:,} events to {topic}")


@source.command()
def drops(
    once: Annotated[bool, typer.Option("--once", help="take what is there, then end")] = False,
) -> None:
    """The CSV files of the drop folder, as they come."""
    from ingest.sources.drops import Drops
    from ingest.sources.service import run

    settings = _settings()
    run(Drops(settings), settings, once=once)


@app.command()
def build(
    target: Annotated[Target, typer.Option(help="the engine")] = Target.duckdb,
    full_refresh: Annotated[bool, typer.Option("--full-refresh", help="rebuild every table")] = False,
    audit: Annotated[bool, typer.Option("--audit", help="tests read every row")] = False,
    select: Annotated[str, typer.Option(help="dbt selection; empty: everything")] = "",
) -> None:
    """Bronze to Silver to Gold, with every test."""
    from levain.warehouse.dbt import build as run

    run(_settings(), target=target.value, full_refresh=full_refresh, audit=audit, select=select)


@app.command()
def show() -> None:
    """Row counts, verdicts, freshness."""
    from levain.warehouse.dbt import show as run

    run(_settings())


@app.command(context_settings={"ignore_unknown_options": True})  # a query may begin with a comment: `-- ...`
def query(
    sql: Annotated[str, typer.Argument(help=f'for example "select * from gold.{project.TABLE} limit 10"')],
    format: Annotated[QueryFormat, typer.Option(help="how to print the rows")] = QueryFormat.table,
) -> None:
    """SQL on the built tables; reads only."""
    from levain.read.query import query as run

    run(_settings(), sql, format=format.value)


@app.command()
def ledger(
    format: Annotated[TableFormat, typer.Option(help="how to print it")] = TableFormat.table,
) -> None:
    """Account for every message; exit code 1 if it fails."""
    from levain.read.ledger import print_ledger

    if not print_ledger(_settings(), format=format.value):
        raise typer.Exit(1)


@app.command()
def lineage(
    column: Annotated[str, typer.Argument(help=f"table.column, such as {project.COLUMN}")] = "",
    format: Annotated[TableFormat, typer.Option(help="how to print it")] = TableFormat.table,
    openlineage: Annotated[
        Path | None, typer.Option(help="write the whole lineage as OpenLineage events into this file", dir_okay=False)
    ] = None,
) -> None:
    """From a column down to contract fields, and up."""
    from levain.read.lineage import print_lineage
    from levain.read.openlineage import write_events

    if openlineage is not None and not column:
        write_events(_settings(), openlineage)
    elif openlineage is None and column:
        print_lineage(_settings(), column, format=format.value)
    else:
        raise BadInput(
            "`levain lineage` takes a column or --openlineage, one of them.",
            f"For example: `levain lineage {project.COLUMN}`.",
        )


@app.command()
def explain(
    column: Annotated[str, typer.Argument(help=f"table.column, such as {project.COLUMN}")],
    where: Annotated[str, typer.Option(help="SQL condition on the table's rows")] = "true",
    format: Annotated[TableFormat, typer.Option(help="how to print it")] = TableFormat.table,
    messages: Annotated[int, typer.Option(help="print so many of the messages, too", min=0)] = 0,
) -> None:
    """From a number to the messages behind it."""
    from levain.read.explain import print_explanation

    print_explanation(_settings(), column, where, format=format.value, messages=messages)


@app.command()
def quality(
    format: Annotated[TableFormat, typer.Option(help="how to print it")] = TableFormat.table,
    html: Annotated[Path | None, typer.Option(help="write one HTML file instead", dir_okay=False)] = None,
    expectations: Annotated[
        Path | None, typer.Option(help="write Great Expectations suites into a folder instead", file_okay=False)
    ] = None,
) -> None:
    """Scores, failed rules, freshness, anomalies."""
    if expectations is not None:
        from levain.read.expectations import write

        write(expectations)
        return
    from levain.read.quality import run

    run(_settings(), format=format.value, html=html)


@app.command()
def maintain(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="say what would be done, and list orphans")] = False,
) -> None:
    """Compact Bronze, expire snapshots, remove orphans."""
    from levain.local.maintain import run

    run(_settings(), dry_run=dry_run)


@app.command()
def recover(
    locations: Annotated[list[str] | None, typer.Argument(help="folders of tables; none: the whole lake")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="say what would be done")] = False,
) -> None:
    """Register the lake's tables after the catalog was lost."""
    from levain.local.recover import run

    run(_settings(), locations or (), dry_run=dry_run)


@app.command()
def docs(
    port: Annotated[int, typer.Option(help="where to serve; 0: any free port", min=0, max=65535)] = 8580,
    serve: Annotated[bool, typer.Option("--serve/--no-serve", help="serve the pages until Ctrl-C")] = True,
) -> None:
    """Docs with column lineage, served; works offline."""
    from levain.read.docs import docs as run

    run(_settings(), port=port, serve=serve)


@app.command()
def clean(
    yes: Annotated[bool, typer.Option("--yes", "-y", help="do not ask")] = False,
) -> None:
    """Remove all state: lake, warehouse, logs."""
    from levain.local.stack import clean as remove

    remove(_settings(), yes=yes)


@app.command()
def doctor() -> None:
    """Check the machine, and say what to do."""
    from levain.local.doctor import run

    if not run(_settings()):
        raise typer.Exit(1)


@app.command()
def parity() -> None:
    """Build on both engines, compare value for value."""
    from levain.dev.parity import run

    if not run(_settings()):
        raise typer.Exit(1)


@app.command()
def generate(
    check: Annotated[bool, typer.Option("--check", help="write nothing; exit with 1 if a file is stale")] = False,
) -> None:
    """Write the dbt files that follow from contracts."""
    from levain.terminal import say
    from levain.warehouse.generate import generate as run

    written = run(check=check)
    for path in written:
        say("written", str(path))
    if not written:
        say("generate", "every generated file is what the contracts say")


extra.add(app, source)


def main() -> None:
    """Run the command line; an error you can fix is two lines on stderr and exit code 1, Ctrl-C is exit code 130.

    SIGTERM and SIGHUP are as Ctrl-C, with 143 and 129.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # an encoding may lack a character of the data
    # A build makes millions of objects, few of them in cycles: to collect after every 700, as Python does by itself,
    # and once more at the end took a tenth of its CPU (docs/decisions/0014-commands-and-state.md).
    gc.set_threshold(100_000)
    atexit.register(gc.freeze)
    interrupts.take()
    try:
        _check_surroundings()
        with interrupts.restored():
            app()
    except KeyboardInterrupt:
        sys.exit(interrupts.exit_code())
    except SystemExit as ended:
        sys.exit(interrupts.exit_code() if ended.code == INTERRUPTED else ended.code)
    except LevainError as error:
        _fail(error.message, error.hint)
    except MemoryError:
        _fail("The memory does not suffice.", "Ask for less at once, or raise its limit (`ulimit -v`).")
    except OSError as error:
        hints = {
            errno.ENOSPC: "Free some disk space, then run the command again.",
            errno.EACCES: "Check who owns it, or set LEVAIN_HOME to a folder you may write.",
            errno.EPERM: "Check who owns it, or set LEVAIN_HOME to a folder you may write.",
            errno.EROFS: "Set LEVAIN_HOME to a folder you may write.",
            errno.ENOTDIR: "Set LEVAIN_HOME to a folder.",
            errno.ENOENT: "Set LEVAIN_HOME to a folder that is there, or can be made.",
            errno.EISDIR: "Remove or rename it: a file has to be there.",
            errno.EEXIST: "Remove or rename it: a folder has to be there.",
            errno.ENAMETOOLONG: "Set LEVAIN_HOME to a shorter path.",
            errno.ELOOP: "Set LEVAIN_HOME to a folder.",
            errno.EMFILE: "Raise the limit of open files (`ulimit -n`).",
            errno.EIO: "Check the disk.",
        }
        if error.errno not in hints:
            raise
        place = f": {Path(os.fsdecode(error.filename))}" if isinstance(error.filename, (str, bytes)) else ""
        _fail(f"{error.strerror}{place}", hints[error.errno])


def _check_surroundings() -> None:
    """What any command needs: a current folder, and arguments and settings that are text.

    Raises:
        LevainError: the folder was removed, or bytes were given that the locale's encoding has no characters for.
    """
    try:
        Path.cwd()
    except FileNotFoundError as error:
        raise LevainError("The current folder was removed.", "Go to another one (`cd`).") from error
    given = [(f"Argument {number}", text) for number, text in enumerate(sys.argv[1:], 1)]
    given += [(name, value) for name, value in os.environ.items() if name.startswith("LEVAIN_")]
    for what, text in given:
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise BadInput(
                f"{what} is not text in {sys.getfilesystemencoding()}: {text!a}.",
                "Write it in UTF-8, and use a locale with UTF-8: `LC_ALL=C.UTF-8`.",
            ) from error


def _fail(message: str, hint: str) -> None:
    from levain.terminal import warn

    for text in (message, hint):
        if text.strip():
            warn(text.strip(), style="")
    sys.exit(1)


if __name__ == "__main__":
    main()
