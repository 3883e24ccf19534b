"""What the worker says of itself, held against the tables and against what is done to it."""

from __future__ import annotations

import json
import os
import re
import signal
import sqlite3
import time
import urllib.error
import urllib.request
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from confluent_kafka import Producer
from kafka_broker import Broker, free_port
from lake import Record
from prometheus_client.parser import text_string_to_metric_families
from workers import (
    CHANGES,
    SALES,
    Worker,
    bronze,
    landed,
    make_topics,
    produce,
    produce_transactions,
    wait_for,
    wait_until,
    wait_until_landed,
)

from ingest import metrics
from ingest.contracts import load_contracts
from ingest.lander import BATCH_ID, Fetch, covered_ranges, land
from ingest.settings import Settings
from levain.local.stack import Stack

Numbers = dict[tuple[str, ...], float]
"""Name, then the values of the labels in the order of their names -> value."""

#: A module around the worker's, for `faust -A blocked`: while a file exists, what it names stands still.
PARTITIONS = sum(contract.partitions for contract in load_contracts().values())

BLOCKED = """
import asyncio, os, time
from pathlib import Path
from ingest import health
from ingest.app import app
from ingest.transport import ConsumerThread

health.IDLE_SECONDS = 4.0
file = Path(os.environ["BLOCKED"])
fetch_records = ConsumerThread._fetch_records

def block():
    while file.exists():
        time.sleep(0.05)

async def hang(self, *arguments, **options):
    while file.exists() and file.read_text() == "fetch":
        await asyncio.sleep(0.05)
    return await fetch_records(self, *arguments, **options)

ConsumerThread._fetch_records = hang

@app.task
async def watch():
    while True:
        await asyncio.sleep(0.05)
        if file.exists() and file.read_text() == "loop":
            block()
        if file.exists() and file.read_text() == "thread":
            app.consumer._thread.thread_loop.call_soon_threadsafe(block)
            while file.exists():
                await asyncio.sleep(0.05)
"""


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


@pytest.fixture
def start(request: pytest.FixtureRequest, tmp_path: Path, home: Path) -> Iterator[Callable[..., Worker]]:
    """Starts workers of one home and group, metrics at any port; ends those that still run after the test."""
    started: list[Worker] = []
    group = f"test-{uuid.uuid4()}"

    def start(broker: Broker, metrics_port: str | None = "0", **environment: str) -> Worker:
        variables = {"LEVAIN_KAFKA_GROUP": group, "LEVAIN_COMMIT_EVERY_SECONDS": "0.3"}
        if metrics_port is not None:
            variables["LEVAIN_METRICS_PORT"] = metrics_port
        if "embedded_broker" in request.fixturenames:  # as the stack names it: then a first worker soon joins
            (home / "run").mkdir(parents=True, exist_ok=True)
            embedded = {"pid": broker.pid, "port": broker.port, "alias": "test"}
            (home / "run" / "broker.json").write_text(json.dumps(embedded))
        else:
            variables |= {"LEVAIN_KAFKA_BOOTSTRAP": broker.bootstrap, "LEVAIN_KAFKA_CLUSTER": "test"}
        started.append(Worker(home, tmp_path / f"worker-{len(started)}.log", **(variables | environment)))
        return started[-1]

    yield start
    for worker in started:
        worker.kill()


# Asking


def url(worker: Worker) -> str:
    """Where the worker says that it serves."""
    wait_for(worker, "Metrics are at ")
    found = re.search(r"Metrics are at (http://\S+)/metrics", worker.output)
    assert found, worker.output
    return found[1]


def ask(address: str) -> tuple[int, str]:
    """Status and body of an answer; status 0: nobody listens."""
    try:
        with urllib.request.urlopen(address, timeout=15) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()
    except OSError:
        return 0, ""


def state(address: str) -> tuple[int, str]:
    """Status of a health endpoint, and the reason it gives."""
    status, body = ask(address)
    return status, json.loads(body).get("reason", "") if body else ""


def scrape(worker: Worker) -> Numbers:
    status, body = ask(f"{url(worker)}/metrics")
    assert status == 200, body
    return {
        (sample.name, *(sample.labels[name] for name in sorted(sample.labels))): sample.value
        for family in text_string_to_metric_families(body)
        for sample in family.samples
    }


def lag(numbers: Numbers, what: str = "messages") -> dict[tuple[str, int], float]:
    """(topic, partition) -> lag."""
    name = f"levain_lag_{what}"
    return {(key[2], int(key[1])): value for key, value in numbers.items() if key[0] == name}


def wait_until_ready(worker: Worker) -> None:
    wait_until(lambda: ask(f"{url(worker)}/readyz")[0] == 200, worker)


# The numbers are the table's


