"""A cluster of three brokers, and of several workers: one of either is killed under load, and nothing is lost by it.

How long no progress was made is read from the table's snapshots, and printed.
"""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path

import pytest
from confluent_kafka import KafkaError, Message, Producer
from confluent_kafka.admin import AdminClient, NewTopic
from exactness import Place, committed
from kafka_broker import ApacheKafkaCluster, Broker
from pyiceberg.table import Table
from workers import (
    CHANGES,
    SALES,
    Worker,
    assert_exact,
    bronze,
    home,
    make_topics,
    start,
    wait_until,
    wait_until_landed,
)

from ingest.lander import ranges_of

__all__ = ["home", "start"]

PARTITIONS = 12


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApacheKafkaCluster]:
    brokers = ApacheKafkaCluster(tmp_path_factory.mktemp("cluster"))
    try:
        brokers.start()
        admin = AdminClient({"bootstrap.servers": brokers.bootstrap})
        for made in admin.create_topics([NewTopic(SALES, PARTITIONS, 3), NewTopic(CHANGES, 3, 3)]).values():
            made.result(30)
        yield brokers
    finally:
        brokers.kill()


class Load:
    """An idempotent producer, some hundred messages a second to every partition while the block runs.

    Attributes:
        acknowledged: (partition, offset) of each message that the brokers have confirmed.
        failed: what they did not take; nothing, as long as two replicas are there.
    """

    def __init__(self, bootstrap: str, topic: str, partitions: int) -> None:
        self.topic, self.partitions = topic, partitions
        self.acknowledged: set[Place] = set()
        self.failed: list[KafkaError] = []
        config = {"bootstrap.servers": bootstrap, "enable.idempotence": True, "acks": "all", "linger.ms": 5}
        self._producer = Producer({**config, "message.timeout.ms": 120_000, "log_level": 0})
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Load:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._done.set()
        self._thread.join()

    def _run(self) -> None:
        sent = 0
        while not self._done.wait(0.1):
            for partition in range(self.partitions):
                for _ in range(10):
                    sent += 1
                    value = f'{{"n": {sent}, "text": "{"x" * 100}"}}'
                    self._producer.produce(self.topic, value, partition=partition, on_delivery=self._report)
            self._producer.poll(0)
        assert self._producer.flush(120) == 0

    def _report(self, error: KafkaError | None, message: Message) -> None:
        if error is not None:
            self.failed.append(error)
        else:
            self.acknowledged.add((message.partition(), message.offset()))  # type: ignore[arg-type]


def commits(table: Table) -> dict[int, list[float]]:
    """Partition -> when it was committed to, in seconds since 1970; from the snapshots of the table."""
    found: dict[int, list[float]] = defaultdict(list)
    for snapshot in table.refresh().metadata.snapshots:
        for covered in ranges_of(snapshot):
            found[covered.partition[2]].append(snapshot.timestamp_ms / 1000)
    return {partition: sorted(times) for partition, times in found.items()}


def standstill(table: Table, since: float) -> dict[int, float]:
    """Partition -> the longest time between two commits to it that ended after a moment, in seconds."""
    return {
        partition: max(after - before for before, after in pairwise(times) if after > since)
        for partition, times in commits(table).items()
    }


def shared_a_commit(table: Table, partition: int, before: float) -> set[int]:
    """The partitions in the last commit to one of them before a moment: those its worker had."""
    found: set[int] = set()
    for snapshot in table.metadata.snapshots:
        covered = {each.partition[2] for each in ranges_of(snapshot)}
        if partition in covered and snapshot.timestamp_ms / 1000 < before:
            found = covered
    return found


def committed_since(table: Table, moment: float, partitions: int) -> bool:
    """Whether each partition was committed to after a moment, two times at least."""
    times = commits(table)
    return all(sum(t > moment for t in times.get(p, [])) > 1 for p in range(partitions))


