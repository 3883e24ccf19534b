"""`levain lineage` and `levain explain` against the tables themselves: values are changed, messages are left out, and
Gold is computed again by the SQL of a full refresh.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from itertools import pairwise
from typing import Any

import duckdb
import pyarrow as pa
import pytest
from descriptions import descriptions
from forecasts import TOPIC, forecasts
from lake import Lake, Record
from openlineage.client import event_v2
from openlineage.client.generated import (
    column_lineage_dataset,
    documentation_dataset,
    parent_run,
    schema_dataset,
    sql_job,
)
from openlineage.client.generated.base import set_producer
from openlineage.client.serde import Serde
from rebuild import beside, has_coordinates, needed, rebuilt
from scored import scores

from ingest.contracts import load_contracts
from ingest.errors import LevainError
from ingest.settings import PROJECT_ROOT
from levain.read import explain
from levain.read.explain import COORDINATES, print_explanation
from levain.read.lineage import fields_of, json_path, print_lineage
from levain.read.openlineage import PRODUCER, events
from levain.samples import START, generate
from levain.warehouse.bronze import bronze_tables
from levain.warehouse.columns import Columns, Relation, load_columns

EVENTS = 2500
Message = tuple[str, str, int, int]
"""Kafka coordinates."""
NEUTRAL = (None, 0, False)
"""What a measure is of no message."""


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Lake:
    """Sample messages of every topic, some of them faulty, forecasts, and scores of the purchases, built once."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("LEVAIN_HOME", "DBT_PROFILES_DIR"):
            patch.delenv(name, raising=False)
        lake = Lake(tmp_path_factory.mktemp("lineage") / "home")
        places: dict[tuple[str, int], list[Record]] = {}
        for number, message in enumerate(generate(None, EVENTS, 1, "all")):
            records = places.setdefault((message.topic, number % 2), [])
            records.append(Record(len(records), number, message.key, message.value, list(message.headers)))
        made = enumerate(forecasts(places["sales-events", 0], 40))
        places[TOPIC, 0] = [Record(offset, offset, key, value, list(headers)) for offset, (key, value, headers) in made]
        for partition in range(2):
            places["purchase-scores", partition] = scores(places["purchases", partition], START)
        for (topic, partition), records in places.items():
            lake.land(topic, partition, records)
        lake.build()
    return lake


@pytest.fixture(scope="module")
def columns(lake: Lake) -> Columns:
    return load_columns(lake.settings, Lake._manifest)


@pytest.fixture(scope="module")
def built(lake: Lake) -> Iterator[duckdb.DuckDBPyConnection]:
    with beside(lake) as connection:
        yield connection


def keys_of(table: str) -> list[str]:
    """The columns that a table's own test says are its key."""
    rules = [test["row_rules"]["arguments"] for test in descriptions()[table]["data_tests"] if "row_rules" in test]
    keys: list[list[str]] = [key for each in rules for key in each.get("keys", [])]
    return keys[0]


OTHER_KEYS = {
    "feat_customer_churn": ["feature_date", "customer_id"],
    "mart_churn_risk": ["customer_id"],
    "mart_equipment_health": ["metric_date", "equipment_id"],
    "mart_customer_retention": ["sales_month"],
    "mart_sales_performance": ["sale_date", "store_id", "product_id"],
    "mart_demand_forecast": ["event_id"],
    "feat_demand_forecast": ["feature_date", "store_id", "product_id"],
    "mart_product_sales": ["product_id"],
    "mart_top_products": ["sales_month", "product_id"],
    "top_produits": ["produit_id"],
}
"""Where its test states none, or a rank, which is another as soon as messages are left out."""


def values(built: duckdb.DuckDBPyConnection, table: str, keys: list[str], column: str) -> dict[tuple[str, ...], Any]:
    """Key -> the value of a column."""
    texts = ", ".join(f'cast("{key}" as varchar)' for key in keys)
    return {tuple(key): value for *key, value in built.execute(f'select {texts}, "{column}" from {table}').fetchall()}


def explained(
    built: duckdb.DuckDBPyConnection, columns: Columns, relation: Relation, names: Iterable[str], where: str
) -> frozenset[Message]:
    built.execute(f"create or replace temp table asked as select * from {relation.table} where {where}")
    explain.trace(built, columns, relation, names, "asked")
    return frozenset(built.execute('select kafka_cluster, topic, "partition", kafka_offset from behind').fetchall())


