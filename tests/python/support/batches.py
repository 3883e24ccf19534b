"""Fetches that are made up, and what of them is in a Bronze table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import pytest
from pyiceberg.table import Table

from ingest.contracts import contract_for
from ingest.lander import Fetch

SALES = contract_for("sales-events")
P0 = ("test", "sales-events", 0)
P1 = ("test", "sales-events", 1)


class Message(NamedTuple):
    """What the lander reads of a Kafka record."""

    offset: int
    value: bytes | None = b"{}"
    key: bytes | None = b"S001"
    timestamp: int = 1_700_000_000_123
    headers: Sequence[tuple[str, bytes | None]] = ()


def fetch(start: int, end: int, partition: tuple[str, str, int] = P0) -> Fetch:
    return Fetch.of(partition, [Message(offset) for offset in range(start, end)], start, end)


def offsets(table: Table, partition: tuple[str, str, int] = P0) -> list[int]:
    """The offsets of a partition as they are in the table, sorted, with all their copies."""
    rows = (
        table.refresh().scan(selected_fields=("kafka_cluster", "topic", "partition", "offset")).to_arrow().to_pylist()
    )
    return sorted(r["offset"] for r in rows if (r["kafka_cluster"], r["topic"], r["partition"]) == partition)


def away_three_times(table: Table, monkeypatch: pytest.MonkeyPatch) -> list[Exception]:
    """The catalog refuses to load the table three times; what it has not raised yet."""
    load, away = table.catalog.load_table, [ConnectionError("refused")] * 3

    def load_table(*args: Any) -> Table:
        if away:
            raise away.pop()
        return load(*args)

    monkeypatch.setattr(table.catalog, "load_table", load_table)
    return away
