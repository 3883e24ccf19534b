"""dbt-duckdb plugin: what DuckDB needs to read Bronze.

Loads the extensions from their wheels, so nothing is downloaded, and lists the Iceberg catalog in a table in memory,
`lake.main.bronze_tables (table_name, metadata_location)`, from which macros/bronze.sql makes its views.
"""

from __future__ import annotations

from dbt.adapters.duckdb.connections import DuckDBConnectionManager
from dbt.adapters.duckdb.plugins import BasePlugin
from dbt_common.invocation import get_invocation_id
from duckdb import DuckDBPyConnection

from ingest.settings import load_settings
from levain.bronze import bronze_tables, prepare


def release() -> None:
    """Close the DuckDB file that a dbt run in this process has left open, so that it can be read."""
    if DuckDBConnectionManager._ENV is not None:
        DuckDBConnectionManager._ENV.close()
        DuckDBConnectionManager.close_all_connections()


class Plugin(BasePlugin):
    """The class dbt-duckdb looks for."""

    def configure_connection(self, conn: DuckDBPyConnection) -> None:
        """Load the extensions, and give access to the lake's storage."""
        prepare(conn, load_settings())
        conn.execute("attach ':memory:' as lake")
        self.listed_for = ""

    def configure_cursor(self, cursor: DuckDBPyConnection) -> None:
        """List the catalog, once per dbt invocation: a connection may outlive one."""
        if self.listed_for != get_invocation_id():
            self.listed_for = get_invocation_id()
            cursor.execute("create or replace table lake.bronze_tables (table_name varchar, metadata_location varchar)")
            for row in bronze_tables(load_settings()):
                cursor.execute("insert into lake.bronze_tables values (?, ?)", row)
