"""Two engines, one answer: compares what DuckDB and Spark built, row for row and value for value."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb
import jinja2
import yaml

from ingest.errors import LevainError, first_line
from ingest.settings import PROJECT_ROOT, Settings
from levain import interrupts
from levain.terminal import say, show_table, warn
from levain.warehouse.bronze import bronze_tables
from levain.warehouse.dbt import build as build_warehouse
from levain.warehouse.dbt import parse, reader

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

SCHEMAS = ("silver", "gold", "quality", "snapshots")
"""What is compared: everything that is meant to be read."""

NOT_COMPARED = frozenset({"_build"})
"""Each engine numbers its own builds; every other column is compared."""

EXAMPLES = 3
"""Rows shown of each relation that differs."""

_INTEGERS = frozenset({"TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT"})


@dataclass
class Comparison:
    """One relation on both engines.

    Attributes:
        relation: schema and name.
        rows: how many DuckDB and Spark have; None: the relation is not there.
        only: how many rows each of them has that the other has not.
        remarks: what else to say: columns that differ, example rows, why a relation cannot be read.
    """

    relation: str
    rows: tuple[int | None, int | None] = (None, None)
    only: tuple[int, int] = (0, 0)
    remarks: list[str] = field(default_factory=list)

    @property
    def equal(self) -> bool:
        """Both engines have it, with the same columns and the same rows."""
        return not self.remarks and None not in self.rows and self.only == (0, 0)


def run(settings: Settings, build: bool = True) -> bool:
    """Compare the engines and print the outcome.

    Args:
        settings: which home.
        build: build on both engines first; else compare what they built before.

    Returns:
        whether every relation is equal.

    Raises:
        LevainError: a build failed, there is nothing to compare, events landed between the two builds, or the Spark
            part is not there.
    """
    comparisons = compare(settings, build)
    show_table(
        "",
        ("relation", "rows duckdb", "rows spark", "only duckdb", "only spark", ""),
        [(each.relation, *each.rows, *each.only, "equal" if each.equal else "DIFFERENT") for each in comparisons],
    )
    for each in comparisons:
        for remark in each.remarks:
            warn(f"{each.relation}: {remark}", style="")
    different = [each.relation for each in comparisons if not each.equal]
    say("parity", f"{len(comparisons) - len(different)} of {len(comparisons)} relations are equal on both engines")
    return not different


def compare(settings: Settings, build: bool = True, among: Collection[str] = ()) -> list[Comparison]:
    """What `run` prints, one entry per relation of `SCHEMAS`.

    Args:
        settings: which home.
        build: as for `run`.
        among: the only relations to compare, as `schema.name`; empty: all.

    Raises:
        LevainError: as `run`.
    """
    from levain.warehouse.spark import prepare

    prepare()
    if build:
        pinned = bronze_tables(settings)
        build_warehouse(settings, "duckdb")
        build_warehouse(settings, "spark")
        if bronze_tables(settings) != pinned:
            raise LevainError(
                "Events landed while the engines built, so they did not build from the same ones.",
                "Stop the worker (`levain down`) and compare again.",
            )
    relations = sorted(among) or built_relations(settings)
    if not relations:
        raise LevainError(
            f"There is nothing to compare: the project has no model in {', '.join(SCHEMAS)}.",
            "Check dbt_project.yml and the models' schemas.",
        )
    session = spark_session(settings)
    try:
        # Spark's own default is a type of Parquet that knows no zone.
        session.conf.set("spark.sql.parquet.outputTimestampType", "TIMESTAMP_MICROS")
        with reader(settings) as connection, tempfile.TemporaryDirectory() as folder:
            return [_compare_one(connection, session, relation, Path(folder) / relation) for relation in relations]
    finally:
        session.stop()


def built_relations(settings: Settings) -> list[str]:
    """Models and snapshots of `SCHEMAS`, as `schema.name`."""
    return sorted(
        f"{node.schema}.{getattr(node, 'alias', node.name)}"
        for node in parse(settings).nodes.values()
        if str(node.resource_type) in ("model", "snapshot")
        and node.schema in SCHEMAS
        and node.config.materialized != "ephemeral"
    )


def spark_session(settings: Settings) -> SparkSession:
    """The Spark session that profiles/profiles.yml describes for this home.

    One that runs already, such as dbt's, is taken if it has the same lake, and stopped otherwise.
    """
    from pyspark.sql import SparkSession

    parameters = spark_parameters(settings)
    lake = "spark.sql.catalog.lake.warehouse"
    running = SparkSession.getActiveSession()
    if running is not None and running.conf.get(lake, None) != parameters[lake]:
        running.stop()
    builder = SparkSession.builder
    for name, value in parameters.items():
        builder = builder.config(name, value)
    session: SparkSession = builder.getOrCreate()
    return session


def spark_parameters(settings: Settings) -> dict[str, str]:
    """The profile's settings of Spark, rendered for a home."""
    profile = yaml.safe_load((PROJECT_ROOT / "profiles" / "profiles.yml").read_text(encoding="utf-8"))
    values = {**os.environ, "LEVAIN_HOME": str(settings.root)}
    values.setdefault("LEVAIN_SPARK_JARS", str(PROJECT_ROOT / ".cache" / "spark-jars"))
    return {
        name: jinja2.Template(str(value)).render(env_var=lambda key, default="": values.get(key, default))
        for name, value in profile["levain"]["outputs"]["spark"]["server_side_parameters"].items()
    }


