"""Transactions whose cost does not grow with every snapshot that the table keeps, and that are tried once.

PyIceberg 0.12 copies a table's whole metadata, deeply, each time a transaction looks at it: 19 times in one append.
With 250 snapshots that was 85 % of a commit's time. The metadata are frozen models, so two things are enough: a
transaction that computes them once per staged change, and parts that are their own copies: snapshots above all.
"""

from __future__ import annotations

from typing import Any

from pyiceberg.exceptions import CommitFailedException
from pyiceberg.partitioning import PartitionSpec
from pyiceberg.schema import Schema
from pyiceberg.table import Table, Transaction
from pyiceberg.table.metadata import TableMetadata
from pyiceberg.table.snapshots import MetadataLogEntry, Snapshot, SnapshotLogEntry
from pyiceberg.table.sorting import SortOrder
from pyiceberg.table.update.snapshot import _SnapshotProducer


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


def _itself(self: Any, memo: Any = None) -> Any:
    return self


for _frozen in (Snapshot, SnapshotLogEntry, MetadataLogEntry, Schema, PartitionSpec, SortOrder):
    setattr(_frozen, "__deepcopy__", _itself)  # noqa: B010 - a method is replaced, as mypy would say
