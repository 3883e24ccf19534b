"""Weeks of sample events with faults planted in some days, and which anomalies each of them must give."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any, NamedTuple

from lake import Lake, Record

from ingest.jsontext import json_object, json_timestamp
from levain.samples import company
from levain.samples.events import SOURCES
from levain.samples.events.run import Run
from levain.samples.run import Event

Events = list[Event]


class Anomaly(NamedTuple):
    """What of `quality.quality_anomalies` tells one from another; field and category are '' where there is none."""

    day: date
    topic: str
    metric: str
    field: str = ""
    category: str = ""


FOUND = (
    "select event_date, topic, metric, coalesce(field, ''), coalesce(category, '') "
    "from quality.quality_anomalies order by all"
)


@dataclass(frozen=True)
class Fault:
    """What goes wrong with a topic for a day.

    Attributes:
        break_: makes of the day's events those that are sent.
        musts: metric, field and category of each anomaly that has to be found.
        may: further metrics that follow from it, such as fewer different receipts on a day with fewer events.
    """

    topic: str
    break_: Callable[[Events, random.Random], Events]
    musts: tuple[tuple[str, str, str], ...]
    may: tuple[str, ...] = ()


def _set(part: float, **values: Any) -> Callable[[Events, random.Random], Events]:
    """Sets fields of a part of the day's events."""

    def broken(events: Events, rng: random.Random) -> Events:
        for event in events:
            if rng.random() < part:
                event.fields.update(values)
        return events

    return broken


def _drop(part: float) -> Callable[[Events, random.Random], Events]:
    return lambda events, rng: [event for event in events if rng.random() >= part]


def _dearer(factor: int) -> Callable[[Events, random.Random], Events]:
    def dearer(events: Events, rng: random.Random) -> Events:
        for event in events:
            event.fields["unit_price"] *= factor
        return events

    return dearer


def _twice(events: Events, rng: random.Random) -> Events:
    """Each event comes twice, as two events: a producer that gives new ids when it sends again."""
    again = [Event({**event.fields, "event_id": f"{rng.getrandbits(128):032x}"}, event.received) for event in events]
    for event in again:
        text = event.fields["event_id"]
        event.fields["event_id"] = "-".join((text[:8], text[8:12], text[12:16], text[16:20], text[20:]))
    return events + again


FAULTS = {
    "volume drop": Fault("sales-events", _drop(0.7), (("volume", "", ""),), ("distinct", "freshness", "mean")),
    "volume surge": Fault("sales-events", _twice, (("volume", "", ""),), ("distinct",)),
    "null surge": Fault("sales-events", _set(1, customer_id=None), (("null_share", "customer_id", ""),), ("distinct",)),
    "price in cents": Fault("sales-events", _dearer(100), (("mean", "unit_price", ""),)),
    "stale source": Fault("ventes_stream", _drop(1), (("volume", "", ""), ("freshness", "", ""))),
    "score drop": Fault(
        "sales-events", _set(0.6, unit_price=None), (("score", "", ""),), ("volume", "distinct", "freshness", "mean")
    ),
    "one payment": Fault(
        "sales-events", _set(0.9, payment_method="voucher"), (("share", "payment_method", "voucher"),), ("share",)
    ),
    "one shop": Fault("sales-events", _set(1, store_id="S001"), (("distinct", "store_id", ""),), ("distinct",)),
    "price doubled": Fault("sales-events", _dearer(2), (("mean", "unit_price", ""),)),
}

DAYS = 54
COUNTS = {"sales-events": 165 * DAYS, "ventes_stream": 65 * DAYS}
NO_MONDAYS = [number for number in range(DAYS - 2, 0, -1) if number % 7]
ONE_A_DAY = dict(zip(NO_MONDAYS, [name for name in FAULTS if name != "price doubled"], strict=False))
"""Faults of the last days but the newest, which is not complete. A Monday has few events to say anything by, and weeks
with January's cakes among them let expect twice the price of February: bench/anomalies.py counts such a miss.
"""


@dataclass
class Planted:
    """What was landed.

    Attributes:
        musts: the anomalies that have to be found.
        allowed: these, and those that a planted fault brings with it, each as day, topic and metric.
    """

    musts: set[Anomaly]
    allowed: set[tuple[date, str, str]]

    def false(self, found: Iterable[Anomaly]) -> list[Anomaly]:
        """The anomalies that no planted fault explains."""
        return [each for each in found if (each.day, each.topic, each.metric) not in self.allowed]


def land(lake: Lake, counts: dict[str, int], days: int, seed: int, faults: dict[int, str]) -> Planted:
    """Land so many days of events of each topic, from `company.START` on, with faults on some days.

    Args:
        lake: to land in.
        counts: topic -> events.
        days: of history.
        seed: another one gives other events.
        faults: number of the day, from 0 on -> name of one of `FAULTS`.
    """
    rng = random.Random(seed)
    run = Run(f"planted-{days}-{seed}", days, tuple(counts.items()), changes=20, sales=counts.get("sales-events", 0))
    planted = {company.START + timedelta(days=number): FAULTS[name] for number, name in faults.items()}
    outcome = Planted(set(), set())
    for day, fault in planted.items():
        outcome.musts |= {Anomaly(day, fault.topic, *must) for must in fault.musts}
        outcome.allowed |= {(day, fault.topic, metric) for metric in (*(must[0] for must in fault.musts), *fault.may)}
    for topic, count in counts.items():
        by_day: dict[date, Events] = defaultdict(list)
        for event in SOURCES[topic].generate(run, count):
            by_day[event.received.date()].append(event)
        sent: Events = []
        for day, events in sorted(by_day.items()):
            broken = planted.get(day)
            sent += broken.break_(events, rng) if broken and broken.topic == topic else events
        lake.land(topic, 0, list(_records(sent)))
    return outcome


def land_one_a_day(lake: Lake) -> Planted:
    """Land weeks of sales with a fault on each of the last days."""
    return land(lake, COUNTS, DAYS, seed=2, faults=ONE_A_DAY)


def _records(events: Sequence[Event]) -> Iterable[Record]:
    for offset, event in enumerate(events):
        received = [("received-at", json_timestamp(event.received).encode())]
        yield Record(offset, 1_795_000_000_000 + offset, b"k", json_object(event.fields).encode(), received)
