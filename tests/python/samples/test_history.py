"""A history of any number of days: plausible, coherent, not late, the same again, and in the memory of some days."""

from __future__ import annotations

import json
import statistics
import tracemalloc
from collections import Counter, defaultdict
from collections.abc import Iterable
from datetime import date, datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sample_events import CONTRACTS, body, local, moment, sample, stock

from ingest.errors import LevainError
from levain.samples import ExpectedOutcome, Message, company, generate
from levain.samples.company import ONLINE, PARIS, PRODUCTS
from levain.samples.events import WITHOUT_EVENTS
from levain.samples.events.fraud import is_fraudulent
from levain.samples.events.shoppers import FADING_DAYS
from levain.samples.producer import Period, period

Row = dict[str, Any]

TWO_YEARS = period(1, 730, date(2026, 11, 30))
"""With every holiday, three changes of the clock, and most of it before `company.START`."""


@pytest.fixture(scope="module")
def messages() -> list[Message]:
    return sample(24_000, history=TWO_YEARS)


@pytest.fixture(scope="module")
def years(messages: list[Message]) -> dict[str, list[Row]]:
    found = defaultdict(list)
    for message in messages:
        found[message.topic].append(body(message))
    return found


def day_of(row: Row) -> date:
    return local(row["event_time"]).date()


def outcome_of(messages: Iterable[Message], simulated: Period) -> ExpectedOutcome:
    outcome = ExpectedOutcome(run="r", events=0, seed=1, faults="none", period=simulated)
    for message in messages:
        outcome.add(message)
    return outcome


# Days, order, number, memory


def test_all_topics_are_spread_over_all_of_the_days(years: dict[str, list[Row]]) -> None:
    assert sum(map(len, years.values())) == 24_000
    assert set(years) == set(CONTRACTS) - WITHOUT_EVENTS
    for topic, found in years.items():
        months = Counter(local(str(row[CONTRACTS[topic].event_time])).strftime("%Y-%m") for row in found)
        # The register of the equipment comes as six whole files.
        assert len(months) == (6 if topic == "equipment-extracts" else 24), topic
        assert min(months) == "2024-12"
    sold = Counter(day_of(row) for row in years["sales-events"])
    assert (min(sold), max(sold)) == (date(2024, 12, 1), date(2026, 11, 30))


@settings(max_examples=12, deadline=None)
@given(
    days=st.one_of(st.integers(1, 3), st.integers(4, 90)),
    last=st.dates(date(2024, 4, 1), date(2028, 12, 31)),
    events=st.one_of(st.integers(1, 30), st.integers(31, 900)),
    faults=st.sampled_from(["none", "all"]),
)
def test_any_history_has_its_number_of_messages_in_order_and_none_is_late(
    days: int, last: date, events: int, faults: str
) -> None:
    simulated = period(events, days, last)
    found = sample(events, faults=faults, history=simulated)
    assert len(found) == events
    times = [message.received for message in found]
    assert times == sorted(times)
    begin, end = (company.local_midnight(day) for day in (simulated.start, last + timedelta(days=1)))
    for message in found:
        assert dict(message.headers)["received-at"].endswith(b"Z")
        if message.fault:
            continue
        at = moment(body(message)[CONTRACTS[message.topic].event_time])
        assert timedelta() < message.received - at < timedelta(hours=5)
        # The marketplace and the weather go by UTC days, and a session may end after midnight.
        assert begin - timedelta(hours=1) <= message.received < end + timedelta(hours=6)


def test_same_seed_and_days_same_messages() -> None:
    a_month = period(1, 30, date(2025, 1, 15))
    first = sample(1200, seed=3, faults="all", history=a_month)
    assert first == sample(1200, seed=3, faults="all", history=a_month)
    other = sample(1200, seed=3, faults="all", history=period(1, 30, date(2025, 1, 16)))
    sent = ({message.value for message in found if message.verdict == "accepted"} for found in (first, other))
    assert not set.intersection(*sent)


def test_memory_does_not_grow_with_the_history() -> None:
    def peak(days: int) -> int:
        """At its most, with 40 messages a day."""
        found = generate(None, 40 * days, history=period(1, days, date(2025, 6, 30)))
        tracemalloc.start()
        for _ in found:
            pass
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return most

    peak(120)  # what is cached of the company
    assert peak(120) < 1.6 * peak(30)


# Seasons, weather, promotions


def test_shops_keep_their_hours_on_holidays_too(years: dict[str, list[Row]]) -> None:
    on_holidays = 0
    for row in years["sales-events"]:
        at = local(row["event_time"])
        hours = company.hours(row["store_id"], at.date())
        assert hours is not None, f"{row['store_id']} is closed on {at.date()}"
        assert hours[0] <= at.hour * 60 + at.minute < hours[1]
        on_holidays += at.date() in company.public_holidays()
    assert on_holidays > 100
    sold = {day_of(row) for row in years["sales-events"] if row["store_id"] != ONLINE}
    assert not sold & {date(2024, 12, 25), date(2025, 1, 1), date(2025, 5, 1), date(2025, 12, 25)}
    assert date(2025, 7, 14) in sold


