"""Times and nulls: messages without a usable timestamp, the range of times, lateness, and which version is current."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pytest
from lake import Lake, Record

from ingest.contracts import contract_for, time_range
from ingest.errors import LevainError
from ingest.jsontext import json_timestamp
from ingest.sources.replay import encode, read_rows

NOW = datetime(2026, 3, 2, 8, 15, tzinfo=UTC)
MS = int(NOW.timestamp() * 1000)
MICROSECONDS = MS * 1000
"""A timestamp in microseconds where Kafka has milliseconds."""


def sale(number: int, at: datetime = NOW, **changes: Any) -> bytes:
    fields = {
        "event_id": f"00000000-0000-4000-8000-{number:012d}", "event_time": json_timestamp(at),
        "receipt_id": f"R{number}", "line_number": 1, "store_id": "S001", "product_id": "P001", "quantity": 1,
        "unit_price": 1.2, "discount_amount": 0.0, "payment_method": "card",
    }  # fmt: skip
    return json.dumps(fields | changes).encode()


def change(number: int, product: str, name: str, valid_from: datetime) -> bytes:
    fields = {
        "event_id": f"00000000-0000-4000-9000-{number:012d}", "event_time": json_timestamp(NOW), "product_id": product,
        "name": name, "category": "pastry", "base_price": 3.5, "unit_cost": 1.25, "is_active": True,
        "valid_from": json_timestamp(valid_from),
    }  # fmt: skip
    return json.dumps(fields).encode()


def store(number: int, opened_on: str) -> bytes:
    fields = {
        "event_id": f"s{number}", "event_time": json_timestamp(NOW), "store_id": f"SX{number}", "name": "Levain",
        "city": "Lyon", "country": "FR", "latitude": 45.7, "longitude": 4.8, "opened_on": opened_on, "size_m2": 80,
        "manager": "Ana", "opening_hours": "Mo-Sa 07:00-19:00",
    }  # fmt: skip
    return json.dumps(fields).encode()


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Lake:
    """One log with every oddity of time, built once with every test on every row."""
    lake = Lake(tmp_path_factory.mktemp("times"))
    folder = tmp_path_factory.mktemp("csv")
    lake.send("sales-events", [sale(1)], timestamp=MS)
    lake.send("sales-events", [sale(2)], timestamp=MICROSECONDS)
    # Two that fail a rule, one of them without a timestamp.
    lake.send("sales-events", [sale(3, quantity=0)], timestamp=MS)
    lake.send("sales-events", [sale(4, quantity=0)], timestamp=MICROSECONDS)
    # Copies of one event: the one without a timestamp has the smaller offset.
    lake.send("sales-events", [sale(5)], timestamp=MICROSECONDS)
    lake.send("sales-events", [sale(5, quantity=9)], timestamp=MS)
    # Replayed from a file: a spreadsheet writes its zero date where there is none.
    (folder / "sales.csv").write_text(
        "event_time,receipt_id,line_number,store_id,product_id,quantity,unit_price,discount_amount,payment_method\n"
        "2026-03-02 08:15:00,R100,1,S001,P001,1,1.20,0.00,card\n"
        "1899-12-30 00:00:00,R101,1,S001,P001,1,1.20,0.00,card\n"
    )
    (folder / "sales.sql").write_text("select * from read_csv('sales.csv')")
    contract = contract_for("sales-events")
    with duckdb.connect() as connection:
        _, rows = read_rows(connection, folder / "sales.sql")
        for number, row in enumerate(rows, start=1):
            key, value, headers = encode(contract, row, number)
            lake.land("sales-events", 1, [Record(number - 1, MS, key, value, headers)])
    # 72 hours late, and an hour ahead: held, then released by an operator. One of each is not.
    for number, at in enumerate((-72, -72, 1, 1), start=20):
        lake.send("sales-events", [sale(number, NOW + timedelta(hours=at))], partition=2, timestamp=MS)
    # A version that begins later, and a product of which all begin later.
    lake.send(
        "product-changes",
        [
            change(1, "P050", "Flan", NOW),
            change(2, "P050", "Flan vanille", NOW + timedelta(days=35)),
            change(3, "P051", "Eclair", NOW + timedelta(days=10)),
            change(4, "P051", "Eclair au café", NOW + timedelta(days=20)),
        ],
        timestamp=MS,
    )
    lake.send("sales-events", [sale(50, product_id="P050")], timestamp=MS)
    lake.send("store-extracts", [store(1, "1899-12-30"), store(2, "1900-01-01"), store(3, "2100-01-01")], timestamp=MS)
    lake.build("--select", "resource_type:seed")
    lake.write(
        "insert into reference.released_messages values"
        " ('test', 'sales-events', 2, 0, 'ops', 'till was offline'),"
        " ('test', 'sales-events', 2, 2, 'ops', 'clock of the till was fast')"
    )
    audit = ("--exclude", "resource_type:seed", "--vars", "audit: true")
    lake.build(*audit, tests=True)
    return lake


def test_a_message_without_a_usable_timestamp_was_received_when_it_landed(lake: Lake) -> None:
    assert lake.read(
        "select verdict, kafka_timestamp is null, received_at = ingested_at from silver.int_sales_events__verdicts"
        " where event_id like '%0002'"
    ) == [("held", True, True)]  # far from NOW, the time it was sold
    assert lake.read("select count(*) from silver.int_messages where received_at is null") == [(0,)]
    assert lake.read("select count(*) from quality.quality_scores where received_date is null") == [(0,)]


def test_failures_of_a_message_without_a_usable_timestamp_are_counted(lake: Lake) -> None:
    failures = "select sum(failures) from quality.quality_scores where rule = 'quantity_out_of_range'"
    assert lake.read(failures) == [(2,)]
    in_all = "select count(*) from silver.int_messages where failed_rules like '%quantity_out_of_range%'"
    assert lake.read(in_all) == [(2,)]


def test_of_two_copies_the_one_without_a_timestamp_is_the_last(lake: Lake) -> None:
    """The first is held here, since it landed long after NOW; edge_messages.py has both valid, on both engines."""
    assert lake.read("select quantity from silver.sales_events where event_id like '%0005'") == [(9,)]


def test_a_zero_date_is_rejected_by_name(lake: Lake) -> None:
    assert lake.read(
        "select receipt_id, verdict, failed_rules from silver.int_sales_events__verdicts"
        " where partition = 1 order by kafka_offset"
    ) == [("R100", "accepted", ""), ("R101", "rejected", "event_time_out_of_range")]
    assert lake.read("select count(*) from gold.fct_sales where store_key is null or product_key is null") == [(0,)]


def test_dates_lie_in_the_range_too(lake: Lake) -> None:
    assert lake.read("select store_id, failed_rules from silver.int_store_extracts__verdicts order by all") == [
        ("SX1", "opened_on_out_of_range"),
        ("SX2", ""),
        ("SX3", "opened_on_out_of_range"),
    ]


def test_the_calendar_and_the_dimensions_cover_the_range(lake: Lake) -> None:
    first, end = time_range()
    days = (end - first).days
    assert lake.read("select min(calendar_date), max(calendar_date), count(*) from gold.dim_calendar") == [
        (first, end - timedelta(days=1), days)
    ]
    assert lake.read("select min(valid_from)::date, max(valid_to)::date from gold.dim_product") == [
        (first, date(9999, 12, 31))
    ]
    # Of a year without holidays in the seed it is not known whether a day is one.
    assert lake.read(
        "select year_number in (select year(holiday_date) from reference.public_holidays) as covered,"
        " count(*) filter (is_public_holiday is null) = count(*), count(is_public_holiday) = count(*)"
        " from gold.dim_calendar group by 1 order by 1"
    ) == [(False, True, False), (True, False, True)]
    assert lake.read(
        "select holiday_name from gold.dim_calendar where calendar_date = '2026-07-14' and is_public_holiday"
    ) == [("Fête nationale",)]


def test_a_released_message_is_neither_late_within_48_hours_nor_held(lake: Lake) -> None:
    columns = "in_time, late_within_48_hours, held_too_late, held_in_future, released, max_seconds_late"
    late = (
        "select " + columns + " from quality.quality_late_arrivals where topic = 'sales-events' and event_date = '{}'"
    )
    assert lake.read(late.format("2026-02-27")) == [(0, 0, 1, 0, 1, 72 * 3600)]
    counted = (
        f"select sum(messages), {', '.join(f'sum({c})' for c in columns.split(', ')[:-1])}, sum(held_for_reference)"
    )
    ((messages, *parts),) = lake.read(counted + " from quality.quality_late_arrivals")
    assert messages == sum(parts)
    assert parts[3:5] == [1, 2]  # one that lies ahead is held; released were one late and one ahead


def test_the_current_version_is_the_one_valid_at_the_newest_event(lake: Lake) -> None:
    assert lake.read("select max(latest_event_at) from silver.latest_events") == [(NOW,)]
    assert lake.read(
        "select product_id, product_name from gold.dim_product where is_current and product_id in ('P050', 'P051')"
        " order by 1"
    ) == [("P050", "Flan"), ("P051", "Eclair")]
    assert lake.read("select product_name from gold.mart_sales_performance where product_id = 'P050'") == [("Flan",)]
    assert lake.read("select product_name from gold.mart_top_products where product_id = 'P050'") == [("Flan",)]


@pytest.mark.slow
def test_a_version_becomes_current_without_a_word_about_its_member(tmp_path: Path) -> None:
    """Another product's sale moves the newest event past the start of a version; snapshots follow the same rule."""
    lake = Lake(tmp_path)
    later = datetime(2026, 4, 6, tzinfo=UTC)
    sent = int(later.timestamp() * 1000)
    read = ("--select", "+mart_sales_performance", "+dim_marketplace_client")
    without = (*read, "--exclude", "marketplace_clients")
    current = (
        "select (select product_name from gold.dim_product where is_current and product_id = 'P050'),"
        " (select client_nom from gold.dim_marketplace_client where is_current and client_id = 1)"
    )
    flans = [change(1, "P050", "Flan", NOW), change(2, "P050", "Flan vanille", later)]
    lake.send("product-changes", flans, timestamp=MS)
    lake.send("sales-events", [sale(1, product_id="P050")], timestamp=MS)
    lake.build(*read)
    # The marketplace gives a client another name, from that day on.
    lake.write(
        "update reference.marketplace_clients set client_nom = 'Jean Durand', effective_from = '2026-04-06'"
        " where client_id = 1"
    )
    lake.send("sales-events", [sale(2, later - timedelta(microseconds=1))], timestamp=sent + 1)
    lake.build(*without)
    assert lake.read(current) == [("Flan", "Jean Dupont")]

    lake.send("sales-events", [sale(3, later)], timestamp=sent + 1)
    lake.build(*without)
    assert lake.read(current) == [("Flan vanille", "Jean Durand")]
    sold = "select product_name from gold.mart_sales_performance where product_id = 'P050'"
    assert lake.read(sold) == [("Flan vanille",)]

    # A copy that was sent before it says that the newest sale was on the day before: time does not go back.
    lake.send("sales-events", [sale(3, later - timedelta(days=1))], partition=1, timestamp=sent)
    lake.build(*without)
    assert lake.read(current) == [("Flan vanille", "Jean Durand")]
    assert lake.read("select max(sold_at) < '2026-04-06 00:00:00+00' from gold.fct_sales") == [(True,)]

    incremental = lake.contents()
    lake.build(*without, "--full-refresh")
    refreshed = lake.contents()
    assert {name for name in refreshed if refreshed[name] != incremental[name]} == set()


def test_the_range_is_read_from_the_project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert time_range() == (date(1900, 1, 1), date(2100, 1, 1))
    monkeypatch.setattr("ingest.contracts.PROJECT_ROOT", tmp_path)
    time_range.cache_clear()
    try:
        for text in ("vars: {}", "vars: {time_from: soon, time_to: later}", ""):
            (tmp_path / "dbt_project.yml").write_text(text)
            with pytest.raises(LevainError, match=r"range of times cannot be read.*dbt_project.yml"):
                time_range()
    finally:
        time_range.cache_clear()
