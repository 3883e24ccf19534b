"""Two engines, one answer: the project over one log with every fault, built in two steps on each engine."""

from __future__ import annotations

import os
from collections.abc import Container, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType

import edge_messages
import planted
import pytest
from clocks import clock
from lake import WITHOUT_TESTS, Lake
from random_logs import Log, a_log
from spark_session import stop_spark

from ingest.catalog import open_catalog, watermarks
from ingest.errors import LevainError
from ingest.lake import path_of
from ingest.settings import PROJECT_ROOT
from levain.dev.parity import SCHEMAS, compare
from levain.local.recover import run as recover
from levain.warehouse import changes
from levain.warehouse.dbt import parse, run_dbt
from levain.warehouse.spark import prepare

# pyspark leaves its sockets to the garbage collector.
pytestmark = [pytest.mark.filterwarnings("ignore::ResourceWarning"), pytest.mark.timeout(2400)]

SPARK_JARS = os.environ.get("LEVAIN_SPARK_JARS", str(PROJECT_ROOT / ".cache" / "spark-jars"))


def lands(lake: Lake, log: Log, part: int, parts: int, split: Container[str]) -> None:
    """Land one of so many equal parts of every partition's log; of topics that are not split everything at first."""
    for (topic, partition), records in log.items():
        if topic not in split:
            lake.land(topic, partition, [] if part else records)
            continue
        size = len(records)
        lake.land(topic, partition, records[size * part // parts : size * (part + 1) // parts])


def assert_equal(lake: Lake, build: bool = False) -> None:
    comparisons = compare(lake.settings, build)
    assert {each.relation: each.remarks for each in comparisons if not each.equal} == {}
    assert {each.relation.split(".")[0] for each in comparisons} == set(SCHEMAS)
    rows = {each.relation: each.rows[0] or 0 for each in comparisons}
    judged = sum(count for relation, count in rows.items() if relation.endswith("__verdicts"))
    assert judged == sum(landed for table in lake.tables.values() for landed in watermarks(table.refresh()).values())
    for relation in ("gold.fct_sales", "gold.dim_product", "silver.ventes_clean", "quality.quality_rejects"):
        assert rows[relation] > 0


@pytest.fixture
def lake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Lake]:
    monkeypatch.setenv("LEVAIN_SPARK_JARS", SPARK_JARS)
    monkeypatch.setenv("LEVAIN_HOME", str(tmp_path))
    prepare()
    yield Lake(tmp_path)
    stop_spark()


PART = ("+hourly_sales", "+dim_weather")
"""From a topic to a mart, with its snapshots, and a dimension that two topics fill."""


def test_both_engines_build_the_same_rows_of_a_part(lake: Lake) -> None:
    """A first build and one of what is new on each engine, then every table of the part compared."""
    log = a_log(seed=4, events=400)
    places = edge_messages.append(log)
    topics = ("ventes_stream", "sales-events", "weather-data")
    manifests = {engine: parse(lake.settings, engine) for engine in ("duckdb", "spark")}
    for part in range(2):
        with clock(ahead=0 if part else 600):
            lands(lake, log, part, 2, topics)
        for engine, manifest in manifests.items():
            run_dbt(lake.settings, ["build", "--target", engine, *WITHOUT_TESTS, "--select", *PART], "", manifest)
    contents = lake.contents()
    comparisons = compare(lake.settings, build=False, among=contents)
    assert {each.relation: each.remarks for each in comparisons if not each.equal} == {}
    for relation in ("silver.ventes_clean", "gold.hourly_sales", "gold.dim_weather"):
        assert contents[relation]
    verdicts = " union all ".join(
        f"select kafka_cluster, topic, partition, kafka_offset, verdict, failed_rules from {name}"
        for name in contents
        if name.endswith("__verdicts")
    )
    assert (
        edge_messages.wrong({place: edge for place, edge in places.items() if place[0] in topics}, lake.read(verdicts))
        == {}
    )


@pytest.mark.full
def test_both_engines_build_the_same_rows(lake: Lake) -> None:
    """A first build and one of what is new of sales and products on each engine, then every table compared.

    The first part lands while the clock is ten minutes fast: Iceberg in Java refuses times that run backwards.
    """
    log = a_log(seed=5, events=600)
    places = edge_messages.append(log)
    manifests = {engine: parse(lake.settings, engine) for engine in ("duckdb", "spark")}

    def build(engine: str, *arguments: str, notes: Mapping[str, str] = MappingProxyType({})) -> None:
        command = ["build", "--target", engine, *WITHOUT_TESTS, *arguments]
        run_dbt(lake.settings, command, "", manifests[engine], notes)

    for part in range(2):
        with clock(ahead=0 if part else 600):
            lands(lake, log, part, 2, ("sales-events", "product-changes"))
        for engine in ("duckdb", "spark"):
            plan = changes.plan(lake.settings, engine)
            assert (plan.topics is None) == (part == 0), engine
            build(engine, *plan.arguments, notes=plan.notes)
            assert changes.plan(lake.settings, engine).is_empty, engine
    assert_equal(lake)
    notes = Path(path_of(open_catalog(lake.settings).load_table(("meta", "code")).metadata_location))
    readable = notes.read_bytes()
    notes.write_bytes(b"garbage")
    assert changes.plan(lake.settings, "spark").topics is None, "what cannot be read is built whole, which says why"
    notes.write_bytes(readable)
    # Bronze loses messages that were judged: neither engine refreshes what they are in.
    before = kept(lake)
    lake.tables["sales-events"].refresh().delete("partition = 0 and offset < 4")
    for engine in ("duckdb", "spark"):
        with pytest.raises(LevainError, match=r"would lose .* 4 messages of sales-events, partition 0"):
            build(engine, "--full-refresh")
    assert kept(lake) == before
    verdicts = "select kafka_cluster, topic, partition, kafka_offset, verdict, failed_rules from silver.int_messages"
    assert edge_messages.wrong(places, lake.read(verdicts)) == {}

    # The catalog is lost: the lake gives back Bronze and what Spark has written, each table at its newest version.
    tables = registered(lake)
    lake.settings.catalog_file.unlink()
    recover(lake.settings, dry_run=False)
    assert tables.items() <= registered(lake).items()
    assert {name.split(".")[0] for name in tables} >= {"bronze", "silver", "meta"}


def kept(lake: Lake) -> tuple[dict[str, list[str]], dict[str, str]]:
    """What both engines built, without the views over Bronze: DuckDB's rows, and Spark's tables as `registered`."""
    rows = {name: rows for name, rows in lake.contents().items() if not name.endswith("__checked")}
    return rows, {name: path for name, path in registered(lake).items() if name.split(".")[0] in SCHEMAS}


def registered(lake: Lake) -> dict[str, str]:
    """Every table that holds something, with the path of its newest metadata file."""
    catalog = open_catalog(lake.settings)
    names = [name for space in catalog.list_namespaces() for name in catalog.list_tables(space)]
    tables = [(name, catalog.load_table(name)) for name in names]
    return {".".join(name): path_of(table.metadata_location) for name, table in tables if table.metadata.snapshots}


@pytest.mark.full
def test_both_engines_find_the_same_anomalies(lake: Lake) -> None:
    """Of faults that were planted in weeks of sales, on which other logs are too short to say anything."""
    outcome = planted.land_one_a_day(lake)
    for engine in ("duckdb", "spark"):
        run_dbt(lake.settings, ["build", "--target", engine, *WITHOUT_TESTS, "--select", "+quality_anomalies"], "")
    contents = lake.contents()
    comparisons = compare(lake.settings, build=False, among=contents)
    assert {each.relation: each.remarks for each in comparisons if not each.equal} == {}
    assert len(contents["quality.quality_anomalies"]) >= len(outcome.musts) > 0
    assert outcome.musts <= {planted.Anomaly(*row) for row in lake.read(planted.FOUND)}


@pytest.mark.full
def test_parity_after_every_build(lake: Lake) -> None:
    """`levain parity` after each of three builds, with all dbt tests run on both engines."""
    log = a_log(seed=6, events=900)
    for part in range(3):
        lands(lake, log, part, 3, lake.tables)
        assert_equal(lake, build=True)
