"""PyIceberg: a commit that puts data files in place of others with the same rows, as compaction needs it.

PyIceberg has appends, overwrites by a filter and deletes. This is its overwrite with another way to find the files
that go: the caller has read the manifests, and names the files.

Upstream: https://github.com/apache/iceberg-python/issues/3130,
https://github.com/apache/iceberg-python/blob/pyiceberg-0.12.0/pyiceberg/table/update/snapshot.py (`_OverwriteFiles`)
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from pyiceberg.io import FileIO
from pyiceberg.manifest import ManifestEntry, ManifestEntryStatus, ManifestFile
from pyiceberg.table import Transaction
from pyiceberg.table.snapshots import Operation, Summary
from pyiceberg.table.update.snapshot import _OverwriteFiles

from ingest.patches import written_for

written_for(
    "pyiceberg",
    "0.12.0",
    "see whether PyIceberg can replace files by now, then use that; else whether `_OverwriteFiles` still asks "
    "`_deleted_entries` and `_existing_manifests` what goes and what stays.",
)

ReadManifest = Callable[[ManifestFile], list[ManifestEntry]]


class Rewrite(_OverwriteFiles):
    """Files in place of others, with the same rows: streaming readers of Iceberg pass over a `replace`."""

    def __init__(
        self, transaction: Transaction, io: FileIO, manifests: Iterable[ManifestFile], read: ReadManifest
    ) -> None:
        super().__init__(Operation.OVERWRITE, transaction, io)
        self._entries = [(manifest, read(manifest)) for manifest in manifests]

    def _deleted_entries(self) -> list[ManifestEntry]:
        found = [
            ManifestEntry.from_args(
                status=ManifestEntryStatus.DELETED,
                snapshot_id=self.snapshot_id,
                sequence_number=entry.sequence_number,
                file_sequence_number=entry.file_sequence_number,
                data_file=entry.data_file,
            )
            for _, entries in self._entries
            for entry in entries
            if entry.data_file in self._deleted_data_files
        ]
        self._validate_required_deletes(found)
        return found

    def _existing_manifests(self) -> list[ManifestFile]:
        kept = []
        for manifest, entries in self._entries:
            staying = [entry for entry in entries if entry.data_file not in self._deleted_data_files]
            if len(staying) == len(entries):
                kept.append(manifest)
            elif staying:
                with self.new_manifest_writer(self.spec(manifest.partition_spec_id)) as writer:
                    for entry in staying:
                        writer.existing(entry)
                kept.append(writer.to_manifest_file())
        return kept

    def _summary(self, snapshot_properties: dict[str, str] | None = None) -> Summary:
        # PyIceberg 0.12 sums up appends, overwrites and deletes only.
        summary = super()._summary(snapshot_properties or {})
        return Summary(Operation.REPLACE, **summary.additional_properties)
