"""No row of a feature changes when the events after its day are removed: nothing in it was known only later.

All models `feat_*` in models/gold/features/ are compared, as they come out of all messages and of those whose event
time is at most the end of some day.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import replace
from datetime import date, datetime, timedelta

import duckdb
import pytest
from lake import Lake, Record, own_environment
from rebuild import beside, has_coordinates, rebuilt
from scored import scores

from ingest.settings import PROJECT_ROOT
from levain.samples import generate
from levain.samples.events import Planted
from levain.samples.producer import period
from levain.warehouse.columns import Relation, compiled

FEATURES = sorted(path.stem for path in PROJECT_ROOT.glob("models/gold/features/feat_*.sql"))
DAYS = 110
HISTORY = period(1, DAYS, date(2026, 4, 30))
SENT = {None: 2500, "equipment-metrics": 3000, "customer-changes": 1000, "customer-feedback": 1000, "purchases": 1500}
"""Topic, or all of them -> messages: of some more, so that there is something of each machine and product."""
CALENDAR = ("dim_calendar",)
"""All else is computed again, also `latest_events`, by which a version is the current one."""

WITHOUT_BUILD = "columns(c -> c <> '_build')"
"""The number of a build says nothing of a purchase."""

MOMENTS = ("drifts_from", "failed_at", "repaired_at")

Row = tuple[object, ...]
Relations = dict[str, Relation]


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lake]:
    with own_environment():
        lake = Lake(tmp_path_factory.mktemp("features") / "home")
        places: dict[str, list[Record]] = {}
        for topic, count in SENT.items():
            for message in generate([topic] if topic else None, count, 3, "none" if topic else "all", HISTORY):
                records = places.setdefault(message.topic, [])
                sent = int(message.received.timestamp() * 1000)
                records.append(Record(len(records), sent, message.key, message.value, list(message.headers)))
        places["purchase-scores"] = scores(places["purchases"], HISTORY.start + timedelta(days=30))
        for topic, records in places.items():
            lake.land(topic, 0, records)
        lake.build("--select", "+path:models/gold/features", "mart_equipment_health")
        yield lake


@pytest.fixture(scope="module")
def relations(lake: Lake) -> Relations:
    assert Lake._manifest is not None
    return compiled(lake.settings, Lake._manifest)


@pytest.fixture(scope="module")
def built(lake: Lake) -> Iterator[duckdb.DuckDBPyConnection]:
    with beside(lake) as connection:
        yield connection


@pytest.fixture(scope="module")
def known(built: duckdb.DuckDBPyConnection) -> dict[str, list[Row]]:
    """Every feature's rows, as they were built."""
    return {name: built.execute(f"select {WITHOUT_BUILD} from gold.{name}").fetchall() for name in FEATURES}


def as_of(
    built: duckdb.DuckDBPyConnection, relations: Relations, names: list[str], day: date = date.max
) -> dict[str, list[Row]]:
    """Rows of features up to a day, out of nothing but the messages whose event time is at most the end of it."""
    given = {
        name: f"select * from {each.table} where cast(event_time as date) <= date '{day}'"
        for name, each in relations.items()
        if has_coordinates(each)
    }
    with rebuilt(built, relations, names, given, CALENDAR):
        return {
            name: built.execute(
                f"select {WITHOUT_BUILD} from again.{relations[name].table} where feature_date <= date '{day}'"
            ).fetchall()
            for name in names
        }


def columns_of(relations: Relations, name: str) -> list[str]:
    return [column for column in relations[name].types if column != "_build"]


def up_to(relations: Relations, name: str, rows: list[Row], day: date) -> list[Row]:
    place = columns_of(relations, name).index("feature_date")
    return [row for row in rows if row[place] <= day]  # type: ignore[operator]


def some_days(number: int, seed: int) -> list[date]:
    """Days of the history from its second month on."""
    rng = random.Random(seed)
    return sorted(HISTORY.start + timedelta(days=each) for each in rng.sample(range(45, DAYS - 3), number))


@pytest.mark.parametrize(
    "day", [*some_days(3, 1), *(pytest.param(each, marks=pytest.mark.full) for each in some_days(20, 2))]
)
def test_no_feature_changes_when_the_events_after_its_day_are_removed(
    day: date, built: duckdb.DuckDBPyConnection, relations: Relations, known: dict[str, list[Row]]
) -> None:
    found = as_of(built, relations, FEATURES, day)
    for name, rows in known.items():
        before = up_to(relations, name, rows, day)
        assert sorted(map(repr, found[name])) == sorted(map(repr, before)), name
        assert 0 < len(before) < len(rows), name


