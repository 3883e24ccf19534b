"""What a build has to do, decided before dbt is imported: everything, a part, or nothing.

A table can only come out otherwise than it is if the project has changed, if a message has landed that its topic's
verdicts have not judged, or if an earlier build did not finish or pass. Each of these is known without dbt: by a
checksum of the project's files, by the Iceberg metadata files that the last build read, and by that build's own notes
(`meta.code` in macros/incremental/build.sql). What is left out is what would come out as it is: tests compare such
builds with builds of everything.
"""

from __future__ import annotations

import hashlib
import json
import os
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from urllib.parse import quote

import duckdb

from ingest.settings import PROJECT_ROOT, Settings

_PARTS = ("dbt_project.yml", "profiles", "macros", "models", "snapshots", "seeds", "tests", "ingest", "levain")
_PACKAGES = ("dbt-core", "dbt-duckdb", "duckdb", "pyiceberg")
_LEFT_OUT = ("tests/python", "__pycache__")


@dataclass(frozen=True)
class Plan:
    """What a build has to do.

    Attributes:
        code: checksum of the project.
        topics: tables of Bronze with messages that no build has judged; None: everything has to be built.
        build: number of the build that the plan goes on from; None: there is none.
    """

    code: str
    topics: tuple[str, ...] | None = None
    build: int | None = None

    @property
    def is_empty(self) -> bool:
        """Nothing has to be built."""
        return self.topics == ()

    @property
    def arguments(self) -> list[str]:
        """What `dbt build` has to select: the topics with news and all that is built from them, with every test of it.

        Unit tests are tests of the code, which has not changed.
        """
        if self.topics is None:
            return []
        selection = [f"source:bronze.{table}+" for table in self.topics]
        return ["--select", *selection, "--indirect-selection", "eager", "--exclude-resource-type", "unit_test"]

    @property
    def notes(self) -> dict[str, str]:
        """What the macros are told, as `dbt_metadata_envs`: see note_outcome and note_code."""
        return {"LEVAIN_CODE": self.code} | ({} if self.topics is None else {"LEVAIN_REST_IS_CURRENT": "true"})


def plan(settings: Settings) -> Plan:
    """What a build of the tables on DuckDB has to do; whatever is not as a good build left it has everything built."""
    code = checksum()
    everything = Plan(code)
    try:
        with duckdb.connect(str(settings.duckdb_file), read_only=True) as connection:
            last = connection.execute(
                "select build, relations from meta.code where code = ? "
                "and build = (select max(build) from meta.builds) and not exists (select 1 from meta.failures)",
                [code],
            ).fetchone()
            if last is None:
                return everything
            found = connection.execute(
                "select schema_name || '.' || table_name from duckdb_tables() "
                "union all select schema_name || '.' || view_name from duckdb_views()"
            ).fetchall()
            judged = dict(
                connection.execute("select table_name, metadata_location from meta.judged_snapshots").fetchall()
            )
            marks = connection.execute(
                "select kafka_cluster, topic, partition, max(next_offset) from meta.watermarks group by all"
            ).fetchall()
    except duckdb.Error:  # no file, another process has it, an older one's tables, damage: the build itself says which
        return everything
    if not set(json.loads(last[1])) <= {name for (name,) in found}:
        return everything
    changed = _changed(settings, judged)
    if changed is None:
        return everything
    news = _news(settings, changed, {(cluster, topic, number): offset for cluster, topic, number, offset in marks})
    return everything if news is None else Plan(code, tuple(news), last[0])


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


def checksum() -> str:
    """SHA-256 of all that decides what a build does with Bronze: the project's files, and the packages that run it."""
    digest = hashlib.sha256("".join(f"{name} {version(name)}\n" for name in _PACKAGES).encode())
    for path in _files():
        content = path.read_bytes()
        digest.update(f"{path.relative_to(PROJECT_ROOT)} {len(content)}\n".encode() + content)
    return digest.hexdigest()


def _files() -> Iterator[Path]:
    for part in _PARTS:
        root = PROJECT_ROOT / part
        for path in sorted(root.rglob("*")) if root.is_dir() else [root]:
            name = str(path.relative_to(PROJECT_ROOT))
            if path.is_file() and not any(part in name for part in _LEFT_OUT):
                yield path


def _changed(settings: Settings, judged: dict[str, str | None]) -> list[str] | None:
    """Of the Bronze tables that were judged, those whose metadata file is another one now; None: one is gone.

    The home's own catalog is asked without PyIceberg, whose import takes longer than all else.
    """
    if not settings.has_own_catalog:
        return list(judged)
    try:
        with closing(sqlite3.connect(f"file:{quote(str(settings.catalog_file))}?mode=ro", uri=True)) as catalog:
            rows = catalog.execute(
                "select table_name, metadata_location from iceberg_tables where table_namespace = 'bronze'"
            )
            now: dict[str, str] = dict(rows.fetchall())
    except sqlite3.Error:
        return None
    if any(name not in now or not Path(now[name].removeprefix("file://")).exists() for name in judged):
        return None
    return [name for name, location in judged.items() if now[name] != location]


def _news(settings: Settings, tables: list[str], marks: dict[tuple[str, str, int], int]) -> list[str] | None:
    """Of some Bronze tables, those with messages beyond what was judged; None: one is not what was judged."""
    if not tables:
        return []
    from ingest.catalog import load_bronze, open_catalog, watermarks

    catalog = open_catalog(settings)
    news = []
    for name in tables:
        landed = watermarks(load_bronze(catalog, name))
        if any(offset > landed.get(place, 0) for place, offset in marks.items() if place[1].replace("-", "_") == name):
            return None
        if any(offset > marks.get(place, 0) for place, offset in landed.items()):
            news.append(name)
    return news
