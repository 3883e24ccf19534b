"""What goes wrong around a running worker: topics that change under it, catalog, disk and Kafka that go away.

As in test_worker.py the tables are asked, not the worker; what it says of the trouble is looked at besides.
"""

from __future__ import annotations

import os
import resource
import signal
import sqlite3
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from confluent_kafka import Producer, TopicPartition
from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource, ResourceType
from confluent_kafka.cimpl import NewPartitions
from kafka_broker import ApacheKafka, Broker
from workers import (
    SALES,
    VENTES,
    Worker,
    assert_exact,
    bronze,
    delete_topic,
    home,
    landed,
    make_topics,
    produce,
    producing,
    settings_for,
    start,
    wait_for,
    wait_until,
    wait_until_landed,
)

from ingest import kafka
from ingest.catalog import watermarks
from ingest.contracts import load_contracts
from ingest.worker import STOP_SECONDS

__all__ = ["home", "start"]  # fixtures

LEEWAY = 6
"""Seconds that a loaded machine may take longer than what was promised."""


@pytest.fixture(autouse=True)
def new_topics(apache_kafka: Broker, tmp_path: Path) -> None:
    """What other tests have sent or changed is gone."""
    existing = kafka.topics(settings_for(apache_kafka, tmp_path)).keys()
    for topic in existing & load_contracts().keys():
        delete_topic(apache_kafka, topic)


def ends_in_time(worker: Worker) -> int:
    """The exit code after a SIGTERM, which must come in the promised time."""
    worker.process.send_signal(signal.SIGTERM)
    return worker.wait(STOP_SECONDS + LEEWAY)


# Topics that change


def test_partitions_added_to_a_live_topic(apache_kafka: Broker, home: Path, start: Callable[..., Worker]) -> None:
    make_topics(apache_kafka, home)
    admin = AdminClient({"bootstrap.servers": apache_kafka.bootstrap})
    worker = start(apache_kafka)
    with producing(apache_kafka, VENTES):
        wait_until(lambda: len(watermarks(bronze(home, VENTES))) == 3, worker)
        admin.create_partitions([NewPartitions(VENTES, 5)])[VENTES].result(30)
        wait_until(lambda: len(watermarks(bronze(home, VENTES))) == 5, worker)
    wait_until_landed(apache_kafka, home, worker, VENTES)
    assert worker.stop() == 0, worker.output
    assert_exact(apache_kafka, home, VENTES)


def test_a_topic_recreated_under_a_running_worker(
    apache_kafka: Broker, home: Path, start: Callable[..., Worker]
) -> None:
    """The new one reaches past the offsets of the old one at once, so that nothing but its id tells."""
    make_topics(apache_kafka, home)
    produce(apache_kafka, VENTES, 60)
    worker = start(apache_kafka)
    wait_until_landed(apache_kafka, home, worker, VENTES)
    before = landed(home, VENTES)
    os.kill(worker.process.pid, signal.SIGSTOP)
    delete_topic(apache_kafka, VENTES)
    make_topics(apache_kafka, home)
    produce(apache_kafka, VENTES, 3000, start=1000)
    os.kill(worker.process.pid, signal.SIGCONT)
    assert worker.wait() == 1
    assert "Topic ventes_stream of cluster test is not the one that has landed" in worker.output
    assert "Traceback" not in worker.output
    assert landed(home, VENTES) == before


def test_retention_passes_a_worker_that_reads(apache_kafka: Broker, home: Path, start: Callable[..., Worker]) -> None:
    make_topics(apache_kafka, home)
    produce(apache_kafka, VENTES, 60)
    worker = start(apache_kafka)
    wait_until_landed(apache_kafka, home, worker, VENTES)
    before, mark = landed(home, VENTES), watermarks(bronze(home, VENTES))["test", VENTES, 0]
    os.kill(worker.process.pid, signal.SIGSTOP)  # shorter than its session
    time.sleep(0.5)  # the broker answers what it was asked before: nothing
    produce(apache_kafka, VENTES, 200)
    admin = AdminClient({"bootstrap.servers": apache_kafka.bootstrap})
    for deleted in admin.delete_records([TopicPartition(VENTES, 0, mark + 5)]).values():
        deleted.result(30)
    os.kill(worker.process.pid, signal.SIGCONT)
    assert worker.wait() == 1
    assert f"Offsets {mark} to {mark + 4} of ventes_stream, partition 0, cluster test, have not landed" in worker.output
    assert "Traceback" not in worker.output
    assert {place for place in landed(home, VENTES) if place[0] == 0} == {place for place in before if place[0] == 0}


