"""Sessions on the web site, the purchases that follow, shoppers who leave, and thieves."""

from __future__ import annotations

import statistics
from collections import Counter, defaultdict
from datetime import date, datetime, timedelta
from decimal import Decimal
from itertools import pairwise
from typing import Any

import pytest
from sample_events import local, moment, rows, sample

from levain.samples import Message, company
from levain.samples.company import PRODUCTS, START
from levain.samples.events import fraud, shoppers, webshop
from levain.samples.events.fraud import is_fraudulent
from levain.samples.events.run import Run
from levain.samples.events.shoppers import FADING_DAYS, Shopper, shopper, stays

Row = dict[str, Any]
CENT = Decimal("0.01")


@pytest.fixture(scope="module")
def shop() -> list[Message]:
    """Four weeks of the online shop alone."""
    return sample(25_000, topics=["web-events", "purchases"])


@pytest.fixture(scope="module")
def bought(shop: list[Message]) -> list[Row]:
    return rows(shop, "purchases")


@pytest.fixture(scope="module")
def sessions(shop: list[Message]) -> dict[str, list[Row]]:
    found: dict[str, list[Row]] = defaultdict(list)
    for row in rows(shop, "web-events"):
        found[row["session_id"]].append(row)
    return found


@pytest.fixture(scope="module")
def known() -> list[Shopper]:
    return [shopper(number) for number in range(1, company.CUSTOMERS + 1)]


def number(row: Row) -> int:
    return int(row["customer_id"][1:])


# Sessions


def test_fewer_and_fewer_sessions_reach_each_step_of_the_funnel(sessions: dict[str, list[Row]]) -> None:
    reached = Counter(kind for each in sessions.values() for kind in {row["event_type"] for row in each})
    share = {kind: count / len(sessions) for kind, count in reached.items()}
    assert share["product_view"] > 0.5
    assert 0.5 * share["product_view"] > share["add_to_cart"] > 0.1
    assert 0.6 * share["add_to_cart"] > share["checkout"] > share["purchase"]
    assert 0.02 < share["purchase"] < 0.04
    assert 0.005 < share["remove_from_cart"] < share["add_to_cart"] / 3
    assert 0.3 < sum(len(each) == 1 for each in sessions.values()) / len(sessions) < 0.5, "bounces"


def test_a_session_is_coherent(sessions: dict[str, list[Row]]) -> None:
    for each in sessions.values():
        for name in ("visitor_id", "device"):
            assert len({str(row[name]) for row in each}) == 1
        customers = [row["customer_id"] for row in each]
        since = next((place for place, customer in enumerate(customers) if customer), len(each))
        assert len(set(customers[since:])) <= 1, "who is logged in stays so"
        assert "referrer" not in {name for row in each[1:] for name in row}
        cart: dict[str, int] = {}
        for row in each:
            kind, product_id = row["event_type"], row.get("product_id")
            assert (kind in ("product_view", "add_to_cart", "remove_from_cart")) == (product_id is not None)
            assert (kind in ("add_to_cart", "remove_from_cart")) == ("quantity" in row)
            assert (kind in ("checkout", "purchase")) == ("cart" in row)
            if kind == "add_to_cart":
                cart[row["product_id"]] = row["quantity"]
            if kind == "remove_from_cart":
                assert cart.pop(row["product_id"]) == row["quantity"]
            if "cart" in row:
                assert {item["product_id"]: item["quantity"] for item in row["cart"]} == cart
                assert cart
        kinds = [row["event_type"] for row in each]
        if "purchase" in kinds:
            assert kinds[-2:] == ["checkout", "purchase"]
            assert kinds.count("purchase") == 1
            assert each[-1]["customer_id"]


def test_half_an_hour_without_a_step_ends_a_session(sessions: dict[str, list[Row]]) -> None:
    visits = defaultdict(list)
    for each in sessions.values():
        times = [moment(row["event_time"]) for row in each]
        assert all(later - earlier < webshop.GAP for earlier, later in pairwise(times))
        visits[each[0]["visitor_id"]].append((times[0], times[-1]))
    gaps = [later[0] - earlier[1] for found in visits.values() for earlier, later in pairwise(sorted(found))]
    assert min(gaps) >= webshop.GAP
    soon = sum(gap < timedelta(hours=3) for gap in gaps)
    assert soon > 0.02 * len(sessions), "some come back after a break"
    assert 0.2 < sum(len(found) > 1 for found in visits.values()) / len(visits) < 0.6, "visitors return"


def test_some_visitors_become_known(sessions: dict[str, list[Row]]) -> None:
    first = sum(each[0]["customer_id"] is not None for each in sessions.values())
    last = sum(each[-1]["customer_id"] is not None for each in sessions.values())
    assert 0.1 < first / len(sessions) < last / len(sessions) < 0.3


