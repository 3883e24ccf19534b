"""Bronze as DuckDB reads it: the Iceberg reader's extensions, access to its storage, where each table's metadata is."""

from __future__ import annotations

import duckdb
import duckdb_extensions

from ingest.catalog import bronze_names, load_bronze, metadata_location, open_catalog, storage_properties
from ingest.settings import Settings

EXTENSIONS = ("avro", "httpfs", "iceberg")


def load_extensions(connection: duckdb.DuckDBPyConnection) -> None:
    """Load the Iceberg reader into a connection, installing it from the wheels where it is not yet."""
    for name in EXTENSIONS:
        try:
            connection.load_extension(name)
        except duckdb.IOException:
            duckdb_extensions.import_extension(name, con=connection)
            connection.load_extension(name)


def prepare(connection: duckdb.DuckDBPyConnection, settings: Settings) -> None:
    """Make a connection able to read Bronze where it is: extensions, and for S3 the settings as a secret in memory.

    Without any S3 setting DuckDB takes what the AWS_* variables of the environment say.
    """
    load_extensions(connection)
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


def bronze_tables(settings: Settings) -> list[tuple[str, str]]:
    """Every Bronze table with the location of its current Iceberg metadata file.

    Raises:
        LevainError: the catalog cannot be opened, or a table's metadata cannot be read.
    """
    catalog = open_catalog(settings)
    return [(name, metadata_location(load_bronze(catalog, name))) for name in bronze_names(catalog)]