def test_weeks_and_years_have_their_seasons(years: dict[str, list[Row]]) -> None:
    shops = [row for row in years["sales-events"] if row["store_id"] != ONLINE]
    weekdays = Counter(day_of(row).weekday() for row in shops)
    assert weekdays[5] > 1.2 * statistics.mean(weekdays[day] for day in range(5))
    months = Counter(day_of(row).month for row in shops)
    assert months[12] > 1.2 * months[8]
    sold = defaultdict(set)
    for row in shops:
        sold[row["product_id"]].add(day_of(row))
    for product in PRODUCTS:
        assert all(company.in_season(product, day) for day in sold[product.product_id])
    assert {day.year for day in sold["P021"]} >= {2025, 2026}, "the galette comes back every January"


def test_weather_comes_in_spells_and_moves_demand(years: dict[str, list[Row]]) -> None:
    days = [TWO_YEARS.start + timedelta(days=offset) for offset in range(730)]
    skies = [company.sky("Lyon", day) for day in days]
    assert statistics.correlation(*zip(*pairwise(sky.mildness for sky in skies), strict=True)) > 0.5
    assert 0.25 < statistics.mean(sky.wet for sky in skies) < 0.42
    after_wet = statistics.mean(sky.wet for before, sky in pairwise(skies) if before.wet)
    assert after_wet > 1.2 * statistics.mean(sky.wet for sky in skies)
    near = [company.sky("Puteaux", day).mildness for day in days]
    assert statistics.correlation([sky.mildness for sky in skies], near) > 0.4, "a country has one weather"

    lines = Counter((row["store_id"], day_of(row)) for row in years["sales-events"])
    trade: dict[bool, list[int]] = defaultdict(list)
    for day in days:
        for store in company.stores(day):
            if store.store_id != ONLINE and company.hours(store.store_id, day):
                trade[company.sky(store.city, day).wet].append(lines[store.store_id, day])
    assert statistics.mean(trade[False]) > 1.12 * statistics.mean(trade[True])
    for product_id, hot in (("P029", True), ("P028", False)):
        juice: dict[bool, int] = Counter()
        for row in years["sales-events"]:
            if row["product_id"] == product_id:
                juice[company.sky(company.store_on(row["store_id"], day_of(row)).city, day_of(row)).mildness > 0] += 1
        assert juice[hot] > juice[not hot]


def test_a_promotion_lifts_what_it_is_for(years: dict[str, list[Row]]) -> None:
    promoted: Counter[bool] = Counter()
    every: Counter[bool] = Counter()
    levain = next(product for product in PRODUCTS if product.product_id == "P003")
    for row in years["sales-events"]:
        runs = company.promotion(levain, day_of(row)) is not None
        every[runs] += 1
        promoted[runs] += row["product_id"] == "P003"
    assert promoted[True] / every[True] > 1.3 * promoted[False] / every[False]
    used = defaultdict(set)
    for row in years["sales-events"]:
        used[row.get("promotion_id")].add(day_of(row).year)
    announced = {row["promotion_id"] for row in years["promotions"]}
    assert set(used) - {None} <= announced
    assert used["PR004"] >= {2025, 2026}


# What follows from what


def test_stock_sells_what_the_tills_sold(years: dict[str, list[Row]], messages: list[Message]) -> None:
    tills: dict[tuple[str, str], Counter[datetime]] = defaultdict(Counter)
    for row in years["sales-events"]:
        hour = moment(row["event_time"]).replace(minute=0, second=0, microsecond=0)
        tills[row["store_id"], row["product_id"]][hour + timedelta(minutes=59, seconds=59)] += row["quantity"]
    logs = stock(messages)
    assert len(logs) > 10
    for pair, log in logs.items():
        assert {moment(r["event_time"]): -r["quantity"] for r in log if r["movement_type"] == "sale"} == tills[pair]
        assert all(row["level"] >= 0 for row in log)


def test_a_few_percent_of_what_is_baked_is_thrown_away() -> None:
    units: Counter[str] = Counter()
    for events in (3000, 40_000):
        units.clear()
        for message in generate(["sales-events", "inventory-updates"], events, history=period(1, 30, date(2026, 2, 3))):
            if message.topic == "inventory-updates":
                row = body(message)
                units[row["movement_type"]] += row["quantity"]
        assert 0.02 < -units["waste"] / units["production"] < 0.09, events


def test_products_and_customers_have_several_versions(years: dict[str, list[Row]]) -> None:
    prices, states = defaultdict(set), defaultdict(list)
    for row in years["product-changes"]:
        prices[row["product_id"]].add(row["base_price"])
    assert statistics.mean(map(len, prices.values())) > 3
    for row in years["customer-changes"]:
        states[row["customer_id"]].append(row)
    versions = Counter(map(len, states.values()))
    assert sum(number for length, number in versions.items() if length > 1) > 50
    assert max(versions) < 20
    managers = defaultdict(set)
    for row in years["store-extracts"]:
        managers[row["store_id"]].add(row["manager"])
    assert sum(map(len, managers.values())) > 20


