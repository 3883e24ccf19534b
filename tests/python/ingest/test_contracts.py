"""Contracts: what is read from them, and how a wrong one is refused."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from ingest.contracts import CONTRACTS_DIR, Contract, contract_for, load_contract, load_contracts
from ingest.errors import LevainError
from levain.warehouse import generate as codegen

SALES = CONTRACTS_DIR / "sales-events.odcs.yaml"


@pytest.fixture
def changed(tmp_path: Path) -> Callable[[Callable[[dict[str, Any]], object]], Path]:
    """The contract of sales-events with a change to its document."""

    def write(change: Callable[[dict[str, Any]], object]) -> Path:
        document = yaml.safe_load(SALES.read_text(encoding="utf-8"))
        change(document)
        path = tmp_path / SALES.name
        path.write_text(yaml.safe_dump(document), encoding="utf-8")
        return path

    return write


def field(document: dict[str, Any], name: str) -> dict[str, Any]:
    (found,) = [each for each in document["schema"][0]["properties"] if each["name"] == name]
    return dict_of(found)


def dict_of(value: Any) -> dict[str, Any]:
    assert isinstance(value, dict)
    return value


def option(name: str, **options: object) -> Callable[[dict[str, Any]], object]:
    return lambda document: field(document, name).update(logicalTypeOptions=options)


def custom(name: str, key: str, value: object) -> Callable[[dict[str, Any]], object]:
    return lambda document: field(document, name).update(customProperties=[{"property": key, "value": value}])


def without_weights(document: dict[str, Any]) -> None:
    for each in document["schema"][0]["properties"]:
        each["customProperties"] = [{"property": "weight", "value": 0}]


def of_schema(key: str, value: object) -> Callable[[dict[str, Any]], object]:
    def change(document: dict[str, Any]) -> None:
        properties = document["schema"][0]["customProperties"]
        kept = [each for each in properties if each["property"] != key]
        document["schema"][0]["customProperties"] = [*kept, {"property": key, "value": value}]

    return change


def promise(**parts: object) -> Callable[[dict[str, Any]], object]:
    """Change what the service level promises."""
    return lambda document: document.update(slaProperties=[parts])


def add(name: str, kind: str, **parts: object) -> Callable[[dict[str, Any]], object]:
    """Add a field; the parts may hold properties and items."""
    described = {"name": name, "logicalType": kind, "description": "Something.", **parts}
    return lambda document: document["schema"][0]["properties"].append(described)


def member(name: str = "city", kind: str = "string", **parts: object) -> dict[str, object]:
    return {"name": name, "logicalType": kind, "description": "Something.", **parts}


def deep(levels: int) -> dict[str, object]:
    return member("a", "object", properties=[deep(levels - 1)]) if levels else member("a")


def items(**parts: object) -> Callable[[dict[str, Any]], object]:
    return add("tags", "array", items=parts)


WRONG = [
    (add("address", "object"), "properties.address.properties", "must list the object's members"),
    (add("address", "object", properties=[member("Ci ty")]), "address.properties.Ci ty", "lower case letters"),
    (add("address", "object", properties=[member(), member()]), "schema.properties", "address_city"),
    (
        lambda d: [add("address_city", "string")(d), add("address", "object", properties=[member()])(d)],
        "schema.properties",
        "'address_city' is duplicated",
    ),
    (
        add("address", "object", properties=[member(customProperties=[{"property": "column", "value": "quantity"}])]),
        "schema.properties",
        "column 'quantity' is duplicated",
    ),
    (add("event", "object", properties=[member("date")]), "properties.event.properties.date", "column 'event_date'"),
    (add("address", "object", properties=[member(kind="text")]), "properties.city.logicalType", "object, array"),
    (add("address", "object", properties=[member(kind="integer")]), "city.logicalTypeOptions.minimum", "is missing"),
    (
        add("address", "object", properties=[member()], customProperties=[{"property": "weight", "value": 5}]),
        "properties.address.customProperties",
        "it has no column",
    ),
    (add("address", "object", properties=[member()], enum=[{"value": "x"}]), "properties.address.enum", "of a string"),
    (add("a", "object", properties=[deep(8)]), "is nested too deep", "at most 8"),
    (add("note", "string", properties=[member()]), "properties.note.properties", "a string has none"),
    (add("note", "string", items={"logicalType": "string"}), "properties.note.items", "a string has none"),
    (add("tags", "array"), "properties.tags.items", "must say what each item is"),
    (items(logicalType="array", items={"logicalType": "string"}), "tags.items.logicalType", "one of string, integer"),
    (items(logicalType="integer"), "tags.items.logicalTypeOptions.minimum", "is missing"),
    (items(logicalType="object"), "tags.items.properties", "must list its members"),
    (items(logicalType="object", properties=[member(), member()]), "tags.items.properties", "'city' is duplicated"),
    (
        items(logicalType="object", properties=[member(kind="object", properties=[member()])]),
        "tags.items.properties.city.logicalType",
        "one of",
    ),
    (items(logicalType="object", properties=[{"name": "x", "logicalType": "string"}]), "items.properties.x", "missing"),
    (
        items(logicalType="string", relationships=[{"type": "foreignKey", "to": "dim_store.store_id"}]),
        "tags.items.relationships",
        "would not be checked",
    ),
    (items(logicalType="string", customProperties=[{"property": "weight", "value": 1}]), "items.custom", "known"),
    (
        add("tags", "array", items={"logicalType": "string"}, logicalTypeOptions={"uniqueItems": True}),
        "tags.logicalTypeOptions.uniqueItems",
        "of an array can be checked: minItems, maxItems",
    ),
    (
        add("tags", "array", items={"logicalType": "string"}, logicalTypeOptions={"minItems": 3, "maxItems": 2}),
        "tags.logicalTypeOptions",
        "minItems is greater than maxItems",
    ),
    (
        add("tags", "array", items={"logicalType": "string"}, logicalTypeOptions={"maxItems": 10**5}),
        "tags.logicalTypeOptions.maxItems",
        "from 0 to 10000",
    ),
    (
        lambda d: [add("ids", "object", properties=[member("key")])(d), of_schema("key", "ids_key")(d)],
        "schema.customProperties.key",
        "no object",
    ),
    (lambda d: d.update(apiVersion="v2.0.0"), "apiVersion", "v3.x"),
    (lambda d: d.update(domain="The Shop"), "domain", "source system"),
    (lambda d: d.update(schema=d["schema"] * 2), "schema", "exactly one object"),
    (lambda d: d["schema"][0].update(physicalName="Sales Events"), "schema.physicalName", "topic's name"),
    (lambda d: d["schema"][0].update(properties=[]), "schema.properties", "fields"),
    (lambda d: d["schema"][0]["properties"].append(field(d, "quantity")), "schema.properties", "is duplicated"),
    (lambda d: d["schema"][0].pop("description"), "schema.description", "missing"),
    (promise(property="retention", value=1, unit="y"), "slaProperties", "one thing, once: frequency"),
    (promise(property="frequency", value=1, unit="fortnight"), "slaProperties.frequency.unit", "h, hour, d, day"),
    (promise(property="frequency", value=0, unit="d"), "slaProperties.frequency.value", "whole number"),
    (of_schema("key", "shop"), "schema.customProperties.key", "one of the event's fields"),
    (of_schema("identity", "customer_id"), "schema.properties", "event_id"),
    (of_schema("partitions", 0), "schema.customProperties.partitions", "1 to 10000"),
    (of_schema("encoding", "avro"), "schema.customProperties.encoding", "one of confluent-avro, confluent-json-schema"),
    (of_schema("minimumcompleteness", 50), "schema.customProperties.minimumcompleteness", "minimumCompleteness"),
    (of_schema("anomalies", "volume"), "schema.customProperties.anomalies", "a mapping"),
    (of_schema("anomalies", {"volme": "falls"}), "customProperties.anomalies.volme", "one of volume"),
    (of_schema("anomalies", {"colour.mean": "falls"}), "customProperties.anomalies.colour.mean", "unit_price.mean"),
    (of_schema("anomalies", {"volume": "down"}), "customProperties.anomalies.volume", "both, falls, rises, never"),
    (
        lambda d: d["schema"][0]["quality"][0].update(severity="warning"),
        "schema.quality.discount_within_gross.severity",
        "is rejected",
    ),
    (lambda d: field(d, "event_time").update(required=False), "schema.properties.event_time", "required timestamp"),
    (lambda d: field(d, "quantity").pop("description"), "schema.properties.quantity.description", "missing"),
    (lambda d: field(d, "quantity").update(logicalType="int"), "schema.properties.quantity.logicalType", "integer"),
    (lambda d: field(d, "unit_price").update(physicalType="money"), "unit_price.physicalType", "decimal"),
    (lambda d: field(d, "unit_price").update(physicalType="decimal(20,2)"), "unit_price.physicalType", "15"),
    (lambda d: field(d, "quantity").update(enum=[{"value": 1}]), "schema.properties.quantity.enum", "of a string"),
    (custom("quantity", "column", "order"), "schema.properties.quantity", "reserved SQL keyword"),
    (custom("quantity", "column", "lateral"), "schema.properties.quantity", "reserved SQL keyword"),
    (custom("quantity", "column", "payload"), "schema.properties.quantity", "a column 'payload' of its own"),
    (custom("quantity", "column", "event_date"), "schema.properties.quantity", "a column 'event_date' of its own"),
    (custom("quantity", "wieght", 3), "schema.properties.quantity.customProperties.wieght", "weight"),
    (without_weights, "schema.properties", "no weight"),
    (custom("quantity", "weight", "much"), "schema.properties.quantity.weight", "whole number"),
    (option("receipt_id", maxLength=5), "receipt_id.logicalTypeOptions.maxLength", "write a rule"),
    (option("receipt_id", minimum=5), "receipt_id.logicalTypeOptions.minimum", "format, pattern"),
    (option("receipt_id", pattern="^R'$"), "receipt_id.logicalTypeOptions.pattern", "[0-9]"),
    (option("receipt_id", pattern=r"^R\d$"), "receipt_id.logicalTypeOptions.pattern", "[0-9]"),
    (option("receipt_id", pattern="^(R"), "receipt_id.logicalTypeOptions.pattern", "regular expression"),
    (option("receipt_id", format="email"), "receipt_id.logicalTypeOptions.format", "uuid"),
    (option("quantity", minimum="one", maximum=5), "quantity.logicalTypeOptions.minimum", "a number"),
    (option("quantity", minimum=1), "quantity.logicalTypeOptions.maximum", "identifier: true"),
    (option("quantity", maximum=5), "quantity.logicalTypeOptions.minimum", "is missing"),
    (lambda d: field(d, "quantity").pop("logicalTypeOptions"), "quantity.logicalTypeOptions.minimum", "is missing"),
    (option("quantity", minimum=1, maximum=10**9), "quantity.logicalTypeOptions.maximum", "922,337,203"),
    (option("quantity", minimum=-(10**9), maximum=1), "quantity.logicalTypeOptions.minimum", "922,337,203"),
    (option("quantity", minimum=1, maximum=2.5), "quantity.logicalTypeOptions.maximum", "whole number"),
    (option("quantity", minimum=1, maximum=float("inf")), "quantity.logicalTypeOptions.maximum", "a number"),
    (option("unit_price", maximum=10**10), "unit_price.logicalTypeOptions.maximum", "no decimal(12,2)"),
    (option("unit_price", minimum=0.005), "unit_price.logicalTypeOptions.minimum", "no decimal(12,2)"),
    (custom("receipt_id", "identifier", True), "receipt_id.customProperties.identifier", "integer only"),
    (lambda d: field(d, "quantity").update(description="{{ units }}"), "quantity.description", "dbt"),
    (option("receipt_id", pattern="^[{#]+$"), "receipt_id.logicalTypeOptions.pattern", "dbt"),
    (lambda d: field(d, "payment_method").update(enum=[{"value": "{{x}}"}]), "payment_method.enum", "{{"),
    (option("quantity", minimum=5, maximum=1), "quantity.logicalTypeOptions", "greater than"),
    (option("event_time", pattern="^2"), "event_time.logicalTypeOptions.pattern", "no options"),
    (
        lambda d: field(d, "store_id").update(relationships=[{"type": "foreignKey", "to": "dim_store"}]),
        "schema.properties.store_id.relationships",
        "model.column",
    ),
    (
        lambda d: d["schema"][0].update(quality=[{"name": "r", "type": "text", "description": "?"}]),
        "schema.quality.r",
        "engine: dbt",
    ),
]  # fmt: skip


RULES = {
    "discount_amount <= quantity * unit_price": "",
    "not (payment_method = 'card' and quantity = 1) or customer_id is not null": "",
    "line_number * quantity * 1000 <= 900000000000": "",
    "unit_price between 0.05 and 999.95 and quantity in (1, 2, 6, 12)": "",
    "event_time >= timestamp '2020-01-01 00:00:00'": "",
    "case when quantity > 10 then discount_amount else 0 end < 5 * unit_price": "",
    "coalesce(promotion_id, customer_id, 'none') like 'P%' or length(trim(receipt_id)) <= 20": "",
    "cast(quantity as decimal(18, 0)) * quantity * quantity * quantity <= 1000": "",
    "greatest(quantity, line_number) - abs(-quantity) >= 0": "",
    "quantity * quantity * quantity * quantity <= 1000": "too large for an integer",
    "unit_price * unit_price * unit_price * unit_price * unit_price * unit_price <= 10": "decimals: Spark would round",
    "discount_amount * discount_amount * discount_amount * quantity <= 10": "too large for a decimal of 38 digits",
    "discount_amount / quantity <= unit_price": "multiply instead",
    "quantity % 2 = 0": "multiply instead",
    "cast(receipt_id as integer) > 5": "cast to integer that could fail",
    "cast(unit_price as decimal(12, 0)) > 5": "could fail or round",
    "receipt_id > 5": "mixes a number and a text",
    "event_time > '2020-01-01'": "date '2026-01-31'",
    "event_time > date '2020-02-30'": "no date",
    "quantity > 1e3": "exponent",
    "quantity > 12345678901234567890": "18 digits",
    "lower(receipt_id) = 'r1'": "calls lower",
    "price <= 5": "no column of the event",
    "(select max(quantity) from sales) > 5": "subquery",
    "quantity": "must be a condition",
    "receipt_id and quantity > 1": "as a condition",
    "quantity >": "not a SQL condition",
    "quantity > 1) or (true": "not a SQL condition",
    "true); select (true": "not a SQL condition",
    "quantity > 1, true": "calls row",
    "quantity > 1 -- but why": "not a SQL condition",
    "{{ matches('receipt_id', '^R') }}": "has {{",
    'receipt_id = "R1"': "single quotes",
    "receipt_id = 'R\\1'": "differently",
}
"""Rules for sales-events, and a part of why they are refused; empty: they are accepted."""


@pytest.mark.parametrize("rule", RULES)
def test_a_rule_that_could_fail_for_some_message_is_refused(
    changed: Callable[[Callable[[dict[str, Any]], object]], Path], rule: str
) -> None:
    path = changed(lambda document: document["schema"][0]["quality"][0].update(implementation=rule))
    if RULES[rule]:
        with pytest.raises(LevainError) as refused:
            load_contract(path)
        assert "schema.quality.discount_within_gross.implementation" in refused.value.message
        assert RULES[rule] in refused.value.message
    else:
        assert load_contract(path).rules[0].expression == rule


def test_an_integer_that_only_names_something_needs_no_limits(
    changed: Callable[[Callable[[dict[str, Any]], object]], Path],
) -> None:
    def with_till(rule: str) -> Path:
        till = {
            "name": "till",
            "logicalType": "integer",
            "description": "Serial number of the till.",
            "customProperties": [{"property": "identifier", "value": True}],
        }

        def change(document: dict[str, Any]) -> None:
            document["schema"][0]["properties"].append(till)
            document["schema"][0]["quality"][0].update(implementation=rule)

        return changed(change)

    assert load_contract(with_till("till <> 0 or till in (quantity, 7)")).by_name["till"].identifier
    with pytest.raises(LevainError, match="calculates with an identifier"):
        load_contract(with_till("till * 2 > 4"))


@pytest.mark.parametrize(("change", "where", "what"), WRONG, ids=[f"{where}-{what}" for _, where, what in WRONG])
def test_a_malformed_contract_is_refused_with_its_place(
    changed: Callable[[Callable[[dict[str, Any]], object]], Path],
    change: Callable[[dict[str, Any]], object],
    where: str,
    what: str,
) -> None:
    path = changed(change)
    with pytest.raises(LevainError) as refused:
        load_contract(path)
    assert f"The contract {path} is malformed at" in refused.value.message
    assert where in refused.value.message and what in refused.value.message
    assert "docs/adding-a-topic.md" in refused.value.hint


@pytest.mark.parametrize("text", ["schema: [", "- a list", "\x00", "schema:\n\t- x"])
def test_what_is_no_contract_at_all_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "sales.odcs.yaml"
    path.write_text(text)
    with pytest.raises(LevainError, match=r"sales\.odcs\.yaml"):
        load_contract(path)


def test_a_folder_without_contracts_and_an_unknown_topic_are_said(tmp_path: Path) -> None:
    with pytest.raises(LevainError, match="no data contract in") as refused:
        load_contracts(tmp_path)
    assert "docs/adding-a-topic.md" in refused.value.hint
    with pytest.raises(LevainError, match="No data contract describes the topic 'sales'") as refused:
        contract_for("sales")
    assert "sales-events" in refused.value.hint


def test_two_contracts_of_one_topic_are_refused(tmp_path: Path) -> None:
    for name in ("a.odcs.yaml", "b.odcs.yaml"):
        shutil.copy(SALES, tmp_path / name)
    with pytest.raises(LevainError, match=r"b\.odcs\.yaml and a\.odcs\.yaml both describe the topic 'sales-events'"):
        load_contracts(tmp_path)


def test_what_a_contract_says_is_read() -> None:
    contract: Contract = contract_for("ventes_stream")
    assert (contract.table, contract.staging_model) == ("ventes_stream", "stg_marketplace__ventes_stream")
    assert (contract.key, contract.identity, contract.event_time) == ("client_id", "vente_id", "timestamp")
    assert contract.by_name["timestamp"].column == "vendu_le"
    assert contract.by_name["segment"].allowed == ("Particulier", "Enterprise")
    reference = contract.by_name["client_id"].reference
    assert reference is not None and reference.strict and reference.column == "client_id"


def test_objects_are_flattened_and_arrays_stay_whole() -> None:
    contract = contract_for("customer-feedback")
    assert [field.name for field in contract.members][-3:] == ["visit", "answers", "tags"]
    assert "visit" not in {field.column for field in contract.columns}
    day = contract.by_name["visit_visited_on"]
    assert (day.path, day.parent, day.column) == (("visit", "visited_on"), "visit", "visit_visited_on")
    assert day.required and not contract.is_always_there(day) and day.weight == 5
    event = {"visit": {"visited_on": "2026-01-31"}}
    assert day.value_in(event) == "2026-01-31"
    assert day.value_in({}) is day.value_in({"visit": None}) is day.value_in({"visit": "x"}) is None
    answers = contract.by_name["answers"].items
    assert answers is not None and [each.name for each in answers.members] == ["question", "rating", "comment"]


def test_a_topic_costs_at_most_eighty_generated_lines() -> None:
    def lines(contracts: list[Contract]) -> int:
        return sum(text.count("\n") for text in codegen.render(contracts).values())

    contracts = list(load_contracts().values())
    for each in contracts:
        others = [contract for contract in contracts if contract is not each]
        assert lines(contracts) - lines(others) <= 80, each.topic


def test_generated_files_are_current_and_only_they_are_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert codegen.generate(check=True) == []
    monkeypatch.setattr(codegen, "PROJECT_ROOT", tmp_path)
    written = codegen.generate()
    assert tmp_path / "models/messages/int_messages.sql" in written
    assert codegen.generate() == []

    old = tmp_path / "models/messages/int_gone__checked.sql"
    mine = tmp_path / "models/messages/int_mine.sql"
    old.write_text((tmp_path / "models/messages/int_messages.sql").read_text())
    mine.write_text("select 1 as one\n")
    stale = tmp_path / "models/messages/int_sales_events__checked.sql"
    stale.write_text(stale.read_text() + "-- by hand\n")
    with pytest.raises(LevainError, match=r"int_sales_events__checked\.sql, models/messages/int_gone__checked\.sql"):
        codegen.generate(check=True)
    assert sorted(codegen.generate()) == sorted([stale, old])
    assert not old.exists() and mine.exists()