def test_what_is_committed_is_what_the_tables_hold(
    embedded_broker: Broker, home: Path, start: Callable[..., Worker]
) -> None:
    make_topics(embedded_broker, home)
    worker = start(embedded_broker)
    wait_until_ready(worker)
    for part in range(3):
        produce(embedded_broker, SALES, 1000, part * 1000)
        time.sleep(0.7)
    an_hour_ago = int((time.time() - 3700) * 1000)
    producer = Producer({"bootstrap.servers": embedded_broker.bootstrap})
    producer.produce(SALES, "Crème brûlée", key=b"\xff", timestamp=an_hour_ago)
    producer.produce(SALES, None, key="tombstone")
    assert producer.flush(30) == 0
    produce(embedded_broker, CHANGES, 40)
    wait_until_landed(embedded_broker, home, worker, SALES, CHANGES)
    wait_until(lambda: worker.output.count("landed in commit") == commits(home, SALES, CHANGES), worker)
    numbers, asked = scrape(worker), time.time()

    for topic, count in ((SALES, 3002), (CHANGES, 40)):
        rows = landed(home, topic)
        assert numbers["levain_committed_rows_total", topic] == len(rows) == count
        size = sum(len(key or b"") + len(value or b"") for key, value, _ in rows.values())
        assert numbers["levain_committed_bytes_total", topic] == size
        assert numbers["levain_commit_duration_seconds_count", topic] == commits(home, topic)
        assert 0 < numbers["levain_commit_duration_seconds_sum", topic] < 30
        snapshots = bronze(home, topic).metadata.snapshots
        newest = max(snapshot.timestamp_ms for snapshot in snapshots) / 1000
        assert numbers["levain_last_commit_timestamp_seconds", topic] == pytest.approx(newest, abs=1)
        age = asked - numbers["levain_last_commit_timestamp_seconds", topic]
        assert numbers["levain_last_commit_age_seconds", topic] == pytest.approx(age, abs=1)
        assert numbers["levain_freshness_seconds_count", topic] == count
        assert numbers["levain_freshness_seconds_sum", topic] == pytest.approx(freshness(home, topic), abs=0.3 * count)
        assert numbers["levain_buffered_bytes", topic] == 0
        assert numbers["levain_commit_retries_total", topic] == 0
    assert commits(home, SALES) > 1
    assert numbers["levain_freshness_seconds_bucket", "3600.0", SALES] == 3001
    assert numbers["levain_freshness_seconds_bucket", "21600.0", SALES] == 3002
    assert numbers["levain_committed_rows_total", "ventes_stream"] == 0
    assert ("levain_last_commit_timestamp_seconds", "ventes_stream") not in numbers
    assert lag(numbers) == {(c.topic, p): 0 for c in load_contracts().values() for p in range(c.partitions)}
    assert lag(numbers, "seconds") == lag(numbers)
    if Path("/proc").is_dir():
        pages = int(Path(f"/proc/{worker.process.pid}/statm").read_text().split()[1])
        assert numbers[("process_resident_memory_bytes",)] == pytest.approx(pages * os.sysconf("SC_PAGESIZE"), rel=0.2)

    for found in covered_ranges(bronze(home, SALES)):  # the log for people has the same facts
        assert f"partition {found.partition[2]} [{found.start}, {found.end})" in worker.output


def commits(home: Path, *topics: str) -> int:
    return sum(len(bronze(home, topic).metadata.snapshots) for topic in topics)


def freshness(home: Path, topic: str) -> float:
    """Seconds from each message's Kafka timestamp to its commit, all together."""
    table = bronze(home, topic)
    committed = {s.summary[BATCH_ID]: s.timestamp_ms / 1000 for s in table.metadata.snapshots if s.summary}
    rows = table.scan(selected_fields=("kafka_timestamp", "ingest_batch_id")).to_arrow().to_pylist()
    return sum(committed[row["ingest_batch_id"]] - row["kafka_timestamp"].timestamp() for row in rows)


