"""What lies in the lake, whichever catalog knows it: the histories of tables, as their metadata files tell them.

A catalog is a pointer to one metadata file per table. It can be lost, be restored from an old backup, or not be the
only one that points into a lake. Then what it says is not the whole, and what is built on it would be wrong: a new
table over an old one, a commit on a version that others have passed, a file removed that another table needs. So who
starts to write or to build looks at the lake first, and `levain recover` finds the way back from what lies there.

Each version of a table is a metadata file; its `metadata-log` names those before it. A file that no later one names is
a head. The catalog points to one of them; the others are commits that were refused or were cut short, or, where more
than one version hangs on them, another catalog's.
"""

from __future__ import annotations

import gzip
import json
import os
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property, partial
from typing import Any

from pyarrow.fs import FileInfo, FileSelector, FileSystem, FileType, LocalFileSystem
from pyiceberg.catalog import Catalog
from pyiceberg.io import FileIO, load_file_io
from pyiceberg.io.pyarrow import PyArrowFileIO
from pyiceberg.manifest import DataFile, ManifestEntry, ManifestFile
from pyiceberg.table import Table
from pyiceberg.table.snapshots import Snapshot
from pyiceberg.utils.concurrent import ExecutorFactory

from ingest.catalog import NAMESPACE, NEXT_OFFSET, bronze_names, full_name, load_bronze, storage_properties
from ingest.errors import ConfigurationError, StateError, Unavailable, first_line
from ingest.settings import Settings

#: A metadata file: its version, and `.metadata.json`, compressed or not, as PyIceberg and Iceberg in Java name it.
METADATA_FILE = re.compile(r"/v?(\d+)[^/]*\.metadata\.json$")

#: The UUID that a table's folder ends with, see `ingest.catalog.new_location`.
_OWN_FOLDER = re.compile(r"-[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$")


@dataclass(frozen=True)
class Version:
    """One metadata file.

    Attributes:
        path: as listings give it, without the scheme.
        number: its version, from its name.
        document: what it holds, as Iceberg's specification has it.
    """

    path: str
    number: int
    document: dict[str, Any]

    @property
    def uuid(self) -> str:
        """The table's."""
        return str(self.document["table-uuid"])

    @property
    def rows(self) -> int:
        """Rows in its current snapshot."""
        current = self.document.get("current-snapshot-id")
        for snapshot in self.document.get("snapshots", []):
            if snapshot["snapshot-id"] == current:
                return int(snapshot.get("summary", {}).get("total-records", 0))
        return 0

    @property
    def empty(self) -> bool:
        """Nothing was ever committed to it, as by a process that lost the race to create the table."""
        landed = any(name.startswith(NEXT_OFFSET) for name in self.document.get("properties", {}))
        return not self.document.get("snapshots") and not landed

    @property
    def updated(self) -> datetime:
        """When it was written."""
        return datetime.fromtimestamp(self.document["last-updated-ms"] / 1000, UTC)

    @cached_property
    def before(self) -> list[str]:
        """Paths of the versions that it follows, oldest first."""
        return [path_of(entry["metadata-file"]) for entry in self.document.get("metadata-log", [])]


@dataclass(frozen=True)
class Found:
    """A table that lies in the lake.

    Attributes:
        name: as a catalog would call it: `bronze.orders`.
        location: its folder, as a URI.
        newest: its newest version.
        metadata_location: of that version, as a URI.
        versions: paths of all metadata files in its folder.
    """

    name: str
    location: str
    newest: Version
    metadata_location: str
    versions: tuple[str, ...] = field(repr=False)

    def __str__(self) -> str:
        """For people: name, rows, age and place."""
        newest = self.newest
        return f"{self.name} ({newest.rows:,} rows, last commit {newest.updated:%Y-%m-%d %H:%M} UTC, {self.location})"


