"""What a build notes about itself: the scope of data tests, outcomes, partial builds, and that its files are whole."""

from __future__ import annotations

import contextlib
import json
import os
import re
import resource
import shutil
import signal
from collections.abc import Iterator
from dataclasses import replace
from datetime import date, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import yaml
from commands import Forked
from dbt.cli.main import dbtRunner
from dbt.contracts.graph.manifest import Manifest
from dbt_common.events.base_types import EventMsg
from lake import Lake, own_environment, parse

from ingest.errors import LevainError
from ingest.settings import PROJECT_ROOT
from levain import interrupts
from levain.read import ledger
from levain.warehouse.bronze import Judged, unread_from
from levain.warehouse.dbt import _reporter, build, reader
from levain.warehouse.duckdb_plugin import release

RECEIVED = "2026-11-20T10:00:00Z"
SALES = ("--select", "+extra_sales")
NEW_SALES = ("--select", "source:bronze.sales_events+,+extra_sales")
"""Of these what new sales can change."""
VERDICTS = "+int_sales_events__verdicts"
AT_LEAST = "assert_a_least_quantity"
"""The singular test that `Project` adds; how many are the least is said in a macro."""


def sale(number: int, quantity: int = 1) -> bytes:
    return json.dumps(
        {
            "event_id": f"00000000-0000-4000-8000-{number:012d}",
            "event_time": RECEIVED,
            "receipt_id": f"R{number}",
            "line_number": 1,
            "store_id": "S001",
            "product_id": "P001",
            "quantity": quantity,
            "unit_price": 1.2,
            "discount_amount": 0.0,
            "payment_method": "card",
        }
    ).encode()


class Project:
    """This project with a view, a macro and tests added to it, and a lake of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "project"
        self.folder.mkdir(parents=True)
        self.lake = Lake(folder / "home")
        for name in ("macros", "models", "snapshots", "seeds", "tests"):
            (self.folder / name).symlink_to(PROJECT_ROOT / name)
        project = yaml.safe_load((PROJECT_ROOT / "dbt_project.yml").read_text())
        for name in ("macro", "model", "test"):
            project[f"{name}-paths"].append(f"extra/{name}s")
            (self.folder / "extra" / f"{name}s").mkdir(parents=True)
        (self.folder / "dbt_project.yml").write_text(yaml.safe_dump(project))
        self.messages: dict[str, str] = {}
        self.manifest: Manifest | None = None  # parsed once for each state of the files
        self.first: dict[str, tuple[str, str]] = {}
        self.least(1)
        self.view("quantity", where="quantity > 0")
        self.file(
            f"tests/{AT_LEAST}.sql",
            "select quantity from {{ ref('fct_sales') }} where quantity < {{ least() }} and {{ rows_in_scope() }}",
        )

    def file(self, path: str, text: str) -> None:
        self.manifest = None
        (self.folder / "extra" / path).write_text(text)

    def least(self, quantity: int) -> None:
        """Change what the singular test asks for, by the macro it calls."""
        self.file("macros/least.sql", f"{{% macro least() %}}{quantity}{{% endmacro %}}")

    def view(self, quantity: str, where: str) -> None:
        """Change a view with a generic test: how it computes the quantity, and the test's `where`."""
        self.file(
            "models/extra_sales.sql",
            "{{ config(materialized='view', schema='silver', contract={'enforced': false}) }}\n"
            f"select event_id, {quantity} as quantity, _build from {{{{ ref('fct_sales') }}}}",
        )
        tests = [{"not_null": {"name": "extra_quantity", "config": {"where": where}}}]
        columns = [{"name": "quantity", "data_tests": tests}, {"name": "_build"}]
        self.file("models/extra.yml", yaml.safe_dump({"models": [{"name": "extra_sales", "columns": columns}]}))

    def dbt(self, command: str, *arguments: str) -> dict[str, tuple[str, str]]:
        """Run dbt as its users do; node name -> status and compiled SQL. An error of dbt itself: `""` -> it."""
        home = self.lake.settings.root
        os.environ |= {"LEVAIN_HOME": str(home), "DBT_PROFILES_DIR": str(PROJECT_ROOT / "profiles")}
        places = ["--project-dir", str(self.folder), "--target-path", str(self.folder / "target"), "--quiet"]
        places += ["--log-path", str(home / "logs"), "--log-level-file", "none", "--log-level", "none"]
        places += ["--threads", "1"]
        if self.manifest is None and command != "parse":
            self.manifest = parse(*places)
        outcome = dbtRunner(manifest=self.manifest).invoke([command, *arguments, *places])
        release()
        self.messages = {each.node.name: str(each.message) for each in getattr(outcome.result, "results", [])}
        if outcome.exception is not None:
            return {"": (str(outcome.exception), "")}
        return {
            each.node.name: (str(each.status), getattr(each.node, "compiled_code", None) or "")
            for each in getattr(outcome.result, "results", [])
        }

    @property
    def newest(self) -> int:
        return int(self.lake.read("select max(build) from meta.builds")[0][0])


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    """A project whose sales, of 1 and of 5 units, were built and tested: the first build of its home, of a part."""
    with own_environment():
        project = Project(tmp_path_factory.mktemp("build") / "l'été #1")
        project.lake.send("sales-events", [sale(1, 1), sale(2, 5)], received_at=RECEIVED)
        project.first = project.dbt("build", *SALES)
        yield project