def test_the_sample_has_values_in_every_feature(relations: Relations, known: dict[str, list[Row]]) -> None:
    """A column that is always the same would pass whatever it looked at.

    No promotion of these months takes off an amount; the unit test of the feature has some.
    """
    constant = {
        f"{name}.{column}"
        for name, rows in known.items()
        for column, values in zip(columns_of(relations, name), zip(*rows, strict=True), strict=True)
        if len(set(values)) == 1
    }
    assert constant == {"feat_demand_forecast.promotion_amount"}


LATE_RECORD = """
    select min(weeks.feature_date)
    from gold.feat_customer_churn as weeks
    inner join silver.customer_changes as changes on weeks.customer_id = changes.customer_id
    where
        cast(changes.valid_from as date) < weeks.feature_date
        and weeks.feature_date < cast(changes.event_time as date)
"""
LEAKS = {
    "the last day of all": (
        "select feature_date, equipment_id, max(feature_date) over (partition by equipment_id) "
        "from levain.gold.feat_equipment_maintenance",
        ["feat_equipment_maintenance"],
    ),
    "days that are filled in up to the last one but one": (
        "select days.day as feature_date, days.equipment_id from (select equipment_id, "
        "unnest(generate_series(min(metric_date), max(metric_date) - 1, interval 1 day))::date as day "
        "from levain.gold.int_equipment__daily group by equipment_id) as days",
        ["int_equipment__daily"],
    ),
    "the version that is current": (
        "select days.feature_date, days.product_id, products.base_price from levain.gold.feat_product_quality as days "
        "inner join levain.gold.dim_product as products on days.product_id = products.product_id "
        "and products.is_current",
        ["feat_product_quality", "dim_product"],
    ),
    "a version that was valid then, and recorded only later": (
        "select weeks.feature_date, weeks.customer_id, customers.customer_key "
        "from levain.gold.feat_customer_churn as weeks inner join levain.gold.dim_customer as customers "
        "on weeks.customer_id = customers.customer_id "
        "and customers.valid_from <= weeks.feature_date and weeks.feature_date < customers.valid_to",
        ["feat_customer_churn", "dim_customer"],
    ),
}
"""What would look into the future -> its SQL and its parents."""


@pytest.mark.parametrize("leak", LEAKS)
def test_a_feature_that_looks_into_the_future_would_be_seen(
    leak: str, built: duckdb.DuckDBPyConnection, relations: Relations
) -> None:
    sql, parents = LEAKS[leak]
    planted = replace(
        relations[FEATURES[0]],
        name="feat_planted",
        table="gold.feat_planted",
        code=sql.replace("levain.", '"levain".'),
        parents=parents,
        types={"feature_date": "date"},
    )
    with_it = relations | {"feat_planted": planted}
    ((late,),) = built.execute(LATE_RECORD).fetchall()
    day = late if "recorded" in leak else HISTORY.start + timedelta(days=60)
    (before,) = as_of(built, with_it, ["feat_planted"]).values()
    (after,) = as_of(built, with_it, ["feat_planted"], day).values()
    assert sorted(map(repr, up_to(with_it, "feat_planted", before, day))) != sorted(map(repr, after))


def test_planted_drifts_of_machines_are_found_before_they_fail_and_nothing_else(
    built: duckdb.DuckDBPyConnection,
) -> None:
    """Those with three days at least on which their machine was read running, and something was known to be normal."""
    drifts = [
        (each["equipment_id"], *(datetime.fromisoformat(each[moment]).date() for moment in MOMENTS))
        for each in Planted().found(("equipment-metrics",), HISTORY.start, HISTORY.days)["equipment_drifts"]
    ]
    rows = built.execute(
        "select equipment_id, metric_date, is_drifting from gold.mart_equipment_health "
        "where vibration_deviations is not null"
    ).fetchall()
    found = []
    for machine, begins, fails, _ in drifts:
        flags = [flag for named, day, flag in rows if named == machine and begins <= day < fails]
        found += [any(flags)] if len(flags) >= 3 else []
    assert len(found) > 4 and all(found)
    for machine, day, flag in rows:
        assert not flag or any(machine == m and begins <= day <= ends for m, begins, _, ends in drifts), (machine, day)


def test_every_feature_has_the_day_that_it_is_known_at(relations: Relations) -> None:
    for name in FEATURES:
        assert relations[name].types.get("feature_date") == "date", name
