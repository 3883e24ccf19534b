"""Forecasts of demand from a history with a planted season and promotion, and from the sample events."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from random import Random

import duckdb
import pyarrow as pa
import pytest
import typer
from confluent_kafka import Consumer, TopicPartition
from kafka_broker import Broker
from lake import Lake, Record, own_environment

from ingest import kafka
from ingest.contracts import contract_for
from ingest.errors import LevainError
from ingest.settings import PROJECT_ROOT, Settings
from levain.cli import app
from levain.learn import demand
from levain.samples import generate
from levain.samples.producer import Period

FIRST, LAST = date(2026, 1, 5), date(2026, 6, 14)
DAYS = [FIRST + timedelta(days=number) for number in range((LAST - FIRST).days + 1)]
WEEK = (0.6, 0.8, 0.9, 1.0, 1.3, 1.9, 1.5)
CLOSED = ("S2", 0)
"""A shop and the weekday on which it never opens."""
PROMOTED = [FIRST + timedelta(days=start + number) for start in range(10, len(DAYS) + 20, 19) for number in range(4)]
"""Days on which P1 sells twice as much in all shops."""
MEANS = {"P1": 12.0, "P2": 6.0, "P3": 2.5, "P4": 0.8}


def history(connection: duckdb.DuckDBPyConnection, days: list[date] = DAYS, *, factor: float = 1) -> None:
    """Tables as they are built, of shops whose sales have a season of the week, and promotions.

    factor: of what is sold after LAST less two weeks, as if the future were another.
    """
    rng, rows = Random(1), []
    for day in DAYS:
        for store, size in (("S1", 1.0), ("S2", 0.7), ("S3", 0.4)):
            for product, mean in MEANS.items():
                expected = mean * size * WEEK[day.weekday()] * (2 if product == "P1" and day in PROMOTED else 1)
                units = sum(rng.random() < expected / 60 for _ in range(60))
                if day in days and (store, day.weekday()) != CLOSED:
                    late = day > LAST - timedelta(days=14)
                    rows.append((day, store, product, int(units * factor) if late else units))
    connection.execute("create schema gold; create schema silver")
    sold = pa.table(list(zip(*rows, strict=True)), names=["feature_date", "store_id", "product_id", "units"])
    connection.register("sold", sold)
    window = (
        "over (partition by store_id, product_id order by feature_date range between interval {} day preceding and "
    )
    week, month = window.format(6) + "current row)", window.format(27) + "current row)"
    lags = [f"sum(units) {window.format(n)} interval {n} day preceding) as units_{n}_days_ago" for n in (7, 14, 28)]
    connection.execute(
        f"""
        create table gold.feat_demand_forecast as
        select *, 'bread' as category, {", ".join(lags)},
            avg(units) {week} as units_mean_7_days, avg(units) {month} as units_mean_28_days,
            stddev_samp(units) {month} as units_deviation_28_days, count(*) {month} as open_days_28_days,
            case when product_id = 'P1' and feature_date in (select unnest($1::date[])) then 20 end
                as promotion_percent,
            10.0 as temperature_c, 0.0 as precipitation_mm, false as was_out_of_stock
        from sold
        """,
        [PROMOTED],
    )
    connection.execute(
        """
        create table gold.dim_calendar as
        select
            cast(day as date) as calendar_date, isodow(day) as iso_day_of_week, month(day) as month_number,
            false as is_public_holiday
        from (select unnest(generate_series(date '2026-01-01', date '2026-12-31', interval 1 day)) as day) as days
        """
    )
    connection.execute(
        """
        create table silver.promotion_notices as
        select 'A' as promotion_id, cast(day as timestamptz) as starts_at, cast(day + 4 as timestamptz) as ends_at,
            cast(day - 30 as timestamptz) as event_time, 'announced' as status, 'percentage' as discount_type,
            cast(20 as decimal(6, 2)) as discount_value, 'P1' as product_id, cast(null as varchar) as category,
            cast(null as varchar) as store_id, cast(day as timestamptz) as kafka_timestamp, 'k' as kafka_cluster,
            0 as "partition", row_number() over () as kafka_offset
        from (select unnest($1::date[]) as day)
        """,
        [PROMOTED[::4]],
    )
    connection.execute(
        "create table silver.latest_events as select 'sales-events' as topic, $1::timestamptz as latest_event_at",
        [datetime.combine(LAST + timedelta(days=1), datetime.min.time(), UTC) + timedelta(hours=8)],
    )


@pytest.fixture(autouse=True)
def fewer_trees(monkeypatch: pytest.MonkeyPatch) -> None:
    """So many learn what is planted here, in a third of the time."""
    monkeypatch.setitem(demand.PARAMETERS, "max_iter", 35)


@pytest.fixture
def built() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect() as connection:
        connection.execute("set timezone = 'UTC'")
        history(connection)
        yield connection


def made(connection: duckdb.DuckDBPyConnection, on: date, until: date | None = None) -> list[demand.Forecast]:
    """The forecasts of a day, of tables that have later days or not."""
    demand.read(connection, until or on)
    known = demand.learned(connection, on)
    return demand.forecasts(demand.Model(known), demand.questions(connection, on, on, 7, every=True))


def test_a_planted_season_and_promotion_are_learned(built: duckdb.DuckDBPyConnection) -> None:
    scores = demand.back_test(built, LAST, weeks=2)
    assert [score.horizon_days for score in scores] == list(range(1, 8))
    score = demand.total(scores)
    assert score.error < 0.8 * min(score.naive_error, score.mean_error)
    assert abs(score.bias) < 0.1 * score.units
    assert 0.72 < score.covered / score.forecasts < 0.88
    blind = demand.back_test(built, LAST, weeks=2, without=demand.PROMOTION)
    assert score.error < 0.9 * demand.total(blind).error


def test_shops_that_are_closed_on_that_weekday_and_announced_promotions_are_seen(
    built: duckdb.DuckDBPyConnection,
) -> None:
    before = PROMOTED[-8] - timedelta(days=3)
    found = {(each.store_id, each.product_id, each.forecast_date): each for each in made(built, before)}
    assert {day.weekday() for store, _, day in found if store == CLOSED[0]} == set(range(7)) - {CLOSED[1]}
    assert {day for _, _, day in found} == {before + timedelta(days=number) for number in range(1, 8)}
    for each in found.values():
        assert 0 <= each.units_low <= each.units <= each.units_high
    inside = found["S1", "P1", before + timedelta(days=3)]
    built.execute("delete from silver.promotion_notices where starts_at > ?", [before])
    without = {(each.store_id, each.product_id, each.forecast_date): each for each in made(built, before)}
    assert inside.units > Decimal("1.4") * without["S1", "P1", inside.forecast_date].units


def test_more_products_than_places_share_one(built: duckdb.DuckDBPyConnection, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demand, "PLACES", 2)
    found = made(built, LAST)
    assert {each.product_id for each in found} == set(MEANS)


def test_the_command_looks_as_far_ahead_as_the_model_is_trained_to() -> None:
    (option,) = [each for each in typer.main.get_command(app).commands["forecast"].params if each.name == "days"]
    assert option.max == demand.MOST_DAYS


def test_what_comes_later_changes_no_forecast(built: duckdb.DuckDBPyConnection) -> None:
    """Neither sales of later days, nor notices that are sent later; and a second run gives the same."""
    on = LAST - timedelta(days=14)
    first = made(built, on)
    assert first and made(built, on, until=LAST) == first
    with duckdb.connect() as other:
        other.execute("set timezone = 'UTC'")
        history(other, factor=5)
        other.execute(
            """
            insert into silver.promotion_notices
            select * replace (cast($1 as timestamptz) as event_time, 90 as discount_value, 'withdrawn' as status)
            from silver.promotion_notices
            """,
            [datetime.combine(on + timedelta(days=1), datetime.min.time(), UTC)],
        )
        assert made(other, on, until=LAST) == first


def test_identities_follow_from_what_is_forecast_and_the_model() -> None:
    each = demand.Forecast("S1", "P1", date(2026, 7, 1), Decimal("4.20"), Decimal("2.00"), Decimal("7.00"))
    event = demand.event(each, LAST, "demand-1")
    assert event == demand.event(each, LAST, "demand-1")
    assert event["event_id"] == demand.event(each._replace(units=Decimal(9)), LAST, "demand-1")["event_id"]
    others = [
        demand.event(each._replace(store_id="S2"), LAST, "demand-1"),
        demand.event(each._replace(product_id="P2"), LAST, "demand-1"),
        demand.event(each._replace(forecast_date=date(2026, 7, 2)), LAST, "demand-1"),
        demand.event(each, LAST - timedelta(days=1), "demand-1"),
        demand.event(each, LAST, "demand-2"),
    ]
    assert len({one["event_id"] for one in [event, *others]}) == 6
    assert event.keys() == {field.name for field in contract_for(demand.TOPIC).fields}


def home_with(settings: Settings, days: list[date] = DAYS) -> None:
    """A home in which that history is built."""
    settings.duckdb_file.parent.mkdir(parents=True, exist_ok=True)
    with duckdb.connect(str(settings.duckdb_file)) as connection:
        connection.execute("set timezone = 'UTC'")
        history(connection, days)


def consumed(settings: Settings) -> list[Record]:
    """All that is in the topic, partition by partition, with offsets counted through."""
    found: list[Record] = []
    ends = kafka.end_offsets(settings, [demand.TOPIC])
    consumer = Consumer({"bootstrap.servers": settings.kafka_bootstrap, "group.id": "test"})
    try:
        for (topic, partition), end in sorted(ends.items()):
            consumer.assign([TopicPartition(topic, partition, 0)])
            for _ in range(end):
                message = consumer.poll(30)
                assert message is not None and message.error() is None
                headers = list(message.headers() or [])
                found.append(Record(len(found), message.timestamp()[1], message.key(), message.value(), headers))
    finally:
        consumer.close()
    return found


def test_forecasts_are_published_as_events(
    settings: Settings, embedded_broker: Broker, capsys: pytest.CaptureFixture[str]
) -> None:
    home_with(settings)
    settings = settings.model_copy(update={"kafka_bootstrap": embedded_broker.bootstrap})
    kafka.create_topics(settings, [contract_for(demand.TOPIC)])
    demand.run(settings, days=2)
    records = consumed(settings)
    events = [json.loads(record.value or b"") for record in records]
    assert {event["forecast_date"] for event in events} == {"2026-06-15", "2026-06-16"}
    assert {event["event_time"] for event in events} == {"2026-06-14T23:59:59Z"}
    assert all(dict(record.headers) == {"received-at": b"2026-06-14T23:59:59Z"} for record in records)
    assert all(record.key == event["store_id"].encode() for record, event in zip(records, events, strict=True))
    # S2 is closed on the first of the two days, a Monday
    assert Counter(event["store_id"] for event in events) == {"S1": 8, "S2": 4, "S3": 8}
    out = capsys.readouterr().out
    assert "20 forecasts to demand-forecasts" in out and demand.model_version() in out


@pytest.mark.parametrize(
    ("days", "as_of", "said"),
    [
        (DAYS[-60:], None, "has 60 days up to 2026-06-14, and 84 are needed"),
        (DAYS, LAST + timedelta(days=1), "2026-06-15 is not over: the last full day of what was built is 2026-06-14"),
        (DAYS, date(2025, 1, 1), "has 0 days up to 2025-01-01"),
        (DAYS, None, "No Kafka broker is running"),
    ],
)
def test_what_cannot_be_forecast_is_said(settings: Settings, days: list[date], as_of: date | None, said: str) -> None:
    home_with(settings, days)
    with pytest.raises(LevainError, match=said):
        demand.run(settings, as_of)


def test_a_back_test_needs_a_week_more(settings: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    home_with(settings, DAYS[-90:])
    with pytest.raises(LevainError, match="has 90 days up to 2026-06-14, and 91 are needed"):
        demand.run_back_test(settings)
    settings.duckdb_file.unlink()
    home_with(settings, DAYS[-91:])
    demand.run_back_test(settings)
    assert "in the interval" in capsys.readouterr().out


def test_without_scikit_learn_the_command_says_how_to_get_it(settings: Settings) -> None:
    code = "import sys; sys.modules['sklearn'] = None; from levain.cli import main; main()"
    environment = {**os.environ, "LEVAIN_HOME": str(settings.root)}
    ended = subprocess.run(
        [sys.executable, "-c", code, "forecast"], capture_output=True, text=True, env=environment, cwd=PROJECT_ROOT
    )
    assert ended.returncode == 1
    assert "scikit-learn is not installed" in ended.stderr and "`make setup-learning`" in ended.stderr


TOPICS = ["sales-events", "inventory-updates", "promotions", "product-changes", "weather-data", "store-extracts"]
MODELS = ("--select", "+feat_demand_forecast", "+mart_demand_forecast", "+latest_events")


@pytest.mark.full
@pytest.mark.timeout(1200)
def test_forecasts_of_the_sample_events_land_and_are_compared(tmp_path: Path, embedded_broker: Broker) -> None:
    """From sample events to forecasts and back; a second run is duplicates."""
    with own_environment():
        lake = Lake(tmp_path / "home")
        places: dict[str, list[Record]] = {}
        for number, message in enumerate(generate(TOPICS, 20_000, 1, "all", Period(date(2026, 1, 1), 100))):
            records = places.setdefault(message.topic, [])
            records.append(Record(len(records), number, message.key, message.value, list(message.headers)))
        for topic, records in places.items():
            lake.land(topic, 0, records)
        lake.build(*MODELS)
        settings = lake.settings.model_copy(update={"kafka_bootstrap": embedded_broker.bootstrap})
        kafka.create_topics(settings, [contract_for(demand.TOPIC)])
        for _ in range(2):
            demand.run(settings, date(2026, 3, 31))
        records = consumed(settings)
        lake.land(demand.TOPIC, 0, records)
        lake.build(*MODELS, "--exclude-resource-type", "unit_test", tests=True)
    half = len(records) // 2
    assert lake.read(
        "select verdict, count(*) from silver.int_demand_forecasts__verdicts group by verdict order by verdict"
    ) == [("accepted", half), ("duplicate", half)]
    ((rows, horizons, unknown, naive, covered),) = lake.read(
        """
        select count(*), list_sort(list(distinct horizon_days)), count(*) filter (actual_units is null),
            count(naive_units), avg(cast(is_covered as integer)) from gold.mart_demand_forecast
        """
    )
    assert (rows, horizons, unknown) == (half, list(range(1, 8)), 0)
    assert naive > 0.9 * rows and 0.7 < covered < 0.9
    ((wrong,),) = lake.read(
        """
        select count(*) from gold.mart_demand_forecast as mart
        left join gold.int_sales__daily as daily
            on
                daily.sale_date = mart.forecast_date
                and daily.store_id = mart.store_id
                and daily.product_id = mart.product_id
        where coalesce(daily.units, 0) <> mart.actual_units or mart.store_name is null or mart.product_name is null
        """
    )
    assert wrong == 0
