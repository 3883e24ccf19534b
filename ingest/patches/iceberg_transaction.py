"""PyIceberg: a transaction that is tried once, keeps its files, and looks at the metadata once per change.

- **Tried once.** PyIceberg's retry puts the same rows on a table that has come further, without looking at what has
  landed. The lander's own retry looks. Tables that Levain makes have no retry by their properties; one that was made
  otherwise has four.
- **Keeps its files.** PyIceberg removes the manifests of a commit that was refused. It may have been made all the
  same: botocore sends a request again whose reply was lost, and the second one is refused. What was refused in truth
  are orphans, which maintenance removes.
- **Looks once.** PyIceberg computes the table's metadata each time the transaction reads them, with a deep copy; see
  `iceberg_copies`.
- **Later than all before.** A new snapshot gets a time after all that the table's logs hold; see `iceberg_times`.

Upstream: https://github.com/apache/iceberg-python/pull/3320 (retry and removal of files),
https://github.com/apache/iceberg-python/pull/3784 (metadata computed once),
https://github.com/apache/iceberg-python/blob/pyiceberg-0.12.0/pyiceberg/table/__init__.py (`Transaction`)
"""

from __future__ import annotations

from typing import Any

from pyiceberg.exceptions import CommitFailedException
from pyiceberg.table import Transaction
from pyiceberg.table.metadata import TableMetadata
from pyiceberg.table.update import AddSnapshotUpdate, TableRequirement, TableUpdate
from pyiceberg.table.update.snapshot import _SnapshotProducer

import ingest.patches.iceberg_copies  # noqa: F401 - makes its change
from ingest.patches import written_for
from ingest.patches.iceberg_times import last_time

written_for(
    "pyiceberg",
    "0.12.0",
    "see what `Transaction.commit_transaction` does when a commit is refused: whether it still retries only through "
    "`_rebuild_snapshot_updates`, still removes files only through `_clean_all_uncommitted` of the producers that "
    "`_register_snapshot_producer` is given, and whether all changes still go through `_stage`.",
)


class SingleTryTransaction(Transaction):
    """A transaction on a table as it is loaded."""

    _seen: tuple[TableMetadata, tuple[Any, ...], TableMetadata] | None = None

    @property
    def table_metadata(self) -> TableMetadata:
        """The table's metadata with what is staged."""
        base, updates = self._table.metadata, self._updates
        if self._seen is None or self._seen[0] is not base or self._seen[1] is not updates:
            self._seen = (base, updates, super().table_metadata)
        return self._seen[2]

    def stage(self, updates: tuple[TableUpdate, ...], requirements: tuple[TableRequirement, ...]) -> None:
        """Add changes for which PyIceberg has no method."""
        self._stage(updates, requirements)

    def _stage(self, updates: tuple[TableUpdate, ...], requirements: tuple[TableRequirement, ...] = ()) -> Transaction:
        earliest = last_time(self._table.metadata) + 1
        return super()._stage(tuple(_not_before(update, earliest) for update in updates), requirements)

    def _rebuild_snapshot_updates(self) -> None:
        raise CommitFailedException("another commit came first")

    def _register_snapshot_producer(self, producer: _SnapshotProducer[Any]) -> None:
        super()._register_snapshot_producer(producer)
        setattr(producer, "_clean_all_uncommitted", lambda: None)  # noqa: B010 - a method is replaced


def _not_before(update: TableUpdate, earliest: int) -> TableUpdate:
    if not isinstance(update, AddSnapshotUpdate) or update.snapshot.timestamp_ms >= earliest:
        return update
    return AddSnapshotUpdate(snapshot=update.snapshot.model_copy(update={"timestamp_ms": earliest}))