def only(columns: Columns, *, but: bool = False) -> dict[str, str]:
    """For `rebuilt`: the messages of the table `kept`, or all but these."""
    list_of = ", ".join(f'"{name}"' for name in COORDINATES)
    return {
        name: f"select * from {each.table} where ({list_of}) {'not ' if but else ''}in (select * from kept)"
        for name, each in columns.relations.items()
        if has_coordinates(each)
    }


TABLES = [
    path.stem
    for folder in ("gold", "quality")
    for path in sorted(PROJECT_ROOT.glob(f"models/{folder}/**/*.sql"))
    if path.stem not in ("quality_rejects", "dim_calendar", "dim_marketplace_client", "dim_marketplace_product")
    and path.stem != "quality_anomalies"
]
"""All but what has no messages behind it, or their coordinates in its rows; and anomalies: the sample has none."""
KEYS = {name: OTHER_KEYS.get(name) or keys_of(name) for name in TABLES}
ENDS = [name for name in TABLES if not name.startswith(("int_", "fct_", "dim_"))]


def a_third(relation: Relation) -> str:
    """A condition that a third of a table's rows meet; what was inferred has no message behind it."""
    listed = ", ".join(f'"{key}"' for key in KEYS[relation.name])
    return f"{'not is_inferred and ' if 'is_inferred' in relation.types else ''}hash({listed}) % 3 = 0"


STAYS = {
    "dim_weather": ["weather_key", "store_id", "weather_date", "weather_hour"],  # a sale in the hour names it, too
}
"""Columns that stay as they are without the messages behind them, since others say the same."""


def compare(
    built: duckdb.DuckDBPyConnection, columns: Columns, relation: Relation, sets: dict[frozenset[Message], set[str]]
) -> None:
    """Of the messages behind columns alone these come out the same, and without them not."""
    assert any(sets)
    keys = KEYS[relation.name]
    for messages, names in sets.items():
        built.execute("create or replace temp table kept as from behind limit 0")
        if messages:
            listed = pa.table(list(zip(*messages, strict=True)), names=list(COORDINATES))
            built.execute("insert into kept from listed")
            del listed
        before = {name: values(built, f"{relation.table} where {a_third(relation)}", keys, name) for name in names}
        with rebuilt(built, columns.relations, [relation.name], only(columns)):
            after = {name: values(built, f"again.{relation.table}", keys, name) for name in names}
        if relation.name == "fct_promotions":
            # the notice before the last one would take its place, and say much the same
            built.execute(f"insert into kept select {', '.join(COORDINATES)} from silver.promotion_notices")
        with rebuilt(built, columns.relations, [relation.name], only(columns, but=True)):
            without = {name: values(built, f"again.{relation.table}", keys, name) for name in names}
        for name in names:
            for key, found in before[name].items():
                again = after[name].get(key)
                assert again == found or (again is None and found in NEUTRAL), (name, key, len(messages))
                stays = found in NEUTRAL or name in STAYS.get(relation.name, ())
                assert stays or without[name].get(key) != found, (name, key, len(messages))


@pytest.mark.parametrize("table", ENDS)
def test_numbers_come_out_of_the_messages_that_are_named(
    table: str, built: duckdb.DuckDBPyConnection, columns: Columns
) -> None:
    relation = columns.relations[table]
    names = relation.types.keys() - {"_build"}
    compare(built, columns, relation, {explained(built, columns, relation, names, a_third(relation)): names})


@pytest.mark.full
@pytest.mark.parametrize("table", TABLES)
def test_each_column_comes_out_of_the_messages_that_are_named(
    table: str, built: duckdb.DuckDBPyConnection, columns: Columns
) -> None:
    relation = columns.relations[table]
    sets: dict[frozenset[Message], set[str]] = {}
    for name in relation.types.keys() - {"_build"}:
        messages = explained(built, columns, relation, {name}, a_third(relation))
        sets.setdefault(messages, set()).add(name)
    compare(built, columns, relation, sets)


COUNTS = {
    "mart_sales_performance": ["line_count"],
    "mart_hourly_sales": ["line_count"],
    "mart_product_sales": ["line_count"],
    "mart_inventory_health": ["movements", "stocktakes"],
    "mart_customer_satisfaction": ["questionnaires", "satisfied"],
    "mart_equipment_efficiency": ["readings", "running_readings", "fault_readings", "maintenance_readings"],
    "mart_product_profitability": ["purchases"],
    "fct_web_sessions": ["steps", "page_views", "cart_additions"],
    "ventes_aggreges": ["nombre_ventes"],
    "quality_messages": ["messages", "accepted", "duplicate", "conflict", "rejected", "held"],
    "quality_late_arrivals": ["messages", "in_time", "late_within_48_hours", "held_too_late", "held_for_reference"],
}
"""Numbers of messages, one for one."""