def test_more_visit_in_the_evening_and_before_the_weekend() -> None:
    found = rows(sample(60_000, topics=["web-events"]), "web-events")
    hours = Counter(local(row["event_time"]).hour for row in found)
    assert hours[20] > 1.4 * hours[10] > 8 * hours[3]
    weekdays = Counter(local(row["event_time"]).weekday() for row in found)
    assert weekdays[4] > 1.1 * statistics.mean(weekdays.values()) > 1.1 * weekdays[5]
    year = [START + timedelta(days=offset) for offset in range(364)]
    month = {each: statistics.mean(webshop.demand(day) for day in year if day.month == each) for each in range(1, 13)}
    assert max(month, key=month.__getitem__) == 12
    assert min(month, key=month.__getitem__) == 8


# Purchases


def test_what_a_session_ends_with_is_purchased(sessions: dict[str, list[Row]], bought: list[Row]) -> None:
    ordered = [
        (each[-1]["customer_id"], each[-1]["event_time"], each[-1]["visitor_id"], *item.values())
        for each in sessions.values()
        if each[-1]["event_type"] == "purchase"
        for item in each[-1]["cart"]
    ]
    names = ("customer_id", "event_time", "device", "product_id", "quantity", "unit_price")
    purchased = [tuple(row[name] for name in names) for row in bought]
    assert len(ordered) > 100
    assert not Counter(ordered) - Counter(purchased)


@pytest.mark.parametrize("events", [60, 500, 5000])
def test_no_session_ends_with_more_than_is_purchased(events: int) -> None:
    messages = sample(events)
    ordered = Counter(
        (row["customer_id"], row["event_time"], item["product_id"])
        for row in rows(messages, "web-events")
        if row["event_type"] == "purchase"
        for item in row["cart"]
    )
    purchased = ((row["customer_id"], row["event_time"], row["product_id"]) for row in rows(messages, "purchases"))
    assert not ordered - Counter(purchased)


def test_purchases_cost_what_the_catalogue_said_and_members_pay_less(plain: list[Message]) -> None:
    history = defaultdict(list)
    for row in rows(plain, "product-changes"):
        history[row["product_id"]].append((moment(row["valid_from"]), row["base_price"]))
    members = defaultdict(list)
    for row in rows(plain, "customer-changes"):
        members[row["customer_id"]].append((moment(row["valid_from"]), row["is_member"]))
    categories = {product.product_id: product.category for product in PRODUCTS}
    seen = Counter[bool]()
    for row in rows(plain, "purchases"):
        at = moment(row["event_time"])
        listed = max(each for each in history[row["product_id"]] if each[0] <= at)[1]
        assert row["unit_price"] == ((listed * webshop.MEMBERS_PAY).quantize(CENT) if row["is_member"] else listed)
        assert row["total_amount"] == row["quantity"] * row["unit_price"]
        assert categories[row["product_id"]] != "drink"
        if states := [each for each in members[row["customer_id"]] if each[0] <= at]:
            assert row["is_member"] == max(states)[1]
            seen[row["is_member"]] += 1
    assert min(seen.values()) > 30


def test_attributes_fit_the_product(bought: list[Row]) -> None:
    products = {product.product_id: product for product in PRODUCTS}
    names = Counter[str]()
    for row in bought:
        attributes = {each["name"]: each["value"] for each in row.get("attributes", ())}
        names.update(list(attributes))
        assert "slicing" not in attributes or products[row["product_id"]].category == "bread"
        assert "inscription" not in attributes or products[row["product_id"]].price >= 20
    assert set(names) == {"slicing", "inscription", "gift_wrap", "greeting"}
    assert 0.15 < sum("attributes" in row for row in bought) / len(bought) < 0.4


# Shoppers who leave


def test_the_visits_of_some_customers_fade_out() -> None:
    first = [stays(number)[0] for number in range(1, company.CUSTOMERS + 1)]
    leaving = [each for each in first if each.leaves and each.leaves < START + timedelta(days=365)]
    assert 0.3 < len(leaving) / len(first) < 0.55
    someone = leaving[0]
    assert someone.leaves is not None
    assert someone.loyalty(someone.leaves - timedelta(days=1)) == 1
    assert 0.4 < someone.loyalty(someone.leaves + timedelta(days=7)) <= 0.5
    assert someone.loyalty(someone.leaves + timedelta(days=FADING_DAYS)) == 0