def test_a_part_can_be_built_first(project: Project) -> None:
    """With the tests that it can pass: none that also reads what was not selected."""
    first = project.first
    assert {status for status, _ in first.values()} <= {"pass", "success"}, first
    assert first[AT_LEAST][0] == "pass" and "extra_quantity" in first
    assert "assert_marts_equal_facts" not in first and "every_accepted_sale_is_a_fact" in first
    with reader(project.lake.settings) as connection:
        assert connection.execute("select count(*) from gold.fct_sales").fetchone() == (2,)


def test_a_test_that_passed_reads_what_changed_since_then(project: Project) -> None:
    tested = project.newest
    project.lake.send("sales-events", [sale(3, 7)], received_at=RECEIVED)
    project.dbt("run", *NEW_SALES)  # two builds without tests: both are still to be tested
    project.lake.send("sales-events", [sale(4, 7)], received_at=RECEIVED)
    project.dbt("run", *NEW_SALES)
    results = project.dbt("test", *NEW_SALES)
    assert {status for status, _ in results.values()} <= {"pass", "success"}
    for name in (AT_LEAST, "extra_quantity", "assert_amounts_add_up"):
        assert f"_build > {tested}" in results[name][1], name
    assert project.newest == tested + 2, "dbt test makes no build"
    audited = project.dbt("test", "--select", AT_LEAST, "--vars", "{audit: true}")
    assert "_build >" not in audited[AT_LEAST][1]
    refreshed = project.dbt("compile", "--select", AT_LEAST, "--full-refresh")
    assert "_build >" not in refreshed[AT_LEAST][1]
    again = project.dbt("test", "--select", AT_LEAST)
    assert f"_build > {tested + 2}" in again[AT_LEAST][1]


