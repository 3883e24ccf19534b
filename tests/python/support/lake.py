"""A lake for tests: messages landed straight into Bronze by the lander, dbt run in this process, tables read back."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import duckdb
import parsed
import pytest
from dbt.cli.main import dbtRunner
from dbt.contracts.graph.manifest import Manifest

from ingest.catalog import ensure_table, open_catalog, watermarks
from ingest.contracts import load_contracts
from ingest.lander import Fetch, land
from ingest.patches import dbt_events
from ingest.settings import PROJECT_ROOT, Settings
from levain.warehouse import changes
from levain.warehouse.bronze import UNSIGNED, load_extensions
from levain.warehouse.duckdb_plugin import release

dbt_events.apply(())  # as in `levain build`; here nothing waits for events either
parsed.share()

SCHEMAS = ("silver", "gold", "quality", "snapshots")
WITHOUT_TESTS = ("--exclude-resource-type", "test", "--exclude-resource-type", "unit_test")
CALENDAR = [path.stem for path in PROJECT_ROOT.glob("models/gold/**/dim_calendar.sql")]
WITHOUT_VIEWS = ("--exclude", "config.materialized:view", *CALENDAR)
"""All but what is the same in each build of a project."""
CLUSTER = "test"


@dataclass(frozen=True)
class Record:
    """A Kafka record, as the lander reads it; timestamp in ms."""

    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: list[tuple[str, bytes | None]] = field(default_factory=list)


def connect(path: Path, *, read_only: bool = True) -> duckdb.DuckDBPyConnection:
    """The built tables, with the Iceberg reader that views of Bronze need: never one from the developer's own HOME."""
    connection = duckdb.connect(
        str(path),
        read_only=read_only,
        config={"autoload_known_extensions": False, "autoinstall_known_extensions": False, **UNSIGNED},
    )
    load_extensions(connection)
    connection.execute("set timezone = 'UTC'")
    return connection


@contextmanager
def own_environment() -> Iterator[None]:
    """For fixtures of a module: what builds set in the environment goes with the block, and nothing comes in."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("LEVAIN_HOME", "DBT_PROFILES_DIR"):
            patch.delenv(name, raising=False)
        yield


def parse(*options: str) -> Manifest:
    """The project that dbt's options name, for runs that go on from there."""
    manifest = dbtRunner().invoke(["parse", *options]).result
    assert isinstance(manifest, Manifest)
    return manifest


