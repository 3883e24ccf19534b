"""dbt-duckdb plugin: what DuckDB needs to read Bronze.

Loads the extensions from their wheels, so nothing is downloaded, and lists the Iceberg catalog in a table in memory,
`lake.main.bronze_tables (table_name, metadata_location)`, from which macros/bronze.sql makes its views.
"""

from __future__ import annotations

import duckdb
import duckdb_extensions
from dbt.adapters.duckdb.connections import DuckDBConnectionManager
from dbt.adapters.duckdb.plugins import BasePlugin
from dbt_common.invocation import get_invocation_id
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


def release() -> None:
    """Close the DuckDB file that a dbt run in this process has left open, so that it can be read."""
    if DuckDBConnectionManager._ENV is not None:
        DuckDBConnectionManager._ENV.close()
        DuckDBConnectionManager.close_all_connections()


class Plugin(BasePlugin):
    """The class dbt-duckdb looks for."""

    def configure_connection(self, conn: DuckDBPyConnection) -> None:
        """Load the extensions."""
        load_extensions(conn)
        conn.execute("attach ':memory:' as lake")
        self.listed_for = ""

    def configure_cursor(self, cursor: DuckDBPyConnection) -> None:
        """List the catalog, once per dbt invocation: a connection may outlive one."""
        if self.listed_for != get_invocation_id():
            self.listed_for = get_invocation_id()
            cursor.execute("create or replace table lake.bronze_tables (table_name varchar, metadata_location varchar)")
            for row in bronze_tables(load_settings()):
                cursor.execute("insert into lake.bronze_tables values (?, ?)", row)
