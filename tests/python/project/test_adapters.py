"""The macros under dbt's own: merge, contracts, relations and snapshots, run by dbt on both engines."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
from dbt.cli.main import dbtRunner, dbtRunnerResult
from dbt.contracts.graph.manifest import Manifest
from lake import connect, parse

from ingest.settings import PROJECT_ROOT, Settings
from levain.dev.parity import spark_session
from levain.warehouse.duckdb_plugin import release

# pyspark leaves its sockets to the garbage collector.
pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")

SPARK_JARS = os.environ.get("LEVAIN_SPARK_JARS", str(PROJECT_ROOT / ".cache" / "spark-jars"))
ENGINES = ("duckdb", "spark")

MODELS = {
    "items.sql": """
        {{ config(
            materialized='incremental', incremental_strategy='merge_changed', unique_key=['shop', 'item'],
        ) }}
        select
            {{ timestamp_literal('2025-01-01 00:00:00') }} as seen_at, date '2025-01-01' as day,
            shop, item, cast(price as decimal(8, 2)) as price, note, cast(build as bigint) as _build
        from (values {{ var('items') }}) as t (shop, item, price, note, build)
    """,
    "items.yml": """
        models:
          - name: items
            columns: [{name: _build}]
            data_tests:
              - row_rules:
                  name: rules_of_items
                  arguments:
                    keys: [[shop, item], [note]]
                    not_null: [note, _build]
                    conditions: ["price between 1 and 5", "shop <> 'o''clock'"]
    """,
    "passed.sql": """
        {{ config(materialized='table', schema='meta', alias='tests') }}
        select '{{ var('passed') }}' as test, '' as checksum, cast(1 as bigint) as build
    """,
    "shapes.sql": """
        {{ config(
            materialized=var('shape'), unique_key='id', incremental_strategy='merge_changed', on_schema_change='fail',
        ) }}
        select 1 as id, cast({{ var('number') }} as bigint) as _build
    """,
    "types.sql": """
        {{ config(
            materialized=var('shape'), unique_key='s', incremental_strategy='merge_changed', on_schema_change='fail',
        ) }}
        select
            cast({{ var('number') }} as bigint) as _build,
            cast('x' as {{ dbt.type_string() }}) as s, cast(1 as bigint) as b, cast(1 as int) as i,
            cast(1.5 as double) as f, true as t, date '2025-01-01' as d, cast(1.25 as decimal(12, 2)) as n,
            {{ timestamp_literal('2025-01-01 00:00:00') }} as m
    """,
    "types.yml": """
        models:
          - name: types
            config: {contract: {enforced: true}}
            columns:
              - {name: _build, data_type: bigint}
              - {name: s, data_type: string}
              - {name: b, data_type: bigint}
              - {name: i, data_type: int}
              - {name: f, data_type: double}
              - {name: t, data_type: boolean}
              - {name: d, data_type: date}
              - {name: n, data_type: "decimal(12,2)"}
              - {name: m, data_type: timestamptz}
    """,
}

SNAPSHOT = """
    {% snapshot clients %}
    {{ config(unique_key='id', strategy='timestamp', updated_at='effective_from', schema='snapshots') }}
    select id, name, {{ timestamp_literal('XX') | replace("'XX+00:00'", 'moment') }} as effective_from
    from (values {{ var('clients') }}) as t (id, name, moment)
    {% endsnapshot %}
