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
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from sample_events import CONTRACTS, body, local, moment, rows, sample, stock

from ingest.contracts import Contract, Field, load_contracts
from ingest.errors import LevainError
from ingest.jsontext import JsonText, json_object
from ingest.settings import PROJECT_ROOT
from ingest.sources.openmeteo import CONDITIONS
from levain.samples import FAULTS, ExpectedOutcome, Message, company
from levain.samples.company import CLIENTS, ONLINE, PARIS, PRODUCTS, PRODUITS, START, in_season, stores
from levain.samples.events import SOURCES
from levain.samples.events.equipment import breakdowns
from levain.samples.events.inventory import inventory_updates
from levain.samples.events.promotions import notices
from levain.samples.events.run import Run
from levain.samples.run import LONGEST_DAYS, SHORTEST_DAYS, days_for

TOPICS = (
    *("sales-events", "ventes_stream", "product-changes"),
    *("store-extracts", "equipment-extracts", "weather-data"),
    *("customer-changes", "promotions", "inventory-updates", "equipment-metrics"),
    *("customer-feedback", "web-events", "purchases"),
)


def mean(found: list[dict[str, Any]], name: str) -> float:
    return float(statistics.mean(row[name] for row in found))


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

    for topic in ("product-changes", "customer-changes", "promotions", "store-extracts"):
        assert states(topic, seed=1) == states(topic, seed=2)


def test_sales_are_the_bulk_and_every_product_and_store_is_covered() -> None:
    for events, least in ((500, 0.4), (5000, 0.5)):
        messages = sample(events)
        share = Counter(message.topic for message in messages)
        assert share["sales-events"] / events > least
        assert 0.1 < share["ventes_stream"] / events < 0.14
        assert 0.1 < share["inventory-updates"] / events < 0.14
        assert 0.025 < share["customer-feedback"] / events < 0.035
        assert 0.07 < share["web-events"] / events < 0.09
        assert 0.015 < share["purchases"] / events < 0.025
        assert {row["product_id"] for row in rows(messages, "product-changes")} == {p.product_id for p in PRODUCTS}
        assert {row["store_id"] for row in rows(messages, "store-extracts")} == {s.store_id for s in stores(START)}
        announced = {row["promotion_id"] for row in rows(messages, "promotions")}
        assert {row.get("promotion_id") for row in rows(messages, "sales-events")} <= announced | {None}


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
    found = rows(plain, topic)
    for row in found:
        assert set(row) <= {field.name for field in contract.members}
        for field in contract.fields:
            holder = row if field.parent is None else contract.by_name[field.parent].value_in(row)
            if holder is not None:
                check(field, field.value_in(row))
    assert len({row[contract.identity] for row in found}) == len(found)


def check(field: Field, value: Any) -> None:
    """A value is what its contract asks for, at any depth."""
    if value is None:
        assert not field.required, field.name
        return
    size = len(value) if field.logical_type == "array" else value
    if field.minimum is not None:
        assert size >= field.minimum
    if field.maximum is not None:
        assert size <= field.maximum
    if field.pattern:
        assert re.search(field.pattern, value)
    if field.allowed:
        assert value in field.allowed
    if field.logical_type == "number":
        assert isinstance(value, Decimal)
        assert -value.as_tuple().exponent <= field.scale  # type: ignore[operator]
    if field.logical_type == "string":
        assert isinstance(value, str)
    if field.items:
        assert isinstance(value, list)
        for item in value:
            check(field.items, item)
    if field.members:
        assert set(value) <= {member.name for member in field.members}
        for member in field.members:
            check(member, value.get(member.name))


@pytest.mark.parametrize("topic", TOPICS)
def test_messages_carry_the_contracts_key(plain: list[Message], topic: str) -> None:
    name = CONTRACTS[topic].key
    assert all(m.key == str(body(m)[name]).encode() for m in plain if m.topic == topic)


