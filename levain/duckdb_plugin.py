"""dbt-duckdb plugin: what DuckDB needs to read Bronze.

Loads the extensions from their wheels, so nothing is downloaded, and lists the Iceberg catalog in a table in memory,
`lake.main.bronze_tables (table_name, metadata_location)`, from which macros/bronze.sql makes its views.
"""

from __future__ import annotations

import duckdb
import duckdb_extensions
from dbt.adapters.duckdb.plugins import BasePlugin
from duckdb import DuckDBPyConnection

from ingest.catalog import NAMESPACE, metadata_location, open_catalog
from ingest.settings import Settings, load_settings

EXTENSIONS = ("avro", "httpfs", "iceberg")


def load_extensions(connection: DuckDBPyConnection) -> None:
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
        LevainError: the catalog cannot be opened.
    """
    catalog = open_catalog(settings)
    if not catalog.namespace_exists(NAMESPACE):
        return []
    return [(name[-1], metadata_location(catalog.load_table(name))) for name in sorted(catalog.list_tables(NAMESPACE))]


class Plugin(BasePlugin):
    """The class dbt-duckdb looks for."""

    def configure_connection(self, conn: DuckDBPyConnection) -> None:
        """Load the extensions and list the catalog."""
        load_extensions(conn)
        conn.execute("attach ':memory:' as lake")
        conn.execute("create table lake.bronze_tables (table_name varchar, metadata_location varchar)")
        for row in bronze_tables(load_settings()):
            conn.execute("insert into lake.bronze_tables values (?, ?)", row)
