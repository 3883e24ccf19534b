"""Questionnaires follow from sales, and say of each shop what it deserves."""

from __future__ import annotations

import statistics
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from datetime import date, timedelta
from typing import Any

import pytest
from sample_events import local, moment, rows, sample

from levain.samples import Message, company
from levain.samples.company import ONLINE, START, stores
from levain.samples.events.feedback import EVENING, HANDOVER, customer_feedback, expected_rating
from levain.samples.events.run import Run
from levain.samples.run import SHORTEST_DAYS

Row = dict[str, Any]


@pytest.fixture(scope="module")
def many() -> list[Row]:
    return rows(sample(12_000, topics=["customer-feedback"]), "customer-feedback")


def average(found: Iterable[Row], question: str, keep: Callable[[Row], bool] = lambda row: True) -> float:
    return statistics.mean(
        answer["rating"] for row in found if keep(row) for answer in row["answers"] if answer["question"] == question
    )


def test_a_visit_names_a_receipt_of_its_shop_day_and_customer(plain: list[Message]) -> None:
    receipts = defaultdict(list)
    for row in rows(plain, "sales-events"):
        receipts[row["receipt_id"]].append(row)
    found = rows(plain, "customer-feedback")
    named = [row for row in found if "receipt_id" in row.get("visit", {})]
    assert 0.35 < len(named) / len(found) < 0.65
    assert len({row["visit"]["receipt_id"] for row in named}) == len(named), "nobody answers twice for one receipt"
    for row in named:
        lines = receipts[row["visit"]["receipt_id"]]
        sold = local(lines[0]["event_time"])
        assert row["store_id"] == lines[0]["store_id"]
        assert row.get("customer_id") == lines[0].get("customer_id")
        assert row["visit"]["visited_on"] == sold.date().isoformat()
        assert timedelta(minutes=1) <= moment(row["event_time"]) - sold < timedelta(days=7)
        assert row.get("product_id") in {None, *(line["product_id"] for line in lines)}
    assert 0.25 < sum("product_id" in row for row in found) / len(found) < 0.45
    assert 0.65 < sum("visit" in row for row in found) / len(found) < 0.85


def test_without_sales_no_receipt_is_named(many: list[Row]) -> None:
    visits = [row["visit"] for row in many if "visit" in row]
    assert 0.65 < len(visits) / len(many) < 0.85
    assert all(set(visit) == {"visited_on"} for visit in visits)


def test_more_questionnaires_than_receipts_name_each_receipt_once() -> None:
    run = Run("few sales", days=SHORTEST_DAYS, changes=0, sales=30, topics=(("sales-events", 30),))
    found = [event.fields for event in customer_feedback(run, 300)]
    named = [row["visit"]["receipt_id"] for row in found if "receipt_id" in row.get("visit", {})]
    assert len({row["feedback_id"] for row in found}) == 300
    assert 0 < len(named) == len(set(named)) <= 30


def test_channels_fit_the_shop_and_the_time_since_the_visit(many: list[Row]) -> None:
    shares = {name: number / len(many) for name, number in Counter(row["channel"] for row in many).items()}
    assert 0.4 < shares["shop"] < 0.6
    assert all(0.05 < shares[name] < 0.35 for name in ("web", "app", "survey"))
    assert not any(row["channel"] == "shop" for row in many if row["store_id"] == ONLINE)
    assert all("customer_id" in row for row in many if row["channel"] in ("app", "survey"))
    delays = defaultdict(list)
    for row in many:
        if row["channel"] == "survey" and local(row["event_time"]).date() < START + timedelta(days=21):
            assert local(row["event_time"]).hour >= 6
        if "visit" in row:
            days = local(row["event_time"]).date() - date.fromisoformat(row["visit"]["visited_on"])
            delays[row["channel"]].append(days.days)
    assert max(delays["shop"]) <= 1
    assert statistics.mean(delays["survey"]) > 2 > statistics.mean(delays["app"])
    assert max(moment(row["event_time"]) for row in many) < company.local_midnight(START + timedelta(days=28))


def test_stars_over_all_are_near_the_mean_of_the_answers(many: list[Row]) -> None:
    gaps = []
    for row in many:
        questions = [answer["question"] for answer in row["answers"]]
        assert len(set(questions)) == len(questions)
        if questions:
            gaps.append(row["rating"] - statistics.mean(answer["rating"] for answer in row["answers"]))
    assert max(map(abs, gaps)) < 2
    assert statistics.mean(map(abs, gaps)) < 0.5
    answered = statistics.mean(len(row["answers"]) for row in many)
    assert 4 < answered < 4.6, "some questions are skipped"


def test_comments_are_in_the_language_that_is_said(many: list[Row]) -> None:
    words = {"fr": {row["comment"] for row in many if "comment" in row and row["language"] == "fr"}}
    words["en"] = {row["comment"] for row in many if "comment" in row and row["language"] == "en"}
    assert not words["fr"] & words["en"]
    assert Counter(row["language"] for row in many)["fr"] > 0.8 * len(many)
    assert 0.25 < sum("comment" in row for row in many) / len(many) < 0.5
    tags = Counter(tag for row in many for tag in row.get("tags", ()))
    assert len(tags) == 16


def test_service_is_bad_for_a_fortnight_after_a_manager_left(many: list[Row]) -> None:
    changed = date(2026, 1, 15)
    managers = [{s.store_id: s.manager for s in stores(changed - timedelta(days=each))}["S005"] for each in (0, 1)]
    assert managers[0] != managers[1]
    since = company.local_midnight(changed)

    def in_handover(row: Row) -> bool:
        # Answers come some days after the visit.
        return since + timedelta(days=3) <= moment(row["event_time"]) < since + HANDOVER

    shop = [row for row in many if row["store_id"] == "S005"]
    bad, good = (
        average(shop, "service", keep) for keep in (in_handover, lambda row: moment(row["event_time"]) < since)
    )
    assert bad < good - 0.9
    assert abs(average(shop, "taste", in_handover) - average(shop, "taste")) < 0.25


def test_evenings_are_less_fresh_and_small_shops_sell_out(many: list[Row]) -> None:
    # Who answers on the tablet at the till does so within minutes.
    at_once = [row for row in many if row["channel"] == "shop"]

    def evening(row: Row) -> bool:
        return local(row["event_time"]).hour > EVENING

    def before(row: Row) -> bool:
        return local(row["event_time"]).hour < EVENING

    assert average(at_once, "freshness", evening) < average(at_once, "freshness", before) - 0.5
    falls = {
        store.store_id: average(shop, "choice", before) - average(shop, "choice", evening)
        for store in stores(START)
        if (shop := [row for row in at_once if row["store_id"] == store.store_id])
    }
    crowded = max((s for s in stores(START) if s.store_id != ONLINE), key=lambda store: store.trade / store.size_m2)
    assert falls[crowded.store_id] > 0.4
    assert falls[crowded.store_id] > statistics.mean(falls.values())


def test_what_customers_think_is_a_function_of_the_company(many: list[Row]) -> None:
    noon = company.local_midnight(START + timedelta(days=3)) + timedelta(hours=10)
    for store in stores(START):
        assert expected_rating("taste", store, noon) == expected_rating("taste", store, noon + timedelta(days=9))
    shops = defaultdict(list)
    for row in many:
        shops[row["store_id"]].append(row)
    gaps = [
        average(shops[s.store_id], "taste") - expected_rating("taste", s, noon)
        for s in stores(START)
        if shops[s.store_id]
    ]
    assert max(map(abs, gaps)) < 0.35