def test_every_contracts_sample_topic_is_known() -> None:
    assert set(SOURCES) == set(TOPICS) <= set(CONTRACTS)


# Plausible, not noise


def test_shops_sell_only_while_they_are_open(plain: list[Message]) -> None:
    for row in rows(plain, "sales-events"):
        at = local(row["event_time"])
        store = next(store for store in stores(at.date()) if store.store_id == row["store_id"])
        hours = store.week[at.weekday()]
        assert hours is not None, f"{store.name} is closed on {at:%A}"
        assert hours[0] <= at.hour * 60 + at.minute < hours[1]


def test_mornings_saturdays_and_bestsellers_stand_out(plain: list[Message]) -> None:
    sales = [row for row in rows(plain, "sales-events") if row["store_id"] != ONLINE]
    times = [local(row["event_time"]) for row in sales]
    hours = Counter(each.hour for each in times)
    assert hours[8] > 1.5 * hours[10]
    assert hours[17] > 1.5 * hours[14]
    weekdays = Counter(each.weekday() for each in times)
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


def test_equipment_is_read_at_an_even_interval_day_and_night(plain: list[Message]) -> None:
    found = rows(plain, "equipment-metrics")
    regular = defaultdict(list)
    for row in found:
        registered = {each.equipment_id: each for each in company.equipment(local(row["event_time"]).date())}
        assert row["store_id"] == registered[row["equipment_id"]].store_id
        if not moment(row["event_time"]).microsecond:
            regular[row["equipment_id"]].append(moment(row["event_time"]))
    gaps = [later - earlier for times in regular.values() for earlier, later in pairwise(times)]
    assert max(gaps) - min(gaps) <= timedelta(seconds=1)
    assert all(len({each.hour for each in times}) > 6 for times in regular.values() if len(times) > 30)
    kinds = {each.equipment_id: each.equipment_type for each in company.equipment(START)}
    for row in found:
        if kinds.get(row["equipment_id"]) in ("oven", "mixer") and not 2 <= local(row["event_time"]).hour < 14:
            assert row["status"] != "running", "ovens and mixers rest from the afternoon on"
    assert Counter(row["status"] for row in found)["running"] > len(found) / 3


def test_cycles_only_grow(plain: list[Message]) -> None:
    last: dict[str, int] = {}
    grown = set()
    for row in rows(plain, "equipment-metrics"):
        before = last.get(row["equipment_id"], row["cycles"])
        assert row["cycles"] >= before
        if row["cycles"] > before:
            grown.add(row["equipment_id"])
        last[row["equipment_id"]] = row["cycles"]
    assert grown == set(last)


def test_equipment_drifts_before_it_fails_and_fails_when_planned() -> None:
    found = rows(sample(6000, topics=["equipment-metrics"]), "equipment-metrics")
    by_machine = defaultdict(list)
    for row in found:
        by_machine[row["equipment_id"]].append(row)
    end = START + timedelta(days=days_for(6000))
    fleet = [each for each in company.equipment(START) if each in company.equipment(end)]
    assert 0.3 < sum(not breakdowns(each) for each in fleet) / len(fleet) < 0.8, "some fail, some never do"
    failures = 0
    for machine in fleet:
        readings = by_machine[machine.equipment_id]
        for row in readings:
            at = moment(row["event_time"])
            down = [each for each in breakdowns(machine) if each.failed <= at < each.repaired]
            if down:
                assert row["status"] == ("fault" if at < down[0].attended else "maintenance")
            else:
                assert row["status"] != "fault"
            assert row.get("error_code") == (down[0].error_code if row["status"] == "fault" else None)
        for each in breakdowns(machine):
            assert timedelta(days=7) <= each.failed - each.drifts <= timedelta(days=14)
            if each.drifts.date() < START or each.repaired.date() >= end:
                continue
            failures += 1
            running = [row for row in readings if row["status"] == "running"]
            sound = [row for row in running if moment(row["event_time"]) < each.drifts]
            last = [row for row in running if timedelta() < each.failed - moment(row["event_time"]) < timedelta(days=2)]
            for name, growth in (("vibration_mm_s", 1.5), ("temperature_c", 1.02)):
                assert mean(last, name) > growth * mean(sound, name)
    assert failures >= 3


