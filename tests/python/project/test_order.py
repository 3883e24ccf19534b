"""Order does not matter: whatever the batching and interleaving of one log, the tables are those of a full refresh."""

from __future__ import annotations

import json
import random
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from lake import Builds, Lake, own_environment
from random_logs import a_log

from levain.warehouse import changes

SALES = ("--select", "+mart_hourly_sales", "+mart_sales_performance", "+top_produits")
AGAIN = (*SALES, "--exclude", "marketplace_clients", "released_messages")

LANDING = "ingested_at|ingest_batch_id|last_ingested_at"
"""Columns that say when and how a message landed, which differ between homes."""


def incremental_tables(lake: Lake) -> set[str]:
    tables = lake.read(
        "select table_schema || '.' || table_name from information_schema.columns "
        "join information_schema.tables using (table_schema, table_name) "
        "where column_name = '_build' and table_type = 'BASE TABLE'"
    )
    assert len(tables) >= 10
    return {name for (name,) in tables}


def build_numbers(lake: Lake) -> dict[str, list[tuple[Any, ...]]]:
    """For each incremental table: how many rows each build changed last."""
    return {
        name: lake.read(f"select _build, count(*) from {name} group by all order by all")
        for name in incremental_tables(lake)
    }


def assert_no_other_row_was_touched(lake: Lake, before: dict[str, list[str]], after: dict[str, list[str]]) -> None:
    """Of each table, the rows with the last build's number are those that it had not before: events come up to 48 hours
    late in between, and copies take another's place."""
    for name in incremental_tables(lake) & after.keys():
        written = lake.read(
            f"select columns(c -> c <> '_build') from {name} where _build = (select max(build) from meta.builds)"
        )
        assert Counter(map(str, written)) == Counter(after[name]) - Counter(before[name]), name


@pytest.mark.timeout(900)
def test_any_batching_gives_the_tables_of_a_full_refresh(tmp_path: Path) -> None:
    check_batching(tmp_path, seed=465, cuts=random.Random(465), builds=2)


@pytest.mark.full
@pytest.mark.timeout(1800)
@settings(
    max_examples=12, deadline=None, phases=(Phase.explicit, Phase.generate), suppress_health_check=list(HealthCheck)
)
@given(seed=st.integers(1, 10_000), cuts=st.randoms(use_true_random=False), builds=st.integers(2, 6))
def test_any_batching_at_length(
    tmp_path_factory: pytest.TempPathFactory, seed: int, cuts: random.Random, builds: int
) -> None:
    check_batching(tmp_path_factory.mktemp("order"), seed, cuts, builds)


def check_batching(home: Path, seed: int, cuts: random.Random, builds: int) -> None:
    log = a_log(seed)
    lake = Lake(home)
    landed = dict.fromkeys(log, 0)
    incremental: dict[str, list[str]] = {}
    for number in range(builds):
        places = sorted(log)
        cuts.shuffle(places)
        for topic, partition in places:
            records = log[topic, partition]
            start = landed[topic, partition]
            end = len(records) if number == builds - 1 else cuts.randint(start, len(records))
            lake.land(topic, partition, records[start:end])
            landed[topic, partition] = end
        lake.build()
        before_it, incremental = incremental, lake.contents()
        if before_it:
            assert_no_other_row_was_touched(lake, before_it, incremental)

    before = build_numbers(lake)
    lake.build()
    assert build_numbers(lake) == before, "a build with nothing new changed rows"
    assert lake.contents() == incremental

    verdicts = dict(lake.read("select verdict, count(*) from silver.int_messages group by all"))
    assert set(verdicts) == {"accepted", "duplicate", "conflict", "rejected", "held"}
    assert sum(verdicts.values()) == sum(len(records) for records in log.values())

    lake.build("--full-refresh")
    refreshed = lake.contents()
    assert incremental.keys() == refreshed.keys()
    for name in refreshed:
        assert incremental[name] == refreshed[name], name


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_builds_of_what_is_new_give_the_tables_of_builds_of_everything(tmp_path: Path) -> None:
    check_partial_builds(tmp_path, seed=7, steps=3)


@pytest.mark.full
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("seed", range(100, 106))
def test_builds_of_what_is_new_at_length(tmp_path: Path, seed: int) -> None:
    check_partial_builds(tmp_path, seed, steps=7)


