"""Sample events: deterministic, plausible, and each fault with its expected outcome. None of this needs a broker."""

from __future__ import annotations

import csv
import json
import math
import re
import statistics
from collections import Counter, defaultdict
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from ingest.contracts import Contract, load_contracts
from ingest.errors import LevainError
from ingest.jsontext import JsonText, json_object, utc
from ingest.settings import PROJECT_ROOT
from ingest.sources.openmeteo import CONDITIONS
from levain.samples import FAULTS, ExpectedOutcome, Message, company, generate
from levain.samples.company import CLIENTS, ONLINE, PARIS, PRODUCTS, PRODUITS, START, in_season, stores
from levain.samples.events import SOURCES
from levain.samples.events.run import LONGEST_DAYS, SHORTEST_DAYS, days_for

TOPICS = (
    *("sales-events", "ventes_stream", "product-changes"),
    *("store-extracts", "equipment-extracts", "weather-data"),
)
CONTRACTS = load_contracts()


def sample(events: int = 3000, seed: int = 1, faults: str = "none", topics: list[str] | None = None) -> list[Message]:
    return list(generate(topics, events, seed, faults))


def body(message: Message) -> dict[str, Any]:
    assert message.value is not None
    content = json.loads(message.value, parse_float=Decimal)
    assert isinstance(content, dict)
    return content


def rows(messages: list[Message], topic: str) -> list[dict[str, Any]]:
    return [body(message) for message in messages if message.topic == topic]


def moment(text: str) -> datetime:
    return utc(datetime.fromisoformat(text))


@pytest.fixture(scope="module")
def plain() -> list[Message]:
    return sample(20_000)


@pytest.fixture(scope="module")
def faulty() -> list[Message]:
    return sample(5000, faults="all")


# What is sent, and in what order


@pytest.mark.parametrize("faults", ["none", "all"])
@pytest.mark.parametrize("events", [1, 7, 60, 500, 5000])
def test_sends_exactly_as_many_messages_as_asked(events: int, faults: str) -> None:
    assert len(sample(events, faults=faults)) == events


@pytest.mark.parametrize("topic", TOPICS)
@pytest.mark.parametrize("events", [1, 45, 700])
def test_sends_as_many_into_one_topic_alone(topic: str, events: int) -> None:
    messages = sample(events, faults="all", topics=[topic])
    assert len(messages) == events
    assert {message.topic for message in messages} == {topic}


def test_same_seed_same_messages_byte_for_byte() -> None:
    assert sample(1500, seed=4, faults="all") == sample(1500, seed=4, faults="all")


def test_order_in_which_topics_are_named_does_not_matter() -> None:
    assert sample(500, topics=list(TOPICS)) == sample(500, topics=list(reversed(TOPICS)))


def test_two_runs_share_no_event() -> None:
    def identities(messages: list[Message]) -> set[tuple[str, Any]]:
        return {(m.topic, body(m)[CONTRACTS[m.topic].identity]) for m in messages}

    runs = [sample(800, seed=1), sample(800, seed=2), sample(900, seed=1), sample(800, seed=1, topics=["sales-events"])]
    everything = [identities(run) for run in runs]
    assert sum(map(len, everything)) == len(set.union(*everything)) == 3300


def test_runs_agree_on_the_company() -> None:
    def states(topic: str, seed: int) -> list[str]:
        return sorted(json.dumps(row | {"event_id": None}, default=str) for row in rows(sample(900, seed), topic))

    for topic in ("product-changes", "store-extracts"):
        assert states(topic, seed=1) == states(topic, seed=2)


def test_sales_are_the_bulk_and_every_product_and_store_is_covered() -> None:
    for events in (500, 5000):
        messages = sample(events)
        share = Counter(message.topic for message in messages)
        assert share["sales-events"] / events > 0.7
        assert 0.13 < share["ventes_stream"] / events < 0.17
        assert {row["product_id"] for row in rows(messages, "product-changes")} == {p.product_id for p in PRODUCTS}
        assert {row["store_id"] for row in rows(messages, "store-extracts")} == {s.store_id for s in stores(START)}


def test_messages_come_in_the_order_they_are_received_and_say_so(faulty: list[Message]) -> None:
    times = [datetime.fromisoformat(dict(message.headers)["received-at"].decode()) for message in faulty]
    assert times == sorted(times) == [message.received for message in faulty]
    assert all(dict(message.headers)["received-at"].endswith(b"Z") for message in faulty)