# Customers and promotions


def test_customers_who_buy_most_are_known_from_the_start() -> None:
    messages = sample(5000)
    first_night = company.local_midnight(START) + timedelta(hours=6)
    known = {r["customer_id"] for r in rows(messages, "customer-changes") if moment(r["event_time"]) < first_night}
    bought = [row["customer_id"] for row in rows(messages, "sales-events") if row.get("customer_id")]
    assert sum(each in known for each in bought) / len(bought) > 0.85


def test_customers_change_one_thing_at_a_time(plain: list[Message]) -> None:
    histories = defaultdict(list)
    emails = defaultdict(set)
    for row in rows(plain, "customer-changes"):
        histories[row["customer_id"]].append(row)
        emails[row["email"]].add(row["customer_id"])
        assert row["email"].endswith(("@example.org", "@example.com", "@example.net")), "a domain that is nobody's"
        assert moment(row["signed_up_at"]) <= moment(row["valid_from"])
    assert all(len(customers) == 1 for customers in emails.values())
    kinds = Counter[str]()
    for history in histories.values():
        history.sort(key=lambda row: moment(row["valid_from"]))
        for before, after in pairwise(history):
            changed = {name for name in before if before[name] != after[name]}
            (kind,) = changed - {"event_id", "event_time", "valid_from"}
            kinds[kind] += 1
    assert set(kinds) == {"is_member", "segment", "email", "name"}
    assert Counter(row["country"] for each in histories.values() for row in each)["FR"] > 0.8 * len(emails)


def test_customer_changes_are_recorded_on_the_day_ahead_or_late(plain: list[Message]) -> None:
    first_night = company.local_midnight(START) + timedelta(hours=6)
    changes = [row for row in rows(plain, "customer-changes") if moment(row["event_time"]) > first_night]
    delays = [moment(row["event_time"]) - moment(row["valid_from"]) for row in changes]
    late = [delay for delay in delays if delay > timedelta(days=1)]
    ahead = [delay for delay in delays if delay < timedelta()]
    assert 0.12 < len(late) / len(delays) < 0.28
    assert 0.05 < len(ahead) / len(delays) < 0.25
    sales = rows(plain, "sales-events")
    assert any(
        sale.get("customer_id") == row["customer_id"]
        and moment(row["valid_from"]) <= moment(sale["event_time"]) < moment(row["event_time"])
        for row in changes
        for sale in sales
    ), "no sale falls between a change's validity and its record"


def test_nobody_buys_before_signing_up(plain: list[Message]) -> None:
    signed_up = {row["customer_id"]: moment(row["signed_up_at"]) for row in rows(plain, "customer-changes")}
    joined = {each for each, since in signed_up.items() if since > company.local_midnight(START)}
    assert joined
    for row in rows(plain, "sales-events"):
        if row.get("customer_id") in signed_up:
            assert signed_up[row["customer_id"]] < moment(row["event_time"])