class Lake:
    """The files below a warehouse.

    Args:
        settings: say where it is.

    Raises:
        ConfigurationError: it is on a kind of storage that is not known.
    """

    def __init__(self, settings: Settings) -> None:
        self.root = settings.lake.rstrip("/")
        try:
            self.files, self._base = filesystem(load_file_io(storage_properties(settings), self.root), self.root)
        except ValueError as error:
            raise ConfigurationError(
                f"LEVAIN_CATALOG_WAREHOUSE: {self.root} is no place for a lake: {first_line(error)}.",
                "Write a path, or an address such as s3://bucket/folder.",
            ) from error

    def tables(self, namespace: str | None = None) -> Iterator[Found]:
        """Every table below a namespace's folder, or below all of them; those that never held anything are left out.

        Raises:
            Unavailable: the place cannot be listed.
        """
        for space in [namespace] if namespace else self._folders(""):
            for folder in self._folders(space):
                versions = self._metadata_files(f"{space}/{folder}")
                for head in heads(self.files, versions):
                    if not head.empty:
                        name = f"{space}.{_OWN_FOLDER.sub('', folder)}"
                        location = f"{self.root}/{space}/{folder}"
                        place = f"{self.root}{head.path.removeprefix(self._base)}"
                        yield Found(name, location, head, place, tuple(versions))

    def real(self, path: str) -> str:
        """The path with symbolic links followed, where it is on this machine."""
        return os.path.realpath(path) if isinstance(self.files, LocalFileSystem) else path.rstrip("/")

    def _folders(self, below: str) -> list[str]:
        found = self._listed(below)
        return sorted(info.base_name for info in found if info.type == FileType.Directory)

    def _metadata_files(self, folder: str) -> list[str]:
        return [info.path for info in self._listed(f"{folder}/metadata") if METADATA_FILE.search(info.path)]

    def _listed(self, below: str) -> list[FileInfo]:
        return listed(self.files, f"{self._base}/{below}".rstrip("/"))


def check(catalog: Catalog, settings: Settings) -> list[str]:
    """See that the catalog and the lake belong together, before anything is written.

    Returns:
        what is as it should not be, but does no harm.

    Raises:
        StateError: see `refuse_unknown` and `refuse_outdated`.
    """
    unknown = refuse_unknown(catalog, settings)
    refuse_outdated(catalog, settings)
    return [f"Another catalog's table lies in {settings.lake}, and is left alone: {each}." for each in unknown]


def refuse_unknown(catalog: Catalog, settings: Settings) -> list[Found]:
    """See that no Bronze table lies in the lake which this catalog should know and does not.

    Of a REST catalog the lake is not looked at: where tables are, and which ones, is the server's own affair.

    Returns:
        Tables of the same names as this catalog's, which another catalog must have made: they do no harm, and none of
        their files is touched.

    Raises:
        StateError: the catalog lacks a table, or has one that nothing has landed in where the lake has one that
            something has; or the tables are elsewhere than this home's lake.
        Unavailable: the lake cannot be listed.
    """
    if settings.catalog_type == "rest":
        return []
    # In this order: a table that is being created is in the catalog when it holds anything.
    found = list(Lake(settings).tables(NAMESPACE))
    known = [load_bronze(catalog, name) for name in bronze_names(catalog)]
    _refuse_moved(known, settings)
    uuids = {str(table.metadata.table_uuid) for table in known}
    unknown = [each for each in found if each.newest.uuid not in uuids]
    in_use = {full_name(table) for table in known if table.metadata.snapshots}
    if lost := [each for each in unknown if each.name not in in_use]:
        raise _lost_catalog(lost, settings)
    return unknown


def no_catalog_yet(settings: Settings) -> bool:
    """Whether the home's own catalog is still to be made: opening it makes it, and who only reads must not.

    Raises:
        StateError: it was lost, for Bronze tables lie in the lake.
    """
    if not settings.has_own_catalog or settings.catalog_file.exists():
        return False
    if lost := list(Lake(settings).tables(NAMESPACE)):
        raise _lost_catalog(lost, settings)
    return True


def _lost_catalog(lost: Iterable[Found], settings: Settings) -> StateError:
    """The error for tables that lie in the lake and that the catalog should know."""
    return StateError(
        f"{settings.lake} holds Bronze tables that the catalog does not know: {', '.join(map(str, lost))}.",
        "If the catalog was lost, `levain recover` registers them. If they are another catalog's, give this home a "
        "place of its own in LEVAIN_CATALOG_WAREHOUSE.",
    )


def _refuse_moved(tables: Iterable[Table], settings: Settings) -> None:
    """A home that was copied has a catalog that leads to the other one's tables."""
    if not settings.has_own_catalog or settings.catalog_warehouse:
        return
    lake = (settings.root / "lake").resolve()
    for table in tables:
        place = settings.root / path_of(table.location())
        if not place.resolve().is_relative_to(lake):
            raise StateError(
                f"{full_name(table)} is at {table.location()}, not below {settings.lake}: the home {settings.root} was "
                "copied or moved, or LEVAIN_CATALOG_WAREHOUSE was set when the table was made.",
                "Use the home that this place belongs to, or set LEVAIN_CATALOG_WAREHOUSE to it again. Iceberg keeps "
                "absolute paths: a home that was moved needs a symbolic link at its old place.",
            )


