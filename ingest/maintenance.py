"""Maintenance of Bronze: few files, few snapshots, no orphans; safe beside workers and beside pinned readers.

Three steps, each right whatever happens in between, and each of them can be killed at any point:

- `compact` rewrites small files of a day into large ones. One commit removes exactly the files that were read and adds
  the new one; the catalog takes it only on the snapshot it was built on. It has no batch id and sets no property.
- `expire` forgets snapshots. It removes no file.
- `remove_orphans` removes files that no snapshot leads to any more, and that no pinned reader can still need.

What a reader has pinned stays readable for `LEVAIN_MAINTAIN_KEEP_HOURS` after something newer took its place, if it
holds a metadata file (as DuckDB does); what has a tag or a branch stays as long as that. Beyond the newest snapshots
the last one of each hour is kept. So a file that was replaced is either held by such a snapshot, or was written in the
hour in which it was replaced: hence the hour that `_grace` adds.
"""

from __future__ import annotations

import logging
import random
import re
import time
import uuid
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache, partial
from itertools import pairwise

import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow.fs import FileInfo, FileSelector
from pyiceberg.conversions import from_bytes
from pyiceberg.io.fileformat import FileFormatFactory
from pyiceberg.manifest import (
    DataFile,
    DataFileContent,
    FileFormat,
    ManifestContent,
    ManifestFile,
)
from pyiceberg.table import Table, Transaction
from pyiceberg.table.metadata import TableMetadata
from pyiceberg.table.refs import MAIN_BRANCH
from pyiceberg.table.update import AssertRefSnapshotId, RemoveSnapshotsUpdate
from pyiceberg.types import TimestamptzType

from ingest import lake
from ingest.catalog import full_name, load_bronze
from ingest.errors import LevainError, StateError, Unavailable, first_line
from ingest.patches.iceberg_rewrite import ReadManifest, Rewrite
from ingest.patches.iceberg_transaction import SingleTryTransaction
from ingest.settings import Settings

ATTEMPTS = 12
"""Tries of one commit beside writers that commit all the time, waiting 0.05 s doubling to 2 s between them."""

FEWEST = 8
"""Files of a day that is not over are rewritten when at least so many can become one."""

CHUNK_BYTES = 16 * 1024 * 1024
"""What is held in memory of the files being rewritten, as Arrow; each chunk is sorted and written as row groups."""

_ORDER = [(column, "ascending") for column in ("kafka_cluster", "topic", "partition", "offset")]

#: What writers of Iceberg put below a table's location, apart from its versions: each name has a UUID.
_OURS = re.compile(r"^/(data/.*|metadata/)[^/]*[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}[^/]*\.(parquet|avro)$")

Lock = Callable[[], AbstractContextManager[object]]

log = logging.getLogger(__name__)


@dataclass
class Done:
    """What was done to a table, or with `dry_run` would be.

    Attributes:
        rewritten: files that compaction replaced, and their bytes.
        written: files that took their place, and their bytes (0 bytes in a dry run: they are not known).
        expired: snapshots.
        orphans: paths of files, and their bytes.
    """

    table: str
    files: int = 0
    rewritten: int = 0
    rewritten_bytes: int = 0
    written: int = 0
    written_bytes: int = 0
    expired: int = 0
    snapshots: int = 0
    orphans: list[str] = field(default_factory=list)
    orphan_bytes: int = 0

    def __str__(self) -> str:
        """The whole in one line."""
        became = f" -> {self.written_bytes:,}" if self.written_bytes else ""
        return (
            f"{self.table}: {self.rewritten:,} files into {self.written:,} ({self.rewritten_bytes:,}{became} bytes), "
            f"{self.expired:,} snapshots expired, {len(self.orphans):,} orphans removed ({self.orphan_bytes:,} bytes)"
        )


def maintain(
    table: Table,
    settings: Settings,
    *,
    now: datetime | None = None,
    orphans: bool = True,
    dry_run: bool = False,
    lock: Lock = nullcontext,
) -> Done:
    """Compact, expire, and remove orphans.

    Args:
        table: a Bronze table; it shows what was done afterwards.
        settings: sizes and times, `maintain_*`.
        now: the time by which ages are reckoned; the clock's if None.
        orphans: False: leave the files alone.
        dry_run: change nothing.
        lock: entered for each commit: keeps out a lander of the same process.

    Raises:
        Unavailable: a file cannot be written, or the table does not take a commit.
        StateError: a file cannot be read, or is not where it should be.
    """
    now = now or datetime.now(UTC)
    done = Done(full_name(table))
    try:
        compact(table, settings, done, now=now, dry_run=dry_run, lock=lock)
        expire(table, settings, done, now=now, dry_run=dry_run, lock=lock)
        if orphans:
            remove_orphans(table, settings, done, now=now, dry_run=dry_run)
    except (OSError, pa.ArrowException) as error:
        raise Unavailable(
            f"{full_name(table)} cannot be maintained at {table.location()}: {error}",
            "Check space, rights and the file there. No row is lost; what was written in vain is removed later.",
        ) from error
    current = table.current_snapshot()
    done.files = int(current.summary["total-data-files"] or 0) if current and current.summary else 0
    done.snapshots = len(table.metadata.snapshots)
    return done


