"""The worker against real brokers: what it says is not believed, each test reads the tables.

Topics are shared by the tests of one run. So what must be in Bronze is asked of Kafka itself each time, by another
client: every committed message from the first to the last.
"""

from __future__ import annotations

import json
import os
import random
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from confluent_kafka import Producer, TopicPartition
from confluent_kafka.admin import AdminClient
from exactness import committed
from kafka_broker import Broker
from workers import (
    CHANGES,
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
    produce_transactions,
    producing,
    settings_for,
    start,
    wait_for,
    wait_until,
    wait_until_landed,
)

from ingest.catalog import watermarks
from ingest.contracts import load_contracts
from ingest.errors import LevainError
from ingest.lander import covered_ranges
from ingest.sources.publish import Publisher

__all__ = ["home", "start"]


# It lands what Kafka holds


def test_every_kind_of_message_lands_as_it_is(apache_kafka: Broker, home: Path, start: Callable[..., Worker]) -> None:
    make_topics(apache_kafka, home)
    produce_transactions(apache_kafka, SALES)
    producer = Producer({"bootstrap.servers": apache_kafka.bootstrap})
    producer.produce(SALES, b"\xff\xfe not UTF-8", key=b"\xc3\x28")
    producer.produce(SALES, None, key=b"tombstone")
    producer.produce(SALES, b'{"no": "key"}')
    producer.produce(SALES, b"", key=b"")
    headers: list[tuple[str, bytes | None]] = [("received-at", b"2026-01-05T07:00:00Z"), ("a", b"\xff"), ("a", None)]
    producer.produce(SALES, "Crème « brûlée »".encode(), key=b"S001", headers=headers)
    producer.produce(SALES, b"x" * 900_000, key=b"at the size limit")
    assert producer.flush(30) == 0
    produce_transactions(apache_kafka, SALES)
    produce(apache_kafka, CHANGES, 1000)

    worker = start(apache_kafka)
    wait_until_landed(apache_kafka, home, worker, SALES, CHANGES)
    assert worker.stop() == 0, worker.output
    assert_exact(apache_kafka, home, SALES, CHANGES)
    assert b"\xff\xfe not UTF-8" in [value for _, value, _ in landed(home, SALES).values()]
    assert "Traceback" not in worker.output


def test_every_compression_that_kafka_has(apache_kafka: Broker, home: Path, start: Callable[..., Worker]) -> None:
    make_topics(apache_kafka, home)
    for codec in ("gzip", "snappy", "lz4", "zstd"):
        produce(apache_kafka, SALES, 300, codec=codec)
    worker = start(apache_kafka)
    wait_until_landed(apache_kafka, home, worker, SALES)
    assert worker.stop() == 0, worker.output
    assert_exact(apache_kafka, home, SALES)


def test_what_is_buffered_lands_before_a_sigterm_ends_it(
    apache_kafka: Broker, home: Path, start: Callable[..., Worker]
) -> None:
    make_topics(apache_kafka, home)
    worker = start(apache_kafka, LEVAIN_COMMIT_EVERY_SECONDS="3600")
    wait_for(worker, "Worker ready")
    produce(apache_kafka, CHANGES, 300)
    time.sleep(2)  # more than a fetch takes
    assert not landed(home, CHANGES)
    assert worker.stop() == 0, worker.output
    assert_exact(apache_kafka, home, CHANGES)


# Whatever happens to it


@pytest.mark.parametrize("kind", ["apache_kafka", pytest.param("embedded_broker", marks=pytest.mark.full)])
def test_killed_again_and_again(
    request: pytest.FixtureRequest, home: Path, start: Callable[..., Worker], kind: str
) -> None:
    broker: Broker = request.getfixturevalue(kind)
    make_topics(broker, home)
    chance = random.Random(7)
    worker = start(broker)
    with producing(broker, SALES):
        for _ in range(3):
            snapshots = len(bronze(home, SALES).metadata.snapshots)
            wait_until(lambda: len(bronze(home, SALES).metadata.snapshots) > snapshots, worker)  # noqa: B023
            time.sleep(chance.uniform(0, 0.6))
            worker.kill()
            worker = start(broker)
    wait_until_landed(broker, home, worker, SALES)
    assert worker.stop() == 0, worker.output
    assert_exact(broker, home, SALES)