def test_history_is_not_late(plain: list[Message]) -> None:
    for message in plain:
        delay = message.received - moment(body(message)[CONTRACTS[message.topic].event_time])
        most = timedelta(hours=5) if message.topic.endswith("-extracts") else timedelta(seconds=5)
        assert timedelta() < delay < most


def test_period_starts_on_a_fixed_day_and_grows_with_the_events(plain: list[Message]) -> None:
    days = {moment(row["event_time"]).astimezone(PARIS).date() for row in rows(plain, "sales-events")}
    assert min(days) in (START, START + timedelta(days=1))
    assert max(days) <= START + timedelta(days=SHORTEST_DAYS - 1)
    assert days_for(1) == SHORTEST_DAYS
    assert SHORTEST_DAYS < days_for(100_000) < LONGEST_DAYS == days_for(10_000_000)


# What the contracts promise


@pytest.mark.parametrize("topic", TOPICS)
def test_events_hold_what_their_contract_asks_for(plain: list[Message], topic: str) -> None:
    contract = CONTRACTS[topic]
    required = {field.name for field in contract.fields if field.required}
    found = rows(plain, topic)
    for row in found:
        assert required <= {name for name, value in row.items() if value is not None}
        assert set(row) <= set(contract.by_name)
        for field in contract.fields:
            value = row.get(field.name)
            if value is None:
                continue
            if field.minimum is not None:
                assert value >= field.minimum
            if field.allowed:
                assert value in field.allowed
            if field.logical_type == "number":
                assert isinstance(value, Decimal)
                assert -value.as_tuple().exponent <= field.scale  # type: ignore[operator]
    assert len({row[contract.identity] for row in found}) == len(found)


@pytest.mark.parametrize("topic", TOPICS)
def test_messages_carry_the_contracts_key(plain: list[Message], topic: str) -> None:
    name = CONTRACTS[topic].key
    assert all(m.key == str(body(m)[name]).encode() for m in plain if m.topic == topic)


def test_every_contracts_sample_topic_is_known() -> None:
    assert set(SOURCES) == set(TOPICS) <= set(CONTRACTS)


# Plausible, not noise


def test_shops_sell_only_while_they_are_open(plain: list[Message]) -> None:
    for row in rows(plain, "sales-events"):
        local = moment(row["event_time"]).astimezone(PARIS)
        store = next(store for store in stores(local.date()) if store.store_id == row["store_id"])
        hours = store.week[local.weekday()]
        assert hours is not None, f"{store.name} is closed on {local:%A}"
        assert hours[0] <= local.hour * 60 + local.minute < hours[1]


def test_mornings_saturdays_and_bestsellers_stand_out(plain: list[Message]) -> None:
    sales = [row for row in rows(plain, "sales-events") if row["store_id"] != ONLINE]
    local = [moment(row["event_time"]).astimezone(PARIS) for row in sales]
    hours = Counter(each.hour for each in local)
    assert hours[8] > 1.5 * hours[10]
    assert hours[17] > 1.5 * hours[14]
    weekdays = Counter(each.weekday() for each in local)
    assert weekdays[5] > 1.2 * statistics.mean(weekdays[day] for day in range(5))
    products = Counter(row["product_id"] for row in sales)
    assert products["P001"] > 5 * products["P006"] > 0


def test_seasonal_products_are_sold_in_their_season_only() -> None:
    galette = next(product for product in PRODUCTS if product.product_id == "P021")
    sold = [row for row in rows(sample(60_000), "sales-events") if row["product_id"] == "P021"]
    assert sold
    assert all(in_season(galette, moment(row["event_time"]).astimezone(PARIS).date()) for row in sold)
    assert not in_season(galette, date(2026, 2, 1))


def test_receipts_hold_several_lines_of_one_sale(plain: list[Message]) -> None:
    receipts = defaultdict(list)
    for row in rows(plain, "sales-events"):
        receipts[row["receipt_id"]].append(row)
    assert statistics.mean(map(len, receipts.values())) > 1.8
    for lines in receipts.values():
        assert [line["line_number"] for line in lines] == list(range(1, len(lines) + 1))
        assert len({line["product_id"] for line in lines}) == len(lines)
        for name in ("store_id", "event_time", "payment_method"):
            assert len({line[name] for line in lines}) == 1