# Compaction


def compact(
    table: Table, settings: Settings, done: Done, *, now: datetime, dry_run: bool, lock: Lock = nullcontext
) -> None:
    """Rewrite small files of a day, in the order they landed, one group and one commit after the other."""
    read = reader(table)
    for group in plan(table, settings.maintain_file_bytes, now, read):
        if dry_run:
            new_bytes = 0
        else:
            new = _rewrite(table, group)
            if not _replace(table, group, new, read, lock):
                log.info("%s: another process has replaced files meanwhile", full_name(table))
                continue
            new_bytes = new.file_size_in_bytes
        done.rewritten += len(group)
        done.rewritten_bytes += sum(file.file_size_in_bytes for file in group)
        done.written += 1
        done.written_bytes += new_bytes


def reader(table: Table) -> ReadManifest:
    """Reads what is live in a manifest, each once: manifests never change, and to decode one takes 3 ms."""
    return cache(partial(lake.entries, table))


def plan(table: Table, file_bytes: int, now: datetime, read: ReadManifest) -> list[list[DataFile]]:
    """Groups of files that are each to become one, oldest first.

    A file is rewritten only with others that are together as large as it: so each byte is written again at most
    log2(target / size of a landed file) times, however often this runs. On a day that is over there is no such
    condition: nothing will come to it, and it is packed for good.
    """
    days: dict[int | None, list[DataFile]] = defaultdict(list)
    for file in _live(table, _head_manifests(table), read).values():
        if file.file_size_in_bytes < file_bytes * 3 // 4:
            days[file.partition[0]].append(file)
    # An hour after midnight a batch that was begun the day before has landed or will not.
    today = (now - timedelta(hours=1) - datetime(1970, 1, 1, tzinfo=UTC)).days
    landed_at = partial(_landed_at, table.schema().find_field("ingested_at").field_id)
    groups = []
    for day in sorted(days, key=lambda day: day or 0):
        over = day is not None and day < today
        for group in _bins(sorted(days[day], key=landed_at), file_bytes):
            while not over and group and 2 * max(_sizes(group)) > sum(_sizes(group)):
                group.remove(max(group, key=lambda file: file.file_size_in_bytes))
            if len(group) >= (2 if over else FEWEST):
                groups.append(group)
    return groups


def _bins(files: Iterable[DataFile], most: int) -> Iterator[list[DataFile]]:
    """Files in their order, in groups of at most so many bytes."""
    group: list[DataFile] = []
    for file in files:
        if group and sum(_sizes(group)) + file.file_size_in_bytes > most:
            yield group
            group = []
        group.append(file)
    if group:
        yield group


def _live(table: Table, manifests: Sequence[ManifestFile], read: ReadManifest) -> dict[str, DataFile]:
    """Path -> data file of the current snapshot that can be rewritten: of the current spec, no row of it deleted.

    Its manifests are given: PyIceberg reads their list again each time it is asked for them.
    """
    if any(manifest.content == ManifestContent.DELETES for manifest in manifests):
        files = [task.file for task in table.scan().plan_files() if not task.delete_files]
    else:
        files = [entry.data_file for manifest in manifests for entry in read(manifest)]
    return {file.file_path: file for file in files if file.spec_id == table.metadata.default_spec_id}


def _head_manifests(table: Table) -> list[ManifestFile]:
    """The manifests of the current snapshot."""
    return lake.manifests(table, table.current_snapshot())


def _rewrite(table: Table, files: Sequence[DataFile]) -> DataFile:
    """The rows of several files in one new one, which nothing refers to yet."""
    path = f"{files[0].file_path.rpartition('/')[0]}/compacted-{uuid.uuid4()}.parquet"
    output = table.io.new_output(path)
    writer = FileFormatFactory.get(FileFormat.PARQUET).create_writer(output, table.schema(), table.properties)
    with writer:
        for chunk in _chunks(table, files):
            writer.write(chunk.sort_by(_ORDER))
            pa.default_memory_pool().release_unused()
    statistics = writer.result()
    expected = sum(file.record_count for file in files)
    if statistics.record_count != expected:
        raise StateError(
            f"{full_name(table)}: {len(files)} files hold {statistics.record_count} rows, their manifests say "
            f"{expected}.",
            f"Compare the files beside {files[0].file_path} with the table's manifests. Nothing was changed.",
        )
    return DataFile.from_args(
        content=DataFileContent.DATA,
        file_path=path,
        file_format=FileFormat.PARQUET,
        partition=files[0].partition,
        file_size_in_bytes=len(output),
        sort_order_id=None,
        spec_id=files[0].spec_id,
        equality_ids=None,
        key_metadata=None,
        **statistics.to_serialized_dict(),
    )