def test_a_test_that_failed_fails_until_it_is_fixed(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    """The test changed, by a macro it calls, and so reads everything; a second build with nothing fixed fails too."""
    project.least(2)
    before = project.newest
    for _ in range(2):
        results = project.dbt("build", *NEW_SALES)
        assert results[AT_LEAST][0] == "fail" and "_build >" not in results[AT_LEAST][1]
        assert results["extra_sales"][0] == "skipped"
    with reader(project.lake.settings):
        said = capsys.readouterr()
    assert f"Build {before + 2} (ended " in said.err and f"test {AT_LEAST}" in said.err and said.out == ""
    # A build of another part passes, and makes nothing good.
    assert project.dbt("build", "--select", "stg_retail__sales_events")["stg_retail__sales_events"][0] == "success"
    with reader(project.lake.settings):
        assert f"test {AT_LEAST}" in capsys.readouterr().err

    # New sales that are fine, and old ones that are not: still not.
    project.lake.send("sales-events", [sale(5, 7)], received_at=RECEIVED)
    assert project.dbt("build", *NEW_SALES)[AT_LEAST][0] == "fail"
    project.least(1)
    assert {status for status, _ in project.dbt("build", *NEW_SALES).values()} <= {"pass", "success"}
    with reader(project.lake.settings):
        assert capsys.readouterr().err == ""


@pytest.mark.slow
def test_a_test_whose_view_or_condition_changed_reads_everything_once(project: Project) -> None:
    scoped = f"_build > {project.newest}"
    assert scoped in project.dbt("test", "--select", "extra_quantity")["extra_quantity"][1]
    project.view("quantity", where="quantity > 1")
    changed = project.dbt("test", "--select", "extra_quantity", AT_LEAST)
    assert "_build >" not in changed["extra_quantity"][1] and "quantity > 1" in changed["extra_quantity"][1]
    assert scoped in changed[AT_LEAST][1], "another test keeps what it passed on"
    assert scoped in project.dbt("test", "--select", "extra_quantity")["extra_quantity"][1]
    project.view("quantity + 0", where="quantity > 1")
    results = project.dbt("build", "--select", "extra_sales")
    assert "_build >" not in results["extra_quantity"][1]


def test_an_interrupted_build_is_said_and_notes_nothing(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    ((tested,),) = project.lake.read(f"select build from meta.tests where test = 'test.levain.{AT_LEAST}'")
    project.lake.send("sales-events", [sale(6, 7)], received_at=RECEIVED)
    # A build that is killed after its models and before its end leaves its number and their rows.
    project.dbt("run", *NEW_SALES)
    killed = project.newest
    project.lake.write(
        f"delete from meta.outcomes where build = {killed}; update meta.progress set build = {killed - 1}"
    )
    with reader(project.lake.settings):
        said = capsys.readouterr().err
    assert f"Build {killed} (begun " in said and "was interrupted" in said
    assert f"_build > {tested}" in project.dbt("test", "--select", AT_LEAST)[AT_LEAST][1]
    again = project.dbt("test", "--select", AT_LEAST)[AT_LEAST][1]
    assert f"_build > {killed - 1}" in again, "its rows are read again, for it may be at work still"
    project.dbt("build", *NEW_SALES)
    assert f"_build > {killed + 1}" in project.dbt("test", "--select", AT_LEAST)[AT_LEAST][1]


def test_the_ledger_says_what_was_not_built(project: Project) -> None:
    """Sales were judged, and what counts them never was; one more topic landed, and was never built."""
    project.lake.send("weather-data", [b"{}"], received_at=RECEIVED)
    taken = ledger.take(project.lake.settings)
    assert taken.faults == []
    assert taken.unbuilt == [
        "sales-events: judged, but quality_messages was not built since; `levain build` does",
        "weather-data: no build has judged its 1 messages",
    ]
    sales = next(line for line in taken.lines if line.topic == "sales-events")
    assert (sales.messages, sales.verdicts["accepted"], sales.not_built) == (sales.rows, sales.rows, 0)

    file = project.lake.settings.duckdb_file
    shutil.copy(file, file.with_suffix(".kept"))
    project.lake.write("delete from silver.int_sales_events__verdicts where kafka_offset = 1")
    (fault,) = ledger.take(project.lake.settings).faults
    lost = f"Bronze has {sales.rows} rows below the built offset, the models {sales.rows - 1} messages"
    assert lost in fault, "a loss is a loss"
    shutil.move(file.with_suffix(".kept"), file)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--select", "fct_sales", "nosuchmodel"], "'nosuchmodel' does not match"),
        (["--select", "fct_sales", "--exclude", "nosuchmodel"], "'nosuchmodel' does not match"),
        (["--vars", "{adit: true}"], "no variable 'adit'"),
        (["--empty"], "--empty"),
    ],
)
def test_a_word_that_matches_nothing_is_an_error(project: Project, arguments: list[str], words: str) -> None:
    before = project.newest
    results = project.dbt("build", *arguments)
    assert words in results[""][0]
    assert project.newest == before


@pytest.mark.parametrize(
    ("select", "words"),
    [
        ("fct_sales nosuchmodel", "The selection 'nosuchmodel' matches no model"),
        ("fct_sales,dim_store", "The selection 'fct_sales,dim_store' matches no model"),
    ],
)
def test_levain_says_what_is_not_selected(project: Project, select: str, words: str) -> None:
    with pytest.raises(LevainError, match=re.escape(words)):
        build(project.lake.settings, select=select)


