"""dbt-duckdb plugin: what DuckDB needs to read Bronze.

Loads the extensions from their wheels, so nothing is downloaded, and lists the Iceberg catalog in a table in memory,
`lake.main.bronze_tables`, from which macros/bronze.sql makes its views. Its columns: table_name, metadata_location,
table_uuid and sequence_number of what was pinned, and what no build has read (see `levain.bronze.unread`): is_compared,
whether an earlier build has noted what it read, and unread_from, an `ingested_at`.
"""

from __future__ import annotations

from dbt.adapters.duckdb.connections import DuckDBConnectionManager
from dbt.adapters.duckdb.plugins import BasePlugin
from dbt_common.invocation import get_invocation_id
from duckdb import DuckDBPyConnection

from ingest.catalog import bronze_names, load_bronze, metadata_location, open_catalog
from ingest.settings import load_settings
from levain.bronze import prepare, unread


def release() -> None:
    """Close the DuckDB file that a dbt run in this process has left open, so that it can be read."""
    if DuckDBConnectionManager._ENV is not None:
        DuckDBConnectionManager._ENV.close()
        DuckDBConnectionManager.close_all_connections()


class Plugin(BasePlugin):
    """The class dbt-duckdb looks for."""

    def configure_connection(self, conn: DuckDBPyConnection) -> None:
        """Load the extensions, and give access to the lake's storage."""
        settings = load_settings()
        settings.run_dir.mkdir(parents=True, exist_ok=True)
        prepare(conn, settings)
        conn.execute("attach ':memory:' as lake")
        self.listed_for = ""

    def configure_cursor(self, cursor: DuckDBPyConnection) -> None:
        """List the catalog, once per dbt invocation: a connection may outlive one."""
        if self.listed_for != get_invocation_id():
            self.listed_for = get_invocation_id()
            cursor.execute(
                "create or replace table lake.bronze_tables (table_name varchar, metadata_location varchar, "
                "table_uuid varchar, sequence_number bigint, is_compared boolean, unread_from timestamptz)"
            )
            catalog = open_catalog(load_settings())
            read = _read(cursor)
            for name in bronze_names(catalog):
                table = load_bronze(catalog, name)
                uuid = str(table.metadata.table_uuid)
                since = read.get((name, uuid), 0)
                new = unread(table, since)
                cursor.execute(
                    "insert into lake.bronze_tables values (?, ?, ?, ?, ?, make_timestamptz(?))",
                    (name, metadata_location(table), uuid, new.sequence_number, since > 0, new.ingested_from),
                )


def _read(cursor: DuckDBPyConnection) -> dict[tuple[str, str], int]:
    """Bronze table and its uuid -> sequence number of the snapshot whose messages were all judged."""
    there = cursor.execute(
        "select 1 from duckdb_tables() where schema_name = 'meta' and table_name = 'bronze_read'"
    ).fetchone()
    if not there:
        return {}
    rows = cursor.execute("select table_name, table_uuid, max(sequence_number) from meta.bronze_read group by all")
    return {(name, uuid): number for name, uuid, number in rows.fetchall()}