def test_receipts_cost_what_the_catalogue_said_that_day(plain: list[Message]) -> None:
    history = defaultdict(list)
    for row in rows(plain, "product-changes"):
        history[row["product_id"]].append((moment(row["valid_from"]), row["base_price"]))
    for row in rows(plain, "sales-events"):
        valid = [each for each in history[row["product_id"]] if each[0] <= moment(row["event_time"])]
        assert row["unit_price"] == max(valid)[1]
        assert 0 <= row["discount_amount"] <= row["quantity"] * row["unit_price"]


def test_discounts_belong_to_promotions(plain: list[Message]) -> None:
    sales = rows(plain, "sales-events")
    assert all((row["discount_amount"] > 0) == bool(row.get("promotion_id")) for row in sales)
    assert 0.01 < sum(row["discount_amount"] > 0 for row in sales) / len(sales) < 0.35


def test_product_changes_come_before_and_after_they_are_valid(plain: list[Message]) -> None:
    changes = rows(plain, "product-changes")
    initial, later = changes[: len(PRODUCTS)], changes[len(PRODUCTS) :]
    assert {row["product_id"] for row in initial} == {product.product_id for product in PRODUCTS}
    ahead = [row for row in later if moment(row["valid_from"]) > moment(row["event_time"])]
    back = [row for row in later if moment(row["event_time"]) - moment(row["valid_from"]) > timedelta(hours=9)]
    assert ahead
    assert back
    sales = rows(plain, "sales-events")
    assert any(
        sale["product_id"] == row["product_id"]
        and moment(row["valid_from"]) <= moment(sale["event_time"]) < moment(row["event_time"])
        for row in back
        for sale in sales
    ), "no sale falls between a change's validity and its record"
    assert {row["name"] for row in later if row["product_id"] == "P019"} >= {"Flan à la vanille, part"}


def test_store_extracts_are_whole_files_that_change_a_little(plain: list[Message]) -> None:
    files = defaultdict(list)
    for message in plain:
        if message.topic == "store-extracts":
            headers = dict(message.headers)
            row = body(message)
            assert row["event_id"] == f"{headers['sha256'].decode()}-{headers['line'].decode()}"
            assert headers["file"].decode() == f"stores_{row['event_time'][:10]}.csv"
            assert row["event_time"].endswith("T00:00:00Z")
            files[row["event_time"]].append(row)
    assert len(files) == SHORTEST_DAYS
    assert all(
        [row["store_id"] for row in each] == [store.store_id for store in stores(START)] for each in files.values()
    )
    for name in ("manager", "opening_hours"):
        states = {(row["store_id"], row[name]) for each in files.values() for row in each}
        assert len(stores(START)) < len(states) < len(stores(START)) + 8
    assert len({row["latitude"] for each in files.values() for row in each}) == len({s.latitude for s in stores(START)})


def test_equipment_stands_in_the_shops_and_is_replaced_now_and_then() -> None:
    found = rows(sample(400, topics=["equipment-extracts"]), "equipment-extracts")
    days = [company.equipment(START), company.equipment(START + timedelta(days=363))]
    assert all(len(day) == len({(each.store_id, each.equipment_type) for each in day}) == 27 for day in days)
    assert 0 < len({each.equipment_id for each in days[1]} - {each.equipment_id for each in days[0]}) < 14
    assert {row["store_id"] for row in found} == {store.store_id for store in stores(START)} - {ONLINE}
    assert len({row["event_time"] for row in found}) == math.ceil(400 / 27)


def test_weather_has_seasons_and_names_of_wmo_codes() -> None:
    found = rows(sample(3000, topics=["weather-data"]), "weather-data")
    assert {row["condition"] for row in found} <= set(CONDITIONS.values())
    assert {row["store_id"] for row in found} == {store.store_id for store in stores(START)}
    winter, summer = (
        statistics.mean(
            company.weather(stores(START)[0], datetime(2026, month, day, 12)).temperature_c for day in range(1, 29)
        )
        for month in (1, 7)
    )
    assert winter + 10 < summer
    assert all(
        (row["precipitation_mm"] > 0) == ("rain" in row["condition"] or "snow" in row["condition"]) for row in found
    )