def test_messages_larger_than_a_fetch(apache_kafka: Broker, home: Path, start: Callable[..., Worker]) -> None:
    """At the limit of a topic that allows 8 MB, among small ones."""
    make_topics(apache_kafka, home)
    admin = AdminClient({"bootstrap.servers": apache_kafka.bootstrap})
    limit = 8_000_000
    entry = ConfigEntry("max.message.bytes", str(limit), incremental_operation=AlterConfigOpType.SET)
    topic = ConfigResource(ResourceType.TOPIC, VENTES, incremental_configs=[entry])
    for altered in admin.incremental_alter_configs([topic]).values():
        altered.result(30)
    producer = Producer({"bootstrap.servers": apache_kafka.bootstrap, "message.max.bytes": limit})
    for n in range(6):
        produce(apache_kafka, VENTES, 100, n)
        producer.produce(VENTES, os.urandom(limit - 200 - 1000 * n), key=f"S{n}")
        assert producer.flush(30) == 0
    worker = start(apache_kafka)
    wait_until_landed(apache_kafka, home, worker, VENTES)
    assert worker.stop() == 0, worker.output
    assert_exact(apache_kafka, home, VENTES)


# What it needs goes away


@contextmanager
def locked(home: Path) -> Iterator[None]:
    """The SQLite catalog answers nobody while the block runs."""
    with closing(sqlite3.connect(home / "catalog.db", timeout=30, isolation_level=None)) as catalog:
        catalog.execute("begin exclusive")
        yield
        catalog.execute("rollback")


def full_disk(worker: Worker, most: int) -> None:
    """From now on the system refuses the worker any file of more bytes, as it refuses all on a full disk."""
    resource.prlimit(worker.process.pid, resource.RLIMIT_FSIZE, (most, resource.RLIM_INFINITY))


def ready(worker: Worker) -> str:
    """What `/readyz` answers."""
    url = worker.output.partition("Metrics are at ")[2].partition("/metrics")[0]
    try:
        with urllib.request.urlopen(f"{url}/readyz", timeout=15) as answer:
            return answer.read().decode()
    except urllib.error.HTTPError as answer:
        return answer.read().decode()


@pytest.mark.parametrize("seconds", [5, pytest.param(120, marks=pytest.mark.full)])
def test_the_catalog_is_away(apache_kafka: Broker, home: Path, start: Callable[..., Worker], seconds: int) -> None:
    make_topics(apache_kafka, home)
    worker = start(apache_kafka)
    with producing(apache_kafka, SALES):
        wait_for(worker, "landed in")
        with locked(home):
            until = time.monotonic() + seconds
            wait_for(worker, "commit not confirmed")
            assert "sales-events does not land, and is tried again: " in ready(worker)
            while time.monotonic() < until:
                assert worker.process.poll() is None, worker.output[-3000:]
                time.sleep(0.5)
    assert "database is locked" in worker.output
    wait_until_landed(apache_kafka, home, worker, SALES)
    wait_until(lambda: '"ok"' in ready(worker), worker)
    assert ends_in_time(worker) == 0, worker.output[-3000:]
    assert_exact(apache_kafka, home, SALES)
    assert "Traceback" not in worker.output


def test_the_catalog_stays_away(apache_kafka: Broker, home: Path, start: Callable[..., Worker]) -> None:
    make_topics(apache_kafka, home)
    worker = start(apache_kafka, LEVAIN_COMMIT_PATIENCE_SECONDS="1")
    wait_for(worker, "Worker ready")
    wait_until(lambda: '"ok"' in ready(worker), worker)
    with locked(home):
        produce(apache_kafka, SALES, 100)
        assert worker.wait() == 1
    assert "bronze.sales_events does not take a commit: tried" in worker.output
    assert "Nothing is lost" in worker.output and "Traceback" not in worker.output
    worker = start(apache_kafka)
    wait_until_landed(apache_kafka, home, worker, SALES)
    assert_exact(apache_kafka, home, SALES)


@pytest.mark.parametrize("seconds", [5, pytest.param(320, marks=[pytest.mark.full, pytest.mark.timeout(600)])])
def test_a_rebalance_while_the_catalog_is_away(
    apache_kafka: Broker, home: Path, start: Callable[..., Worker], seconds: int
) -> None:
    """Where to read from is not known until it is back; a worker that was killed has left its partitions behind.

    The longer time is more than Faust by itself gives an assignment, 90 s, and more than aiokafka by itself leaves a
    consumer that does not fetch in its group, 300 s.
    """
    make_topics(apache_kafka, home)
    first, second = (start(apache_kafka, LEVAIN_COMMIT_PATIENCE_SECONDS="600") for _ in range(2))
    with producing(apache_kafka, SALES):
        for worker in (first, second):
            wait_for(worker, "landed in")
    wait_until_landed(apache_kafka, home, first, SALES)
    with locked(home):
        second.kill()
        wait_for(first, "database is locked")
        wait_until(lambda: "does not land, and is tried again: " in ready(first), first)
        produce(apache_kafka, SALES, 200)
        time.sleep(seconds)
    wait_until_landed(apache_kafka, home, first, SALES)
    wait_until(lambda: '"ok"' in ready(first), first)
    assert ends_in_time(first) == 0, first.output[-3000:]
    assert_exact(apache_kafka, home, SALES)
    assert "Traceback" not in first.output


