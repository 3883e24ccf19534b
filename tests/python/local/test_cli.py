"""The command line, run as its users run it."""

from __future__ import annotations

import csv
import fcntl
import io
import json
import os
import re
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import browser
import commands
import duckdb
import pytest
from kafka_broker import free_port
from lake import connect
from playwright.sync_api import Page

from ingest.contracts import load_contracts
from ingest.settings import PROJECT_ROOT, Settings
from levain import processes
from levain.dev.picture import PICTURE, draw
from levain.project import LINEAGE_FIRST
from levain.samples.events import WITHOUT_EVENTS

EVENTS = 5000
"""As many as the demo sends by itself."""
PROJECT = Path(__file__).parents[3]


def levain(home: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run the command with a home, and with no other setting but those given."""
    return commands.levain(*arguments, env=environment(home, variables))


def program(home: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """The same by the program that users start, where its start matters."""
    return subprocess.run(
        command(*arguments), env=environment(home, variables), capture_output=True, text=True, check=False, timeout=240
    )


def command(*arguments: str) -> list[str]:
    return [commands.PROGRAM, *arguments]


def environment(home: Path, variables: Mapping[str, str]) -> dict[str, str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("LEVAIN_", "DBT_"))}
    return {**clean, "LEVAIN_HOME": str(home), "NO_COLOR": "1", **variables}


def living(home: Path) -> list[str]:
    """Command lines of processes that work for a home."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            settings = (process / "environ").read_bytes().split(b"\0")
        except OSError:
            continue
        if f"LEVAIN_HOME={home}".encode() in settings:
            found.append(processes.command_line(int(process.name)))
    return found


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, subprocess.CompletedProcess[str]]:
    """A home in which the demo has run, with its ports taken, and what it said."""
    home = tmp_path_factory.mktemp("demo") / "home"
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        return home, program(home, "demo", LEVAIN_BROKER_PORT=port, LEVAIN_METRICS_PORT=port)


@pytest.fixture
def home(demo: tuple[Path, subprocess.CompletedProcess[str]]) -> Path:
    return demo[0]


def test_help_loads_none_of_the_heavy_parts() -> None:
    heavy = ("dbt", "duckdb", "faust", "pyiceberg", "pyarrow", "confluent_kafka", "pydantic", "rich")
    code = f"import sys, levain.cli\ntry: levain.cli.app(['--help'])\nfinally: print(set(sys.modules) & {set(heavy)})"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert ran.stdout.endswith("set()\n"), ran.stdout
    assert "ledger" in ran.stdout


def test_the_demo_says_what_became_of_each_message(demo: tuple[Path, subprocess.CompletedProcess[str]]) -> None:
    home, ran = demo
    assert ran.returncode == 0, ran.stderr
    assert ran.stderr.count("is taken by") == 2, "it goes on with other ports, for the broker and for the metrics"
    assert "Best-selling products" in ran.stdout and "levain ledger" in ran.stdout
    (truth,) = [json.loads(path.read_text()) for path in (home / "expected").iterdir()]
    said = {line.split()[0]: line.split()[1:] for line in ran.stdout.splitlines() if line.strip()}
    rules = json.loads(levain(home, "ledger", "--format", "json").stdout)["rules"]
    for topic, expected in truth["topics"].items():
        counts = [*expected["verdicts"].values(), expected["messages"]]
        assert said[topic] == [f"{count:,}" for count in counts], topic
        assert rules.get(topic, {}) == expected["rules"], topic


def test_the_demo_leaves_nothing_running(home: Path) -> None:
    assert living(home) == []
    assert not (home / "run" / "broker.json").exists() and not (home / "run" / "worker.json").exists()