def test_lag_goes_up_while_it_is_stopped_and_down_again(
    apache_kafka: Broker, home: Path, start: Callable[..., Worker]
) -> None:
    make_topics(apache_kafka, home)
    worker = start(apache_kafka, LEVAIN_COMMIT_EVERY_SECONDS="6")
    wait_until_ready(worker)
    behind: list[Numbers] = []

    def is_behind() -> bool:
        behind.append(scrape(worker))
        return sum(lag(behind[-1]).values()) > 0 and behind[-1]["levain_buffered_bytes", SALES] > 0

    for _ in range(8):
        wait_until(lambda: len(lag(scrape(worker))) == PARTITIONS and not any(lag(scrape(worker)).values()), worker)
        before = len(landed(home, SALES))
        worker.process.send_signal(signal.SIGSTOP)
        produced = time.time()
        produce(apache_kafka, SALES, 900)
        time.sleep(2.5)
        worker.process.send_signal(signal.SIGCONT)
        wait_until(lambda: is_behind() or len(landed(home, SALES)) > before, worker, 20)  # noqa: B023
        asked = time.time()
        if len(landed(home, SALES)) == before:
            break
    else:
        pytest.fail("each time it landed before it could be asked")
    messages, seconds = lag(behind[-1]), lag(behind[-1], "seconds")
    assert sum(messages.values()) == sum(messages[SALES, p] for p in range(3)) == 900
    oldest = max(seconds.values())
    assert 2.5 <= oldest <= asked - produced + 0.1
    assert all(seconds[place] == 0 for place, count in messages.items() if count == 0)

    wait_until_landed(apache_kafka, home, worker, SALES)
    wait_until(lambda: sum(lag(scrape(worker)).values()) == 0, worker, 10)
    numbers = scrape(worker)
    assert max(lag(numbers, "seconds").values()) == 0
    assert numbers["levain_buffered_bytes", SALES] == 0
    assert numbers["levain_committed_rows_total", SALES] == len(landed(home, SALES)) == before + 900


def test_markers_and_aborted_messages_at_the_end_are_no_lag(
    apache_kafka: Broker, home: Path, start: Callable[..., Worker]
) -> None:
    """They never land, so the high watermark stays above the table's."""
    make_topics(apache_kafka, home)
    produce_transactions(apache_kafka, SALES)
    worker = start(apache_kafka)
    wait_until_landed(apache_kafka, home, worker, SALES)
    wait_until(lambda: len(lag(scrape(worker))) == PARTITIONS and not any(lag(scrape(worker)).values()), worker, 15)


def test_a_conflict_is_counted(embedded_broker: Broker, home: Path, start: Callable[..., Worker]) -> None:
    make_topics(embedded_broker, home)
    worker = start(embedded_broker)
    produce(embedded_broker, SALES, 100)
    wait_until_landed(embedded_broker, home, worker, SALES)
    wait_until(lambda: scrape(worker)["levain_committed_rows_total", SALES] == 100, worker)
    assert scrape(worker)["levain_commit_conflicts_total", SALES] == 0
    land(bronze(home, SALES), [Fetch.of(("other", SALES, 0), [Record(0, 0, None, b"another writer's")])])
    produce(embedded_broker, SALES, 100)
    wait_until(lambda: scrape(worker)["levain_committed_rows_total", SALES] == 200, worker)
    numbers = scrape(worker)
    assert numbers["levain_commit_conflicts_total", SALES] == 1
    assert numbers["levain_commit_retries_total", SALES] == 1
    assert numbers["levain_commit_conflicts_total", CHANGES] == 0
    assert bronze(home, SALES).scan().to_arrow().num_rows == 201


def test_freshness_counts_what_a_loop_would_count() -> None:
    now = datetime(2026, 1, 5, 7, tzinfo=UTC)
    ages = [-5.0, 0.0, 0.499, 0.5, 0.501, 4.0, 60.0, 61.0, 86400.0, 90000.0]
    times = [*(now - timedelta(seconds=age) for age in ages), None]
    counts = metrics._Counts()
    for part in (times[:4], times[4:], []):
        counts.add(pa.chunked_array([part], pa.timestamp("us", "UTC")), now.timestamp())
    buckets, total = counts.read()
    for bound, count in buckets:
        assert count == sum(age <= float(bound) for age in ages), bound
    assert total == pytest.approx(sum(max(0.0, age) for age in ages))


# Alive and ready


def test_ready_once_partitions_are_positioned_and_while_the_catalog_answers(
    embedded_broker: Broker, home: Path, start: Callable[..., Worker]
) -> None:
    make_topics(embedded_broker, home)
    port = free_port()
    worker = start(embedded_broker, metrics_port=str(port))
    reasons: Counter[str] = Counter()

    def ready() -> bool:
        status, reason = state(f"http://127.0.0.1:{port}/readyz")
        reasons[reason] += status == 503
        return status == 200

    wait_until(ready, worker)
    assert any("No partition is assigned" in reason or "not positioned" in reason for reason in reasons), reasons
    assert url(worker) == f"http://127.0.0.1:{port}"
    assert state(f"{url(worker)}/healthz") == (200, "")

    lock = sqlite3.connect(home / "catalog.db", isolation_level=None)
    lock.execute("begin exclusive")
    status, reason = state(f"{url(worker)}/readyz")
    assert status == 503 and "catalog" in reason
    assert state(f"{url(worker)}/healthz") == (200, ""), "to restart it would not help"
    lock.execute("rollback")
    lock.close()
    wait_until(lambda: ask(f"{url(worker)}/readyz")[0] == 200, worker, 15)
    assert ask(f"{url(worker)}/nothing")[0] == 404


