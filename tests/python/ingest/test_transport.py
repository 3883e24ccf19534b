"""What the transport does between Kafka and the agents, where a running worker cannot be made to do it at will."""

from __future__ import annotations

import asyncio
import time
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka.consumer import fetcher
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from aiokafka.record.memory_records import MemoryRecords
from batches import Message
from faust.transport.drivers import aiokafka as driver
from faust.types import TP

from ingest.kafka import Cluster
from ingest.patches import aiokafka_records
from ingest.transport import ConsumerThread

KEPT, GONE = TP("sales-events", 0), TP("sales-events", 1)


def test_a_fetch_that_spans_a_rebalance_swallows_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """It began before the rebalance, and took what was read after the partition was positioned again."""
    thread = object.__new__(ConsumerThread)
    thread._next = {KEPT: 10, GONE: 5}

    async def rebalanced_meanwhile(*_: Any) -> dict[TP, list[Message]]:
        thread._next = {KEPT: 20}
        return {KEPT: [Message(20), Message(21)], GONE: [Message(5)]}

    monkeypatch.setattr(driver.AIOKafkaConsumerThread, "_fetch_records", rebalanced_meanwhile)
    seeks: list[tuple[TP, int]] = []
    consumer: Any = SimpleNamespace(seek=lambda tp, offset: seeks.append((tp, offset)))
    assert asyncio.run(thread._fetch_records(consumer, {KEPT, GONE})) == {}
    assert seeks == [(KEPT, 20)]
    assert thread._next == {KEPT: 20}


def test_an_assignment_forgets_what_was_positioned_for_the_one_before(monkeypatch: pytest.MonkeyPatch) -> None:
    thread = object.__new__(ConsumerThread)
    thread._next = {KEPT: 10}
    told: list[set[TP]] = []

    async def tell(_: Any, assigned: set[TP], generation_id: int) -> None:
        assert thread._next == {}, "before anybody may read"
        told.append(assigned)

    monkeypatch.setattr(driver.AIOKafkaConsumerThread, "on_partitions_assigned", tell)
    asyncio.run(thread.on_partitions_assigned({KEPT}, 1))
    assert told == [{KEPT}]


def test_a_fetch_that_spans_a_seek_swallows_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """It began before, and its records follow what was read then, not what was positioned since."""
    seeks: list[tuple[TP, int]] = []
    consumer: Any = SimpleNamespace(assignment=lambda: {KEPT}, seek=lambda tp, offset: seeks.append((tp, offset)))
    metrics = SimpleNamespace(positioned=lambda *_: None, fetched=lambda *_: None)
    thread = object.__new__(ConsumerThread)
    monkeypatch.setattr(ConsumerThread, "_ensure_consumer", lambda _: consumer)
    monkeypatch.setattr(
        ConsumerThread, "app", SimpleNamespace(cluster=Cluster("", "test"), metrics=metrics), raising=False
    )
    thread._next = {KEPT: 10}
    began = time.time()

    async def positioned_meanwhile(*_: Any) -> dict[TP, list[Message]]:
        await thread.seek_to({KEPT: 4, GONE: 5})
        return {KEPT: [Message(10), Message(11)]}

    monkeypatch.setattr(driver.AIOKafkaConsumerThread, "_fetch_records", positioned_meanwhile)
    assert asyncio.run(thread._fetch_records(consumer, {KEPT})) == {}
    assert seeks == [(KEPT, 4), (KEPT, 4)]
    assert thread._next == {KEPT: 4}

    async def position(_: TP) -> int:
        return 4

    consumer.position, consumer.highwater, consumer.last_poll_timestamp = position, lambda _: None, lambda _: None
    thread._consumer = consumer
    reading = asyncio.run(thread.readings())["test", KEPT.topic, KEPT.partition]
    assert reading is not None and began <= reading.observed_at <= time.time(), "silence counts from the seek on"


def batch(first: int, count: int, *, compressed: bool, producer: int = -1) -> bytes:
    """A batch as the broker sends it; of a producer: one of its transaction."""
    builder = DefaultRecordBatchBuilder(2, int(compressed), int(producer >= 0), producer, 0, 0, 1_000_000)
    for number in range(count):
        builder.append(number, 1_700_000_000_000 + first + number, b"key", b"%d" % (first + number), [("a", b"b")])
    content = builder.build()
    content[:8] = first.to_bytes(8, "big")  # the base offset, which is not in the checksum
    return bytes(content)


@pytest.mark.parametrize("compressed", [False, True])
def test_records_come_as_from_aiokafka_itself(compressed: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """From the middle of a batch on, over gaps, without those of an aborted transaction; and where it goes on from."""
    content = b"".join(
        [
            *(batch(first, 5, compressed=compressed) for first in (0, 5)),
            batch(20, 3, compressed=compressed, producer=7),
            batch(30, 4, compressed=compressed, producer=8),
        ]
    )

    def read(start: int) -> tuple[list[tuple[object, ...]], list[int]]:
        positions: list[int] = []
        state = SimpleNamespace(
            has_valid_position=True, position=start, paused=False, consumed_to=lambda offset: positions.append(offset)
        )
        assignment: Any = SimpleNamespace(active=True, state_value=lambda _: state)
        tp = fetcher.TopicPartition("sales-events", 0)
        records = fetcher.PartitionRecords(
            tp, MemoryRecords(content), [(7, 20)], start, None, None, True, fetcher.READ_COMMITTED
        )
        found = fetcher.FetchResult(tp, assignment=assignment, partition_records=records, backoff=0).getall()
        return [(r.offset, r.timestamp, r.key, r.value, tuple(r.headers)) for r in found], positions

    stock = {start: read(start) for start in (0, 3)}
    monkeypatch.setattr(fetcher, "PartitionRecords", None)
    monkeypatch.setattr(fetcher, "FetchResult", None)
    aiokafka_records.apply()
    assert {start: read(start) for start in stock} == stock
    assert [row[0] for row in stock[3][0]] == [*range(3, 10), *range(30, 34)]
    assert stock[3][1] == [34]
