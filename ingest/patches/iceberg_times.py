"""PyIceberg: the times in a table's metadata never run backwards.

Iceberg's Java library refuses a table whose log of snapshots, or of metadata files, runs backwards by more than a
minute, and PyIceberg writes such logs: after a commit by a clock that was fast, the next one takes the right time. So a
log that is out of order is put in order when metadata are written. `iceberg_transaction` gives a new snapshot a time
after all others.

Upstream: https://github.com/apache/iceberg-python/issues/2938 (PyIceberg), https://github.com/apache/iceberg/pull/1110
(the minute that Java allows)
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import wraps
from itertools import accumulate
from typing import Any, TypeVar

import pyiceberg.catalog
from pyiceberg.table.metadata import TableMetadata
from pyiceberg.table.snapshots import MetadataLogEntry, SnapshotLogEntry

from ingest.patches import written_for

written_for(
    "pyiceberg",
    "0.12.0",
    "see whether `pyiceberg.catalog` still calls `update_table_metadata` by that name for each commit of a SQL or Glue "
    "catalog, and whether the logs are put in order there by now.",
)

_Entry = TypeVar("_Entry", SnapshotLogEntry, MetadataLogEntry)


def last_time(metadata: TableMetadata) -> int:
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
            "last_updated_ms": last_time(metadata),
        }
    )


def _ascending(log: Sequence[_Entry]) -> list[_Entry]:
    times = accumulate((entry.timestamp_ms for entry in log), max)
    return [entry.model_copy(update={"timestamp_ms": time}) for entry, time in zip(log, times, strict=True)]


update_table_metadata = vars(pyiceberg.catalog)["update_table_metadata"]
"""PyIceberg's own."""


@wraps(update_table_metadata)
def _updated_in_order(*arguments: Any, **options: Any) -> TableMetadata:
    """What SQL and Glue catalogs write; a REST catalog writes the metadata itself."""
    metadata: TableMetadata = update_table_metadata(*arguments, **options)
    return metadata if in_order(metadata) else _put_in_order(metadata)


setattr(pyiceberg.catalog, "update_table_metadata", _updated_in_order)  # noqa: B010 - a function is replaced