def test_marketplace_sells_what_the_reference_data_say(plain: list[Message]) -> None:
    clients = {client.client_id: client for client in CLIENTS}
    produits = {produit.produit_id: produit for produit in PRODUITS}
    for row in rows(plain, "ventes_stream"):
        client, produit = clients[row["client_id"]], produits[row["produit_id"]]
        assert row["montant"] == row["quantite"] * produit.price
        assert (row["client_nom"], row["pays"], row["segment"]) == (client.name, client.country, client.segment)
        assert (row["produit_nom"], row["categorie"]) == (produit.name, produit.category)
        assert list(row) == [field.name for field in CONTRACTS["ventes_stream"].fields]
        assert "Z" not in row["timestamp"]


def test_marketplace_is_the_one_in_the_seeds() -> None:
    def seed(name: str) -> list[dict[str, str]]:
        with (PROJECT_ROOT / "seeds" / f"{name}.csv").open(encoding="utf-8", newline="") as file:
            return list(csv.DictReader(file))

    clients = {
        (row["client_id"], row["client_nom"], row["pays"], row["segment"]) for row in seed("marketplace_clients")
    }
    assert {(str(c.client_id), c.name, c.country, c.segment) for c in CLIENTS} <= clients
    produits = {
        (row["produit_id"], row["produit_nom"], row["categorie"], row["prix"]) for row in seed("marketplace_produits")
    }
    assert {(str(p.produit_id), p.name, p.category, str(p.price)) for p in PRODUITS} <= produits


# Faults and their expected outcome


def test_without_faults_everything_is_accepted(plain: list[Message]) -> None:
    assert {(message.verdict, message.rules, message.fault) for message in plain} == {("accepted", (), "")}


@pytest.mark.parametrize("events", [500, 5000])
def test_every_fault_is_there_at_a_small_rate(events: int) -> None:
    found = Counter(message.fault for message in sample(events, faults="all"))
    assert set(found) - {""} == set(FAULTS)
    assert found[""] / events > 0.85


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_alone_brings_no_other(fault: str) -> None:
    assert {message.fault for message in sample(700, faults=fault)} == {"", fault}


@pytest.mark.parametrize("topic", TOPICS)
@pytest.mark.parametrize("fault", FAULTS)
def test_every_form_of_a_fault_is_sent(topic: str, fault: str) -> None:
    forms = FAULTS[fault].of(topic)
    if not forms:
        with pytest.raises(LevainError, match="has no form in"):
            sample(300, faults=fault, topics=[topic])
        return
    found = [message for message in sample(700, faults=fault, topics=[topic]) if message.fault == fault]
    assert len(found) >= len(forms)
    assert len({(message.verdict, message.rules) for message in found}) <= len(forms)


def test_copies_follow_their_original_under_the_same_key(faulty: list[Message]) -> None:
    first: dict[tuple[str, Any], Message] = {}
    copies = Counter[str]()
    for message in faulty:
        if message.verdict == "rejected" or message.fault in ("future", "too-late", "unknown-references"):
            continue
        event = (message.topic, body(message)[CONTRACTS[message.topic].identity])
        if event not in first:
            assert message.verdict == "accepted"
            first[event] = message
            continue
        original = first[event]
        copies[message.fault] += 1
        assert message.key == original.key
        assert (message.value == original.value) == (message.fault != "conflicts")
    assert set(copies) == {"duplicates", "conflicts", "late-copies"}


def test_times_make_the_verdicts_they_are_meant_to(faulty: list[Message]) -> None:
    for message in faulty:
        if message.verdict == "rejected":
            continue
        delay = message.received - moment(str(body(message)[CONTRACTS[message.topic].event_time]))
        if "event_too_late" in message.rules:
            assert delay > timedelta(hours=48)
        elif "event_in_future" in message.rules:
            assert delay < -timedelta(minutes=10)
        else:
            assert timedelta() < delay <= timedelta(hours=48)
        if message.fault == "late":
            assert delay > timedelta(hours=1)


def test_payloads_are_broken_as_said(faulty: list[Message]) -> None:
    for message in faulty:
        match message.fault:
            case "tombstones":
                assert message.value is None
            case "not-utf8":
                assert message.value is not None
                with pytest.raises(UnicodeDecodeError):
                    message.value.decode()
            case "malformed":
                assert message.value is not None
                try:
                    content = json.loads(message.value.decode())
                except ValueError:
                    continue
                assert not isinstance(content, dict)
            case _:
                assert body(message)


