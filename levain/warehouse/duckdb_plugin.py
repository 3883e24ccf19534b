"""dbt-duckdb plugin: what DuckDB needs to read Bronze.

Loads the extensions from their wheels, so nothing is downloaded, and lists the Iceberg catalog in two tables in memory:

- `lake.main.bronze_tables`, from which macros/incremental/bronze.sql makes its views: table_name, metadata_location,
  and of the snapshot that is pinned by it table_uuid, snapshot_id, sequence_number, committed_ms. is_judged says
  whether a build has noted an earlier one of which it judged all messages, unread_from from which `ingested_at` on
  others may be.
- `lake.main.bronze_offsets`: table_name, place (cluster/topic/partition), and next_offset, how far that has landed.
"""

from __future__ import annotations

from dbt.adapters.duckdb.connections import DuckDBConnectionManager
from dbt.adapters.duckdb.plugins import BasePlugin
from dbt_common.invocation import get_invocation_id
from duckdb import DuckDBPyConnection

from ingest.catalog import metadata_location, watermarks
from ingest.settings import load_settings
from levain.warehouse.bronze import Judged, load_tables, prepare, unread_from


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
        """Work in the attached file. List the catalog, once per dbt invocation: a connection may outlive one."""
        cursor.execute("use levain")
        if self.listed_for != get_invocation_id():
            self.listed_for = get_invocation_id()
            cursor.execute(
                "create or replace table lake.bronze_tables (table_name varchar, metadata_location varchar, "
                "table_uuid varchar, snapshot_id bigint, sequence_number bigint, committed_ms bigint, "
                "is_judged boolean, unread_from timestamptz)"
            )
            cursor.execute(
                "create or replace table lake.bronze_offsets (table_name varchar, place varchar, next_offset bigint)"
            )
            noted = _judged(cursor)
            for table in load_tables(load_settings()):
                name, uuid = table.name()[-1], str(table.metadata.table_uuid)
                judged = noted.get((name, uuid))
                now = table.current_snapshot()
                pinned = (now.snapshot_id, now.sequence_number, now.timestamp_ms) if now else (None, None, None)
                unread = unread_from(table, judged) if judged else None
                cursor.execute(
                    "insert into lake.bronze_tables values (?, ?, ?, ?, ?, ?, ?, make_timestamptz(?))",
                    (name, metadata_location(table), uuid, *pinned, judged is not None, unread),
                )
                for place, offset in watermarks(table).items():
                    cursor.execute(
                        "insert into lake.bronze_offsets values (?, ?, ?)", (name, "/".join(map(str, place)), offset)
                    )


def _judged(cursor: DuckDBPyConnection) -> dict[tuple[str, str], Judged]:
    """Name and uuid of Bronze tables -> the newest snapshot of which a build has judged all messages."""
    there = cursor.execute(
        "select 1 from duckdb_tables() where schema_name = 'meta' and table_name = 'judged_snapshots'"
    ).fetchone()
    if not there:
        return {}
    rows = cursor.execute(
        "select table_name, table_uuid, snapshot_id, sequence_number, committed_ms from meta.judged_snapshots "
        "where snapshot_id is not null"
    ).fetchall()
    return {(name, uuid): Judged(*snapshot) for name, uuid, *snapshot in rows}
