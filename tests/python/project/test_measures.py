"""Metrics: MetricFlow computes each from its facts, and gets what its mart has. docs/measures.md says what they are."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterator
from datetime import date, timedelta
from decimal import ROUND_HALF_UP, Decimal
from typing import Any

import duckdb
import pytest
from dbt.contracts.graph.semantic_manifest import SemanticManifest
from descriptions import document
from edge_messages import NOW, sale
from lake import Lake, Record, connect, own_environment
from metricflow.engine.metricflow_engine import MetricFlowEngine, MetricFlowQueryRequest
from metricflow.protocols.sql_client import SqlEngine
from metricflow.sql.render.duckdb_renderer import DuckDbSqlPlanRenderer
from metricflow_semantics.model.dbt_manifest_parser import parse_manifest_from_dbt_generated_manifest
from metricflow_semantics.model.semantic_manifest_lookup import SemanticManifestLookup

from ingest.settings import PROJECT_ROOT
from levain.samples import generate

EVENTS = 1500
FILES = sorted(PROJECT_ROOT.glob("models/**/*__semantics.yml"))
DOCUMENTS: list[dict[str, list[dict[str, Any]]]] = [document(path) for path in FILES]
MODELS = {model["name"]: model for document in DOCUMENTS for model in document["semantic_models"]}
MEASURES = {measure["name"]: measure for model in MODELS.values() for measure in model.get("measures", [])}
METRICS = {metric["name"]: metric for document in DOCUMENTS for metric in document.get("metrics", [])}
KEYS = {
    "mart_sales_performance": {"metric_time__day": "sale_date", "store": "store_id", "product": "product_id"},
    "mart_hourly_sales": {"sale__sale_hour": "sale_hour", "store": "store_id"},
    "mart_customer_retention": {"metric_time__month": "sales_month"},
    "mart_inventory_health": {"metric_time__day": "movement_date", "store": "store_id", "product": "product_id"},
    "mart_user_sessions": {
        "metric_time__day": "session_date",
        "session__device_type": "device_type",
        "session__membership": "membership",
    },
    "mart_customer_satisfaction": {
        "metric_time__day": "feedback_date",
        "store": "store_id",
        "questionnaire__channel": "channel",
    },
}
"""What a mart has a row per: as metrics are grouped by it, and its column."""
ATTRIBUTES = {
    mart: {"store__city": "city", "product__category": "category"}
    for mart in ("mart_sales_performance", "mart_inventory_health")
}
"""What else of a mart metrics can be grouped by."""
AGGREGATES = re.compile(r"sum\(|count\(")
COUNTS = ("net_sales", "shelf_days", "sessions", "questionnaires")
"""A metric per semantic model whose groups add up to the total."""

EARLIER_SALES = {6: (1, 2, 3), 7: (2, 3, 4, 5), 9: (5,)}
"""Months of the year before the sample events, and the customers who bought in them."""

Query = Callable[[str, list[str]], list[tuple[Any, ...]]]


class Renderer:
    """What MetricFlow asks of a database to write SQL for it."""

    sql_engine_type = SqlEngine.DUCKDB
    sql_plan_renderer = DuckDbSqlPlanRenderer()


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lake]:
    """Sample messages of every topic, some of them faulty, and what the marts need of them."""
    with own_environment():
        lake = Lake(tmp_path_factory.mktemp("measures"))
        places: dict[str, list[Record]] = {}
        for number, message in enumerate(generate(None, EVENTS, 1, "all")):
            records = places.setdefault(message.topic, [])
            records.append(Record(len(records), number, message.key, message.value, list(message.headers)))
        for topic, records in places.items():
            lake.land(topic, 0, records)
        for month, customers in EARLIER_SALES.items():
            sales = [
                sale(month * 10 + n, customer_id=f"C{n:05}", event_time=f"2025-{month:02}-20T09:00:00Z")
                for n in customers
            ]
            lake.send("sales-events", sales, timestamp=NOW, received_at=f"2025-{month:02}-20T09:01:00Z")
        lake.build("--select", "+dim_weather", *(f"+{mart}" for mart in KEYS))
        yield lake


@pytest.fixture(scope="module")
def database(lake: Lake) -> Iterator[duckdb.DuckDBPyConnection]:
    with connect(lake.settings.duckdb_file) as connection:
        yield connection


@pytest.fixture(scope="module")
def engine(lake: Lake) -> MetricFlowEngine:
    assert Lake._manifest is not None
    path = lake.settings.root / "semantic_manifest.json"
    SemanticManifest(Lake._manifest).write_json_to_file(str(path))
    manifest = parse_manifest_from_dbt_generated_manifest(path.read_text(encoding="utf-8"))
    return MetricFlowEngine(SemanticManifestLookup(manifest), Renderer())  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def query(engine: MetricFlowEngine, database: duckdb.DuckDBPyConnection) -> Query:
    """Rows of a metric by some groups: the groups in their order, then the metric."""

    def run(metric: str, groups: list[str]) -> list[tuple[Any, ...]]:
        request = MetricFlowQueryRequest.create(metric_names=[metric], group_by_names=groups)
        sql = engine.explain(request).sql_statement.sql
        columns = ", ".join(f"cast({each} as date)" if each.endswith(("__day", "__month")) else each for each in groups)
        return database.execute(f"select {columns or 1}, {metric} from ({sql})").fetchall()

    return run


def marts(metric: str) -> dict[str, str]:
    meta: dict[str, str] = METRICS[metric]["config"]["meta"]
    return meta


@pytest.mark.parametrize("metric", METRICS)
def test_a_metric_is_what_its_mart_has(metric: str, query: Query, database: duckdb.DuckDBPyConnection) -> None:
    """By what the mart has a row per; where that can be summed, also in total, by each of its groups and by two."""
    mart, equals = marts(metric)["mart"], marts(metric)["equals"]
    known = KEYS[mart] | ATTRIBUTES.get(mart, {})
    groupings = [list(KEYS[mart])]
    if AGGREGATES.search(equals):
        groupings += [[], list(known)[:2], *([each] for each in known)]
    values = set()
    for groups in groupings:
        by = ", ".join(known[each] for each in groups) or "1"
        grouped = f"group by {by}" if AGGREGATES.search(equals) else ""
        expected = database.execute(f"select {by}, {equals} from gold.{mart} {grouped}").fetchall()
        assert sorted(query(metric, groups), key=repr) == sorted(expected, key=repr), groups
        values |= {row[-1] for row in expected}
    assert len(values - {None}) > 1


@pytest.mark.parametrize("metric", [name for name in METRICS if "column" in marts(name)])
def test_a_rate_is_rounded_in_its_mart(metric: str, query: Query, database: duckdb.DuckDBPyConnection) -> None:
    mart, column = marts(metric)["mart"], marts(metric)["column"]
    by = ", ".join(KEYS[mart].values())
    expected = {
        tuple(key): rate for *key, rate in database.execute(f"select {by}, {column} from gold.{mart}").fetchall()
    }
    found = {tuple(key): rate for *key, rate in query(metric, list(KEYS[mart]))}
    assert found.keys() == expected.keys() and any(expected.values())
    for key, rate in expected.items():
        assert (rate is None) == (found[key] is None), key
        if rate is not None:
            half = Decimal((0, (5,), rate.as_tuple().exponent - 1))
            assert abs(Decimal(found[key]) - rate) <= half + Decimal("1e-12"), key


def test_retention_is_of_the_customers_of_the_month_before(database: duckdb.DuckDBPyConnection) -> None:
    sales = database.execute("select distinct sale_date, customer_id from gold.fct_sales where customer_id is not null")
    months: defaultdict[date, set[str]] = defaultdict(set)
    for day, customer in sales.fetchall():
        months[day.replace(day=1)].add(customer)
    expected = []
    for month, customers in sorted(months.items()):
        before = months.get((month - timedelta(1)).replace(day=1), set())
        rate = (
            (Decimal(len(before & customers)) / len(before)).quantize(Decimal("1e-6"), ROUND_HALF_UP)
            if before
            else None
        )
        expected.append((month, len(customers), len(before), len(before & customers), rate))
    assert database.execute("select * from gold.mart_customer_retention order by 1").fetchall() == expected
    assert [row[3:] for row in expected[:3]] == [(0, None), (2, Decimal("0.666667")), (0, None)]


@pytest.mark.parametrize("metric", COUNTS)
def test_groups_add_up_to_the_total(metric: str, engine: MetricFlowEngine, query: Query) -> None:
    """Whatever it is grouped by: no join loses a row or finds two."""
    [(_, total)] = query(metric, [])
    dimensions = engine.simple_dimensions_for_metrics([metric])
    groups = [each.dunder_name for each in dimensions if each.type.name == "CATEGORICAL"]
    assert len(groups) > 4
    for each in groups:
        assert sum(count for *_, count in query(metric, [each])) == total > 0, each


def test_files_of_measures_hold_nothing_that_is_built() -> None:
    """A build does not look at them: levain/warehouse/changes.py."""
    for path, content in zip(FILES, DOCUMENTS, strict=True):
        assert content.keys() <= {"semantic_models", "metrics"}, path


def sql_of(metric: str) -> str:
    kind = METRICS[metric]["type_params"]
    if "numerator" in kind:
        return f"{sql_of(kind['numerator'])} / {sql_of(kind['denominator'])}"
    measure = MEASURES[kind["measure"]]
    function = {"count_distinct": "count(distinct "}.get(measure["agg"], f"{measure['agg']}(")
    return f"{function}{measure['expr']})"


def table_of(metric: str) -> str:
    kind = METRICS[metric]["type_params"]
    if "numerator" in kind:
        (table,) = {table_of(kind["numerator"]), table_of(kind["denominator"])}
        return table
    (model,) = (each for each in MODELS.values() if MEASURES[kind["measure"]] in each.get("measures", []))
    return str(model["model"][5:-2])


def glossary() -> Iterator[str]:
    """The rows of the tables in docs/measures.md."""
    for name, metric in METRICS.items():
        meta = marts(name)
        where = f"`{meta['equals']}` of `{meta['mart']}`" + (
            f"; rounded: `{meta['column']}`" if "column" in meta else ""
        )
        said = metric["description"].strip()
        yield f"| `{name}` | {said} | `{sql_of(name)}` of `{table_of(name)}` | {where} |"
    for model in MODELS.values():
        keys = [each["name"] for each in model.get("entities", []) if each["type"] == "foreign"]
        named = {each["type"]: each["name"] for each in model.get("entities", [])}
        own = named.get("unique") or named.get("primary") or model["primary_entity"]
        names = (f"`{each}`" for each in [*keys, *(f"{own}__{each['name']}" for each in model["dimensions"])])
        yield f"| `{model['name']}` | `{model['model'][5:-2]}` | {model['description']} | {', '.join(names)} |"


def test_the_glossary_is_what_the_metrics_are() -> None:
    page = (PROJECT_ROOT / "docs" / "measures.md").read_text(encoding="utf-8")
    said = [line for line in page.splitlines() if line.startswith("| `")]
    assert sorted(said) == sorted(glossary())