def refuse_outdated(catalog: Catalog, settings: Settings) -> None:
    """See that the catalog points to the newest version of each Bronze table.

    A file that is one version ahead may be of a commit that was cut short. Two ahead shows that the catalog once was
    further: who writes version N + 2 has seen version N + 1 in the catalog. A REST catalog is believed.

    Raises:
        StateError: it points to an older one; or the table's folder holds another table's versions.
    """
    for name in bronze_names(catalog) if settings.catalog_type != "rest" else ():
        table = load_bronze(catalog, name)
        files, base = filesystem(table.io, table.location())
        paths = [info.path for info in listed(files, f"{base}/metadata") if METADATA_FILE.search(info.path)]
        if not any(number(path) > number(table.metadata_location) + 1 for path in paths):
            continue
        table = load_bronze(catalog, name)  # others may have committed before the folder was listed
        ahead = [path for path in paths if number(path) > number(table.metadata_location) + 1]
        for head in heads(files, ahead):
            if head.uuid == str(table.metadata.table_uuid):
                raise StateError(
                    f"The catalog points to version {number(table.metadata_location)} of {full_name(table)}, and "
                    f"{table.location()} has version {head.number} of {head.updated:%Y-%m-%d %H:%M} UTC: the catalog "
                    "is older than the lake (restored from a backup), or another catalog writes to this table too.",
                    "If no other catalog does, `levain recover` points it to the newest version.",
                )
            if not head.empty:
                raise another_table(table, head)


def refuse_others(table: Table, files: FileSystem, listed: Iterable[str]) -> set[str]:
    """See that the table's folder holds no versions but its own.

    Args:
        table: as loaded after the folder was listed.
        files: where it is.
        listed: paths of the metadata files in it.

    Returns:
        Those among the paths that are proven to be the table's own.

    Raises:
        StateError: another table's are there, or those of another catalog that writes to this table.
    """
    log = [path_of(entry.metadata_file) for entry in table.metadata.metadata_log]
    mine = history(files, path_of(table.metadata_location), log)
    proven = set()
    for path in listed:
        if path in mine:
            proven.add(path)
            continue
        version = read(files, path)
        if version is None:
            continue
        if version.uuid != str(table.metadata.table_uuid):
            if not version.empty:
                raise another_table(table, version)
        elif version.before and version.before[-1] not in mine:
            raise StateError(
                f"{table.location()} holds versions of {full_name(table)} that this catalog does not know, one is "
                f"{version.path}: it is older than the lake, or another catalog writes to this table too.",
                "No file was removed. Run `levain doctor`; docs/troubleshooting.md says what to do about each case.",
            )
        else:
            proven.add(path)  # a commit that was refused or cut short
    return proven


def another_table(table: Table, version: Version) -> StateError:
    """The error for a table's folder that another table shares."""
    return StateError(
        f"{table.location()} is the folder of {full_name(table)}, and holds another table's data too "
        f"({version.rows:,} rows, UUID {version.uuid}): {version.path}.",
        "No file was removed. Another catalog has the same LEVAIN_CATALOG_WAREHOUSE, or an earlier catalog was lost: "
        "docs/troubleshooting.md says what to do about each case.",
    )


def history(files: FileSystem, path: str, log: list[str]) -> set[str]:
    """Paths of a table's versions, from one of them as far back as their logs lead; `log` is that one's."""
    found = {path}
    while log and not found.issuperset(log):
        found.update(log)
        oldest = read(files, log[0])
        log = oldest.before if oldest else []
    return found


def heads(files: FileSystem, paths: Iterable[str]) -> Iterator[Version]:
    """The newest version of each table among metadata files, and of several with one number the latest.

    A commit that was cut short counts like one that was made: its files were written before it, and its rows and its
    watermarks are together.
    """
    left = set(paths)
    newest: dict[str, Version] = {}
    while left:
        version = read(files, path := max(left, key=lambda path: (number(path), path)))
        left.discard(path)
        if version is None:
            continue
        best = newest.setdefault(version.uuid, version)
        if version is best:
            left -= history(files, path, version.before)
        elif version.number == best.number and version.updated > best.updated:
            newest[version.uuid] = version
    yield from newest.values()