def check_partial_builds(folder: Path, seed: int, steps: int) -> None:
    """Two homes get the same messages, a few topics at a time: one builds what is new, the other everything.

    In one step a model fails in the middle of the build of what is new, and is repaired.
    """
    log, cuts = a_log(seed), random.Random(seed)
    part, whole = Lake(folder / "part"), Lake(folder / "whole")
    landed = dict.fromkeys(log, 0)
    seen: list[int | None] = []
    fails_in = cuts.randrange(1, steps)
    for number in range(steps):
        topics = sorted({topic for topic, _ in log})
        news = topics if number == 0 else cuts.sample(topics, cuts.randint(1, len(topics) - 1))
        for topic, partition in sorted(log):
            if topic in news:
                start, records = landed[topic, partition], log[topic, partition]
                end = cuts.randint(start, len(records))
                for lake in (part, whole):
                    lake.land(topic, partition, records[start:end])
                landed[topic, partition] = end
        if number == fails_in:
            part.write("alter table gold.fct_sales rename column quantity to quantity_")
            with pytest.raises(AssertionError, match="fct_sales"):
                part.build_what_is_new(full=True)
            assert changes.plan(part.settings).topics is None
            part.write("alter table gold.fct_sales rename column quantity_ to quantity")
        seen.append(part.build_what_is_new())
        assert changes.plan(part.settings).is_empty, "a build left something to do"
        whole.build()
        in_part, in_whole = part.contents(but=LANDING), whole.contents(but=LANDING)
        assert in_part.keys() == in_whole.keys()
        for name in in_whole:
            assert in_part[name] == in_whole[name], (number, name)
    assert len(in_whole["gold.fct_sales"]) > 20
    assert seen[0] is None and {type(topics) for topics in seen} == {int, type(None)}, seen


RECEIVED = "2026-01-20T00:00:00Z"
DAY = "2026-01-19T10:00:00Z"
HOURS = [f"2026-01-19T{hour:02d}:00:00Z" for hour in range(6, 20)]


def event_id(number: int) -> str:
    return f"00000000-0000-4000-8000-{number:012d}"


def sale(number: int, sold_at: str, store: str, product: str) -> bytes:
    return json.dumps(
        {
            "event_id": event_id(number),
            "event_time": sold_at,
            "receipt_id": f"R{number}",
            "line_number": 1,
            "store_id": store,
            "product_id": product,
            "quantity": 2,
            "unit_price": 3.5,
            "discount_amount": 0,
            "payment_method": "card",
        }
    ).encode()


def price(number: int, valid_from: str, cost: float, product: str) -> bytes:
    return json.dumps(
        {
            "event_id": f"00000000-0000-4000-9000-{number:012d}",
            "event_time": RECEIVED,
            "product_id": product,
            "name": "Baguette",
            "category": "bread",
            "base_price": 3.5,
            "unit_cost": cost,
            "is_active": True,
            "valid_from": valid_from,
        }
    ).encode()


@pytest.fixture(scope="module")
def builds(tmp_path_factory: pytest.TempPathFactory) -> Builds:
    """The rows of a query after each of three builds, 1 to 3. Every story has products and a store of its own."""
    with own_environment():
        lake = Lake(tmp_path_factory.mktemp("stories"))
        builds = Builds(lake)

        def sell(*sales: bytes, partition: int, timestamp: int = 5_000) -> None:
            lake.send("sales-events", sales, partition=partition, timestamp=timestamp, received_at=RECEIVED)

        prices = [price(n, "2026-01-01T00:00:00Z", cost, f"P{n}") for n, cost in ((1, 1.0), (2, 9.0))]
        lake.send("product-changes", prices, received_at=RECEIVED)
        sell(*(sale(n, hour, "dear", "P1") for n, hour in enumerate(HOURS)), partition=0)
        sell(*(sale(100 + n, hour, "dear", "P2") for n, hour in enumerate(HOURS)), partition=0)
        sell(sale(200, DAY, "moved", "P3"), sale(300, DAY, "stays", "P5"), partition=0, timestamp=2_000)
        sell(sale(400, "2026-01-10T10:00:00Z", "late", "P8"), partition=3)
        vente = {
            "vente_id": 7, "client_id": 99, "produit_id": 101, "timestamp": "2026-01-19T10:00:00", "quantite": 1,
            "montant": 899.99, "client_nom": "Zoe", "produit_nom": "Ordinateur portable", "categorie": "Electronique",
            "pays": "France", "segment": "Particulier",
        }  # fmt: skip
        lake.send("ventes_stream", [json.dumps(vente).encode()], received_at=DAY)
        builds.build(*SALES)

        lake.send("product-changes", [price(3, "2026-01-19T12:00:00Z", 2.0, "P1")], received_at=RECEIVED)
        sell(sale(200, "2026-01-18T10:00:00Z", "moved", "P4"), partition=1, timestamp=1_000)
        sell(sale(300, DAY, "stays", "P6"), partition=1, timestamp=3_000)
        lake.write(
            "insert into reference.marketplace_clients values (99, 'Zoe', 'France', 'Particulier', '2026-01-01');"
            "insert into reference.released_messages values ('test', 'sales-events', 3, 0, 'ops', 'till was offline')"
        )
        builds.build(*AGAIN)

        sell(sale(300, DAY, "stays", "P7"), partition=2, timestamp=1_000)
        builds.build(*AGAIN)
        return builds