@pytest.mark.parametrize("table", COUNTS)
def test_as_many_messages_are_named_as_a_count_says(
    table: str, built: duckdb.DuckDBPyConnection, columns: Columns
) -> None:
    """None too many, since each message of a count is in one row of the table."""
    relation = columns.relations[table]
    topics = {topic for topic, *_ in built.execute("select distinct topic from silver.int_messages").fetchall()}
    first = relation
    while not has_coordinates(first):
        assert first.rows_from
        first = columns.relations[first.rows_from[0]["from"]]
    if first.name != "int_messages":
        topics = {built.execute(f"select any_value(topic) from {first.table}").fetchall()[0][0]}
    for name in COUNTS[table]:
        (expected,) = built.execute(f"select sum({name}) from {relation.table} where {a_third(relation)}").fetchall()[0]
        messages = explained(built, columns, relation, {name}, a_third(relation))
        assert len([each for each in messages if each[1] in topics]) == expected > 0, name


IN_JSON = {
    ("mart_sales_performance", "net_amount"): "sum(quantity * unit_price - discount_amount)",
    ("mart_sales_performance", "units"): "sum(quantity)",
    ("mart_sales_performance", "discount_amount"): "sum(discount_amount)",
    ("mart_sales_performance", "receipt_count"): "count(distinct (receipt_id, product_id, store_id, event_time[:10]))",
    ("mart_product_sales", "gross_amount"): "sum(quantity * unit_price)",
    ("mart_top_products", "net_amount"): "sum(quantity * unit_price - discount_amount)",
    ("mart_hourly_sales", "units"): "sum(quantity)",
    ("mart_inventory_health", "delivered_units"): "sum(abs(quantity)) filter (movement_type = 'delivery')",
    ("mart_inventory_health", "produced_units"): "sum(abs(quantity)) filter (movement_type = 'production')",
    ("mart_inventory_health", "sold_units"): "sum(abs(quantity)) filter (movement_type = 'sale')",
    ("mart_inventory_health", "wasted_units"): "sum(abs(quantity)) filter (movement_type = 'waste')",
    ("mart_customer_satisfaction", "rating_sum"): "sum(rating)",
    ("mart_equipment_efficiency", "fault_readings"): "count(*) filter (status = 'fault')",
    ("mart_product_profitability", "total_amount"): "sum(total_amount)",
    ("mart_product_profitability", "units"): "sum(quantity)",
    ("mart_user_sessions", "page_views"): "count(*) filter (event_type = 'page_view')",
    ("hourly_sales", "total_montant"): "sum(montant)",
    ("ventes_aggreges", "total_quantite"): "sum(quantite)",
    ("top_produits", "total_montant"): "sum(montant)",
}
"""What the JSON of the messages behind a column of some rows must give, where that adds up over rows."""


def test_the_json_of_the_named_messages_adds_up_to_the_number(
    lake: Lake, built: duckdb.DuckDBPyConnection, columns: Columns
) -> None:
    locations = dict(bronze_tables(lake.settings))
    for (table, name), sql in IN_JSON.items():
        relation = columns.relations[table]
        (expected,) = built.execute(f"select sum({name}) from {relation.table} where {a_third(relation)}").fetchall()[0]
        explained(built, columns, relation, {name}, a_third(relation))
        topics = [topic for (topic,) in built.execute("select distinct topic from behind").fetchall()]
        (topic,) = [each for each in topics if not each.endswith(("-changes", "-extracts"))]
        fields = re.sub(
            r"(?<![\w'])(?!sum|abs|count|distinct|filter)([a-z][a-z_]+)(?!\()(?=\b)(?!')",
            lambda word: (
                f"cast(value ->> '{word[1]}' as decimal(18, 2))"
                if re.match("quanti|.*_amount|unit_price|rating|montant", word[1])
                else f"(value ->> '{word[1]}')"
            ),
            sql,
        )
        found = built.execute(
            f"""
            select {fields} from iceberg_scan('{locations[topic.replace("-", "_")]}')
            where (kafka_cluster, topic, "partition", "offset") in (from behind)
            """
        ).fetchall()
        assert found == [(expected,)], (table, name, fields)


