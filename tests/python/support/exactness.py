"""Does Bronze hold what Kafka holds? Kafka is asked by another client, the table is read: nobody's word is taken."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterable

from confluent_kafka import Consumer, TopicPartition
from pyiceberg.table import Table

from ingest.lander import ranges_of

Place = tuple[int, int]
"""(partition, offset)"""
Content = tuple[bytes | None, bytes | None, list[tuple[str, bytes | None]]]
"""Key, value, headers."""


def committed(bootstrap: str, topic: str) -> dict[Place, Content]:
    """Every message of a topic that a reader of committed ones sees, and may see."""
    consumer = Consumer(
        {
            "bootstrap.servers": bootstrap,
            "group.id": "oracle",
            "enable.auto.commit": False,
            "isolation.level": "read_committed",
            "enable.partition.eof": True,
        }
    )
    partitions = list(consumer.list_topics(topic).topics[topic].partitions)
    beginnings = [consumer.get_watermark_offsets(TopicPartition(topic, p))[0] for p in partitions]
    consumer.assign([TopicPartition(topic, p, b) for p, b in zip(partitions, beginnings, strict=True)])
    found: dict[Place, Content] = {}
    ended: set[int] = set()
    heard = time.monotonic()
    while len(ended) < len(partitions):
        messages = consumer.consume(10_000, 0.1)  # it waits for so many, or so long
        if messages:
            heard = time.monotonic()
        assert time.monotonic() < heard + 10, "the oracle hears nothing"
        for message in messages:
            partition, offset = message.partition(), message.offset()
            assert partition is not None and offset is not None
            if message.error():
                ended.add(partition)
            else:
                key, value = message.key(), message.value()
                assert not isinstance(key, str) and not isinstance(value, str)
                found[partition, offset] = key, value, list(message.headers() or [])  # type: ignore[arg-type]
    consumer.close()
    return found


def rows(table: Table, cluster: str) -> list[tuple[Place, Content]]:
    """Every row of a Bronze table that came from a cluster."""
    columns = ("partition", "offset", "key", "key_bytes", "value", "value_bytes", "headers")
    scan = table.scan(f"kafka_cluster = '{cluster}'", selected_fields=columns)
    return [
        (
            (row["partition"], row["offset"]),
            (_raw(row, "key"), _raw(row, "value"), [(h["key"], _raw(h, "value")) for h in row["headers"]]),
        )
        for row in scan.to_arrow().to_pylist()
    ]


def differences(sent: dict[Place, Content], landed: Iterable[tuple[Place, Content]]) -> list[str]:
    """Each way in which rows are not the messages, once each and byte for byte; empty if they are."""
    copies: dict[Place, list[Content]] = defaultdict(list)
    for place, content in landed:
        copies[place].append(content)
    found = []
    for place in sorted(sent.keys() | copies.keys()):
        where = f"partition {place[0]}, offset {place[1]}"
        if place not in copies:
            found.append(f"{where} is missing")
        elif place not in sent:
            found.append(f"{where} was never sent")
        elif len(copies[place]) > 1:
            found.append(f"{where} is there {len(copies[place])} times")
        elif copies[place][0] != sent[place]:
            found.append(f"{where} is not what was sent")
    return found


def holes(table: Table) -> list[str]:
    """Each place where the range of a commit does not begin where the one before it ended.

    Commits whose snapshots have expired are not known: what comes after them is not compared with what came before.
    """
    found, ends = [], dict[object, int]()
    known = {snapshot.snapshot_id for snapshot in table.metadata.snapshots}
    for snapshot in sorted(table.metadata.snapshots, key=lambda each: each.sequence_number or 0):
        if snapshot.parent_snapshot_id not in known:
            ends.clear()
        for covered in ranges_of(snapshot):
            if covered.start != ends.get(covered.partition, covered.start):
                found.append(f"{covered} begins at {covered.start}, the one before ended at {ends[covered.partition]}")
            ends[covered.partition] = covered.end
    return found


def _raw(row: dict[str, object], column: str) -> bytes | None:
    text = row[column]
    return text.encode() if isinstance(text, str) else row[f"{column}_bytes"]  # type: ignore[return-value]