def test_rules_are_listed_in_the_contracts_order(faulty: list[Message]) -> None:
    stages = (("missing", "invalid"), ("out_of_range",), ("not_allowed",), ("malformed",))
    for message in faulty:
        contract = CONTRACTS[message.topic]
        names = [rule for rule in message.rules if not rule.startswith(("message_", "event_too", "event_in"))]
        schema = [f"{field.name}_{kind}" for field in contract.fields for kind in stages[0]]
        business = [f"{field.name}_{kind[0]}" for field in contract.fields for kind in stages[1:]]
        unknown = [f"{field.name}_unknown" for field in contract.fields if field.reference and field.reference.strict]
        order = [*schema, *business, *(rule.name for rule in contract.rules), "incomplete", *unknown]
        assert [order.index(name) for name in names] == sorted(order.index(name) for name in names)
        assert (message.verdict in ("rejected", "held")) == bool(message.rules)


def test_first_product_and_store_states_carry_no_fault(faulty: list[Message]) -> None:
    for topic, count in (("product-changes", len(PRODUCTS)), ("store-extracts", len(stores(START)))):
        assert all(not message.fault for message in [m for m in faulty if m.topic == topic][:count])


def test_the_expected_outcome_adds_up_to_the_messages(faulty: list[Message]) -> None:
    outcome = ExpectedOutcome(run="r", events=5000, seed=1, faults="all")
    for message in faulty:
        outcome.add(message)
    document = json.loads(outcome.as_json())
    assert sum(topic["messages"] for topic in document["topics"].values()) == 5000
    for name, topic in document["topics"].items():
        mine = [message for message in faulty if message.topic == name]
        assert topic["verdicts"] == {
            verdict: sum(message.verdict == verdict for message in mine)
            for verdict in ("accepted", "duplicate", "conflict", "rejected", "held")
        }
        assert sum(topic["verdicts"].values()) == topic["messages"] == len(mine)
        assert topic["rules"] == dict(Counter(rule for message in mine for rule in message.rules))


def test_the_expected_outcome_of_a_run_sent_again_is_duplicates() -> None:
    outcome = ExpectedOutcome(run="r", events=500, seed=1, faults="all", resent=1)
    for message in sample(500, faults="all"):
        outcome.add(message)
    for topic in outcome.topics.values():
        assert topic.verdicts["accepted"] == 0
        assert sum(topic.verdicts.values()) == topic.messages


# A topic with a contract and no generator of its own

_OVEN_READINGS = """
apiVersion: v3.1.0
kind: DataContract
id: levain.oven-readings
name: oven-readings
version: 1.0.0
status: active
domain: retail
schema:
  - name: oven_readings
    physicalName: oven-readings
    logicalType: object
    description: A reading of an oven.
    dataGranularityDescription: one reading
    customProperties:
      - {property: key, value: oven_id}
      - {property: identity, value: event_id}
      - {property: eventTime, value: event_time}
      - {property: minimumCompleteness, value: 95}
    properties:
      - {name: event_id, logicalType: string, required: true, description: data, logicalTypeOptions: {format: uuid}}
      - {name: event_time, logicalType: timestamp, required: true, description: data}
      - name: oven_id
        logicalType: string
        required: true
        description: data
        logicalTypeOptions: {pattern: "^OV-[A-F][0-9]{3}$"}
      - name: store_id
        logicalType: string
        required: true
        description: data
        relationships: [{type: foreignKey, to: dim_store.store_id}]
      - name: low_c
        logicalType: number
        physicalType: "decimal(4,1)"
        required: true
        description: data
        logicalTypeOptions: {minimum: 20, maximum: 60}
      - name: high_c
        logicalType: number
        physicalType: "decimal(4,1)"
        required: true
        description: data
        logicalTypeOptions: {minimum: 40}
      - {name: loaves, logicalType: integer, required: true, description: data,
         logicalTypeOptions: {minimum: 1, maximum: 500}}
      - {name: program, logicalType: string, required: true, description: data, enum: [{value: bread}, {value: pastry}]}
      - {name: cleaned_at, logicalType: timestamp, required: true, description: data}
      - {name: baked_for, logicalType: date, required: true, description: data}
      - {name: door_open, logicalType: boolean, required: true, description: data}
      - {name: note, logicalType: string, description: data}
      - {name: operator, logicalType: string, description: data, customProperties: [{property: weight, value: 30}]}
    quality:
      - {name: low_below_high, type: custom, engine: dbt, description: data, implementation: low_c < high_c}
      - {name: cleaned_before, type: custom, engine: dbt, description: data, implementation: cleaned_at <= event_time}
"""