"""


class Project:
    """A scratch dbt project over this project's macros and profile."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.test = ""
        self.manifests: dict[tuple[str, str, str], Manifest] = {}  # what parsing depends on -> the project, parsed
        self.home = folder / "home"
        self.home.mkdir()
        for name in ("models", "snapshots"):
            (folder / name).mkdir()
        (folder / "dbt_project.yml").write_text(f"""
name: levain
config-version: 2
profile: levain
macro-paths: ['{PROJECT_ROOT / "macros"}']
models:
  +schema: silver
  +file_format: "{{{{ 'iceberg' if target.type == 'spark' else none }}}}"
snapshots:
  +file_format: "{{{{ 'iceberg' if target.type == 'spark' else none }}}}"
""")
        for name, text in MODELS.items():
            (folder / "models" / name).write_text(text)
        (folder / "snapshots" / "clients.sql").write_text(SNAPSHOT)

    def dbt(self, engine: str, *arguments: str, **values: str) -> dbtRunnerResult:
        values = {
            "items": "('a', 'b', 1, 'c', 1)",
            "shape": "view",
            "number": "1",
            "clients": "(1, 'a', '2025-01-01')",
            "passed": "",
            "audit": "",
        } | values
        options = {
            "--project-dir": self.folder,
            "--profiles-dir": PROJECT_ROOT / "profiles",
            "--target": engine,
            "--target-path": self.folder / f"target-{engine}",
            "--log-path": self.folder / "logs",
            "--vars": json.dumps(values),
        }
        with patch.dict(os.environ, LEVAIN_HOME=str(self.home), LEVAIN_SPARK_JARS=SPARK_JARS):
            flags = [str(part) for option in options.items() for part in option]
            state = (engine, values["shape"], (self.folder / "models" / "types.yml").read_text())
            if state not in self.manifests:
                self.manifests[state] = parse("--quiet", *flags)
            return dbtRunner(manifest=self.manifests[state]).invoke(["--quiet", *arguments, *flags])

    def rows(self, engine: str, table: str) -> list[tuple[Any, ...]]:
        query = f"select * from {table}"
        if engine == "duckdb":
            release()
            with connect(self.home / "levain.duckdb") as connection:
                rows = connection.sql(query).to_arrow_table().to_pylist()
        else:
            rows = spark_session(Settings(home=self.home)).sql(query).toArrow().to_pylist()
        return sorted((tuple(row.values()) for row in rows), key=lambda row: [str(value) for value in row[:4]])


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    project = Project(tmp_path_factory.mktemp("adapters"))
    yield project
    spark_session(Settings(home=project.home)).stop()


@pytest.mark.parametrize("engine", ENGINES)
def test_merge_touches_what_changed_and_nothing_else(project: Project, engine: str) -> None:
    written_whole = [
        ("a", "kept", 1.5, "x", 1),
        ("a", "changed", 2, "x", 1),
        ("a", "gone", 3, "x", 1),
        ("b", "kept", 4, None, 1),
        ("b", "nulled", 5, "x", 1),
        ("b", "old", 6, "x", 1),
    ]
    changes = [
        ("a", "kept", 1.5, "x", 2),
        ("a", "changed", 2.01, "x", 2),
        ("a", "gone", 3, "x", None),
        ("b", "kept", 4, None, 2),
        ("b", "nulled", 5, None, 2),
        ("c", "new", 7, "x", 2),
        ("c", "gone before it came", 7, "x", None),
    ]
    nothing_new = [("a", "changed", 2.01, "x", 3), ("c", "new", 7, "x", 3)]
    for rows in (written_whole, changes, nothing_new):
        items = ", ".join(f"({', '.join('null' if value is None else repr(value) for value in row)})" for row in rows)
        result = project.dbt(engine, "run", "--select", "items", items=items)
        assert result.success, result.result and [one.message for one in result.result]
    found = {
        (shop, item): (str(price), note, build)
        for _, _, shop, item, price, note, build in project.rows(engine, "silver.items")
    }
    assert found == {
        ("a", "kept"): ("1.50", "x", 1),
        ("a", "changed"): ("2.01", "x", 2),
        ("b", "kept"): ("4.00", None, 1),
        ("b", "nulled"): ("5.00", None, 2),
        ("b", "old"): ("6.00", "x", 1),
        ("c", "new"): ("7.00", "x", 2),
    }