def test_the_disk_is_full(apache_kafka: Broker, home: Path, start: Callable[..., Worker]) -> None:
    make_topics(apache_kafka, home)
    worker = start(apache_kafka)
    produce(apache_kafka, SALES, 100)
    wait_until_landed(apache_kafka, home, worker, SALES)
    full_disk(worker, 200_000)  # enough for its log
    producer = Producer({"bootstrap.servers": apache_kafka.bootstrap})
    for n in range(300):
        producer.produce(SALES, os.urandom(1000), key=f"S{n:03d}")
    assert producer.flush(30) == 0
    wait_for(worker, "bronze.sales_events cannot be written at ")
    assert "File too large" in worker.output
    assert "does not land, and is tried again: bronze.sales_events cannot be written at" in ready(worker)
    time.sleep(3)
    full_disk(worker, resource.RLIM_INFINITY)
    wait_until_landed(apache_kafka, home, worker, SALES)
    assert ends_in_time(worker) == 0, worker.output[-3000:]
    assert_exact(apache_kafka, home, SALES)
    assert "Traceback" not in worker.output


def test_a_group_that_refuses_the_worker(tmp_path: Path, home: Path, start: Callable[..., Worker]) -> None:
    """A session time-out that the broker does not allow; aiokafka would wait for somebody to look."""
    server = ApacheKafka(tmp_path, properties={"group.min.session.timeout.ms": 10_000})
    try:
        broker = server.start()
        make_topics(broker, home)
        worker = start(broker)
        assert worker.wait() == 1
        assert "This worker cannot be in the group" in worker.output and "InvalidSessionTimeout" in worker.output
        assert "Traceback" not in worker.output
    finally:
        server.kill()


@pytest.mark.full
def test_kafka_goes_away_and_comes_back(tmp_path: Path, home: Path, start: Callable[..., Worker]) -> None:
    """What was buffered when it went lands when it is back; told to stop without it, the worker stops."""
    server = ApacheKafka(tmp_path)
    broker = server.start()
    try:
        make_topics(broker, home)
        worker = start(broker, LEVAIN_COMMIT_EVERY_SECONDS="3")
        wait_for(worker, "Worker ready")
        wait_until(lambda: '"ok"' in ready(worker), worker)
        produce(broker, SALES, 500)
        time.sleep(1)
        server.kill()
        wait_until(lambda: "sales-events does not land, and is tried again: Kafka at" in ready(worker), worker)
        broker = server.start()
        produce(broker, SALES, 500)
        wait_until_landed(broker, home, worker, SALES)
        server.kill()
        assert ends_in_time(worker) == 0, worker.output[-3000:]
        broker = server.start()
        assert_exact(broker, home, SALES)
    finally:
        server.kill()


# Shutdown


def test_a_sigterm_under_load(apache_kafka: Broker, home: Path, start: Callable[..., Worker]) -> None:
    """In the middle of a stream, commit after commit."""
    make_topics(apache_kafka, home)
    produce(apache_kafka, SALES, 20_000)
    worker = start(apache_kafka, LEVAIN_COMMIT_EVERY_BYTES="100000")
    with producing(apache_kafka, SALES):
        wait_until(lambda: len(bronze(home, SALES).metadata.snapshots) > 3, worker)
        assert ends_in_time(worker) == 0, worker.output[-3000:]
        assert "Traceback" not in worker.output
        reached = watermarks(bronze(home, SALES))
        worker = start(apache_kafka)
        wait_until(lambda: watermarks(bronze(home, SALES)) != reached, worker)
    wait_until_landed(apache_kafka, home, worker, SALES)
    assert worker.stop() == 0, worker.output[-3000:]
    assert_exact(apache_kafka, home, SALES)


def test_a_sigterm_while_the_catalog_is_away(apache_kafka: Broker, home: Path, start: Callable[..., Worker]) -> None:
    make_topics(apache_kafka, home)
    worker = start(apache_kafka)
    wait_for(worker, "Worker ready")
    wait_until(lambda: '"ok"' in ready(worker), worker)
    with locked(home):
        produce(apache_kafka, SALES, 100)
        wait_for(worker, "commit not confirmed")
        assert ends_in_time(worker) == 1, worker.output[-3000:]
    assert "has not landed within" in worker.output or "does not take a commit" in worker.output
    assert "Traceback" not in worker.output
    worker = start(apache_kafka)
    wait_until_landed(apache_kafka, home, worker, SALES)
    assert_exact(apache_kafka, home, SALES)