def test_who_has_left_buys_nothing_any_more() -> None:
    found = rows(sample(100_000, topics=["purchases"]), "purchases")
    honest = [row for row in found if not is_fraudulent(row["purchase_id"])]
    before, after = Counter[int](), Counter[int]()
    end = local(found[-1]["event_time"]).date()
    for row in honest:
        (leaves,) = (
            stay.leaves for stay in stays((number(row) - 1) % company.CUSTOMERS + 1) if stay.number == number(row)
        )
        day = local(row["event_time"]).date()
        if leaves and leaves + timedelta(days=FADING_DAYS) < end:
            assert day < leaves + timedelta(days=FADING_DAYS)
        if leaves and START + timedelta(days=14) <= leaves <= end - timedelta(days=14):
            before[number(row)] += leaves - timedelta(days=14) <= day < leaves
            after[number(row)] += leaves <= day < leaves + timedelta(days=14)
    assert before.total() > 200
    assert after.total() < 0.65 * before.total()


# Thieves


def test_one_or_two_of_a_hundred_purchases_are_fraudulent(bought: list[Row]) -> None:
    numbers = [row["purchase_id"] for row in bought]
    assert len(set(numbers)) == len(numbers)
    stolen = sum(map(is_fraudulent, numbers))
    assert stolen == fraud.fraudulent(len(numbers))
    assert 0.014 < stolen / len(numbers) < 0.016
    for events, thefts in ((70, 1), (500, 8)):
        few = rows(sample(events, topics=["purchases"]), "purchases")
        assert sum(is_fraudulent(row["purchase_id"]) for row in few) == thefts


def test_fraud_has_a_pattern_and_false_alarms_exist(bought: list[Row]) -> None:
    used: dict[str, set[str]] = defaultdict(set)
    last: dict[str, datetime] = {}
    signs: dict[bool, list[tuple[bool, ...]]] = defaultdict(list)
    for row in bought:
        at, customer = local(row["event_time"]), row["customer_id"]
        signs[is_fraudulent(row["purchase_id"])].append(
            (
                len({row["card_country"], row["ip_country"], row["ship_country"]}) > 1,
                at.hour < 5,
                row["total_amount"] > 50,
                row["device"] not in used[customer],
                timedelta() < at - last.get(customer, at) < timedelta(minutes=5),
            )
        )
        last[customer] = at
        used[customer].add(row["device"])
    shares = {
        stolen: [statistics.mean(column) for column in zip(*found, strict=True)] for stolen, found in signs.items()
    }
    for sign, (honest, stolen) in enumerate(zip(shares[False], shares[True], strict=True)):
        assert 0 < honest < stolen / 2, f"sign {sign}"
    assert all(share < 1 for share in shares[True]), "no sign alone gives every thief away"
    assert 0.02 < shares[False][0] < 0.2, "honest customers travel and send gifts"
    score = {stolen: statistics.mean(map(sum, found)) for stolen, found in signs.items()}
    assert score[True] > 2 > 4 * score[False]


def test_no_field_but_its_number_says_that_a_purchase_is_fraudulent(bought: list[Row]) -> None:
    stolen = [row for row in bought if is_fraudulent(row["purchase_id"])]
    honest = [row for row in bought if not is_fraudulent(row["purchase_id"])]
    assert {tuple(row) for row in stolen} <= {tuple(row) for row in honest}
    for name in ("card_country", "ip_country", "ship_country"):
        assert {row[name] for row in stolen} & {row[name] for row in honest}
    assert {len(row["event_time"]) for row in stolen} <= {len(row["event_time"]) for row in honest}


# The same for every run


def test_runs_agree_on_the_shoppers() -> None:
    def devices(seed: int) -> dict[int, set[str]]:
        found = defaultdict(set)
        for row in rows(sample(4000, seed, topics=["purchases"]), "purchases"):
            if not is_fraudulent(row["purchase_id"]):
                found[number(row)].add(row["device"])
        return found

    for each in (devices(1), devices(2)):
        for customer, used in each.items():
            assert used <= {device for _, device in shopper(customer).devices}


def test_customers_travel_and_replace_their_devices(known: list[Shopper]) -> None:
    year = [START + timedelta(days=offset) for offset in range(0, 364, 7)]
    some = known[:300]
    away = statistics.mean(each.country_on(day) != each.home for each in some for day in year)
    assert 0.01 < away < 0.08

    def owned(each: Shopper, day: date) -> int:
        return sum(since <= day for since, _ in each.devices)

    assert all(owned(each, date(2025, 1, 1)) >= 1 for each in some)
    assert 0.1 < statistics.mean(owned(each, year[-1]) > owned(each, START) for each in some) < 0.5
    assert 0.02 < statistics.mean(each.card_country != each.home for each in known) < 0.1


def test_a_member_is_one_from_the_change_on() -> None:
    run = Run("members", days=28, changes=0, sales=0, topics=(("customer-changes", 4000),))
    later = shoppers._memberships(run)
    joined = [(customer, states) for customer, states in later.items() if not states[0][1] and states[-1][1]]
    assert joined
    customer, states = joined[0]
    since = next(at for at, member in states if member)
    assert not shoppers.is_member(run, customer, since - timedelta(seconds=1))
    assert shoppers.is_member(run, customer, since)