def test_workers_come_and_go_while_messages_do(apache_kafka: Broker, home: Path, start: Callable[..., Worker]) -> None:
    """Each change of the group is a rebalance in mid-batch; one worker leaves in order, one is killed."""
    make_topics(apache_kafka, home)
    first = start(apache_kafka)
    with producing(apache_kafka, SALES):
        wait_for(first, "Worker ready")
        second = start(apache_kafka)
        wait_for(second, "Worker ready")
        third = start(apache_kafka)
        wait_for(third, "Worker ready")
        assert first.stop() == 0, first.output
        second.kill()
    wait_until_landed(apache_kafka, home, third, SALES)
    assert third.stop() == 0, third.output
    assert_exact(apache_kafka, home, SALES)
    batches = {snapshot.summary["levain.batch-id"] for snapshot in bronze(home, SALES).metadata.snapshots}  # type: ignore[index]
    logs = [{line.split()[-1] for line in w.output.splitlines() if "landed in" in line} for w in (first, second, third)]
    assert all(log & batches for log in logs), "each of them has landed something"


def test_two_workers_that_own_the_same_partitions(
    apache_kafka: Broker, home: Path, start: Callable[..., Worker]
) -> None:
    """As after a long pause of one, when the group has given its partitions to the other: the table fences it."""
    make_topics(apache_kafka, home)
    first = start(apache_kafka, LEVAIN_KAFKA_GROUP=f"one-{home}".replace("/", "-"))
    second = start(apache_kafka, LEVAIN_KAFKA_GROUP=f"other-{home}".replace("/", "-"))
    wait_for(first, "Worker ready")
    wait_for(second, "Worker ready")
    with producing(apache_kafka, SALES):
        time.sleep(5)
    wait_until_landed(apache_kafka, home, first, SALES)
    assert (first.stop(), second.stop()) == (0, 0), first.output + second.output
    assert_exact(apache_kafka, home, SALES)


# What it cannot go on from, it says


def test_without_a_broker_it_says_so(tmp_path: Path, home: Path) -> None:
    worker = Worker(home, tmp_path / "worker.log")
    assert worker.wait() == 1
    assert "No Kafka broker is running." in worker.output
    assert "levain up" in worker.output
    assert "Traceback" not in worker.output


def test_a_broker_that_does_not_answer_is_named_in_time(tmp_path: Path, home: Path) -> None:
    began = time.monotonic()
    worker = Worker(home, tmp_path / "worker.log", LEVAIN_KAFKA_BOOTSTRAP="127.0.0.1:9")
    assert worker.wait() == 1
    assert time.monotonic() - began < 30
    assert "Kafka at 127.0.0.1:9 does not answer within 10 s" in worker.output
    assert "Traceback" not in worker.output
    assert "librdkafka" not in worker.output and "%3|" not in worker.output


def test_wrong_settings_are_named(tmp_path: Path, home: Path) -> None:
    worker = Worker(home, tmp_path / "worker.log", LEVAIN_COMMIT_EVERY_SECONDS="soon")
    assert worker.wait() == 1
    assert "LEVAIN_COMMIT_EVERY_SECONDS" in worker.output
    assert "Traceback" not in worker.output


def test_topics_that_are_not_there_are_named(embedded_broker: Broker, start: Callable[..., Worker]) -> None:
    worker = start(embedded_broker)
    assert worker.wait() == 1
    assert f"Kafka has no topic {', '.join(load_contracts())}" in worker.output
    assert "levain init" in worker.output
    assert "Traceback" not in worker.output


