"""PyIceberg: parts of a table's metadata are their own deep copies.

PyIceberg copies a table's whole metadata, deeply, each time a transaction looks at it: 19 times in one append. With 250
snapshots that was 85 % of a commit's time. The parts below are frozen models, so a copy is as good as themselves.
The other half of this is `iceberg_transaction`, which has the metadata computed once per staged change.

Upstream: https://github.com/apache/iceberg-python/pull/3784, https://github.com/apache/iceberg-python/issues/2673
"""

from __future__ import annotations

from typing import Any

from pyiceberg.partitioning import PartitionSpec
from pyiceberg.schema import Schema
from pyiceberg.table.snapshots import MetadataLogEntry, Snapshot, SnapshotLogEntry
from pyiceberg.table.sorting import SortOrder

from ingest.patches import written_for

written_for(
    "pyiceberg",
    "0.12.0",
    "see whether `update_table_metadata` still ends in a deep copy, and whether these models are still frozen.",
)


def _itself(self: Any, memo: Any = None) -> Any:
    return self


for _frozen in (Snapshot, SnapshotLogEntry, MetadataLogEntry, Schema, PartitionSpec, SortOrder):
    setattr(_frozen, "__deepcopy__", _itself)  # noqa: B010 - a method is replaced, as mypy would say