@pytest.mark.parametrize(
    ("what", "reason"),
    [("loop", "event loop"), ("thread", "consumer's thread"), ("fetch", "Nothing has been asked of Kafka")],
)
def test_what_stands_still_is_told(
    embedded_broker: Broker, home: Path, tmp_path: Path, start: Callable[..., Worker], what: str, reason: str
) -> None:
    make_topics(embedded_broker, home)
    (tmp_path / "blocked.py").write_text(BLOCKED)
    file = tmp_path / "block"
    worker = start(embedded_broker, module="blocked", PYTHONPATH=str(tmp_path), BLOCKED=str(file))
    wait_until_ready(worker)
    assert state(f"{url(worker)}/healthz") == (200, "")
    temporary = file.with_suffix(".new")
    temporary.write_text(what)
    temporary.rename(file)
    wait_until(lambda: state(f"{url(worker)}/healthz")[0] == 503, worker, 15)
    health, readiness = state(f"{url(worker)}/healthz"), state(f"{url(worker)}/readyz")
    assert health[0] == readiness[0] == 503
    assert reason in health[1] and reason in readiness[1]
    assert ask(f"{url(worker)}/metrics")[0] == 200, "the numbers can still be had"
    file.unlink()
    wait_until(lambda: state(f"{url(worker)}/healthz")[0] == 200, worker, 15)
    wait_until_ready(worker)


# Where it serves


def test_workers_of_one_machine_take_different_ports(
    embedded_broker: Broker, home: Path, start: Callable[..., Worker]
) -> None:
    make_topics(embedded_broker, home)
    first = start(embedded_broker, metrics_port=None)
    second = start(embedded_broker, metrics_port=None)
    assert url(first) != url(second)
    everything = {(c.topic, p) for c in load_contracts().values() for p in range(c.partitions)}

    def shared() -> bool:
        mine, yours = lag(scrape(first)).keys(), lag(scrape(second)).keys()
        return bool(mine and yours) and mine | yours == everything and not mine & yours

    wait_until(shared, first)
    third = start(embedded_broker, metrics_port=url(first).rpartition(":")[2])
    assert third.wait() == 1
    assert "Metrics cannot be served at 127.0.0.1, port" in third.output
    assert "LEVAIN_METRICS_PORT" in third.output and "Traceback" not in third.output


def test_up_prints_where(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    stack = Stack(Settings(home=tmp_path / "home", broker_port=free_port()))
    try:
        stack.up()
        first = re.search(r"metrics +(http://\S+)/metrics", capsys.readouterr().out)
        assert first and ask(f"{first[1]}/readyz")[0] == 200
        stack.up()
        assert f"{first[1]}/metrics" in capsys.readouterr().out
    finally:
        stack.down()


# Logs


def test_json_logs_say_what_the_tables_hold(embedded_broker: Broker, home: Path, start: Callable[..., Worker]) -> None:
    began = datetime.now(UTC)
    failed = start(embedded_broker, LEVAIN_LOG_FORMAT="json")
    assert failed.wait() == 1
    last = lines(failed)[-1]
    assert last["level"] == "critical" and last["message"].startswith("Kafka has no topic")

    make_topics(embedded_broker, home)
    worker = start(embedded_broker, LEVAIN_LOG_FORMAT="json")
    wait_until_ready(worker)
    for part in range(3):
        produce(embedded_broker, SALES, 200, part * 200)
        produce(embedded_broker, CHANGES, 50, part * 50)
        time.sleep(0.7)
    wait_until_landed(embedded_broker, home, worker, SALES, CHANGES)
    assert worker.stop() == 0, worker.output
    for line in lines(worker):
        assert {"time", "level", "logger", "message"} <= line.keys()
        assert began - timedelta(seconds=1) < datetime.fromisoformat(line["time"]) < datetime.now(UTC)
        assert line["time"].endswith("Z")
    for topic in (SALES, CHANGES):
        logged = [line for line in lines(worker) if line.get("topic") == topic]
        table = bronze(home, topic)
        assert [line["batch_id"] for line in logged] == [
            s.summary[BATCH_ID] for s in table.metadata.snapshots if s.summary
        ]
        ranges = [(r["partition"], r["from"], r["to"]) for line in logged for r in line["partitions"]]
        assert ranges == [(r.partition[2], r.start, r.end) for r in covered_ranges(table)]
        rows = Counter(table.scan().to_arrow()["ingest_batch_id"].to_pylist())
        assert {line["batch_id"]: line["rows"] for line in logged} == rows
        size = sum(len(key or b"") + len(value or b"") for key, value, _ in landed(home, topic).values())
        assert sum(line["bytes"] for line in logged) == size
        assert all(0 < line["seconds"] < 30 for line in logged)


def lines(worker: Worker) -> list[dict[str, Any]]:
    """Every line that the worker has written, to stdout or stderr, as JSON."""
    return [json.loads(line) for line in worker.output.splitlines()]
