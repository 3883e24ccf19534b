"""Bronze as DuckDB reads it: the Iceberg reader's extensions, and where each table's metadata is."""

from __future__ import annotations

import duckdb
import duckdb_extensions

from ingest.catalog import bronze_names, load_bronze, metadata_location, open_catalog
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


def bronze_tables(settings: Settings) -> list[tuple[str, str]]:
    """Every Bronze table with the location of its current Iceberg metadata file.

    Raises:
        LevainError: the catalog cannot be opened, or a table's metadata cannot be read.
    """
    catalog = open_catalog(settings)
    return [(name, metadata_location(load_bronze(catalog, name))) for name in bronze_names(catalog)]