def _chunks(table: Table, files: Iterable[DataFile]) -> Iterator[pa.Table]:
    """All rows, file by file, in tables of about `CHUNK_BYTES`."""
    schema: pa.Schema | None = None
    batches: list[pa.RecordBatch] = []
    size = 0
    for file in files:
        for batch in _batches(table, file):
            schema = schema or batch.schema
            batches.append(batch if batch.schema.equals(schema) else batch.cast(schema))
            size += batch.nbytes
            if size >= CHUNK_BYTES:
                yield pa.Table.from_batches(batches, schema)
                batches, size = [], 0
    if batches:
        yield pa.Table.from_batches(batches, schema)


def _batches(table: Table, file: DataFile) -> Iterator[pa.RecordBatch]:
    try:
        with table.io.new_input(file.file_path).open() as stream:
            # Neither the whole file ahead, which stays in memory to the end, nor each column by another thread.
            yield from pq.ParquetFile(stream, pre_buffer=False).iter_batches(batch_size=8192, use_threads=False)
    except (OSError, pa.ArrowException) as error:
        raise StateError(
            f"{full_name(table)} has a file that cannot be read, {file.file_path}: {error}",
            "Restore it from a copy. Nothing was changed, and landing goes on.",
        ) from error


def _replace(
    table: Table, old: Sequence[DataFile], new: DataFile, read: ReadManifest, lock: Lock = nullcontext
) -> bool:
    """Commit the new file in place of the old ones; False if not all of those are live any more."""

    def stage() -> Transaction | None:
        # Rows may also have been deleted from the old files since they were read; the new one would bring them back.
        manifests = _head_manifests(table)
        if not _live(table, manifests, read).keys() >= {file.file_path for file in old}:
            return None
        transaction = SingleTryTransaction(table)
        rewrite = Rewrite(transaction, table.io, manifests, read)
        for file in old:
            rewrite.delete_data_file(file)
        rewrite.append_data_file(new)
        rewrite.commit()
        return transaction

    def read_ahead() -> None:
        for manifest in _head_manifests(table.refresh()):
            read(manifest)

    # Not live any more may also mean that our own commit took them away, and its reply was lost.
    return _commit(table, stage, lock, before=read_ahead) or new.file_path in _live(table, _head_manifests(table), read)


# Snapshots


def expire(
    table: Table, settings: Settings, done: Done, *, now: datetime, dry_run: bool, lock: Lock = nullcontext
) -> None:
    """Forget snapshots that nothing has pinned; properties, and with them the watermarks, are not touched."""

    def stage() -> Transaction | None:
        chosen = expirable(table.metadata, settings, now)
        done.expired = len(chosen)
        if dry_run or not chosen:
            return None
        transaction = SingleTryTransaction(table)
        # If the table is rolled back to one of them meanwhile, none of them goes.
        head = table.metadata.refs[MAIN_BRANCH].snapshot_id
        transaction.stage(
            (RemoveSnapshotsUpdate(snapshot_ids=chosen),), (AssertRefSnapshotId(ref=MAIN_BRANCH, snapshot_id=head),)
        )
        return transaction

    _commit(table, stage, lock)