@pytest.mark.slow
def test_a_leader_is_killed_under_load(
    cluster: ApacheKafkaCluster, home: Path, start: Callable[..., Worker], capsys: pytest.CaptureFixture[str]
) -> None:
    """Bronze is what the cluster confirmed, with one broker less, and with the same one back again."""
    broker = Broker(cluster.bootstrap, 0)
    make_topics(broker, home)
    worker = start(broker)
    table = bronze(home, CHANGES)
    with Load(cluster.bootstrap, CHANGES, 3) as load:
        wait_until(lambda: committed_since(table, 0, 3), worker, seconds=90)
        leader = cluster.leader(CHANGES, 0)
        killed = time.time()
        leader.kill()
        wait_until(lambda: committed_since(table, killed + 1, 3), worker, seconds=90)
        assert cluster.leader(CHANGES, 0) is not leader
        longest = standstill(table, killed)
        leader.start()
        back = time.time()
        wait_until(lambda: committed_since(table, back, 3), worker, seconds=90)
    wait_until_landed(broker, home, worker, CHANGES)
    assert worker.stop() == 0, worker.output
    assert_exact(broker, home, CHANGES)
    assert not load.failed
    assert load.acknowledged <= committed(cluster.bootstrap, CHANGES).keys()
    with capsys.disabled():
        print(f"\na leader of 3 brokers killed: {len(load.acknowledged)} messages confirmed, all landed once;", end=" ")
        print(f"longest time between two commits {max(longest.values()):.1f} s", end=" ")


@pytest.mark.full
@pytest.mark.timeout(600)
def test_a_worker_joins_and_one_is_killed_under_load(
    cluster: ApacheKafkaCluster, home: Path, start: Callable[..., Worker], capsys: pytest.CaptureFixture[str]
) -> None:
    """Three workers share 12 partitions; a fourth comes; one of the first is killed, and the others take over."""
    broker = Broker(cluster.bootstrap, 0)
    make_topics(broker, home)
    table = bronze(home, SALES)
    # At the default interval: four workers that commit to one table every 0.3 s are mostly in each other's way.
    calm = {"LEVAIN_COMMIT_EVERY_SECONDS": "2"}
    workers = [start(broker, **calm) for _ in range(3)]
    with Load(cluster.bootstrap, SALES, PARTITIONS) as load:
        wait_until(lambda: all("sales-events: " in worker.output for worker in workers), workers[0], seconds=120)
        joined = time.time()
        workers.append(start(broker, **calm))
        wait_until(lambda: "sales-events: " in workers[-1].output, workers[-1], seconds=120)
        shared = time.time()
        wait_until(lambda: committed_since(table, shared, PARTITIONS), workers[-1], seconds=90)
        at_join = standstill(table, joined)
        killed = time.time()
        workers[0].kill()
        wait_until(lambda: committed_since(table, killed + 1, PARTITIONS), workers[-1], seconds=90)
        at_kill = standstill(table, killed)
        orphaned = shared_a_commit(table, max(at_kill, key=lambda p: at_kill[p]), killed)
    wait_until_landed(broker, home, workers[-1], SALES, seconds=120)
    assert [worker.stop() for worker in workers[1:]] == [0, 0, 0]
    assert_exact(broker, home, SALES)
    assert not load.failed
    assert load.acknowledged <= committed(cluster.bootstrap, SALES).keys()
    with capsys.disabled():
        print(f"\n4 workers, 12 partitions: {len(load.acknowledged)} messages confirmed, all landed once;", end=" ")
        others = max(seconds for partition, seconds in at_kill.items() if partition not in orphaned)
        print(f"longest time between two commits: {max(at_join.values()):.1f} s when one joined;", end=" ")
        print(f"when one was killed {max(at_kill.values()):.1f} s of its partitions {sorted(orphaned)}", end=" ")
        print(f"and {others:.1f} s of the others", end=" ")
    assert max(at_kill.values()) < 60, "6 s until its session has ended, then the others have its partitions"