def test_discounts_are_what_was_announced_last() -> None:
    messages = sample(60_000)
    runs: dict[tuple[str, str], dict[str, Any]] = {}
    for row in rows(messages, "promotions"):
        assert (row["status"] == "announced") == ((row["promotion_id"], row["starts_at"]) not in runs)
        runs[row["promotion_id"], row["starts_at"]] = row

    def terms(row: dict[str, Any]) -> dict[str, Any]:
        at = moment(row["event_time"])
        found = [
            run
            for run in runs.values()
            if run["promotion_id"] == row["promotion_id"] and moment(run["starts_at"]) <= at < moment(run["ends_at"])
            if run["status"] != "withdrawn" or at < moment(run["event_time"])
        ]
        assert len(found) == 1, row
        return found[0]

    categories = {product.product_id: product.category for product in PRODUCTS}
    applied = set()
    for row in rows(messages, "sales-events"):
        if not row.get("promotion_id"):
            continue
        run = terms(row)
        applied.add(run["promotion_id"])
        assert run["discount_type"] == "percentage"
        gross = row["quantity"] * row["unit_price"]
        assert row["discount_amount"] == (gross * run["discount_value"] / 100).quantize(Decimal("0.01"))
        assert run.get("product_id", row["product_id"]) == row["product_id"]
        assert run.get("category", categories[row["product_id"]]) == categories[row["product_id"]]
        assert "store_id" not in run
    assert applied == {"PR001", "PR002", "PR003", "PR004", "PR900"}


def test_promotions_are_announced_ahead_changed_and_withdrawn() -> None:
    year = notices(364)
    assert {each.status for each in year} == {"announced", "changed", "withdrawn"}
    assert {each.discount_type for each in year} == {"percentage", "amount"}
    assert [each.recorded for each in year] == sorted(each.recorded for each in year)
    for each in year:
        if each.status == "announced" and each.recorded.date() > START:
            assert timedelta(days=3) < each.starts_at - each.recorded < timedelta(days=10)
        if each.status == "changed":
            assert each.recorded < each.starts_at
    withdrawn = [each.recorded < each.starts_at for each in year if each.status == "withdrawn"]
    assert {True, False} == set(withdrawn), "some before they start, some while they run"
    cycles = Counter(each.promotion_id for each in year if each.status == "announced")
    assert cycles["PR004"] == 364 // company.PROMOTION_CYCLE + 1, "it comes back under the same id"


# Stock


def test_stock_never_falls_below_nothing(plain: list[Message]) -> None:
    lost = []
    for log in stock(plain).values():
        times = [moment(row["event_time"]) for row in log]
        assert len(set(times)) == len(times), "the order of two movements would not be known"
        assert all(row["level"] >= 0 for row in log)
        lost += [row["lost"] for row in log if row["movement_type"] == "stocktake"]
    assert 0.02 < sum(each > 0 for each in lost) / len(lost) < 0.5
    assert set(lost) <= {0, 1, 2}


def test_stock_sells_what_the_tills_sold(plain: list[Message]) -> None:
    tills: dict[tuple[str, str], Counter[datetime]] = defaultdict(Counter)
    for row in rows(plain, "sales-events"):
        hour = moment(row["event_time"]).replace(minute=0, second=0, microsecond=0)
        tills[row["store_id"], row["product_id"]][hour] += row["quantity"]
    logs, unfinished = stock(plain), []
    for pair, log in logs.items():
        booked = {moment(r["event_time"]): -r["quantity"] for r in log if r["movement_type"] == "sale"}
        sold = {hour + timedelta(minutes=59, seconds=59): units for hour, units in tills[pair].items()}
        end = max(moment(row["event_time"]) for row in log)
        assert booked == {hour: units for hour, units in sold.items() if hour <= end}
        if booked != sold:
            unfinished.append(pair)
    assert len(unfinished) <= 1, "only the last log may end before the period does"
    assert {store_id for store_id, _ in logs} == {store.store_id for store in stores(START)} - {ONLINE}
    categories = {product.product_id: product.category for product in PRODUCTS}
    assert {categories[product_id] for _, product_id in logs} == set(categories.values())


def test_stock_of_a_run_without_sales_sells_too() -> None:
    types = Counter(
        row["movement_type"] for row in rows(sample(700, topics=["inventory-updates"]), "inventory-updates")
    )
    assert types["sale"] > 150


