"""Transactions whose cost does not grow with every snapshot that the table keeps, that are tried once, and whose times
never run backwards.

PyIceberg 0.12 copies a table's whole metadata, deeply, each time a transaction looks at it: 19 times in one append.
With 250 snapshots that was 85 % of a commit's time. The metadata are frozen models, so two things are enough: a
transaction that computes them once per staged change, and parts that are their own copies: snapshots above all.

Iceberg's Java library refuses a table whose log of snapshots, or of metadata files, runs backwards by more than a
minute, and PyIceberg writes such logs: after a commit by a clock that was fast, the next one takes the right time. So a
commit takes the table's last time where the clock shows an earlier one, and a log that is out of order is put in order.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import wraps
from itertools import accumulate
from typing import Any, TypeVar

import pyiceberg.catalog
from pyiceberg.exceptions import CommitFailedException
from pyiceberg.partitioning import PartitionSpec
from pyiceberg.schema import Schema
from pyiceberg.table import Table, Transaction
from pyiceberg.table.metadata import TableMetadata
from pyiceberg.table.snapshots import MetadataLogEntry, Snapshot, SnapshotLogEntry
from pyiceberg.table.sorting import SortOrder
from pyiceberg.table.update import AddSnapshotUpdate, TableRequirement, TableUpdate
from pyiceberg.table.update.snapshot import _SnapshotProducer

_Entry = TypeVar("_Entry", SnapshotLogEntry, MetadataLogEntry)


def transaction(table: Table) -> Transaction:
    """A transaction on the table as it is loaded."""
    return _Transaction(table)


class _Transaction(Transaction):
    _seen: tuple[TableMetadata, tuple[Any, ...], TableMetadata] | None = None

    @property
    def table_metadata(self) -> TableMetadata:
        """The table's metadata with what is staged."""
        base, updates = self._table.metadata, self._updates
        if self._seen is None or self._seen[0] is not base or self._seen[1] is not updates:
            self._seen = (base, updates, super().table_metadata)
        return self._seen[2]

    def _stage(self, updates: tuple[TableUpdate, ...], requirements: tuple[TableRequirement, ...] = ()) -> Transaction:
        """Stage updates; a snapshot is later than all that the table's logs hold."""
        earliest = _last_time(self._table.metadata) + 1
        return super()._stage(tuple(_not_before(update, earliest) for update in updates), requirements)

    def _rebuild_snapshot_updates(self) -> None:
        """Not to be: PyIceberg would put the same rows on a table that has come further, without looking at it.

        Tables that Levain makes have no such retry; one that was made otherwise has four, unless its properties say so.
        """
        raise CommitFailedException("another commit came first")

    def _register_snapshot_producer(self, producer: _SnapshotProducer[Any]) -> None:
        """PyIceberg removes the manifests of a commit that is refused.

        It may have been made all the same: botocore sends a request again whose reply was lost, and the second one is
        refused. What was refused in truth are orphans of maintenance.
        """
        super()._register_snapshot_producer(producer)
        setattr(producer, "_clean_all_uncommitted", lambda: None)  # noqa: B010 - a method is replaced


def _not_before(update: TableUpdate, earliest: int) -> TableUpdate:
    if not isinstance(update, AddSnapshotUpdate) or update.snapshot.timestamp_ms >= earliest:
        return update
    return AddSnapshotUpdate(snapshot=update.snapshot.model_copy(update={"timestamp_ms": earliest}))


def _last_time(metadata: TableMetadata) -> int:
    """The latest time that the table's metadata name, in ms."""
    snapshots = [entry.timestamp_ms for entry in metadata.snapshot_log]
    return max([metadata.last_updated_ms, *snapshots, *(entry.timestamp_ms for entry in metadata.metadata_log)])


def in_order(metadata: TableMetadata) -> bool:
    """Whether the table's times never run backwards, as every reader of Iceberg takes it."""
    for log in (metadata.snapshot_log, metadata.metadata_log):
        times = [*(entry.timestamp_ms for entry in log), metadata.last_updated_ms]
        if times != sorted(times):
            return False
    return True


def _put_in_order(metadata: TableMetadata) -> TableMetadata:
    """The metadata with each time at least the one before it."""
    return metadata.model_copy(
        update={
            "snapshot_log": _ascending(metadata.snapshot_log),
            "metadata_log": _ascending(metadata.metadata_log),
            "last_updated_ms": _last_time(metadata),
        }
    )


def _ascending(log: Sequence[_Entry]) -> list[_Entry]:
    times = accumulate((entry.timestamp_ms for entry in log), max)
    return [entry.model_copy(update={"timestamp_ms": time}) for entry, time in zip(log, times, strict=True)]


_update_table_metadata = vars(pyiceberg.catalog)["update_table_metadata"]


@wraps(_update_table_metadata)
def _updated_in_order(*arguments: Any, **options: Any) -> TableMetadata:
    """What SQL and Glue catalogs write; a REST catalog writes the metadata itself."""
    metadata: TableMetadata = _update_table_metadata(*arguments, **options)
    return metadata if in_order(metadata) else _put_in_order(metadata)


setattr(pyiceberg.catalog, "update_table_metadata", _updated_in_order)  # noqa: B010 - a function is replaced


def _itself(self: Any, memo: Any = None) -> Any:
    return self


for _frozen in (Snapshot, SnapshotLogEntry, MetadataLogEntry, Schema, PartitionSpec, SortOrder):
    setattr(_frozen, "__deepcopy__", _itself)  # noqa: B010 - a method is replaced, as mypy would say