class Lake:
    """A home of its own, with Bronze tables for every contract."""

    _manifest: Manifest | None = None  # parsed once for all lakes

    def __init__(self, home: Path) -> None:
        self.settings = Settings(home=home)
        self._made: set[tuple[str, ...]] = set()  # the selections that were built, with their views
        self.catalog = open_catalog(self.settings)
        self.tables = {topic: ensure_table(self.catalog, c) for topic, c in load_contracts().items()}

    def land(self, topic: str, partition: int, records: Sequence[Record]) -> None:
        """Land records of one partition in one commit."""
        if records:
            land(self.tables[topic], [Fetch.of((CLUSTER, topic, partition), records)])

    def send(
        self, topic: str, values: Iterable[bytes | None], partition: int = 0, timestamp: int = 0, **headers: str
    ) -> None:
        """Land values as the next messages of a partition; `received_at="..."` sets that header."""
        start = watermarks(self.tables[topic]).get((CLUSTER, topic, partition), 0)
        sent: list[tuple[str, bytes | None]] = [
            (name.replace("_", "-"), text.encode()) for name, text in headers.items()
        ]
        self.land(
            topic, partition, [Record(start + i, timestamp + i, b"key", value, sent) for i, value in enumerate(values)]
        )

    def build(self, *arguments: str, tests: bool = False) -> None:
        """Run `dbt build` on everything; fails the test when dbt does.

        Views, whose SQL is the same in each build of a project, are made by the first one, as in `levain build`.
        """
        os.environ |= {"LEVAIN_HOME": str(self.settings.root), "DBT_PROFILES_DIR": str(PROJECT_ROOT / "profiles")}
        places = ["--project-dir", str(PROJECT_ROOT), "--target-path", str(self.settings.root / "target")]
        places += ["--log-path", str(self.settings.root / "logs"), "--quiet", "--log-level-file", "none"]
        # Other tests run beside it: two threads only cost more.
        places += ["--target", "duckdb", "--no-write-json", "--threads", "1"]
        if Lake._manifest is None:
            Lake._manifest = parse(*places)
        selection = tuple(each for each in arguments if each != "--full-refresh")
        has_views = selection in self._made if selection else self._has_views()
        chosen = [*([] if tests else WITHOUT_TESTS), *(WITHOUT_VIEWS if has_views and not tests else [])]
        outcome = dbtRunner(manifest=Lake._manifest).invoke(["build", *chosen, *arguments, *places])
        release()
        failed = [
            f"{r.node.name}: {r.message}"
            for r in getattr(outcome.result, "results", [])
            if r.status in ("error", "fail")
        ]
        assert outcome.success, failed or outcome.exception
        self._made.add(selection)

    def _has_views(self) -> bool:
        """A build has made all views of the project."""
        assert Lake._manifest is not None
        models = [node for node in Lake._manifest.nodes.values() if node.resource_type == "model"]
        wanted = {f"{node.schema}.{node.name}" for node in models if node.config.materialized == "view"}
        try:
            found = self.read("select schema_name || '.' || view_name from duckdb_views() where not internal")
        except duckdb.Error:  # nothing was built, or the test has damaged it
            return False
        return wanted <= {name for (name,) in found}

    def build_what_is_new(self, *, full: bool = False) -> int | None:
        """Run what `levain build` would of `dbt build`; full: everything.

        Returns:
            how many topics it built; None: everything.
        """
        plan = changes.plan(self.settings, whole=full)
        if not plan.is_empty:
            with changes.noted(plan.notes):
                self.build(*plan.arguments)
        return None if plan.topics is None else len(plan.topics)

    def read(self, sql: str) -> list[tuple[Any, ...]]:
        """Rows of a query on the built tables."""
        with connect(self.settings.duckdb_file) as connection:
            return connection.execute(sql).fetchall()

    def write(self, sql: str) -> None:
        """Change a table by hand, as an operator would."""
        with connect(self.settings.duckdb_file, read_only=False) as connection:
            connection.execute(sql)

    def contents(self, but: str = "") -> dict[str, list[str]]:
        """Every table and view of Silver, Gold, quality and the snapshots, without `_build`: rows as sorted text.

        but: a pattern of further columns to leave out.
        """
        left_out = f"^({'|'.join(['_build', but])})$"
        with connect(self.settings.duckdb_file) as connection:
            names = connection.execute(
                "select table_schema, table_name from information_schema.tables where table_schema in ? order by all",
                [list(SCHEMAS)],
            ).fetchall()
            return {
                f"{schema}.{name}": sorted(
                    str(row)
                    for row in connection.execute(
                        f"select columns(c -> not regexp_matches(c, '{left_out}')) from {schema}.{name}"
                    ).fetchall()
                )
                for schema, name in names
            }


class Builds:
    """Builds of a lake, each of whose tables can be read after later ones: `builds(number, query)`, from 1."""

    def __init__(self, lake: Lake) -> None:
        self.lake = lake
        self.kept: list[Path] = []

    def build(self, *arguments: str) -> None:
        """Build, and keep a copy of the tables."""
        self.lake.build(*arguments)
        self.kept.append(self.lake.settings.root / f"build {len(self.kept) + 1}" / "levain.duckdb")
        self.kept[-1].parent.mkdir()
        shutil.copy(self.lake.settings.duckdb_file, self.kept[-1])

    def __call__(self, number: int, sql: str) -> list[tuple[Any, ...]]:
        """Rows of a query on what a build left."""
        with connect(self.kept[number - 1]) as connection:
            return connection.execute(sql).fetchall()
