"""Order does not matter: whatever the batching and interleaving of one log, the tables are those of a full refresh."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from lake import Lake
from random_logs import a_log

from levain.warehouse import changes

SALES = ("--select", "+mart_hourly_sales", "+mart_sales_performance")
VENTES = ("--select", "+top_produits")

LANDING = "ingested_at|ingest_batch_id|last_ingested_at"
"""Columns that say when and how a message landed, which differ between homes."""


def build_numbers(lake: Lake) -> dict[str, list[tuple[Any, ...]]]:
    """For each incremental table: how many rows each build changed last."""
    tables = lake.read(
        "select table_schema || '.' || table_name from information_schema.columns "
        "join information_schema.tables using (table_schema, table_name) "
        "where column_name = '_build' and table_type = 'BASE TABLE' order by 1"
    )
    assert len(tables) >= 10
    return {name: lake.read(f"select _build, count(*) from {name} group by all order by all") for (name,) in tables}


@pytest.mark.timeout(900)
def test_any_batching_gives_the_tables_of_a_full_refresh(tmp_path: Path) -> None:
    check_batching(tmp_path, seed=465, cuts=random.Random(465), builds=3)


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
    incremental = lake.contents()

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


@pytest.mark.timeout(900)
def test_builds_of_what_is_new_give_the_tables_of_builds_of_everything(tmp_path: Path) -> None:
    check_partial_builds(tmp_path, seed=7, steps=4)


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


def sale(number: int, sold_at: str, product: str = "P1") -> bytes:
    return json.dumps(
        {
            "event_id": f"00000000-0000-4000-8000-{number:012d}",
            "event_time": sold_at,
            "receipt_id": f"R{number}",
            "line_number": 1,
            "store_id": "S1",
            "product_id": product,
            "quantity": 2,
            "unit_price": 3.5,
            "discount_amount": 0,
            "payment_method": "card",
        }
    ).encode()


def price(number: int, valid_from: str, cost: float, product: str = "P1") -> bytes:
    return json.dumps(
        {
            "event_id": f"00000000-0000-4000-9000-{number:012d}",
            "event_time": "2026-01-20T00:00:00Z",
            "product_id": product,
            "name": "Baguette",
            "category": "bread",
            "base_price": 3.5,
            "unit_cost": cost,
            "is_active": True,
            "valid_from": valid_from,
        }
    ).encode()


def test_a_late_price_change_restates_exactly_the_sales_it_concerns(tmp_path: Path) -> None:
    lake = Lake(tmp_path)
    received = {"received_at": "2026-01-20T00:00:00Z"}
    days = [f"2026-01-19T{hour:02d}:00:00Z" for hour in range(6, 20)]
    lake.send(
        "product-changes",
        [price(1, "2026-01-01T00:00:00Z", 1.0), price(2, "2026-01-01T00:00:00Z", 9.0, "P2")],
        **received,
    )
    lake.send("sales-events", [sale(i, day) for i, day in enumerate(days)], **received)
    lake.send("sales-events", [sale(100 + i, day, "P2") for i, day in enumerate(days)], **received)
    lake.build(*SALES)
    before = lake.read("select max(build) from meta.builds")[0][0]

    lake.send("product-changes", [price(3, "2026-01-19T12:00:00Z", 2.0)], **received)
    lake.build(*SALES)

    restated = lake.read(f"select receipt_id, cost_amount from gold.fct_sales where _build > {before} order by sold_at")
    assert restated == [(f"R{i}", 4) for i, day in enumerate(days) if day >= "2026-01-19T12"]
    assert lake.read("select sum(cost_amount) from gold.mart_sales_performance where product_id = 'P1'") == [
        (6 * 2 + 8 * 4,)
    ]
    assert lake.read(f"select count(*) from gold.fct_sales where product_id = 'P2' and _build > {before}") == [(0,)]


def test_a_winner_that_arrives_late_moves_the_sale_to_its_groups(tmp_path: Path) -> None:
    """A copy with an earlier Kafka timestamp and other content: the group the sale leaves is gone, not zero."""
    lake = Lake(tmp_path)
    received = {"received_at": "2026-01-20T00:00:00Z"}
    lake.send("sales-events", [sale(1, "2026-01-19T10:00:00Z", "P1")], partition=0, timestamp=2_000, **received)
    lake.build(*SALES)
    assert lake.read("select product_id, sale_date::varchar from gold.int_sales__daily") == [("P1", "2026-01-19")]

    lake.send("sales-events", [sale(1, "2026-01-18T10:00:00Z", "P2")], partition=1, timestamp=1_000, **received)
    lake.build(*SALES)
    assert lake.read("select product_id, sale_date::varchar from gold.int_sales__daily") == [("P2", "2026-01-18")]
    assert lake.read("select product_id from gold.dim_product") == [("P2",)]
    assert lake.read("select verdict, payload is not null from silver.int_sales_events__verdicts order by 1") == [
        ("accepted", False),
        ("conflict", True),
    ]
    assert lake.read("select count(*) from gold.mart_hourly_sales") == [(1,)]


def test_a_superseded_version_of_the_same_day_leaves_the_sale_where_it_is(tmp_path: Path) -> None:
    """A later copy with other content changes nothing; an earlier one takes the place of the accepted one."""
    lake = Lake(tmp_path)
    received = {"received_at": "2026-01-20T00:00:00Z"}
    day = "2026-01-19T10:00:00Z"
    lake.send("sales-events", [sale(1, day, "P1")], partition=0, timestamp=2_000, **received)
    lake.build(*SALES)
    facts = "select product_id, sale_date::varchar from gold.fct_sales"
    for partition, product, timestamp, expected in ((1, "P2", 3_000, "P1"), (2, "P3", 1_000, "P3")):
        lake.send("sales-events", [sale(1, day, product)], partition=partition, timestamp=timestamp, **received)
        lake.build(*SALES)
        assert lake.read(facts) == [(expected, "2026-01-19")]
        assert lake.read("select product_id, units from gold.int_sales__daily") == [(expected, 2)]


def test_a_held_sale_is_released_when_its_reference_arrives(tmp_path: Path) -> None:
    lake = Lake(tmp_path)
    vente = {
        "vente_id": 7, "client_id": 99, "produit_id": 101, "timestamp": "2026-01-19T10:00:00", "quantite": 1,
        "montant": 899.99, "client_nom": "Zoe", "produit_nom": "Ordinateur portable", "categorie": "Electronique",
        "pays": "France", "segment": "Particulier",
    }  # fmt: skip
    lake.send("ventes_stream", [json.dumps(vente).encode()], received_at="2026-01-19T10:00:00Z")
    lake.build(*VENTES)
    assert lake.read("select verdict, failed_rules from silver.int_ventes_stream__verdicts") == [
        ("held", "client_id_unknown")
    ]
    assert lake.read("select count(*) from gold.top_produits") == [(0,)]

    lake.write("insert into reference.marketplace_clients values (99, 'Zoe', 'France', 'Particulier', '2026-01-01')")
    lake.build(*VENTES, "--exclude", "marketplace_clients")
    assert lake.read("select verdict, failed_rules from silver.int_ventes_stream__verdicts") == [("accepted", "")]
    assert lake.read("select produit_id, total_montant::varchar from gold.top_produits") == [(101, "899.99")]


def test_an_operator_releases_a_late_sale(tmp_path: Path) -> None:
    lake = Lake(tmp_path)
    lake.send("sales-events", [sale(1, "2026-01-10T10:00:00Z")], received_at="2026-01-20T00:00:00Z")
    lake.build(*SALES)
    assert lake.read("select verdict, failed_rules from silver.int_sales_events__verdicts") == [
        ("held", "event_too_late")
    ]

    lake.write(
        "insert into reference.released_messages values ('test', 'sales-events', 0, 0, 'ops', 'till was offline')"
    )
    lake.build(*SALES, "--exclude", "released_messages")
    assert lake.read("select verdict, failed_rules from silver.int_sales_events__verdicts") == [("accepted", "")]
    assert lake.read("select receipt_id from gold.fct_sales") == [("R1",)]
