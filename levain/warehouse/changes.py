"""What a build has to do, decided before dbt is imported: everything, a part, or nothing.

A table can only come out otherwise than it is if the project has changed, if a message has landed that its topic's
verdicts have not judged, or if an earlier build did not finish or pass. Each of these is known without dbt: by a
checksum of the project's files, by how far Bronze has landed, and by the last build's own notes (`meta.code` in
macros/incremental/build.sql), which are in DuckDB's file, or for Spark in Iceberg tables. What is left out is what
would come out as it is: tests compare such builds with builds of everything.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from urllib.parse import quote

import duckdb

from ingest.settings import PROJECT_ROOT, Settings
from levain import interrupts

_READ = {".sql", ".py", ".yml", ".yaml", ".csv", ".md", ".dbtignore"}
"""Endings of files that dbt, or what runs it, reads, wherever in the project they are."""

_LEFT_OUT = {"target", "logs", "docs", "bench", "tests/python"}

_MEASURES = "__semantics.yml"
"""Ending of files that say how tables are measured, and nothing that is built: a test sees to it."""

_PACKAGES = {
    "duckdb": ("dbt-core", "dbt-duckdb", "duckdb", "pyiceberg"),
    "spark": ("dbt-core", "dbt-spark", "pyspark", "pyiceberg"),
}
_ENV_VAR = re.compile(rb"""env_var\(\s*['"](\w+)['"]""")

_HARMLESS = {"DBT_PROFILES_DIR", "DBT_PROJECT_DIR", "DBT_TARGET_PATH", "DBT_LOG_PATH", "DBT_SEND_ANONYMOUS_USAGE_STATS"}
"""Variables of dbt that do not change what it builds; `DBT_ENV_*` only count where the project reads them."""


_NOTES = ("bronze", "builds", "code", "failures", "watermarks")
"""Tables of schema `meta` that a plan for Spark is made from."""

JUDGED_OFFSETS = 'select kafka_cluster, topic, "partition", max(next_offset) from meta.watermarks group by all'
"""Per cluster, topic and partition: the first offset that no build has judged."""


class _NotReadable(Exception):
    """The notes of Spark's builds cannot be read."""


@dataclass(frozen=True)
class Plan:
    """What a build has to do.

    Attributes:
        code: checksum of the project; empty: dbt is steered by something else, too, so nothing can be left out.
        topics: tables of Bronze with messages that no build has judged; None: everything has to be built.
        moved: tables of Bronze without news whose files are others than those that were judged, as after `levain
            maintain` or `levain recover`: views would go on reading files that may be gone.
        build: number of the build that the plan goes on from; None: there is none.
        is_known: a build of this very project has passed here before, with its unit tests, which test code, not data.
    """

    code: str
    topics: tuple[str, ...] | None = None
    moved: tuple[str, ...] = ()
    build: int | None = None
    is_known: bool = False

    @property
    def is_empty(self) -> bool:
        """Nothing has to be built."""
        return self.topics == () and not self.moved

    @property
    def arguments(self) -> list[str]:
        """What `dbt build` has to select: the topics with news and all that is built from them, with every test of it.

        But for views, whose SQL is the same in each build of a project. (`empty` keeps dbt from leaving out their
        tests, too: `+` has named the tests.) Of a table that was moved, only the two models that note how far it was
        judged; the start of the run makes the views of Bronze.
        """
        arguments = ["--exclude-resource-type", "unit_test"] if self.is_known else []
        if self.topics is not None:
            arguments += ["--select", *(f"source:bronze.{table}+" for table in self.topics)]
            arguments += [f"int_{table}__{model}" for table in self.moved for model in ("arrived", "verdicts")]
            arguments += ["--exclude", "config.materialized:view", "--indirect-selection", "empty"]
        return arguments

    @property
    def notes(self) -> dict[str, str]:
        """What the macros read as `dbt_metadata_envs`: see note_outcome and note_code."""
        return {"PROJECT_CODE": self.code} | ({} if self.topics is None else {"REST_IS_CURRENT": "true"})


def plan(settings: Settings, target: str = "duckdb", *, whole: bool = False) -> Plan:
    """What a build has to do; whatever is not as a good build left it has everything built.

    Args:
        settings: which home.
        target: `duckdb` or `spark`.
        whole: everything, whatever has changed.
    """
    code = checksum(settings, target)
    if not code:
        return Plan(code)
    try:
        with _notes(settings, target) as notes:
            passed = notes.execute(
                "select build, relations, "
                "build = (select max(build) from meta.builds) and not exists (select 1 from meta.failures) "
                "from meta.code where code = ? order by build desc limit 1",
                [code],
            ).fetchone()
            everything = Plan(code, is_known=passed is not None)
            if whole or passed is None or not passed[2]:
                return everything
            found = _relations(settings, target, notes)
            judged = _judged(settings, target, notes)
            marks = notes.execute(JUDGED_OFFSETS).fetchall()
    except (duckdb.Error, sqlite3.Error, _NotReadable):
        # No notes, another process has them, an older build's tables, damage: the build itself says which.
        return Plan(code)
    build, relations, _ = passed
    if not set(json.loads(relations)) <= found:
        return everything
    changed = _changed(settings, judged)
    if changed is None:
        return everything
    found_news = _news(
        settings,
        {name: judged[name] for name in changed},
        {(cluster, topic, number): offset for cluster, topic, number, offset in marks},
    )
    if found_news is None:
        return everything
    topics, moved = found_news
    return Plan(code, tuple(topics), tuple(moved), build, is_known=True)


@contextmanager
def _notes(settings: Settings, target: str) -> Iterator[duckdb.DuckDBPyConnection]:
    """A connection that has what the builds have noted in schema `meta`.

    Raises:
        duckdb.Error, _NotReadable: there is nothing, or it cannot be read.
    """
    if target == "duckdb":
        with duckdb.connect(str(settings.duckdb_file), read_only=True) as connection:
            yield connection
        return
    if not settings.has_own_catalog or not settings.catalog_file.exists():
        raise _NotReadable
    from ingest.catalog import open_catalog

    with duckdb.connect() as connection:
        connection.execute("create schema meta")
        try:
            with interrupts.restored():
                catalog = open_catalog(settings)
                for name in _NOTES:
                    connection.register("noted", catalog.load_table(("meta", name)).scan().to_arrow())
                    connection.execute(f"create table meta.{name} as select * from noted")
        except Exception as error:  # PyIceberg's and Arrow's have no common class
            raise _NotReadable from error
        yield connection


def _relations(settings: Settings, target: str, notes: duckdb.DuckDBPyConnection) -> set[str]:
    """The tables and views that there are, as `schema.name`."""
    if target == "duckdb":
        query = (
            "select schema_name || '.' || table_name from duckdb_tables() "
            "union all select schema_name || '.' || view_name from duckdb_views()"
        )
        return {name for (name,) in notes.execute(query).fetchall()}
    with _own_catalog(settings) as catalog:
        query = "select table_namespace || '.' || table_name from iceberg_tables"
        return {name for (name,) in catalog.execute(query).fetchall()}


def _judged(
    settings: Settings, target: str, notes: duckdb.DuckDBPyConnection
) -> dict[str, tuple[str | None, str | None]]:
    """Tables of Bronze that builds read -> what tells each from others, and its metadata file; None: not noted.

    On DuckDB empty where the view of Bronze reads another file, as after a build that was refused.
    """
    if target == "duckdb":
        query = """
            select
                judged.table_name,
                judged.table_uuid,
                case
                    when judged.metadata_location is null then null
                    when contains(views.sql, replace(judged.metadata_location, '''', ''''''))
                        then judged.metadata_location
                    else ''
                end
            from meta.judged_snapshots as judged
            left join duckdb_views() as views
                on views.schema_name = 'bronze' and judged.table_name = views.view_name
        """
        return {name: (identity, location) for name, identity, location in notes.execute(query).fetchall()}
    known = dict(notes.execute("select table_name, identity from meta.bronze").fetchall())
    return {name: (known.get(name), None) for name in _bronze_files(settings)}


def _bronze_files(settings: Settings) -> dict[str, str]:
    """Bronze tables of the home's own catalog -> metadata file."""
    with _own_catalog(settings) as catalog:
        query = "select table_name, metadata_location from iceberg_tables where table_namespace = 'bronze'"
        return dict(catalog.execute(query).fetchall())


@contextmanager
def _own_catalog(settings: Settings) -> Iterator[sqlite3.Connection]:
    """The home's own catalog, to read: without PyIceberg, whose import takes longer than all else."""
    with closing(sqlite3.connect(f"file:{quote(str(settings.catalog_file))}?mode=ro", uri=True)) as catalog:
        yield catalog


@contextmanager
def noted(notes: Mapping[str, str]) -> Iterator[None]:
    """Have the dbt runs of the block read these as `dbt_metadata_envs`, which dbt reads once per process by itself."""
    from dbt_common.events.functions import reset_metadata_vars

    names = {f"DBT_ENV_CUSTOM_ENV_{name}": value for name, value in notes.items()}
    os.environ |= names
    reset_metadata_vars()
    try:
        yield
    finally:
        for name in names:
            os.environ.pop(name, None)
        reset_metadata_vars()


def checksum(settings: Settings, target: str = "duckdb") -> str:
    """SHA-256 of all that decides what a build does with Bronze; empty if not all of it is known.

    That is the project's files with the environment variables that they read, and the packages that run it. Variables
    and files by which dbt selects what it runs (`DBT_*`, selectors.yml) are for dbt to heed, and leave it unknown.
    """
    steered = {name for name in os.environ if name.startswith("DBT_") and not name.startswith("DBT_ENV_")} - _HARMLESS
    if steered or (PROJECT_ROOT / "selectors.yml").exists():
        return ""
    digest = hashlib.sha256("".join(f"{name} {version(name)}\n" for name in _PACKAGES[target]).encode())
    variables: set[str] = set()
    for path in _files(settings):
        content = path.read_bytes()
        variables |= {name.decode() for name in _ENV_VAR.findall(content)}
        digest.update(f"{path.relative_to(PROJECT_ROOT)} {len(content)}\n".encode() + content)
    for name in sorted(variables - {"PWD"}):  # where a command is started, and settings, change no row
        if not name.startswith("LEVAIN_"):
            digest.update(f"{name}={os.environ.get(name)}\n".encode())
    return digest.hexdigest()


def _files(settings: Settings) -> Iterator[Path]:
    """The project's files that what is built may depend on, in order."""
    for folder, folders, names in os.walk(PROJECT_ROOT):
        here = Path(folder)
        folders[:] = sorted(
            name
            for name in folders
            if not name.startswith(".")
            and name != "__pycache__"
            and str((here / name).relative_to(PROJECT_ROOT)) not in _LEFT_OUT
            and here / name != settings.root
        )
        yield from (
            here / name
            for name in sorted(names)
            if (name in _READ or Path(name).suffix in _READ) and not name.endswith(_MEASURES)
        )


def _changed(settings: Settings, judged: dict[str, tuple[str | None, str | None]]) -> list[str] | None:
    """Of the Bronze tables that were judged, those whose metadata file is another one now.

    Returns:
        None: a table is gone, or its file is not where this home's tables are.
    """
    if not settings.has_own_catalog:
        return list(judged)
    try:
        now = _bronze_files(settings)
    except sqlite3.Error:
        return None
    if not judged.keys() <= now.keys():
        return None
    if not settings.catalog_warehouse:
        files = [Path(now[name].removeprefix("file://")) for name in judged]
        if not all(file.is_relative_to(settings.lake) and file.exists() for file in files):
            return None
    return [name for name, (_, location) in judged.items() if now[name] != location]


def _news(
    settings: Settings,
    tables: dict[str, tuple[str | None, str | None]],
    marks: dict[tuple[str, str, int], int],
) -> tuple[list[str], list[str]] | None:
    """Of some Bronze tables, those with messages beyond what was judged, and others whose files have changed.

    Args:
        settings: which home.
        tables: their names -> UUID or location, by which they were noted (None: nothing had landed in it), and the
            metadata file that was judged (None: it was not noted).
        marks: cluster, topic and partition -> the first offset that was not judged.

    Returns:
        None: one is another table, or older than what was judged.
    """
    if not tables:
        return [], []
    from ingest.catalog import load_bronze, metadata_location, open_catalog, watermarks

    catalog = open_catalog(settings)
    news, moved = [], []
    for name, (identity, judged) in tables.items():
        table = load_bronze(catalog, name)
        landed = watermarks(table)
        mine = {place: offset for place, offset in marks.items() if place[1].replace("-", "_") == name}
        if identity not in (None, str(table.metadata.table_uuid), table.location()):
            return None
        if any(offset > landed.get(place, 0) for place, offset in mine.items()):
            return None
        if any(offset > mine.get(place, 0) for place, offset in landed.items()):
            news.append(name)
        elif judged not in (None, metadata_location(table)):
            moved.append(name)
    return news, moved