@pytest.mark.slow
def test_a_release_of_a_message_that_is_not_there_is_said(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    build(project.lake.settings, select="+int_messages")
    sql = "insert into reference.released_messages values ('test', 'sales-events', 0, {}, 'Ada', 'offline')"
    warning = "test assert_released_messages_have_arrived (tests/assert_released_messages_have_arrived.sql): Got 1"
    for offset, warns in ((0, False), (999_999, True)):
        project.lake.write(sql.format(offset))
        capsys.readouterr()
        build(project.lake.settings, select="assert_released_messages_have_arrived")
        assert (warning in capsys.readouterr().err) == warns
    project.lake.write("delete from reference.released_messages")


def test_the_freshness_of_a_source_is_that_of_bronze_now(project: Project) -> None:
    """Not as of the last build; a topic that nothing was ever sent to is not fresh."""
    project.lake.send("sales-events", [sale(99)], received_at=RECEIVED)
    found = {name: status for name, (status, _) in project.dbt("source", "freshness").items()}
    assert (found["sales_events"], found["equipment_extracts"]) == ("pass", "warn")
    written = json.loads((project.folder / "target" / "sources.json").read_text())["results"]
    (sales,) = (each for each in written if each["unique_id"].endswith(".sales_events"))
    newest = max(row["ingested_at"] for row in project.lake.tables["sales-events"].scan().to_arrow().to_pylist())
    assert datetime.fromisoformat(sales["max_loaded_at"]) == newest


@pytest.mark.parametrize("rules", ["not_null='event_id'", "keys=['event_id']", ""])
def test_rules_that_are_no_lists_are_refused(project: Project, rules: str) -> None:
    """A text would be read as a list of its letters; without a rule, nothing would be tested."""
    project.file("tests/wrong.sql", f"{{{{ test_row_rules(ref('fct_sales'), {rules}) }}}}")
    refused = project.dbt("parse")
    (project.folder / "extra" / "tests" / "wrong.sql").unlink()
    assert "row_rules has no rule, or a text where a list belongs" in refused[""][0]


@pytest.mark.slow
def test_a_seed_is_loaded_by_its_columns_names_and_guesses_no_format(project: Project) -> None:
    """The last test of the project, which has these seeds afterwards."""
    (project.folder / "seeds").unlink()
    shutil.copytree(PROJECT_ROOT / "seeds", project.folder / "seeds")
    seed = project.folder / "seeds" / "marketplace_clients.csv"

    def load(text: str) -> tuple[str, str]:
        seed.write_text(text)
        outcome = dict(project.dbt("seed", "--select", "marketplace_clients"))
        return outcome["marketplace_clients"][0], project.messages["marketplace_clients"]

    expected = [(1, "Jean, dit #J", "France", None, date(2024, 4, 3))]
    head = "client_id,client_nom,pays,segment,effective_from"
    assert load(f'{head}\n1,"Jean, dit #J",France,,2024-04-03\n')[0] == "success"
    assert project.lake.read("select * from reference.marketplace_clients") == expected
    other = "client_id,pays,segment,effective_from,client_nom"
    assert load(f'\ufeff{other}\r\n1,France,,2024-04-03,"Jean, dit #J"\r\n')[0] == "success"
    assert project.lake.read("select * from reference.marketplace_clients") == expected
    for row in ("1,Jean,France,,03/04/2024", "1,Jean,France,,2024-04-03#x"):
        status, message = load(f"{head}\n{row}\n")
        assert status == "error" and row in message, (row, message)
    assert project.lake.read("select * from reference.marketplace_clients") == expected


def test_an_interrupt_that_a_library_swallowed_is_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("levain.warehouse.dbt.SWALLOWED_SECONDS", 0.0)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job ignores it
    node = cast(EventMsg, SimpleNamespace(info=SimpleNamespace(name="NodeStart"), data=None))
    with interrupts.noted() as seen:
        report = _reporter(lambda *_: None, seen, [])
        report(node)
        with contextlib.suppress(KeyboardInterrupt):  # as a bare `except:` does
            signal.raise_signal(signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            report(node)
    signal.signal(signal.SIGINT, before)
    assert len(seen) == 2


@pytest.mark.slow
def test_a_disk_that_is_full_is_an_error_and_the_file_stays_whole(tmp_path: Path) -> None:
    """A limit on the size of files stands for the disk: what is in the log alone was not built.

    The file is new, so that no block which earlier builds have freed makes room in it.
    """
    lake = Lake(tmp_path)
    lake.send("sales-events", [sale(1)], received_at=RECEIVED)
    lake.build("--select", "+sales_events")
    home, file = lake.settings.root, lake.settings.duckdb_file
    sales = "select event_id, quantity from silver.sales_events"
    before = lake.read(sales)
    room = file.stat().st_size + 100_000
    many = [sale(number, 2) for number in range(1000, 6000)]
    lake.send("sales-events", many, received_at=RECEIVED)
    arguments = ["levain", "build", "--full-refresh", "--select", "+sales_events"]
    said = tmp_path / "said"

    def run(room: int) -> int:
        """Its exit code; the limit is there long before it has read the project."""
        said.write_text("")
        process = Forked(arguments, env={**os.environ, "LEVAIN_HOME": str(home)}, outputs=[said, said])
        resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (room, resource.RLIM_INFINITY))
        return process.wait(240)

    assert run(room) == 1 and "nothing more can be written below" in said.read_text(), said.read_text()
    assert set(before) <= set(lake.read(sales))
    assert run(resource.RLIM_INFINITY) == 0, said.read_text()
    assert lake.read("select count(*) from silver.sales_events") == [(len(before) + len(many),)]
    assert not file.with_name(f"{file.name}.wal").exists()


def test_the_variables_of_the_project_are_known_to_its_macros() -> None:
    declared = yaml.safe_load((PROJECT_ROOT / "dbt_project.yml").read_text())["vars"]
    known = (PROJECT_ROOT / "macros" / "incremental" / "build.sql").read_text().partition("macro known_vars()")[2]
    listed: list[Any] = yaml.safe_load(known.partition("return(")[2].partition(")")[0])
    assert sorted(listed) == sorted(declared)


@pytest.mark.slow
def test_files_whose_messages_were_all_judged_are_not_read(tmp_path: Path) -> None:
    """Partitions of very different length, as they are, so that each file's offsets overlap what is new."""
    lake = Lake(tmp_path)
    lake.send("sales-events", [sale(number) for number in range(40)], partition=0, received_at=RECEIVED)
    lake.send("sales-events", [sale(100)], partition=1, received_at=RECEIVED)
    lake.build()
    files = list((tmp_path / "lake" / "bronze").glob("sales_events-*/data/**/*.parquet"))
    assert len(files) == 2
    for file in files:
        file.write_bytes(b"not a Parquet file" * 100)

    lake.build("--select", VERDICTS)
    lake.send("sales-events", [sale(101), sale(5, 9), b"{}"], partition=1, timestamp=9, received_at=RECEIVED)
    lake.build()
    lake.build("--select", VERDICTS)
    verdicts = dict(lake.read("select verdict, count(*) from silver.int_sales_events__verdicts group by all"))
    assert verdicts == {"accepted": 42, "conflict": 1, "rejected": 1}

    with pytest.raises(AssertionError, match="No magic bytes"):
        lake.build("--full-refresh", "--select", VERDICTS)


@pytest.mark.slow
def test_messages_are_read_until_they_are_judged(tmp_path: Path) -> None:
    """Whatever a run of a part leaves out, or leaves behind when its verdicts fail, a later one reads."""
    lake = Lake(tmp_path)
    lake.send("sales-events", [sale(1)], received_at=RECEIVED)
    lake.build("--select", "+fct_sales")
    lake.send("sales-events", [sale(2)], received_at=RECEIVED)
    lake.build("--select", "int_sales_events__arrived")
    lake.send("sales-events", [sale(3)], received_at=RECEIVED)
    lake.build("--select", "int_sales_events__verdicts")
    lake.build("--select", "+fct_sales")
    assert lake.read("select count(*) from gold.fct_sales") == [(3,)]


def test_only_a_history_that_goes_on_tells_what_is_new(tmp_path: Path) -> None:
    """A table that was restored from a backup uses the same sequence numbers again, for other commits."""
    lake = Lake(tmp_path)
    table = lake.tables["weather-data"]

    def land() -> Judged:
        lake.send("weather-data", [b"{}"], received_at=RECEIVED)
        snapshot = table.refresh().current_snapshot()
        assert snapshot is not None and snapshot.sequence_number is not None
        return Judged(snapshot.snapshot_id, snapshot.sequence_number, snapshot.timestamp_ms)

    first = land()
    assert unread_from(table, first) is None
    second = land()
    landed = max(table.scan().to_arrow()["ingested_at"].to_pylist())
    assert unread_from(table, first) == round(landed.timestamp() * 1_000_000)
    assert unread_from(table, replace(first, snapshot_id=1)) == unread_from(table, first), "it may have expired"
    assert unread_from(table, replace(second, snapshot_id=1)) == 0, "another commit has its number"
    assert unread_from(table, replace(first, snapshot_id=1, committed_ms=first.committed_ms - 1)) == 0
    assert unread_from(table, replace(second, sequence_number=9, snapshot_id=1)) == 0, "the table was longer"