def test_a_message_that_is_too_large_for_kafka_is_said(embedded_broker: Broker, home: Path) -> None:
    make_topics(embedded_broker, home)
    with Publisher(settings_for(embedded_broker, home), [SALES]) as publisher:
        with pytest.raises(LevainError, match=r"not acknowledged.*too large[^\n]*\nMake the message smaller"):
            publisher.publish(SALES, b"S001", b"x" * 3_000_000, ())
        publisher.publish(SALES, b"S001", b"{}", ())  # the producer goes on


def test_the_embedded_broker_ends_while_it_runs(
    embedded_broker: Broker, home: Path, start: Callable[..., Worker]
) -> None:
    (home / "run").mkdir(parents=True)
    state = {"pid": embedded_broker.pid, "port": embedded_broker.port, "alias": "test"}
    (home / "run" / "broker.json").write_text(json.dumps(state))
    make_topics(embedded_broker, home)
    worker = start(embedded_broker, LEVAIN_KAFKA_BOOTSTRAP="", LEVAIN_KAFKA_CLUSTER="")
    produce(embedded_broker, SALES, 100)
    wait_until_landed(embedded_broker, home, worker, SALES)
    os.kill(embedded_broker.pid, signal.SIGKILL)
    os.waitpid(embedded_broker.pid, 0)
    assert worker.wait() == 1
    assert "The embedded broker test has ended." in worker.output
    assert "Traceback" not in worker.output


def test_a_topic_recreated_stops_it(apache_kafka: Broker, home: Path, start: Callable[..., Worker]) -> None:
    make_topics(apache_kafka, home)
    produce(apache_kafka, VENTES, 50)
    worker = start(apache_kafka)
    wait_until_landed(apache_kafka, home, worker, VENTES)
    worker.stop()
    delete_topic(apache_kafka, VENTES)
    make_topics(apache_kafka, home)
    produce(apache_kafka, VENTES, 500)  # more than before: offsets alone would not tell

    worker = start(apache_kafka)
    assert worker.wait() == 1
    assert "Topic ventes_stream of cluster test is not the one that has landed" in worker.output
    assert "LEVAIN_KAFKA_CLUSTER" in worker.output
    assert "Traceback" not in worker.output
    assert len(landed(home, VENTES)) == 50

    worker = start(apache_kafka, LEVAIN_KAFKA_CLUSTER="test-2")
    wait_until(lambda: bronze(home, VENTES).scan("kafka_cluster = 'test-2'").count() == 500, worker)
    assert worker.stop() == 0, worker.output


def test_retention_that_passed_the_watermark_stops_it(
    apache_kafka: Broker, home: Path, start: Callable[..., Worker]
) -> None:
    make_topics(apache_kafka, home)
    produce(apache_kafka, VENTES, 60)
    worker = start(apache_kafka)
    wait_until_landed(apache_kafka, home, worker, VENTES)
    assert worker.stop() == 0, worker.output
    before = landed(home, VENTES)
    mark = watermarks(bronze(home, VENTES))["test", VENTES, 0]
    produce(apache_kafka, VENTES, 200)
    admin = AdminClient({"bootstrap.servers": apache_kafka.bootstrap})
    for deleted in admin.delete_records([TopicPartition(VENTES, 0, mark + 5)]).values():
        deleted.result(30)

    worker = start(apache_kafka)
    assert worker.wait() == 1
    assert f"Offsets {mark} to {mark + 4} of ventes_stream, partition 0, cluster test, have not landed" in worker.output
    assert "Traceback" not in worker.output
    assert landed(home, VENTES) == before

    worker = start(apache_kafka, LEVAIN_ACCEPT_MISSING="true")
    wait_until_landed(apache_kafka, home, worker, VENTES)
    assert worker.stop() == 0, worker.output
    assert landed(home, VENTES) == before | committed(apache_kafka.bootstrap, VENTES)
    ranges = [r for r in covered_ranges(bronze(home, VENTES)) if r.partition == ("test", VENTES, 0)]
    assert [r.start for r in ranges if r.start == mark + 5], "the range that is missing stays visible"