def test_what_the_demo_and_show_print_is_what_the_tables_have(
    demo: tuple[Path, subprocess.CompletedProcess[str]],
) -> None:
    home, ran = demo
    _, _, printed = ran.stdout.partition("Best-selling products")
    best = [tuple(re.split(r"  +", line.strip())) for line in printed.splitlines()[2:12]]
    sold = """
        select product_name, category, sum(quantity), sum(net_amount) from gold.fct_sales
        left join (select product_id, product_name, category from gold.dim_product where is_current) using (product_id)
        group by all order by 4 desc, 1 limit 10
    """
    shown = [line.split() for line in levain(home, "show").stdout.splitlines()]
    counts = {".".join(line[:2]): line[2] for line in shown if line and line[0] in ("bronze", "silver", "gold")}
    with connect(home / "levain.duckdb") as connection:
        rows = connection.execute(sold).fetchall()
        assert best == [(name, category, f"{units:,}", f"{net:,.2f}") for name, category, units, net in rows]
        assert len(counts) > 10
        for table, rows_shown in counts.items():
            (number,) = connection.execute(f"select count(*) from {table}").fetchone() or (None,)
            assert rows_shown == f"{number:,}", table
        verdicts = connection.execute(
            "select topic, sum(accepted), sum(duplicate), sum(conflict), sum(rejected), sum(held), sum(messages) "
            "from quality.quality_messages group by topic"
        ).fetchall()
        for topic, *numbers in verdicts:
            assert [topic, *(f"{number:,}" for number in numbers)] in shown
        fresh = connection.execute("select * from quality.quality_freshness").fetchall()
    for topic, *moments in fresh:
        assert [topic, *" ".join(f"{moment:%Y-%m-%d %H:%M:%S}" for moment in moments if moment).split()] in shown


def test_the_readme_shows_what_the_demo_says(demo: tuple[Path, subprocess.CompletedProcess[str]]) -> None:
    """Its text, but for how long the build took, and its picture."""
    home, ran = demo
    said = {
        " ".join(line.split()) for line in re.sub(r" in [0-9.]+ s$", "", ran.stdout, flags=re.MULTILINE).splitlines()
    }
    text = (PROJECT_ROOT / "README.md").read_text(encoding="utf-8")
    (shown,) = re.findall(r"```text\n(landed .*?)```", text, re.DOTALL)
    lines = {" ".join(re.sub(r" in [0-9.]+ s$", "", line).split()) for line in shown.splitlines()} - {"..."}
    assert len(lines) > 14 and lines <= said | {""}
    assert draw(Settings(home=home)) == PICTURE.read_text(encoding="utf-8")


@pytest.mark.full
def test_a_second_demo_says_that_it_sent_the_same_events(home: Path) -> None:
    ran = levain(home, "demo", LEVAIN_BROKER_PORT=str(free_port()))
    assert ran.returncode == 0, ran.stderr
    assert "events of seed 1, which were sent before" in ran.stderr and "--seed 2" in ran.stderr
    ledger = json.loads(levain(home, "ledger", "--format", "json").stdout)
    assert {line["kafka_cluster"] for line in ledger["partitions"]} == {"embedded-1", "embedded-2"}
    assert sum(line["messages"] for line in ledger["partitions"]) == 2 * EVENTS, "each start has its own offsets"
    assert ledger["adds_up"]
    again = [line for line in ledger["partitions"] if line["kafka_cluster"] == "embedded-2"]
    assert sum(line["verdicts"]["accepted"] for line in again) == 0


@pytest.mark.parametrize(
    ("signals", "code"),
    [
        pytest.param([signal.SIGINT, signal.SIGINT], 130, id="Ctrl-C twice"),
        pytest.param([signal.SIGTERM], 143, id="TERM", marks=pytest.mark.full),
    ],
)
def test_an_interrupted_demo_stops_what_it_started(tmp_path: Path, signals: list[signal.Signals], code: int) -> None:
    home = tmp_path / "home"
    said = ""
    with commands.running(
        command("demo"),
        env=environment(home, {"LEVAIN_BROKER_PORT": str(free_port())}),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    ) as demo:
        deadline = time.monotonic() + 60
        while not (home / "run" / "worker.json").exists():
            assert time.monotonic() < deadline and demo.poll() is None
            time.sleep(0.1)
        assert demo.stdout is not None
        for number in signals:
            demo.send_signal(number)
            while "Interrupted: stopping" not in said:
                said += (line := demo.stdout.readline())
                assert line, said
        said += demo.communicate(timeout=90)[0]
    assert demo.returncode == code, said
    assert "Traceback" not in said and "worker    stopped" in said and "broker    stopped" in said
    assert said.count("Still stopping") == len(signals) - 1
    assert living(home) == []


