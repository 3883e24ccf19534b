"""Events that come 1 to 47 hours late, and copies that take another's place: levels of stock and hours of weather are
those of the whole log, and a build changes no other row."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

import pytest
from lake import Lake, own_environment

NOW = datetime(2026, 1, 20, 12, tzinfo=UTC)
SELECTED = ("--select", "+mart_inventory_health", "+dim_weather")


@dataclass(frozen=True)
class Movement:
    """A movement of a product in the one shop."""

    number: int
    hours_ago: int
    product_id: str
    movement_type: str
    quantity: int

    @property
    def event_id(self) -> str:
        return str(UUID(int=self.number))

    @property
    def at(self) -> datetime:
        return NOW - timedelta(hours=self.hours_ago)


def sent(number: int, at: datetime, **fields: object) -> bytes:
    return json.dumps(
        {"event_id": str(UUID(int=number)), "event_time": at.isoformat(), "store_id": "S1", **fields}
    ).encode()


def send(lake: Lake, movements: Iterable[Movement], partition: int = 0, timestamp: int = 5_000) -> None:
    values = [
        sent(each.number, each.at, product_id=each.product_id, movement_type=each.movement_type, quantity=each.quantity)
        for each in movements
    ]
    lake.send("inventory-updates", values, partition, timestamp, received_at=NOW.isoformat())


def levels(movements: Iterable[Movement]) -> dict[str, tuple[str, str, int, int]]:
    """event_id -> product, day, change and level, by going through a log in order."""
    found: dict[str, tuple[str, str, int, int]] = {}
    known: dict[str, int] = {}
    for each in sorted(movements, key=lambda each: (each.at, each.event_id)):
        before = known.get(each.product_id, 0)
        level = each.quantity if each.movement_type == "stocktake" else before + each.quantity
        known[each.product_id] = level
        found[each.event_id] = (each.product_id, each.at.date().isoformat(), level - before, level)
    return found


BASE = [
    movement
    for late in range(1, 48)
    for movement in (
        Movement(1000 * late + 98, 48, f"P{late}", "production", 100),
        *(Movement(1000 * late + ago, ago, f"P{late}", "sale", -1) for ago in range(0, 48, 4)),
        *([Movement(1000 * late + 99, 10, f"P{late}", "stocktake", 50)] if late % 2 else []),
    )
]
LATE = [Movement(1000 * late + 500, late, f"P{late}", "waste", -2) for late in range(1, 48)]
MOVED = [Movement(900_000, 30, "A", "production", 7), Movement(900_001, 20, "A", "sale", -1)]
MOVED_TO = Movement(900_000, 6, "B", "production", 7)
OTHERS = [Movement(900_002, 5, "B", "sale", -2), Movement(900_003, 40, "C", "production", 1)]


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Lake:
    with own_environment():
        lake = Lake(Path(tmp_path_factory.mktemp("late")))
        send(lake, [*BASE, *MOVED, *OTHERS])
        weather = {"humidity_pct": 80, "precipitation_mm": 0, "wind_kmh": 5, "condition": "fog"}

        def observe(number: int, hours_ago: int, minute: int, temperature: int, timestamp: int = 5_000) -> None:
            at = NOW - timedelta(hours=hours_ago) + timedelta(minutes=minute)
            value = sent(number, at, temperature_c=temperature, **weather)
            lake.send("weather-data", [value], timestamp=timestamp, received_at=NOW.isoformat())

        for late in range(1, 48):
            observe(late, late, 15, 1)
        observe(900, 48, 0, 1)
        lake.build(*SELECTED)

        send(lake, LATE)
        send(lake, [MOVED_TO], partition=1, timestamp=1_000)
        for late in range(1, 48):
            observe(100 + late, late, 30 if late % 2 else 0, 2)
        observe(900, 3, 45, 3, timestamp=1_000)
        lake.build(*SELECTED)
        return lake


def test_late_movements_restate_exactly_the_levels_they_change(lake: Lake) -> None:
    before = levels([*BASE, *MOVED, *OTHERS])
    after = levels([*BASE, *LATE, MOVED[1], MOVED_TO, *OTHERS])
    rows = lake.read(
        "select event_id, product_id, movement_date::varchar, level_change, level, _build from gold.fct_inventory"
    )
    assert {row[0]: row[1:5] for row in rows} == after
    newest = max(row[5] for row in rows)
    restated = {row[0] for row in rows if row[5] == newest}
    assert restated == {event for event, row in after.items() if before.get(event) != row}
    # the count of 10 hours ago: of what comes after a late movement, it is the last row that changes, by its difference
    assert before[str(UUID(int=11_099))] == ("P11", "2026-01-20", -41, 50)
    assert after[str(UUID(int=11_099))] == ("P11", "2026-01-20", -39, 50)
    assert {UUID(event).int for event in restated if after[event][0] == "P11"} == {11_099, 11_500}
    assert {UUID(event).int for event in restated if after[event][0] == "P2"} == {2_000, 2_500}

    days = lake.read(
        f"select product_id, movement_date::varchar from gold.int_inventory__daily where _build = {newest} order by all"
    )
    assert days == sorted({after[event][:2] for event in restated})


def test_a_late_observation_counts_if_it_is_the_last_of_its_hour(lake: Lake) -> None:
    rows = lake.read(
        "select date_diff('hour', weather_hour, timestamptz '2026-01-20 12:00:00+00'), temperature_c, _build "
        "from gold.dim_weather order by 1"
    )
    newest = max(build for _, _, build in rows)
    assert {hours: int(temperature) for hours, temperature, _ in rows} == {
        late: 3 if late == 3 else 1 + late % 2 for late in range(1, 48)
    }
    assert [hours for hours, _, build in rows if build == newest] == [late for late in range(1, 48) if late % 2]