CHANGED = {
    "sales_events": ["quantity", "unit_price", "discount_amount"],
    "inventory_updates": ["quantity"],
    "customer_feedback": ["rating"],
    "weather_observations": ["temperature_c", "humidity_pct", "wind_kmh"],
    "equipment_metrics": ["temperature_c", "vibration_mm_s", "power_kw", "cycles", "status"],
    "purchases": ["quantity", "unit_price", "total_amount"],
    "product_changes": ["unit_cost", "base_price", "product_name"],
    "store_extracts": ["size_m2", "store_name"],
    "promotion_notices": ["discount_value", "promotion_name"],
    "web_events": ["page", "referrer", "quantity"],
    "ventes_clean": ["montant", "quantite"],
}
"""Columns of Silver by which nothing is filtered, joined or grouped."""
IN_SHORT = ("sales_events", "inventory_updates", "equipment_metrics", "ventes_clean")
NOT_SEEN = {
    *("transferred_in_units", "transferred_out_units", "costed_share", "is_drifting"),
    *("naive_units", "naive_absolute_error_units"),
    *(
        f"{each}_{what}"
        for each in ("vibration", "temperature", "power")
        for what in ("normal", "usual_deviation", "deviations")
    ),
}
"""The sample has no movement from shop to shop, few products of which only some units have a known cost, few forecasts
of a weekday that its shop sold on a week before, and for most machines too few days for anything to be normal.
"""


@pytest.mark.parametrize(
    "table", [each if each in IN_SHORT else pytest.param(each, marks=pytest.mark.full) for each in CHANGED]
)
def test_a_value_that_changes_changes_the_columns_that_are_computed_from_it_and_no_other(
    table: str, built: duckdb.DuckDBPyConnection, columns: Columns
) -> None:
    relation = columns.relations[table]
    users = [name for name in TABLES if columns.relations[name].table.startswith("gold.")]
    users = [name for name in users if table in needed(columns.relations, name)]
    before = contents(built, columns, users, {})
    # versions of a dimension stay the same versions if all records of a member change alike
    lot = {"product_changes": "product_id", "store_extracts": "store_id"}.get(table, "event_id")
    for name in CHANGED[table]:
        other = {
            "rating": f"1 + hash({lot}) % 5",
            "status": "case status when 'idle' then 'fault' else 'idle' end",
        }.get(name, f"{name} + 1 + hash({lot}) % 700" if relation.types[name] != "varchar" else f"{name} || {lot}")
        other = f"case when hash({lot}) % 4 > 0 then cast({other} as {relation.types[name]}) end"
        given = f"select * replace ({other} as {name}) from {relation.table}"
        after = contents(built, columns, users, {table: given})
        changed = {column for column in before if before[column] != after[column]}
        expected = {column for column in before if (table, name) in columns.origins([column])}
        chosen = {user for user in users if (table, name) in columns.origins(columns.relations[user].filters)}
        assert {column for column in changed - expected if column[0] not in chosen} == set(), name
        assert {column for column in expected - changed if column[1] not in NOT_SEEN} == set(), name


def contents(
    built: duckdb.DuckDBPyConnection, columns: Columns, names: list[str], given: Mapping[str, str]
) -> dict[tuple[str, str], str]:
    """Checksum of each column of tables, as they come out, in the order of their keys."""
    found = {}
    with rebuilt(built, columns.relations, names, given):
        for name in names:
            kept = [each for each in columns.relations[name].types if each != "_build"]
            keys = ", ".join(KEYS[name])
            sums = ", ".join(f"md5(string_agg(coalesce({each}::varchar, '-'), '|' order by {keys}))" for each in kept)
            (row,) = built.execute(f"select {sums} from again.{columns.relations[name].table}").fetchall()
            found |= {(name, each): value for each, value in zip(kept, row, strict=True)}
    return found


