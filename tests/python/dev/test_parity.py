"""The comparison of the engines: it passes on equal tables, and on nothing else."""

from __future__ import annotations

import os
from pathlib import Path

import duckdb
import pytest

import levain.dev.parity
from ingest.errors import LevainError
from ingest.settings import PROJECT_ROOT, Settings
from levain.dev.parity import Comparison, compare, run, spark_session

# pyspark leaves its sockets to the garbage collector.
pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")

SPARK_JARS = os.environ.get("LEVAIN_SPARK_JARS", str(PROJECT_ROOT / ".cache" / "spark-jars"))

ROWS = """
    select cast(id as bigint) as id, name, cast(price as decimal(12, 2)) as price, cast(day as date) as day,
        cast(moment as timestamp) as moment, cast(ratio as double) as ratio, flag, cast(build as bigint) as _build
    from (values
        (1, 'a', 1.50, '2025-01-01', '2025-01-01 10:00:00.123456', 0.1, true, 1),
        (2, 'b', 2.50, '2025-01-02', '2025-01-02 10:00:00', 1e100, false, 1),
        (3, cast(null as string), null, null, null, null, null, 2),
        (3, null, null, null, null, null, null, 2)
    ) as t (id, name, price, day, moment, ratio, flag, build)
"""
"""Two rows, and one twice that is all nulls: counts matter, and nulls are equal."""

ON_SPARK = {
    "silver.equal": ROWS,
    "silver.another_build": ROWS.replace("true, 1)", "true, 7)"),
    "silver.view": "view",
    "gold.value": ROWS.replace("2.50", "2.51"),
    "gold.micros": ROWS.replace(".123456", ".123457"),
    "gold.null_for_empty": ROWS.replace("'b'", "''"),
    "gold.twice": ROWS.replace(
        "(3, null, null, null, null, null, null, 2)",
        "(2, 'b', 2.5, '2025-01-02', '2025-01-02 10:00:00', 1e100, false, 1)",
    ),
    "gold.row_less": ROWS + " where id < 3",
    "gold.empty": ROWS + " where id > 3",
    "gold.column_less": "select id, name from gold.value",
    "gold.type": "select id, name, price, cast(day as string) as day, moment, ratio, flag, _build from silver.equal",
    "gold.narrow": "select cast(id as int) as id, name, cast(price as decimal(8, 2)) as price,"
    " day, moment, ratio, flag, _build from silver.equal",
    "quality.not_on_duckdb": ROWS,
}
ON_DUCKDB = {name: ROWS for name in ON_SPARK if name not in ("silver.view", "quality.not_on_duckdb")} | {
    "silver.view": "view",
    "gold.empty": ROWS + " where id > 3",
    "quality.not_on_spark": ROWS,
}
EQUAL = {"silver.equal", "silver.another_build", "silver.view", "gold.empty", "gold.narrow"}


@pytest.fixture(scope="module")
def comparisons(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Comparison]:
    """One home in which both engines have built by hand, compared once."""
    settings = Settings(home=tmp_path_factory.mktemp("parity"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LEVAIN_SPARK_JARS", SPARK_JARS)
        fill_duckdb(settings.duckdb_file)
        fill_spark(settings)
        names = sorted({*ON_DUCKDB, *ON_SPARK})
        patch.setattr(levain.dev.parity, "built_relations", lambda _: names)
        return {each.relation: each for each in compare(settings, build=False)}


def fill_duckdb(path: Path) -> None:
    with duckdb.connect(str(path)) as connection:
        for schema in ("silver", "gold", "quality"):
            connection.execute(f"create schema {schema}")
        for name, query in ON_DUCKDB.items():
            if query != "view":
                query = query.replace("cast(moment as timestamp)", "cast(moment as timestamptz)")
                connection.execute(f"create table {name} as {query}")
        connection.execute("create view silver.view as select * from silver.equal")


def fill_spark(settings: Settings) -> None:
    session = spark_session(settings)
    for schema in ("silver", "gold", "quality"):
        session.sql(f"create namespace {schema}")
    for name, query in ON_SPARK.items():
        if query != "view":
            session.sql(f"create table {name} using iceberg as {query}")
    session.sql("create view silver.view as select * from silver.equal")


def test_equal_is_told_from_different(comparisons: dict[str, Comparison]) -> None:
    assert {name for name, comparison in comparisons.items() if comparison.equal} == EQUAL
    assert comparisons["silver.equal"].rows == (4, 4)
    assert comparisons["gold.empty"].rows == (0, 0)


@pytest.mark.parametrize(
    ("name", "only", "remark"),
    [
        ("gold.value", (1, 1), "price is 2.50 on DuckDB, 2.51 on Spark; where id=2, name=b"),
        (
            "gold.micros",
            (1, 1),
            "moment is 2025-01-01 10:00:00.123456+00:00 on DuckDB, 2025-01-01 10:00:00.123457+00:00",
        ),
        ("gold.null_for_empty", (1, 1), "name is b on DuckDB,  on Spark"),
        ("gold.twice", (1, 1), "only on DuckDB: id=3"),
        ("gold.row_less", (2, 0), "only on DuckDB: id=3"),
        ("gold.column_less", (0, 0), "column price is only on DuckDB"),
        ("gold.type", (0, 0), "column day is DATE on DuckDB, VARCHAR on Spark"),
        ("quality.not_on_duckdb", (0, 0), "cannot be read on DuckDB: Catalog Error"),
        ("quality.not_on_spark", (0, 0), "cannot be read on Spark: [TABLE_OR_VIEW_NOT_FOUND]"),
    ],
)
def test_a_difference_is_shown(
    comparisons: dict[str, Comparison], name: str, only: tuple[int, int], remark: str
) -> None:
    comparison = comparisons[name]
    assert comparison.only == only
    assert any(remark in found for found in comparison.remarks), comparison.remarks


def test_the_outcome_is_printed_and_returned(
    comparisons: dict[str, Comparison],
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(levain.dev.parity, "compare", lambda *_: list(comparisons.values()))
    assert run(settings) is False
    printed = capsys.readouterr()
    assert f"{len(EQUAL)} of {len(comparisons)} relations are equal" in printed.out
    assert "gold.value: price is 2.50 on DuckDB, 2.51 on Spark" in printed.err
    monkeypatch.setattr(levain.dev.parity, "compare", lambda *_: [comparisons["silver.equal"]])
    assert run(settings) is True


def test_nothing_to_compare_is_no_success(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LEVAIN_SPARK_JARS", SPARK_JARS)
    monkeypatch.setattr(levain.dev.parity, "built_relations", lambda _: [])
    with pytest.raises(LevainError, match="nothing to compare"):
        compare(settings, build=False)


def test_events_between_the_builds_are_refused(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LEVAIN_SPARK_JARS", SPARK_JARS)
    locations = iter([[("sales_events", "1.metadata.json")], [("sales_events", "2.metadata.json")]])
    monkeypatch.setattr(levain.dev.parity, "bronze_tables", lambda _: next(locations))
    monkeypatch.setattr(levain.dev.parity, "build_warehouse", lambda *_: None)
    with pytest.raises(LevainError, match="landed while the engines built"):
        compare(settings)