def test_what_a_session_ends_with_is_purchased(years: dict[str, list[Row]]) -> None:
    ordered = Counter(
        (row["customer_id"], row["event_time"], item["product_id"], item["quantity"], item["unit_price"])
        for row in years["web-events"]
        if row["event_type"] == "purchase"
        for item in row["cart"]
    )
    names = ("customer_id", "event_time", "product_id", "quantity", "unit_price")
    assert ordered
    assert not ordered - Counter(tuple(row[name] for name in names) for row in years["purchases"])


# What is planted


def test_the_expected_outcome_names_the_fraud_and_only_it(years: dict[str, list[Row]], messages: list[Message]) -> None:
    document = json.loads(outcome_of(messages, TWO_YEARS).as_json())
    assert document["days"] == {"first": "2024-12-01", "last": "2026-11-30"}
    planted = document["planted"]
    assert set(planted) == {"fraudulent_purchases", "equipment_drifts", "customers_left"}
    stolen = [row for row in years["purchases"] if is_fraudulent(row["purchase_id"])]
    assert planted["fraudulent_purchases"] == [row["purchase_id"] for row in stolen]
    assert len({day_of(row).strftime("%Y-%m") for row in stolen}) > len(stolen) / 8, "thieves come all the time"


def test_machines_drift_before_they_fail_and_are_as_before_when_repaired() -> None:
    a_year = period(1, 365, date(2025, 11, 30))
    found = sample(9000, topics=["equipment-metrics"], history=a_year)
    readings = defaultdict(list)
    for message in found:
        row = body(message)
        if row["status"] == "running":
            readings[row["equipment_id"]].append((moment(row["event_time"]), float(row["vibration_mm_s"])))
    ratios, repaired = [], []
    for each in outcome_of(found, a_year).planted()["equipment_drifts"]:
        drifts, failed, again = (moment(each[name]) for name in ("drifts_from", "failed_at", "repaired_at"))
        log = readings[each["equipment_id"]]

        def mean(since: datetime, until: datetime, log: list[tuple[datetime, float]] = log) -> float | None:
            values = [value for at, value in log if since <= at < until]
            return statistics.mean(values) if values else None

        sound, last, after = (
            mean(drifts - timedelta(days=30), drifts),
            mean(failed - timedelta(days=3), failed),
            mean(again, again + timedelta(days=20)),
        )
        if sound and last:
            ratios.append(last / sound)
        if sound and after:
            repaired.append(after / sound)
    assert len(ratios) > 12
    assert min(ratios) > 1.3
    assert statistics.mean(repaired) < 1.1


def test_who_left_comes_no_more_and_others_take_the_place(years: dict[str, list[Row]], messages: list[Message]) -> None:
    left = {
        row["customer_id"]: date.fromisoformat(row["left_on"])
        for row in outcome_of(messages, TWO_YEARS).planted()["customers_left"]
    }
    honest = [row for row in years["purchases"] if not is_fraudulent(row["purchase_id"])]
    named = [row for row in (*years["sales-events"], *honest) if row.get("customer_id")]
    before = Counter(row["customer_id"] for row in named if day_of(row) < left.get(row["customer_id"], date.max))
    assert sum(before[customer] for customer in left) > 300
    for row in named:
        gone = left.get(row["customer_id"])
        assert gone is None or day_of(row) < gone + timedelta(days=FADING_DAYS)
    halves = Counter(day_of(row) < date(2025, 12, 1) for row in named)
    assert halves[False] > 0.85 * halves[True], "trade by name does not fade with those who leave"
    signed_up = {row["customer_id"]: moment(row["signed_up_at"]) for row in years["customer-changes"]}
    for row in named:
        assert signed_up.get(row["customer_id"], datetime.min.replace(tzinfo=PARIS)) < moment(row["event_time"])


# What cannot be done


@pytest.mark.parametrize(
    ("days", "until", "message"),
    [
        (0, date(2026, 1, 31), "0 days"),
        (800, date(2026, 1, 31), "goes from 2024-01-01 to 2028-12-31"),
        (30, date(2029, 1, 1), "ends on 2029-01-01"),
        (30, date(2023, 1, 1), "ends on 2023-01-01"),
        (None, date(2026, 1, 31), "No history is asked for"),
    ],
)
def test_a_history_beyond_the_companys_calendar_is_refused(days: int | None, until: date, message: str) -> None:
    with pytest.raises(LevainError, match=message):
        period(1, days, until)


def test_a_history_ends_today_by_itself() -> None:
    assert period(1, 30).last in {datetime.now(PARIS).date() - timedelta(days=offset) for offset in (0, 1)}