def test_a_column_of_silver_is_what_the_field_that_is_named_holds(
    lake: Lake, built: duckdb.DuckDBPyConnection, columns: Columns
) -> None:
    locations = dict(bronze_tables(lake.settings))
    compared = 0
    for contract in load_contracts().values():
        table = f"int_{contract.table}__verdicts"
        paths = {}
        for name in columns.relations[table].types:
            origins = columns.origins([(table, name)])
            fields = [each for place, column in origins for each in fields_of(contract, column)
                      if place == contract.staging_model]  # fmt: skip
            if len(fields) == 1 and fields[0].logical_type != "array" and name not in ("event_date", "payload_md5"):
                paths[name] = json_path(fields[0])
        assert len(paths) == len([each for each in contract.columns if each.logical_type != "array"])
        equal = " and ".join(
            f"bool_and(lower({name}::varchar) is not distinct from "
            f"lower(cast(value ->> '{path}' as {columns.relations[table].types[name]})::varchar))"
            for name, path in paths.items()
        )
        rows = built.execute(
            f"""
            select {equal}, count(*) from silver.{table} as judged
            inner join iceberg_scan('{locations[contract.table]}') as messages
                on judged."partition" = messages."partition" and judged.kafka_offset = messages."offset"
            where verdict = 'accepted'
            """
        ).fetchall()
        assert rows[0][0] is True, (contract.topic, paths)
        compared += rows[0][1]
    assert compared > EVENTS / 2


def test_every_column_of_gold_and_quality_is_described_and_traced(columns: Columns) -> None:
    assert columns.untraced == []
    for relation in columns.relations.values():
        if relation.kind == "model" and relation.table.startswith(("gold.", "quality.")):
            undescribed = [name for name in relation.types if not relation.texts.get(name, "").strip()]
            assert undescribed == [], relation.name
            assert relation.sources.keys() == relation.types.keys(), relation.name
            assert relation.rows_from is not None or has_coordinates(relation), f"{relation.name}: rows_from"


def test_fields_of_a_struct_are_traced_one_by_one(columns: Columns) -> None:
    assert columns.sources(("fct_web_sessions", "device_type")) == [("web_events", "device_type")]
    assert columns.sources(("fct_web_sessions", "customer_id")) == [("web_events", "customer_id")]


def test_lineage_is_printed_for_people_and_programs(
    lake: Lake, columns: Columns, capsys: pytest.CaptureFixture[str]
) -> None:
    print_lineage(lake.settings, "gold.mart_product_sales.margin_amount")
    text = capsys.readouterr().out
    assert "gold.fct_sales.net_amount" in text and "product-changes $.unit_cost" in text
    print_lineage(lake.settings, "mart_product_sales.margin_amount", format="json")
    found = json.loads(capsys.readouterr().out)
    assert [(each["topic"], each["path"]) for each in found["fields"]] == [
        ("product-changes", "$.unit_cost"),
        ("sales-events", "$.discount_amount"),
        ("sales-events", "$.quantity"),
        ("sales-events", "$.unit_price"),
    ]
    assert found["exposures"] == ["levain demo"] and "gold.dim_product.is_current" in found["filtered_and_joined_by"]
    print_lineage(lake.settings, "stg_webshop__web_events.device_type", format="json")
    found = json.loads(capsys.readouterr().out)
    assert [each["path"] for each in found["fields"]] == ["$.device.type"]
    assert "gold.mart_user_sessions.device_type" in found["used_by"]


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("mart_top_product.units", "no table 'mart_top_product'.*\n.*mart_top_products"),
        ("silver.mart_top_products.units", "no table 'silver.mart_top_products'"),
        ("mart_top_products.unit", "no column 'unit'.*\n.*units"),
        ("mart_top_products.", "no column ''"),
        ("units", "'units' is not the name of a column"),
        ("", "'' is not the name of a column"),
        ("a'b.c\x1b[31m", "no table"),
    ],
)
def test_a_name_that_matches_nothing_is_an_error(lake: Lake, columns: Columns, name: str, said: str) -> None:
    for run in (print_lineage, print_explanation):
        with pytest.raises(LevainError, match=said):
            run(lake.settings, name)


@pytest.mark.parametrize(
    ("where", "said"),
    [
        ("units > 1000000000", "No row .* meets"),
        ("unit > 1", "cannot be selected"),
        ("units >", "cannot be read"),
        ("true; drop table gold.fct_sales", "cannot be read"),
        ("units in (select 1 from read_csv('/etc/passwd'))", "cannot be selected"),
        ("", "cannot be read"),
    ],
)
def test_a_condition_that_selects_nothing_or_more_than_rows_is_an_error(
    lake: Lake, columns: Columns, where: str, said: str
) -> None:
    with pytest.raises(LevainError, match=said):
        print_explanation(lake.settings, "mart_top_products.units", where)


