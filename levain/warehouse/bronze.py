"""Bronze as DuckDB reads it: the Iceberg reader's extensions, access to its storage, where each table's metadata is."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.resources import files

import duckdb
from pyiceberg.conversions import from_bytes
from pyiceberg.table import Table
from pyiceberg.types import TimestamptzType

from ingest import lake
from ingest.catalog import (
    BRONZE_SCHEMA,
    bronze_names,
    load_bronze,
    metadata_location,
    open_catalog,
    storage_properties,
)
from ingest.settings import Settings

EXTENSIONS = ("avro", "httpfs", "iceberg")

UNSIGNED = {"allow_unsigned_extensions": True}
"""Of a connection: signatures are not looked at. That takes 0.3 s of CPU, and the wheels were installed by hash."""


def load_extensions(connection: duckdb.DuckDBPyConnection) -> None:
    """Load the Iceberg reader into a connection, straight from the wheels: nothing is written into anyone's HOME."""
    for name in EXTENSIONS:
        folder = files(f"duckdb_extension_{name}") / "extensions" / f"v{duckdb.__version__}"
        connection.load_extension(str(folder / f"{name}.duckdb_extension"))


def prepare(connection: duckdb.DuckDBPyConnection, settings: Settings) -> None:
    """Make a connection able to read Bronze where it is: extensions, and for S3 the settings as a secret in memory.

    And able to do with the memory it is given: what is larger goes to `run/duckdb` on disk. Without the order of
    insertion, which no model relies on, it need not hold a whole table to write it.

    Without any S3 setting DuckDB takes what the AWS_* variables of the environment say.
    """
    load_extensions(connection)
    connection.execute("set memory_limit = ?", [settings.duckdb_memory_limit])
    connection.execute("set threads = ?", [settings.duckdb_threads])
    connection.execute("set temp_directory = ?", [str(settings.run_dir / "duckdb")])
    connection.execute("set preserve_insertion_order = false")
    properties = storage_properties(settings)
    scheme, _, host = properties.get("s3.endpoint", "").rpartition("://")
    options = {
        "key_id": properties.get("s3.access-key-id"),
        "secret": properties.get("s3.secret-access-key"),
        "session_token": properties.get("s3.session-token"),
        "region": properties.get("s3.region"),
        "endpoint": host,
        # As PyIceberg does: buckets of AWS are part of the host's name, those of others of the path.
        "url_style": "path" if host else None,
        "use_ssl": False if scheme == "http" else None,
    }
    options = {name: value for name, value in options.items() if value not in (None, "")}
    if options:
        parameters = ", ".join(f"{name} ?" for name in options)
        connection.execute(f"create or replace secret levain_s3 (type s3, {parameters})", list(options.values()))


def load_tables(settings: Settings) -> list[Table]:
    """Every Bronze table, by name.

    That its manifests are whole is seen before DuckDB reads them: its Iceberg reader ends the process over one that is
    not.

    Raises:
        LevainError: the catalog cannot be opened, a table's metadata or a manifest cannot be read, or the lake holds
            tables that the catalog should know.
    """
    tables = known_tables(settings)
    for table in tables:
        lake.data_files(table)
    return tables


def known_tables(settings: Settings) -> list[Table]:
    """Every Bronze table, by name, without a look at its manifests.

    Raises:
        LevainError: as `load_tables`, but for manifests.
    """
    if lake.no_catalog_yet(settings):
        return []
    catalog = open_catalog(settings)
    lake.refuse_unknown(catalog, settings)
    return [load_bronze(catalog, name) for name in bronze_names(catalog)]


def bronze_tables(settings: Settings) -> list[tuple[str, str]]:
    """Every Bronze table with the location of its current Iceberg metadata file.

    Raises:
        LevainError: see `load_tables`.
    """
    return [(table.name()[-1], metadata_location(table)) for table in load_tables(settings)]


@dataclass(frozen=True)
class Judged:
    """A snapshot of a Bronze table of which a build has judged every message.

    Attributes:
        snapshot_id: Iceberg's.
        sequence_number: of the commit that made it.
        committed_ms: when that was, milliseconds since 1970.
    """

    snapshot_id: int
    sequence_number: int
    committed_ms: int


def unread_from(table: Table, judged: Judged) -> int | None:
    """The earliest `ingested_at` (microseconds since 1970) in the files a table has that it did not have at a snapshot.

    Offsets cannot tell: a file holds all partitions, so where they are of different length its range of offsets
    overlaps what is new. Files know the commit that added them. Only the manifests of later commits are opened; what
    compaction has rewritten since counts as added.

    Returns:
        None if there is no such file; 0 if all files may be, because the table's history is not the one that the
        snapshot belongs to (restored from a backup, or made again).
    """
    snapshot = table.current_snapshot()
    if snapshot is None or not _continues(table, judged):
        return 0
    field = BRONZE_SCHEMA.find_field("ingested_at").field_id
    earliest: list[int] = []
    for manifest in lake.manifests(table, snapshot):
        if (manifest.sequence_number or 0) <= judged.sequence_number:
            continue
        for entry in lake.entries(table, manifest):
            if entry.file_sequence_number is None or entry.file_sequence_number > judged.sequence_number:
                bound = (entry.data_file.lower_bounds or {}).get(field)
                earliest.append(int(from_bytes(TimestamptzType(), bound)) if bound else 0)
    return min(earliest, default=None)


def _continues(table: Table, judged: Judged) -> bool:
    """Whether a snapshot is in the table's history; where it has expired, whether its number and time still fit in."""
    known = table.snapshot_by_id(judged.snapshot_id)
    if known is not None:
        return known.sequence_number == judged.sequence_number
    newest = max(each.sequence_number or 0 for each in table.metadata.snapshots)
    return newest > judged.sequence_number and all(
        each.timestamp_ms >= judged.committed_ms
        if (each.sequence_number or 0) > judged.sequence_number
        else each.timestamp_ms <= judged.committed_ms
        for each in table.metadata.snapshots
    )