def expirable(metadata: TableMetadata, settings: Settings, now: datetime) -> list[int]:
    """Ids of snapshots that are not among the newest, have no tag or branch, and are not the last one of an hour.

    The last one of an hour goes too, once what came after it is older than the time to keep.
    A lander that looks for its own batch may find it expired. That costs nothing: the watermark tells it the same.
    """
    history = sorted(metadata.snapshots, key=lambda snapshot: snapshot.sequence_number or 0)
    pinned = {ref.snapshot_id for ref in metadata.refs.values()}
    limit = (now - _grace(settings)).timestamp() * 1000
    hour = 3_600_000
    kept = settings.maintain_keep_snapshots
    return [
        snapshot.snapshot_id
        for snapshot, after in pairwise(history[: max(0, len(history) - kept + 1)])
        if snapshot.snapshot_id not in pinned
        and (snapshot.timestamp_ms // hour == after.timestamp_ms // hour or after.timestamp_ms < limit)
    ]


# Orphans


def remove_orphans(table: Table, settings: Settings, done: Done, *, now: datetime, dry_run: bool) -> None:
    """Remove files of the table that no kept snapshot leads to, once they are old enough.

    The table's are files below its location that are named as writers of Iceberg name theirs; metadata files only if
    the table's own history leads to them. Anything else stays.

    Raises:
        StateError: files that are needed are not there, or the location holds another table, or versions of this one
            that its catalog does not know: nothing is removed then.
    """
    table.refresh()
    files, base = lake.filesystem(table.io, table.location())
    # In this order: what a writer adds after the metadata were read is listed, but young.
    needed = _reachable(table)
    listed = [info for info in files.get_file_info(FileSelector(base, recursive=True)) if info.is_file]
    paths = {info.path for info in listed}
    lost = [path for path in needed if path.startswith(f"{base}/") and path not in paths and _is_data(path)]
    if lost:
        raise StateError(
            f"{full_name(table)} refers to {len(lost)} files that are not at {table.location()}, the first is "
            f"{lost[0]}.",
            "No file was removed. Check that the lake was not moved, and restore what is missing.",
        )
    # Its history is read after the listing: what others have committed meanwhile is in it.
    versions = [info for info in listed if lake.METADATA_FILE.search(info.path)]
    proven = lake.refuse_others(load_bronze(table.catalog, table.name()[-1]), files, [info.path for info in versions])
    limit = now - _grace(settings)
    superseded = _superseded(info for info in versions if info.path in proven)
    for info in listed:
        is_version = bool(lake.METADATA_FILE.search(info.path))
        if info.path in needed or not (info.path in proven if is_version else _OURS.match(info.path[len(base) :])):
            continue
        since = superseded.get(info.path, now) if is_version else info.mtime
        if max(since, info.mtime) < limit:
            done.orphans.append(info.path)
            done.orphan_bytes += info.size
            if not dry_run:
                with suppress(FileNotFoundError):  # another process was faster
                    files.delete_file(info.path)


def _reachable(table: Table) -> set[str]:
    """Paths of all files that the table's metadata and the snapshots in them lead to."""
    metadata = table.metadata
    found = {table.metadata_location, *(entry.metadata_file for entry in metadata.metadata_log)}
    found |= {file.statistics_path for file in (*metadata.statistics, *metadata.partition_statistics)}
    seen: set[str] = set()
    for snapshot in metadata.snapshots:
        found.add(snapshot.manifest_list)
        for manifest in lake.manifests(table, snapshot):
            if manifest.manifest_path in seen:
                continue
            seen.add(manifest.manifest_path)
            # Entries of files that were deleted are left out: an older snapshot that needs them has its own.
            found |= {entry.data_file.file_path for entry in lake.entries(table, manifest)}
    return {lake.path_of(location) for location in found | seen}


def _superseded(listed: Iterable[FileInfo]) -> dict[str, datetime]:
    """Path of a metadata file -> when the next version was written; none for the newest.

    Of several files of one version all but one are of commits that failed; the last one counts.
    """
    versions: dict[int, list[FileInfo]] = defaultdict(list)
    for info in listed:
        versions[lake.number(info.path)].append(info)
    return {
        info.path: max(following.mtime for following in versions[version + 1])
        for version, infos in list(versions.items())
        if version + 1 in versions
        for info in infos
    }


def _is_data(path: str) -> bool:
    return path.endswith(".parquet")


# Common


def _commit(
    table: Table, stage: Callable[[], Transaction | None], lock: Lock, before: Callable[[], None] = lambda: None
) -> bool:
    """Commit what `stage` makes of the table as it is loaded; False if it makes nothing.

    After a conflict, or when it is not known what became of the commit, `stage` looks at the table again. What can be
    done of its work `before` each try does: nobody waits for the lock yet.
    """
    failure: Exception | None = None
    for attempt in range(ATTEMPTS):
        try:
            if failure is not None:
                time.sleep(random.uniform(0.2, 1) * min(2.0, 0.05 * 2**attempt))  # noqa: S311 - spreads writers
            before()
            with lock():
                table.refresh()  # what was read took time
                transaction = stage()
                if transaction is None:
                    return False
                transaction.commit_transaction()
                return True
        except LevainError:
            raise
        except Exception as error:  # a conflict, a lost reply, a catalog that is away
            failure = error
    raise Unavailable(
        f"{full_name(table)} does not take a commit of maintenance: {ATTEMPTS} tries failed, the last with: "
        f"{first_line(failure)}",
        "Check the catalog. The table is as it was or as intended; run `levain maintain` again.",
    ) from failure


def _grace(settings: Settings) -> timedelta:
    return timedelta(hours=settings.maintain_keep_hours + 1)


def _sizes(files: Iterable[DataFile]) -> list[int]:
    return [file.file_size_in_bytes for file in files]


def _landed_at(field_id: int, file: DataFile) -> int:
    """The lowest `ingested_at`, which has this field id, in a file, in microseconds; 0 if it has no statistics."""
    bound = (file.lower_bounds or {}).get(field_id)
    return int(from_bytes(TimestamptzType(), bound)) if bound else 0