@pytest.mark.parametrize(
    ("arguments", "message", "hint"),
    [
        (["query", "select 1"], "Nothing was built yet", "levain build"),
        (["show"], "Bronze has no tables", "levain init"),
        (["ledger"], "Nothing was built yet", "levain build"),
        (["build"], "Bronze has no table", "levain init"),
        (["docs", "--no-serve"], "Nothing was built yet", "levain build"),
        (["init"], "No Kafka broker is running", "levain up"),
        (["produce", "--events", "5"], "No Kafka broker is running", "levain up"),
        (["produce", "--faults", "unheard-of"], "unheard-of", "none"),
        (["produce", "--topic", "unheard-of"], "unheard-of", "sales-events"),
        (["produce", "--history", "9000"], "9000 days", "Ask for 1 to"),
        (["replay", "--topic", "sales-events", "--sql", "nowhere.sql"], "nowhere.sql", ""),
    ],
)
def test_what_a_user_can_fix_is_said_in_two_lines(
    tmp_path: Path, arguments: list[str], message: str, hint: str
) -> None:
    ran = levain(tmp_path / "home", *arguments)
    assert ran.returncode == 1
    assert ran.stdout == ""
    lines = ran.stderr.splitlines()
    assert len(lines) == 2, ran.stderr
    assert message in lines[0] and hint in lines[1]


def test_a_setting_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    ran = levain(tmp_path / "home", "show", LEVAIN_BROKER_PORT="high", LEVAIN_CATALOG_TYPE="paper")
    assert ran.returncode == 1
    assert "LEVAIN_BROKER_PORT" in ran.stderr and "LEVAIN_CATALOG_TYPE" in ran.stderr
    assert "Traceback" not in ran.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        *(["show"], ["ledger"], ["doctor"], ["down"], ["build"], ["maintain", "--dry-run"], ["recover", "--dry-run"]),
        *(["query", "select 1"], ["docs", "--no-serve"], ["clean", "--yes"]),
    ],
    ids=" ".join,
)
def test_who_only_reads_makes_no_home(tmp_path: Path, arguments: list[str]) -> None:
    levain(tmp_path / "mistyped", *arguments)
    assert not (tmp_path / "mistyped").exists()


