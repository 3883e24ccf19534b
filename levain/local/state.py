"""Whether the parts of a home's state belong together: catalog, lake, built tables, count of aliases.

Each of them can be lost, restored from an old backup, moved or shared by mistake. `check` is asked by each command that
starts to write; docs/troubleshooting.md has the way back from every case.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import duckdb
from pyiceberg.table import Table

from ingest import lake
from ingest.catalog import bronze_names, load_bronze, open_catalog, watermarks
from ingest.contracts import load_contracts
from ingest.errors import StateError, first_line
from ingest.settings import Settings
from levain.warehouse.dbt import judged_offsets, locked, rows_of

_EMBEDDED = re.compile(r"embedded-(\d+)")


def check(settings: Settings) -> list[str]:
    """See that the parts belong together.

    Returns:
        what is as it should not be, but does no harm to what is about to be written.

    Raises:
        LevainError: the catalog cannot be reached, or what was built was built from tables that are gone; see
            `ingest.lake.check`.
    """
    catalog = open_catalog(settings)
    remarks = lake.check(catalog, settings)
    tables = [load_bronze(catalog, name) for name in bronze_names(catalog)]
    with _built(settings, remarks) as connection:
        if connection is not None:
            _refuse_other_bronze(connection, tables, settings)
            remarks += _beyond(connection, tables, settings)
    return remarks


def highest_alias(settings: Settings) -> int:
    """The highest N of the clusters `embedded-N` that Bronze or the built tables know; 0 if they know none."""
    catalog = open_catalog(settings)
    places = [place for name in bronze_names(catalog) for place in watermarks(load_bronze(catalog, name))]
    with _built(settings, remarks=[]) as connection:  # what is wrong with them `check` has said
        places += judged_offsets(connection) if connection is not None else []
    return max((int(m[1]) for m in (_EMBEDDED.fullmatch(cluster) for cluster, _, _ in places) if m), default=0)


@contextmanager
def _built(settings: Settings, remarks: list[str]) -> Iterator[duckdb.DuckDBPyConnection | None]:
    """The built tables, to read; None if there are none, a build that runs has them, or the file is damaged.

    A build looks at Bronze itself, and landing does not need what was built: so a damaged file is a remark.
    """
    path = settings.duckdb_file
    connection: duckdb.DuckDBPyConnection | None = None
    if path.exists():
        try:
            connection = duckdb.connect(str(path), read_only=True)
        except duckdb.Error as error:
            if locked(str(error), path) is None:
                remarks.append(f"{path} cannot be read: {first_line(error)} See docs/troubleshooting.md.")
    try:
        yield connection
    finally:
        if connection is not None:
            connection.close()


def _refuse_other_bronze(connection: duckdb.DuckDBPyConnection, tables: Iterable[Table], settings: Settings) -> None:
    known = rows_of(connection, "meta", "bronze", "select table_name, identity from {} order by table_name")
    now = {table.name()[-1]: str(table.metadata.table_uuid) for table in tables if watermarks(table)}
    expected = {contract.table for contract in load_contracts().values()}
    gone = [
        f"bronze.{name} (UUID {uuid})"
        for name, uuid in (known[1] if known else [])
        if name in expected and now.get(name) != uuid
    ]
    if gone:
        raise StateError(
            f"{settings.duckdb_file} was built from Bronze tables that the catalog does not have: {', '.join(gone)}.",
            "Restore catalog and lake from a backup, or set LEVAIN_HOME to the home that has them. To go on without "
            "them, move levain.duckdb away.",
        )


def _beyond(connection: duckdb.DuckDBPyConnection, tables: Iterable[Table], settings: Settings) -> list[str]:
    """What was judged and has not landed: Bronze is older than the built tables."""
    landed = {place: offset for table in tables for place, offset in watermarks(table).items()}
    ahead = [
        f"{place[1]}, partition {place[2]}, cluster {place[0]}: offsets {landed.get(place, 0)} to {judged - 1}"
        for place, judged in sorted(judged_offsets(connection).items())
        if judged > landed.get(place, 0)
    ]
    if not ahead:
        return []
    return [
        f"Bronze is older than {settings.duckdb_file}, which has messages that it has not: {'; '.join(ahead)}. "
        "`levain build` will refuse until they have landed again, or Bronze is restored: docs/troubleshooting.md."
    ]