def test_a_late_price_change_restates_exactly_the_sales_it_concerns(builds: Builds) -> None:
    ((before,),) = builds(1, "select max(build) from meta.builds")
    restated = (
        "select receipt_id, cost_amount from gold.fct_sales where product_id = '{}' and _build > {} order by sold_at"
    )
    assert builds(2, restated.format("P1", before)) == [
        (f"R{n}", 4) for n, hour in enumerate(HOURS) if hour >= "2026-01-19T12"
    ]
    assert builds(2, restated.format("P2", before)) == []
    cost = "select sum(cost_amount) from gold.mart_sales_performance where product_id = 'P1'"
    assert builds(2, cost) == [(6 * 2 + 8 * 4,)]


def test_a_winner_that_arrives_late_moves_the_sale_to_its_groups(builds: Builds) -> None:
    """A copy with an earlier Kafka timestamp and other content: the group the sale leaves is gone, not zero."""
    daily = "select product_id, sale_date::varchar from gold.int_sales__daily where store_id = 'moved'"
    assert builds(1, daily) == [("P3", "2026-01-19")]
    assert builds(2, daily) == [("P4", "2026-01-18")]
    assert builds(2, "select product_id from gold.dim_product where product_id in ('P3', 'P4')") == [("P4",)]
    verdicts = (
        "select verdict, payload is not null from silver.int_sales_events__verdicts where event_id = '{}' order by 1"
    )
    assert builds(2, verdicts.format(event_id(200))) == [("accepted", False), ("conflict", True)]
    assert builds(2, "select count(*) from gold.mart_hourly_sales where store_id = 'moved'") == [(1,)]


def test_a_superseded_version_of_the_same_day_leaves_the_sale_where_it_is(builds: Builds) -> None:
    """A later copy with other content changes nothing; an earlier one takes the place of the accepted one."""
    facts = "select product_id, sale_date::varchar from gold.fct_sales where store_id = 'stays'"
    daily = "select product_id, units from gold.int_sales__daily where store_id = 'stays'"
    for build, product in ((1, "P5"), (2, "P5"), (3, "P7")):
        assert builds(build, facts) == [(product, "2026-01-19")], build
        assert builds(build, daily) == [(product, 2)], build


def test_a_held_sale_is_released_when_its_reference_arrives(builds: Builds) -> None:
    verdicts = "select verdict, failed_rules from silver.int_ventes_stream__verdicts"
    assert builds(1, verdicts) == [("held", "client_id_unknown")]
    assert builds(1, "select count(*) from gold.top_produits") == [(0,)]
    assert builds(2, verdicts) == [("accepted", "")]
    assert builds(2, "select produit_id, total_montant::varchar from gold.top_produits") == [(101, "899.99")]


def test_an_operator_releases_a_late_sale(builds: Builds) -> None:
    verdicts = "select verdict, failed_rules from silver.int_sales_events__verdicts where partition = 3"
    assert builds(1, verdicts) == [("held", "event_too_late")]
    assert builds(2, verdicts) == [("accepted", "")]
    assert builds(2, "select receipt_id from gold.fct_sales where store_id = 'late'") == [("R400",)]