def test_odd_surroundings_are_said(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    ascii_only = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    cases = [
        (program(tmp_path, "query", "select 'é'", **ascii_only), "Argument 2 is not text in ascii"),
        (program(tmp_path / "é", "show", **ascii_only), "LEVAIN_HOME is not text in ascii"),
        (program(tmp_path / os.fsdecode(b"\xff"), "show"), "LEVAIN_HOME is not text in utf-8"),
        (program(tmp_path / "loop", "show"), "LEVAIN_HOME: this path leads nowhere"),
    ]
    gone = f"mkdir {tmp_path}/gone && cd {tmp_path}/gone && rmdir {tmp_path}/gone && {command('doctor')[0]} doctor"
    shell = subprocess.run(
        ["bash", "-c", gone], env=environment(tmp_path, {}), capture_output=True, text=True, check=False
    )
    for ran, words in [*cases, (shell, "The current folder was removed")]:
        assert ran.returncode == 1 and words in ran.stderr and len(ran.stderr.splitlines()) == 2, ran.stderr


@pytest.mark.parametrize("arguments", [["up"], ["init"], ["build"], ["produce"]])
def test_a_home_that_cannot_be_made_is_said(tmp_path: Path, arguments: list[str]) -> None:
    (tmp_path / "file").write_text("")
    ran = levain(tmp_path / "file" / "home", *arguments)
    assert ran.returncode == 1
    assert "Traceback" not in ran.stderr and len(ran.stderr.splitlines()) == 2, ran.stderr


def test_query_prints_tables_json_and_csv(home: Path) -> None:
    columns = "topic, sum(messages) as messages, 1.50 as price, null as nothing"
    sql = f"select {columns} from quality.quality_messages group by topic order by topic"
    rows = json.loads(levain(home, "query", sql, "--format", "json").stdout)
    assert [row["topic"] for row in rows] == sorted(load_contracts().keys() - WITHOUT_EVENTS)
    assert rows[0] == {"topic": min(load_contracts()), "messages": rows[0]["messages"], "price": 1.5, "nothing": None}
    lines = list(csv.reader(io.StringIO(levain(home, "query", sql, "--format", "csv").stdout)))
    assert lines[0] == ["topic", "messages", "price", "nothing"]
    assert lines[1] == [rows[0]["topic"], str(rows[0]["messages"]), "1.50", ""]
    table = levain(home, "query", sql).stdout.splitlines()
    assert table[0].split() == lines[0]
    assert table[1].split()[0] == rows[0]["topic"]


@pytest.mark.parametrize(
    "sql",
    [
        "delete from gold.fct_sales",
        "create table gold.mine as select 1",
        "select 1; drop table gold.fct_sales",
        "copy gold.fct_sales to 'fct.csv'",
        "attach 'other.duckdb'",
        "",
    ],
)
def test_query_only_reads(home: Path, sql: str) -> None:
    ran = levain(home, "query", sql)
    assert ran.returncode == 1
    assert "takes one SELECT" in ran.stderr


def test_query_says_what_is_wrong_with_it(home: Path) -> None:
    ran = levain(home, "query", "select * from gold.nowhere")
    assert ran.returncode == 1
    assert "nowhere" in ran.stderr.splitlines()[0] and len(ran.stderr.splitlines()) == 2


@pytest.mark.slow
def test_a_reader_that_goes_away_is_no_error(home: Path) -> None:
    everything = "query 'select * from gold.dim_calendar limit 5000'"
    for arguments in (f"{everything} --format csv", f"{everything} --format json", everything, "show"):
        ran = subprocess.run(
            ["bash", "-c", f"set -o pipefail; {command()[0]} {arguments} | head -1"],
            env=environment(home, {}),
            capture_output=True,
            text=True,
            check=False,
        )
        assert (ran.returncode, ran.stderr) == (0, ""), arguments
        assert len(ran.stdout.splitlines()) == 1


@pytest.mark.slow
def test_any_terminal_will_do(home: Path) -> None:
    """Encodings without the data's characters, a narrow or dumb terminal, no HOME, streams that are closed."""
    odd = {"PYTHONIOENCODING": "ascii", "TERM": "dumb", "COLUMNS": "20", "LANG": "C", "HOME": "/nowhere"}
    sql = "select 'Éclair' || chr(27) as name"
    assert program(home, "query", sql, **odd).stdout.split() == ["name", r"\xc9clair\x1b"]
    assert program(home, "query", sql, "--format", "csv", **odd).stdout == "name\nÉclair\x1b\n", "data stays as it is"
    every = "<&- >&- 2>&-"
    for arguments in ("show <&-", "show >&-", "show 2>&-", f"show {every}", f"clean </dev/null {every}"):
        shell = ["bash", "-c", f"{command()[0]} {arguments}"]
        ran = subprocess.run(shell, env=environment(home, {}), capture_output=True, text=True, check=False)
        assert ran.returncode == ("clean" in arguments), ran.stderr
        assert "Traceback" not in ran.stderr, (arguments, ran.stderr)


def test_show_counts_each_layer(home: Path) -> None:
    shown = levain(home, "show").stdout
    for name in ("bronze  sales_events", "silver  sales_events", "gold    fct_sales"):
        assert name in shown
    assert "Messages by verdict" in shown and "Freshness" in shown
    assert "int_" not in shown


def test_an_interrupted_build_is_followed_by_a_whole_one(home: Path) -> None:
    with commands.running(
        command("build", "--full-refresh"),
        env=environment(home, {}),
        stderr=subprocess.PIPE,
    ) as build:
        deadline = time.monotonic() + 60
        while not (home / "run" / "build.lock").read_text().startswith(f"pid {build.pid},"):
            assert time.monotonic() < deadline and build.poll() is None
            time.sleep(0.1)
        time.sleep(2)
        build.send_signal(signal.SIGINT)
        _, said = build.communicate(timeout=90)
    assert build.returncode == 130, said
    assert said == "The build was interrupted: the next one builds what it did not finish.\n"
    assert levain(home, "build").returncode == 0
    ran = levain(home, "ledger")
    assert (ran.returncode, ran.stderr) == (0, "")


def test_an_interrupt_ends_a_long_query(home: Path) -> None:
    """On several threads, whose work DuckDB would finish before it closes."""
    sql = "select sum(a.range * b.range) from range(1000000) a, range(1000000) b"
    with commands.running(
        command("query", sql),
        env=environment(home, {}),
        stderr=subprocess.PIPE,
    ) as query:
        deadline = time.monotonic() + 60
        while len(list(Path(f"/proc/{query.pid}/task").iterdir())) < 2:
            assert time.monotonic() < deadline and query.poll() is None
            time.sleep(0.1)
        time.sleep(2)
        query.send_signal(signal.SIGINT)
        _, said = query.communicate(timeout=30)
    assert (query.returncode, said) == (130, "")


def test_lost_tables_are_said_by_whoever_reads_or_builds(home: Path) -> None:
    (home / "levain.duckdb").rename(home / "aside")
    for arguments in (["query", "select 1"], ["show"], ["ledger"], ["docs", "--no-serve"]):
        ran = levain(home, *arguments)
        assert ran.returncode == 1 and "levain.duckdb is lost" in ran.stderr.splitlines()[0], arguments
    assert "levain.duckdb is lost" in levain(home, "doctor").stdout
    ran = levain(home, "build", "--select", "stg_retail__sales_events")
    assert ran.returncode == 0 and "levain.duckdb is lost: it is rebuilt from Bronze" in ran.stderr
    (home / "aside").replace(home / "levain.duckdb")


@pytest.mark.parametrize("command", ["build", "demo"])
def test_a_second_build_or_demo_says_who_runs_the_first(home: Path, command: str) -> None:
    with (home / "run" / f"{command}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        lock.write("pid 4711, since noon")
        lock.flush()
        ran = levain(home, command)
    assert ran.returncode == 1
    assert f"Another {command} is running: pid 4711, since noon" in ran.stderr


def test_readers_and_writers_of_a_locked_file_say_who_has_it(home: Path) -> None:
    hold = "import duckdb, sys; c = duckdb.connect(sys.argv[1]); print('held', flush=True); sys.stdin.read()"
    with commands.running(
        [sys.executable, "-c", hold, str(home / "levain.duckdb")], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdout is not None and holder.stdout.readline() == "held\n"
        for arguments in (["query", "select 1"], ["build"]):
            ran = levain(home, *arguments)
            assert ran.returncode == 1, arguments
            assert f"(pid {holder.pid})" in ran.stderr and "Traceback" not in ran.stderr, ran.stderr


def test_a_failing_test_fails_the_build_with_its_name(home: Path, keep: Callable[[str], None]) -> None:
    keep("update silver.int_sales_events__verdicts set event_time = null where verdict = 'accepted'")
    ran = levain(home, "build", "--audit", "--select", "sales_events")
    assert ran.returncode == 1
    assert "of the build's nodes failed" in ran.stderr
    assert re.search(r"sales_events breaks a rule \(failures: [1-9]\d*\): event_time is not null", ran.stderr)
    assert "Traceback" not in ran.stderr


@pytest.fixture
def keep(home: Path) -> Callable[[str], None]:
    """Runs SQL on the built tables; the tests after this one get them back by a full refresh."""

    def run(sql: str) -> None:
        with duckdb.connect(str(home / "levain.duckdb")) as connection:
            connection.execute(sql)

    return run


@pytest.mark.full
def test_a_part_that_is_damaged_or_missing_is_said_in_two_lines(home: Path) -> None:
    """Before the full refresh below, which brings back what is dropped here."""
    data = next((home / "lake" / "bronze").glob("sales_events*/data/**/*.parquet"))
    whole = data.read_bytes()

    def said(*arguments: str) -> str:
        ran = levain(home, *arguments)
        assert ran.returncode == 1, arguments
        lines = ran.stderr.splitlines()
        of_the_build = lines[0].startswith("Build ")  # the test before this one had one fail, which readers say first
        assert len(lines) == 2 + of_the_build and ran.stdout == "", (arguments, ran.stderr)
        return "\n".join(lines[of_the_build:])

    try:
        for content in (b"garbage", b"", whole[:-20]):
            data.write_bytes(content)
            for arguments in (["ledger"], ["query", "select max(value) from bronze.sales_events"]):
                assert data.name in said(*arguments), arguments
    finally:
        data.write_bytes(whole)
    warehouse = home / "levain.duckdb"
    content = warehouse.read_bytes()
    try:
        for broken in (b"", b"garbage", content[:5000]):
            warehouse.write_bytes(broken)
            for arguments in (["show"], ["ledger"], ["query", "select 1"]):
                assert "levain.duckdb" in said(*arguments), (arguments, len(broken))
    finally:
        warehouse.write_bytes(content)
    with duckdb.connect(str(warehouse)) as connection:
        connection.execute("drop table silver.int_sales_events__verdicts")
    for arguments in (["show"], ["ledger"], ["query", "select * from quality.quality_rejects"]):
        assert "int_sales_events__verdicts" in said(*arguments), arguments


@pytest.mark.parametrize(
    "part",
    [
        pytest.param((), id="everything", marks=pytest.mark.full),
        pytest.param(("--select", "+sales_events"), id="a part"),
    ],
)
def test_a_full_refresh_repairs_the_tables(home: Path, part: tuple[str, ...]) -> None:
    ran = levain(home, "build", "--full-refresh", "--audit", *part)
    assert ran.returncode == 0, ran.stderr
    assert "tests in" in ran.stdout
    assert levain(home, "ledger").returncode == 0


def test_the_ledger_fails_with_the_line_that_does_not_add_up(home: Path, keep: Callable[[str], None]) -> None:
    keep(
        "delete from silver.int_sales_events__verdicts where topic = 'sales-events' and kafka_cluster = 'embedded-1' "
        "and partition = 0 and kafka_offset = 0"
    )
    ran = levain(home, "ledger", "--format", "json")
    assert ran.returncode == 1
    assert "Does not add up: embedded-1, sales-events, partition 0" in ran.stderr
    assert json.loads(ran.stdout)["adds_up"] is False


@pytest.mark.slow
def test_docs_work_without_a_network(home: Path) -> None:
    ran = levain(home, "docs", "--no-serve")
    assert ran.returncode == 0, ran.stderr
    site = home / "target" / "site"
    assert "fct_sales" in (site / "index.html").read_text()
    assert "# Levain, the lakehouse starter" in (site / "index.html").read_text()
    assert f"?model=model.levain.{LINEAGE_FIRST}&" in (site / "lineage" / "index.html").read_text()[:500]
    assert "cannot be traced" not in ran.stderr, ran.stderr
    for page in (site / "index.html", site / "lineage" / "index.html"):
        assert not re.findall(r"<(?:script|link)[^>]+(?:src|href)=.https?:", page.read_text()), page


@pytest.mark.slow
def test_the_lineage_leads_from_each_number_to_kafka(home: Path) -> None:
    """Of the pages that the test before this one has written."""
    page = json.loads((home / "target" / "site" / "lineage" / "colibri-manifest.json").read_text())
    parents: dict[tuple[str, str], set[tuple[str, str]]] = {}
    for edge in page["lineage"]["edges"]:
        if edge["sourceColumn"] and edge["targetColumn"]:
            parents.setdefault((edge["target"], edge["targetColumn"]), set()).add(
                (edge["source"], edge["sourceColumn"])
            )

    def origins(model: str, column: str) -> set[tuple[str, str]]:
        found, todo = set(), [(f"model.levain.{model}", column)]
        while todo:
            place = todo.pop()
            if place not in found:
                found.add(place)
                todo += parents.get(place, set())
        return {(node, name) for node, name in found if not parents.get((node, name))}

    kafka = {(f"source.levain.bronze.{table}", "value") for table in ("sales_events", "product_changes")}
    assert kafka <= origins("mart_sales_performance", "cost_amount")
    assert ("source.levain.bronze.sales_events", "value") in origins("mart_top_products", "net_amount")
    assert ("source.levain.bronze.store_extracts", "value") in origins("mart_sales_performance", "city")
    assert ("source.levain.bronze.ventes_stream", "value") in origins("top_produits", "total_montant")
    assert ("source.levain.bronze.product_changes", "kafka_timestamp") in origins(
        "quality_freshness", "last_received_at"
    )


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_pages_open_in_a_browser_without_a_network(home: Path, tmp_path: Path) -> None:
    """On a desk and on a phone: the docs and the lineage, which a test before this one has written, and the report."""
    report = tmp_path / "quality.html"
    assert levain(home, "quality", "--html", str(report)).returncode == 0
    site = home / "target" / "site"
    with browser.pages() as opened:
        for page in opened.values():
            asked: list[str] = []
            failed: list[str] = []
            page.on("request", lambda request, asked=asked: asked.append(request.url))
            page.on("pageerror", lambda error, failed=failed: failed.append(str(error)))
            page.goto((site / "index.html").as_uri())
            page.get_by_role("heading", name="Levain, the lakehouse starter").wait_for()
            fits(page)
            page.get_by_role("link", name="fct_sales").first.click()
            page.get_by_text("One row per accepted line of a receipt").first.wait_for()
            fits(page)
            page.go_back()
            page.get_by_role("link", name="All lineage").click()
            page.locator("canvas").first.wait_for()
            page.goto((site / "lineage" / "index.html").as_uri())
            page.get_by_text("weather_key").first.wait_for()
            fits(page)
            page.goto(report.as_uri())
            page.get_by_role("heading", name="Data quality").wait_for()
            fits(page)
            assert [url for url in asked if not url.startswith(("file:", "data:", "blob:"))] == []
            assert failed == []


def fits(page: Page) -> None:
    """Nothing is beside what the screen shows."""
    assert page.viewport_size
    assert page.evaluate("document.documentElement.scrollWidth") <= page.viewport_size["width"]


def test_a_build_writes_nothing_outside_the_home(home: Path, tmp_path: Path) -> None:
    project = tmp_path / "project"
    project.mkdir()
    before = {path: path.stat().st_mtime_ns for path in (PROJECT / "target", PROJECT / "logs") if path.exists()}
    ran = commands.levain("build", "--select", "stg_retail__sales_events", cwd=project, env=environment(home, {}))
    assert ran.returncode == 0, ran.stderr
    assert list(project.iterdir()) == []
    assert {path: path.stat().st_mtime_ns for path in (PROJECT / "target", PROJECT / "logs") if path.exists()} == before


def test_a_home_that_was_moved_is_said(home: Path, tmp_path: Path) -> None:
    """Iceberg's paths are absolute: at its new place the catalog names files that are not there."""
    moved = tmp_path / "moved"
    moved.mkdir()
    for name in ("catalog.db", "levain.duckdb"):
        shutil.copy(home / name, moved / name)
    with sqlite3.connect(moved / "catalog.db") as catalog:
        catalog.execute(
            "update iceberg_tables set metadata_location = replace(metadata_location, ?, ?)", (str(home), str(moved))
        )
    first = min(contract.table for contract in load_contracts().values())
    for arguments in (["ledger"], ["show"], ["build"], ["doctor"]):
        ran = levain(moved, *arguments)
        assert ran.returncode == 1, arguments
        assert f"bronze.{first} cannot be read" in ran.stdout + ran.stderr, arguments
        assert "Traceback" not in ran.stderr, ran.stderr


def test_doctor_finds_what_is_wrong(tmp_path: Path) -> None:
    ran = levain(tmp_path / "home", "doctor", LEVAIN_BROKER_PORT=str(free_port()))
    assert ran.returncode == 0, ran.stdout
    assert "fail" not in ran.stdout and "Python" in ran.stdout
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        ran = levain(tmp_path / "home", "doctor", LEVAIN_BROKER_PORT=port)
        assert f"port {port} of the embedded broker is taken by" in ran.stdout
        away = {"LEVAIN_CATALOG_URI": f"sqlite:///{tmp_path}/no/such/folder.db"}
        away["LEVAIN_SCHEMA_REGISTRY_URL"] = f"http://127.0.0.1:{free_port()}"
        unreachable = levain(tmp_path / "home", "doctor", **away)
    assert unreachable.returncode == 1
    assert "cannot be opened" in unreachable.stdout
    assert f"The schema registry at {away['LEVAIN_SCHEMA_REGISTRY_URL']} does not answer" in unreachable.stdout


def test_clean_asks_first(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    (home / "levain.duckdb").write_text("")
    ran = subprocess.run(
        command("clean"),
        env=environment(home, {}),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 1 and "--yes" in ran.stderr
    assert (home / "levain.duckdb").exists()
    assert levain(home, "clean", "--yes").returncode == 0
    assert list(home.iterdir()) == []