def _compare_one(
    connection: duckdb.DuckDBPyConnection, session: SparkSession, relation: str, parquet: Path
) -> Comparison:
    comparison = Comparison(relation)
    duck = spark = None
    try:
        duck = connection.sql(f"select * from {relation}")
    except duckdb.Error as error:
        comparison.remarks.append(f"cannot be read on DuckDB: {first_line(error)}")
    try:
        with interrupts.restored():
            session.table(relation).write.parquet(str(parquet))
            spark = connection.read_parquet([str(file) for file in parquet.glob("*.parquet")])
    except Exception as error:  # whatever Spark says goes into the report
        comparison.remarks.append(f"cannot be read on Spark: {first_line(error)}")
    comparison.rows = (_count(duck), _count(spark))
    if duck is None or spark is None:
        return comparison
    columns = _comparable_columns(duck, spark, comparison)
    if not columns:
        comparison.remarks.append("has no column that could be compared")
        return comparison
    left, right = (f"select {', '.join(columns)} from ({each.sql_query()})" for each in (duck, spark))
    for name, query in (("only_duckdb", f"{left} except all {right}"), ("only_spark", f"{right} except all {left}")):
        connection.execute(f"create or replace temp table {name} as {query}")
    only_duckdb, only_spark = connection.table("only_duckdb"), connection.table("only_spark")
    comparison.only = len(only_duckdb), len(only_spark)
    comparison.remarks += _examples(only_duckdb, only_spark)
    return comparison


def _comparable_columns(
    duck: duckdb.DuckDBPyRelation, spark: duckdb.DuckDBPyRelation, comparison: Comparison
) -> list[str]:
    """Expressions of the columns that both have, made one type; says which are on one side only or of another kind."""
    types = [dict(zip(each.columns, map(str, each.types), strict=True)) for each in (duck, spark)]
    columns = []
    for name in dict.fromkeys([*types[0], *types[1]]):
        if name in NOT_COMPARED:
            continue
        kinds = types[0].get(name), types[1].get(name)
        if None in kinds:
            comparison.remarks.append(f"column {name} is only on {'Spark' if kinds[0] is None else 'DuckDB'}")
        elif kinds[0] == kinds[1]:
            columns.append(f'"{name}"')
        elif all(kind in _INTEGERS for kind in kinds):
            columns.append(f'cast("{name}" as hugeint) as "{name}"')
        elif all(str(kind).startswith("DECIMAL") for kind in kinds):
            columns.append(f'cast("{name}" as decimal(38, 10)) as "{name}"')
        else:
            comparison.remarks.append(f"column {name} is {kinds[0]} on DuckDB, {kinds[1]} on Spark")
    return columns


def _examples(only_duck: duckdb.DuckDBPyRelation, only_spark: duckdb.DuckDBPyRelation) -> list[str]:
    """Some of the differing rows, each beside the row of the other engine that is most like it."""
    names = only_duck.columns
    duck, spark = only_duck.limit(200).fetchall(), only_spark.limit(200).fetchall()
    examples = []
    for row in duck[:EXAMPLES]:
        other = max(spark, key=lambda candidate: _agreement(row, candidate), default=None)
        if other is None or 2 * _agreement(row, other) < len(names):
            examples.append(f"only on DuckDB: {_described(names, row)}")
            continue
        spark.remove(other)
        values = list(zip(names, row, other, strict=True))
        differing = "; ".join(f"{name} is {a} on DuckDB, {b} on Spark" for name, a, b in values if a != b)
        same = [(name, a) for name, a, b in values if a == b]
        examples.append(f"{differing}; where {_described([name for name, _ in same], [a for _, a in same])}")
    if len(duck) < EXAMPLES:
        examples += [f"only on Spark: {_described(names, row)}" for row in spark[: EXAMPLES - len(duck)]]
    return examples


def _agreement(row: Sequence[Any], other: Sequence[Any]) -> int:
    return sum(a == b for a, b in zip(row, other, strict=True))


def _described(names: Sequence[str], row: Sequence[Any]) -> str:
    """The first values of a row, short enough for a line."""
    return ", ".join(f"{name}={str(value)[:60]}" for name, value in list(zip(names, row, strict=True))[:6])


def _count(relation: duckdb.DuckDBPyRelation | None) -> int | None:
    return None if relation is None else len(relation)