def test_where_little_moves_it_is_counted_again() -> None:
    run = Run("counts", days=SHORTEST_DAYS, changes=0, sales=300)
    found = [event.fields for event in inventory_updates(run, 9000)]
    assert len({row["event_id"] for row in found}) == 9000
    levels: Counter[tuple[str, str]] = Counter()
    for row in found:
        pair = row["store_id"], row["product_id"]
        if row["movement_type"] == "stocktake":
            assert 0 <= levels[pair] - row["quantity"] <= 2
            levels[pair] = 0
        levels[pair] += row["quantity"]


def test_fresh_goods_are_made_in_the_morning_and_thrown_away_when_they_expire(plain: list[Message]) -> None:
    categories = {product.product_id: product.category for product in PRODUCTS}
    types = Counter[str]()
    for (store_id, product_id), log in stock(plain).items():
        units: dict[str, int] = defaultdict(int)
        for row in log:
            types[row["movement_type"]] += 1
            day, hour = local(row["event_time"]).date(), local(row["event_time"]).hour
            if row.get("lot_id"):
                units[row["lot_id"]] += row["quantity"]
                assert units[row["lot_id"]] >= 0, "more of a lot goes than came"
                assert date.fromisoformat(row["expires_on"]) >= day
            if row["movement_type"] == "production":
                assert categories[product_id] != "drink"
                assert hour < 7 or categories[product_id] == "bread"
            if row["movement_type"] == "delivery":
                assert categories[product_id] == "drink"
            if row["movement_type"] == "waste":
                assert hour >= 13
        if categories[product_id] in ("bread", "viennoiserie"):
            for before, after in pairwise(log):
                if local(before["event_time"]).date() != local(after["event_time"]).date():
                    assert before["level"] == 0, f"{product_id} is kept overnight in {store_id}"
    assert set(types) == {
        *("delivery", "production", "sale", "waste", "transfer_in", "transfer_out", "stocktake"),
    }


def test_what_one_shop_sends_another_gets(plain: list[Message]) -> None:
    sent, came = (
        Counter(
            {
                (row["product_id"], row["lot_id"]): abs(row["quantity"])
                for row in rows(plain, "inventory-updates")
                if row["movement_type"] == kind
            }
        )
        for kind in ("transfer_out", "transfer_in")
    )
    assert sent == came
    assert sent


def test_some_products_sell_out_in_the_afternoon(plain: list[Message]) -> None:
    days = defaultdict(list)
    for pair, log in stock(plain).items():
        for row in log:
            days[pair, local(row["event_time"]).date()].append(row)
    empty = [
        log[-1]
        for log in days.values()
        if log[-1]["movement_type"] == "sale" and log[-1]["level"] == 0 and local(log[-1]["event_time"]).hour >= 14
    ]
    assert 0.03 < len(empty) / len(days) < 0.5
    assert any(local(row["event_time"]).hour < 18 for row in empty)


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
    kinds = ("missing", "invalid"), ("count_out_of_range", "out_of_range", "not_allowed", "malformed")
    for message in faulty:
        contract = CONTRACTS[message.topic]
        names = [rule for rule in message.rules if not rule.startswith(("message_", "event_too", "event_in"))]
        places = [
            "_".join(part for part in (field.name, member) if part)
            for field in contract.fields
            for member in ("", *(each.name for each in (field.items.members if field.items else ())))
        ]
        schema, business = ([f"{place}_{kind}" for place in places for kind in each] for each in kinds)
        unknown = [f"{field.name}_unknown" for field in contract.fields if field.reference and field.reference.strict]
        order = [*schema, *business, *(rule.name for rule in contract.rules), "incomplete", *unknown]
        assert [order.index(name) for name in names] == sorted(order.index(name) for name in names)
        assert (message.verdict in ("rejected", "held")) == bool(message.rules)


def test_first_states_carry_no_fault(faulty: list[Message]) -> None:
    firsts = {"product-changes": len(PRODUCTS), "store-extracts": len(stores(START)), "customer-changes": 90}
    for topic, count in firsts.items():
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
    assert share["sales-events"] > 420


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