def test_an_explanation_is_printed_for_people_and_programs(
    lake: Lake, columns: Columns, capsys: pytest.CaptureFixture[str]
) -> None:
    where = "product_rank = 1 and sales_month = (select max(sales_month) from gold.mart_top_products)"
    print_explanation(lake.settings, "mart_top_products.units", where, format="json", messages=2)
    found = json.loads(capsys.readouterr().out)
    ((topic, offsets),) = [(each["topic"], each["partitions"]) for each in found["topics"]]
    spans = [span for each in offsets for span in each["offsets"]]
    assert topic == "sales-events" and found["topics"][0]["messages"] == sum(b - a + 1 for a, b in spans) > 2
    assert all(before[1] + 1 < after[0] for each in offsets for before, after in pairwise(each["offsets"]))
    assert len({json.loads(each["value"])["product_id"] for each in found["messages"]}) == 1
    print_explanation(lake.settings, "mart_top_products.units", where, messages=1)
    assert "its value is" in (text := capsys.readouterr().out) and '"event_id"' in text
    print_explanation(lake.settings, "dim_calendar.is_weekend", "calendar_date = date '2026-01-04'")
    assert "No message is behind it" in capsys.readouterr().out


def test_events_for_openlineage_are_those_of_its_own_client(lake: Lake, columns: Columns) -> None:
    """Its classes write what was written here, and refuse an id, a time or a name that is none."""
    written = list(events(lake.settings, columns, "00000000-0000-4000-8000-000000000001", "2026-01-05T00:00:00+00:00"))
    tables = {each.table for each in columns.relations.values() if each.kind != "source"}
    assert {each["job"]["name"] for each in written} == tables | {each.label for each in columns.exposures}
    demo = next(each for each in written if each["job"]["name"] == "levain demo")
    assert [each["name"] for each in demo["inputs"]] == ["gold.mart_product_sales", "quality.quality_messages"]

    def dataset(kind: Any, each: dict[str, Any]) -> Any:
        facets: dict[str, Any] = {"schema": schema_dataset.SchemaDatasetFacet(**own(each["facets"]["schema"]))}
        if "documentation" in each["facets"]:
            text = own(each["facets"]["documentation"])
            facets["documentation"] = documentation_dataset.DocumentationDatasetFacet(**text)
        if "columnLineage" in each["facets"]:
            lineage = own(each["facets"]["columnLineage"])
            facets["columnLineage"] = column_lineage_dataset.ColumnLineageDatasetFacet(
                fields={
                    name: column_lineage_dataset.Fields([input_field(one) for one in found["inputFields"]])
                    for name, found in lineage["fields"].items()
                },
                dataset=[input_field(one) for one in lineage["dataset"]],
            )
        return kind(each["namespace"], each["name"], facets=facets)

    def input_field(each: dict[str, Any]) -> Any:
        how = [column_lineage_dataset.Transformation(**one) for one in each["transformations"]]
        return column_lineage_dataset.InputField(**{**each, "transformations": how})

    def own(facet: dict[str, Any]) -> dict[str, Any]:
        return {name: value for name, value in facet.items() if not name.startswith("_")}

    set_producer(PRODUCER)
    for event in written:
        inputs = [dataset(event_v2.InputDataset, each) for each in event["inputs"]]
        if "run" not in event:
            job = event_v2.Job(event["job"]["namespace"], event["job"]["name"])
            read = event_v2.JobEvent(eventTime=event["eventTime"], producer=event["producer"], job=job, inputs=inputs)
            assert without_empty(Serde.to_dict(read)) == without_empty(event)
            continue
        parent, sql = own(event["run"]["facets"]["parent"]), event["job"]["facets"].get("sql")
        again = event_v2.RunEvent(
            eventType=event_v2.RunState(event["eventType"]),
            eventTime=event["eventTime"],
            producer=event["producer"],
            run=event_v2.Run(
                event["run"]["runId"],
                {"parent": parent_run.ParentRunFacet(parent_run.Run(**parent["run"]), parent_run.Job(**parent["job"]))},
            ),
            job=event_v2.Job(
                event["job"]["namespace"],
                event["job"]["name"],
                {"sql": sql_job.SQLJobFacet(**own(sql))} if sql else {},
            ),
            inputs=inputs,
            outputs=[dataset(event_v2.OutputDataset, each) for each in event["outputs"]],
        )
        assert without_empty(Serde.to_dict(again)) == without_empty(event)


def without_empty(value: Any) -> Any:
    """Without what the client leaves out, or adds as nothing."""
    if isinstance(value, dict):
        return {name: each for name, one in value.items() if (each := without_empty(one)) not in ({}, [], "")}
    return [without_empty(each) for each in value] if isinstance(value, list) else value