@pytest.mark.parametrize("engine", ENGINES)
def test_the_rules_of_rows_are_counted_and_named(project: Project, engine: str) -> None:
    """Each kind of rule, over all rows and over those that changed since build 1, on which the test had passed."""
    old = ["('a', 'b', 9, 'old', 1)", "('o''clock', 'b', 1, 'other', 1)", "('a', 'c', 1, null, 1)"]
    new = ["('a', 'b', 2, 'new', 2)", "('a', 'd', null, 'new', 2)", "('a', 'e', 0, 'x', 2)"]

    def broken(*rows: str) -> dict[str, int]:
        assert project.dbt(engine, "run", "--select", "items", "--full-refresh", items=", ".join(rows)).success
        (test,) = project.dbt(engine, "test", "--select", "items").result
        project.test = test.node.unique_id
        found: dict[str, int] = dict(project.rows(engine, f"({test.node.compiled_code}) as broken"))  # type: ignore[arg-type]
        assert (test.failures, str(test.status)) == (len(found), "fail" if found else "pass")
        return found

    assert broken(*old, *new) == {
        "shop, item are unique together": 1,
        "note is unique": 1,
        "note is not null": 1,
        "price between 1 and 5": 2,
        "shop <> 'o''clock'": 1,
    }
    assert project.dbt(engine, "run", "--select", "passed", passed=project.test).success
    assert broken(*old, *new) == {
        "shop, item are unique together": 1,
        "note is unique": 1,
        "price between 1 and 5": 1,
    }
    assert broken("('a', 'b', 1, 'x', 2)", "('a', 'c', null, 'y', 1)") == {}
    assert broken("('a', 'b', 1, 'x', 1)", "('a', 'c', 1, 'y', null)") == {"_build is not null": 1}


@pytest.mark.parametrize("engine", ENGINES)
def test_a_model_can_change_its_materialization(project: Project, engine: str) -> None:
    for shape in ("view", "table", "view", "incremental", "incremental", "view"):
        result = project.dbt(engine, "run", "--select", "shapes", shape=shape)
        assert result.success, (shape, result.result and [one.message for one in result.result])
        assert project.rows(engine, "silver.shapes") == [(1, 1)]


@pytest.mark.parametrize("engine", ENGINES)
def test_one_contract_serves_both_engines(project: Project, engine: str) -> None:
    yaml = project.folder / "models" / "types.yml"
    result = project.dbt(engine, "run", "--select", "types", shape="incremental")
    assert result.success, result.result and [one.message for one in result.result]
    assert len(project.rows(engine, "silver.types")) == 1
    text = yaml.read_text()
    try:
        yaml.write_text(text.replace("data_type: timestamptz", "data_type: date"))
        refresh = ("--full-refresh",)
        for how in [(), refresh] if engine == "duckdb" else [refresh]:  # dbt-spark looks only where it makes a table
            broken = project.dbt(engine, "run", "--select", "types", *how, shape="incremental", number="2")
            assert not broken.success and "contract" in str([one.message for one in broken.result])
            if engine == "duckdb":  # dbt-spark drops the table before it looks
                assert [row[0] for row in project.rows(engine, "silver.types")] == [1]
    finally:
        yaml.write_text(text)


def test_an_incremental_table_with_other_columns_is_refused(project: Project) -> None:
    """As dbt's own materialization does, which has its place on DuckDB."""
    run = ("run", "--select", "shapes")
    assert project.dbt("duckdb", *run, "--full-refresh", shape="incremental").success
    for number in ("2 as bigint) as more, cast(2", "2.5 as decimal(3, 1)) as _build -- "):
        result = project.dbt("duckdb", *run, shape="incremental", number=number)
        assert not result.success and "out of sync" in str([one.message for one in result.result]), number
        assert project.rows("duckdb", "silver.shapes") == [(1, 1)]


def test_snapshots_are_equal(project: Project) -> None:
    for engine in ENGINES:
        for clients in (
            "(1, 'Ann', '2025-01-01 00:00:00'), (2, 'Bob', '2025-01-01 10:00:00.5')",
            "(1, 'Ann', '2025-01-01 00:00:00'), (2, 'Bobby', '2025-02-01 00:00:00')",
        ):
            result = project.dbt(engine, "snapshot", clients=clients)
            assert result.success, result.result and [one.message for one in result.result]
    duck, spark = (project.rows(engine, "snapshots.clients") for engine in ENGINES)
    assert len(duck) == 3
    assert duck == spark