@pytest.fixture
def oven_readings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Contract:
    (tmp_path / "oven-readings.odcs.yaml").write_text(_OVEN_READINGS, encoding="utf-8")
    contracts = load_contracts(tmp_path)
    monkeypatch.setattr("levain.samples.producer.load_contracts", lambda: CONTRACTS | contracts)
    return contracts["oven-readings"]


def test_a_contract_alone_gives_sample_events(oven_readings: Contract) -> None:
    found = rows(sample(700, topics=["oven-readings"]), "oven-readings")
    known = {store.store_id for store in stores(START)}
    optional = {field.name for field in oven_readings.fields if not field.required}
    for row in found:
        assert set(oven_readings.by_name) - set(row) <= optional
        assert all(value is not None for name, value in row.items() if name not in optional)
        assert re.fullmatch(r"OV-[A-F]\d{3}", row["oven_id"])
        assert row["store_id"] in known
        assert 20 <= row["low_c"] <= 60
        assert row["low_c"] < row["high_c"] <= 90
        assert row["loaves"] >= 1
        assert row["program"] in ("bread", "pastry")
        assert moment(row["cleaned_at"]) <= moment(row["event_time"])
        assert date.fromisoformat(row["baked_for"])
        assert row["operator"], "without it a row is less complete than the contract allows"
    assert len({row["event_id"] for row in found}) == 700
    assert any("note" not in row for row in found)


def test_a_contract_alone_gives_faults_too(oven_readings: Contract) -> None:
    messages = sample(700, faults="all", topics=["oven-readings"])
    faults = {message.fault for message in messages} - {""}
    assert faults >= {"duplicates", "conflicts", "late", "too-late", "future", "malformed", "not-utf8", "tombstones"}
    assert {m.rules for m in messages if m.fault == "missing-fields"} == {("oven_id_missing", "incomplete")}
    assert messages == sample(700, faults="all", topics=["oven-readings"])


def test_a_new_topic_joins_the_others(oven_readings: Contract) -> None:
    share = Counter(message.topic for message in sample(1000))
    assert set(share) == {*TOPICS, oven_readings.topic}
    assert share["sales-events"] > 650


def test_rules_that_no_draw_keeps_ask_for_a_generator(oven_readings: Contract, monkeypatch: pytest.MonkeyPatch) -> None:
    impossible = replace(oven_readings, rules=(replace(oven_readings.rules[0], expression="loaves < 0"),))
    monkeypatch.setattr("levain.samples.producer.load_contracts", lambda: {"oven-readings": impossible})
    with pytest.raises(LevainError, match="do not keep the rules of oven-readings"):
        sample(5, topics=["oven-readings"])


# What cannot be done


def test_unknown_profile_names_the_valid_ones() -> None:
    with pytest.raises(LevainError, match=r"'chaos'") as caught:
        sample(10, faults="chaos")
    assert "none, all, duplicates" in caught.value.hint


def test_unknown_topic_names_the_valid_ones() -> None:
    with pytest.raises(LevainError, match="sales, stock") as caught:
        sample(10, topics=["stock", "sales-events", "sales"])
    assert "sales-events" in caught.value.hint


def test_no_events_is_an_error() -> None:
    with pytest.raises(LevainError, match="0 sample events"):
        sample(0)


# JSON text


def test_json_keeps_what_floats_would_lose() -> None:
    text = json_object(
        {
            "price": Decimal("1.10"),
            "none": None,
            "yes": True,
            "time": datetime(2026, 1, 5, 7, 0, 0, 120, UTC),
            "naive": datetime(2026, 1, 5, 7),
            "local": datetime(2026, 1, 5, 8, tzinfo=PARIS),
            "day": date(2026, 1, 5),
            "text": 'é "q" \n',
            "raw": JsonText("NaN"),
            "nested": {"a": [1, 2.5]},
        }
    )
    assert text == (
        '{"price": 1.10, "none": null, "yes": true, "time": "2026-01-05T07:00:00.000120Z", '
        '"naive": "2026-01-05T07:00:00", "local": "2026-01-05T08:00:00+01:00", "day": "2026-01-05", '
        '"text": "é \\"q\\" \\n", "raw": NaN, "nested": {"a": [1, 2.5]}}'
    )