def branches(files: FileSystem, paths: Iterable[str], head: Version) -> list[Version]:
    """Versions of the head's table that more than one commit parts from the head's history, as another catalog's do."""
    mine = history(files, head.path, head.before)
    others = [version for path in paths if path not in mine and (version := read(files, path))]
    return [o for o in others if o.uuid == head.uuid and o.before and o.before[-1] not in mine]


def read(files: FileSystem, path: str) -> Version | None:
    """A metadata file of a table; None if it is a view's, is cut short, or is gone."""
    try:
        with files.open_input_stream(path) as stream:
            content = stream.read()
        document = json.loads(gzip.decompress(content) if ".gz." in path else content)
    except (FileNotFoundError, EOFError, ValueError, gzip.BadGzipFile):
        return None
    if not isinstance(document, dict) or "table-uuid" not in document:
        return None
    return Version(path, number(path), document)


def manifests(table: Table, snapshot: Snapshot | None) -> list[ManifestFile]:
    """The manifests of a snapshot; none of no snapshot.

    Raises:
        StateError: their list is missing or damaged.
    """
    if snapshot is None:
        return []
    with _reading(table, snapshot.manifest_list):
        return snapshot.manifests(table.io)


def entries(table: Table, manifest: ManifestFile) -> list[ManifestEntry]:
    """What is live in a manifest.

    Raises:
        StateError: it is missing or damaged.
    """
    with _reading(table, manifest.manifest_path):
        length = len(table.io.new_input(manifest.manifest_path))
        if length != manifest.manifest_length:  # the decoder would read on in memory that is not its own
            raise ValueError(f"it has {length:,} of {manifest.manifest_length:,} bytes")
        return manifest.fetch_manifest_entry(table.io)


def data_files(table: Table) -> list[DataFile]:
    """The data files of the table's current snapshot.

    Raises:
        StateError: a file that names them is missing or damaged.
    """
    read = partial(entries, table)
    found = ExecutorFactory.get_or_create().map(read, manifests(table, table.current_snapshot()))
    return [entry.data_file for live in found for entry in live]


def lacking(files: FileSystem, data: Iterable[DataFile]) -> str:
    """`lacks N of M data files, the first is ...`; empty if all of them are there."""
    paths = [path_of(file.file_path) for file in data]
    missing = [info.path for info in files.get_file_info(paths) if info.type != FileType.File]
    return f"lacks {len(missing)} of {len(paths)} data files, the first is {missing[0]}" if missing else ""


@contextmanager
def _reading(table: Table, path: str) -> Iterator[None]:
    """Name the file that cannot be read; storage that does not answer is another matter."""
    try:
        yield
    except OSError as error:
        if not isinstance(error, FileNotFoundError):
            raise
        raise _damaged(table, path, "it is missing") from error
    except Exception as error:  # the decoder meets garbage by errors of many kinds
        raise _damaged(table, path, first_line(error)) from error


def _damaged(table: Table, path: str, why: str) -> StateError:
    return StateError(
        f"{path_of(path)}, a file of {full_name(table)}, cannot be read: {why}.",
        "Restore it from a backup; docs/troubleshooting.md says what to do without one.",
    )


def number(path: str) -> int:
    """Version of a metadata file, from its name; -1 if its name tells none, as some servers' do."""
    match = METADATA_FILE.search(path)
    return int(match[1]) if match else -1


def filesystem(io: FileIO, location: str) -> tuple[FileSystem, str]:
    """Where files are, for listing, and the path of a location there."""
    scheme, netloc, path = PyArrowFileIO.parse_location(location, io.properties)
    return PyArrowFileIO(io.properties).fs_by_scheme(scheme, netloc), path.rstrip("/")


def listed(files: FileSystem, path: str) -> list[FileInfo]:
    """What is in a folder; nothing if it is not there.

    Raises:
        Unavailable: it cannot be listed.
    """
    try:
        return list(files.get_file_info(FileSelector(path, allow_not_found=True)))
    except OSError as error:
        raise Unavailable(
            f"{path} cannot be listed: {first_line(error)}",
            "Check that this place exists, the rights there, and for S3 the LEVAIN_S3_* settings.",
        ) from error


def path_of(location: str) -> str:
    """A file's path as listings give it: `file:///a/b` -> `/a/b`, `s3://bucket/a` -> `bucket/a`."""
    return str(PyArrowFileIO.parse_location(location)[2])
