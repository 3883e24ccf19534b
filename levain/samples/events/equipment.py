"""Readings of the sensors in ovens, mixers and displays, some of which drift for days before they fail."""

from __future__ import annotations

import heapq
import random
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from functools import cache
from itertools import accumulate
from operator import itemgetter

from levain.samples import company
from levain.samples.events.run import Run
from levain.samples.run import Event, on_its_way


@dataclass(frozen=True)
class Breakdown:
    """A machine drifts, fails, is repaired and is as before; times are UTC.

    Attributes:
        drifts: from when vibration and temperature creep up.
        failed: from when its status is `fault`.
        attended: from when its status is `maintenance`.
        repaired: from when it works again.
    """

    drifts: datetime
    failed: datetime
    attended: datetime
    repaired: datetime
    error_code: str


@dataclass(frozen=True)
class _Kind:
    """How equipment of one type behaves; pairs are running and idle.

    Attributes:
        hours: local time of its work on days when the shop is open, in minutes; None: day and night.
        cycles: an hour of work.
        drift: degrees by which it is off when it fails.
        sound: part of the machines that never fail.
    """

    hours: tuple[int, int] | None
    temperature: tuple[float, float]
    vibration: tuple[float, float]
    power: tuple[float, float]
    cycles: float
    drift: float
    sound: float
    errors: tuple[str, ...]


_KINDS = {
    "oven": _Kind((210, 810), (242, 46), (1.1, 0.1), (17.5, 0.35), 1.8, 16, 0.3, ("OV-112", "OV-204")),
    "mixer": _Kind((150, 660), (47, 21), (2.8, 0.1), (2.3, 0.05), 4.2, 22, 0.35, ("MX-031", "MX-040")),
    "display": _Kind(None, (3.8, 3.8), (0.6, 0.6), (0.55, 0.55), 5.0, 4.5, 0.7, ("RF-017",)),
}


@cache
def breakdowns(machine: company.Equipment) -> tuple[Breakdown, ...]:
    """A machine's breakdowns, in order; the same for every run. Some machines have none."""
    rng, kind, found = company.seeded("breakdowns", machine.equipment_id), _KINDS[machine.equipment_type], []
    if rng.random() < kind.sound:
        return ()
    day, earlier = company.START + timedelta(days=rng.randint(15, 48)), company.seeded("earlier", machine.equipment_id)
    days = [day]
    while days[0] > company.FIRST_DAY:
        days.insert(0, days[0] - timedelta(days=earlier.randint(60, 150)))
    while day < company.LAST_DAY:
        day += timedelta(days=rng.randint(60, 150))
        days.append(day)
    for day in days:
        while not _is_open(machine.store_id, day):
            day += timedelta(days=1)
        begin = kind.hours[0] if kind.hours else 360
        failed = company.local_midnight(day) + timedelta(minutes=begin + rng.randint(30, 300))
        attended = failed + timedelta(minutes=rng.randint(180, 600))
        each = Breakdown(
            drifts=failed - timedelta(days=rng.randint(7, 14)),
            failed=failed,
            attended=attended,
            repaired=attended + timedelta(minutes=rng.randint(120, 360)),
            error_code=rng.choice(kind.errors),
        )
        if all(machine in company.equipment(moment.date()) for moment in (each.drifts, each.repaired)):
            found.append(each)
    return tuple(found)


@cache
def _is_open(store_id: str, day: date) -> bool:
    return company.hours(store_id, day) is not None


def _status(machine: company.Equipment, moment: datetime) -> tuple[str, Breakdown | None]:
    """What a machine does, and the breakdown that it is in or drifts towards."""
    coming = next((each for each in breakdowns(machine) if each.drifts <= moment < each.repaired), None)
    if coming and moment >= coming.failed:
        return "fault" if moment < coming.attended else "maintenance", coming
    local = moment.astimezone(company.PARIS)
    minute, age = local.hour * 60 + local.minute, (local.date() - machine.installed_on).days
    if age > 0 and age % machine.service_interval_days == 0 and 840 <= minute < 960:
        return "maintenance", coming
    hours = _KINDS[machine.equipment_type].hours
    works = hours is None or (hours[0] <= minute < hours[1] and _is_open(machine.store_id, local.date()))
    return "running" if works else "idle", coming


@cache
def _working_days(store_id: str) -> list[int]:
    """How many days a shop was open before each day of the company's calendar."""
    days = (company.FIRST_DAY + timedelta(days=each) for each in range((company.LAST_DAY - company.FIRST_DAY).days))
    return [*accumulate((_is_open(store_id, day) for day in days), initial=0)]


def _worked(machine: company.Equipment, first: datetime, last: datetime) -> float:
    """Hours of work between two times of a day that has work."""
    hours = _KINDS[machine.equipment_type].hours
    midnight = company.local_midnight(last.astimezone(company.PARIS).date())
    begin, end = (midnight + timedelta(minutes=minute) for minute in hours or (0, 1440))
    return max((min(last, end) - max(first, begin)) / timedelta(hours=1), 0.0)


@cache
def _speed(equipment_id: str) -> float:
    return company.seeded("cycles", equipment_id).uniform(0.9, 1.1)


def _cycles(machine: company.Equipment, moment: datetime) -> int:
    """What its counter shows: about two thirds of the days before the company's calendar were days of work."""
    kind, day = _KINDS[machine.equipment_type], moment.astimezone(company.PARIS).date()
    working_day = (kind.hours[1] - kind.hours[0]) / 60 if kind.hours else 24.0
    before, since = machine.installed_on - company.FIRST_DAY, max(machine.installed_on, company.FIRST_DAY)
    if kind.hours:
        table = _working_days(machine.store_id)
        days = table[(day - company.FIRST_DAY).days] - table[(since - company.FIRST_DAY).days]
        today = _worked(machine, company.local_midnight(day), moment) if _is_open(machine.store_id, day) else 0.0
    else:
        days, today = (day - since).days, _worked(machine, company.local_midnight(day), moment)
    hours = (max(-before.days, 0) * 0.66 + days) * working_day + today
    return int((hours - _idle_hours(machine, moment)) * kind.cycles * _speed(machine.equipment_id))


def _idle_hours(machine: company.Equipment, moment: datetime) -> float:
    """Hours of work that were lost to breakdowns until a time."""
    lost = 0.0
    for each in breakdowns(machine):
        if each.failed < moment:
            lost += _lost(machine, each) if each.repaired <= moment else _missed(machine, each.failed, moment)
    return lost


@cache
def _lost(machine: company.Equipment, breakdown: Breakdown) -> float:
    return _missed(machine, breakdown.failed, breakdown.repaired)


def _missed(machine: company.Equipment, first: datetime, last: datetime) -> float:
    """Hours of work in a time, of which each day is looked at."""
    lost, day = 0.0, first.astimezone(company.PARIS).date()
    while (midnight := company.local_midnight(day)) < last:
        following = company.local_midnight(day + timedelta(days=1))
        if _KINDS[machine.equipment_type].hours is None or _is_open(machine.store_id, day):
            lost += _worked(machine, max(first, midnight), min(last, following - timedelta(microseconds=1)))
        day += timedelta(days=1)
    return lost


def equipment_metrics(run: Run, count: int) -> Iterator[Event]:
    """Readings of every machine at an even interval over the period, and when its status changes by a breakdown."""
    rng = run.random("equipment-metrics")
    changes = _status_changes(run)[: count // 4]
    for moment, machine in heapq.merge(_regular(run, count - len(changes)), changes, key=itemgetter(0)):
        identity = run.identity(f"equipment-metrics/{machine.equipment_id}/{moment.isoformat()}")
        head = {"event_id": identity, "event_time": moment}
        fields = _reading(rng, machine, moment)
        yield Event(head | fields, moment + on_its_way(rng))


def fleet(days: Iterable[date]) -> list[company.Equipment]:
    """All machines that stand in the shops on some of the days."""
    return sorted({each for day in days for each in company.equipment(day)}, key=lambda each: each.equipment_id)


def _status_changes(run: Run) -> list[tuple[datetime, company.Equipment]]:
    """Half a second, when nothing else is read, after a machine failed, was attended to and worked again; in order."""
    soon = timedelta(milliseconds=500)
    changes = [
        (moment + soon, machine)
        for machine in fleet(run.calendar)
        for each in breakdowns(machine)
        for moment in (each.failed, each.attended, each.repaired)
        if run.begin <= moment < run.end - soon
    ]
    return sorted(changes, key=lambda change: (change[0], change[1].equipment_id))


def _regular(run: Run, count: int) -> Iterator[tuple[datetime, company.Equipment]]:
    """The machines one after the other, each at the same interval, on whole seconds."""
    start, fleet = run.begin, len(company.equipment(run.start))
    interval = _interval(run.days, max(-(-count // fleet), 1))
    for number in range(count):
        moment = start + timedelta(seconds=number // fleet * interval + number % fleet * interval // fleet)
        yield moment, company.equipment(moment.astimezone(company.PARIS).date())[number % fleet]


def _interval(days: int, readings: int) -> int:
    """Seconds between the readings of a machine: as long as the period allows, but never read at the same few hours."""
    hours = days * 24 // readings
    if hours < 7:
        return days * 86_400 // readings
    while hours % 24 not in {*range(3, 22)} - {6, 8, 12, 16, 18}:
        hours -= 1
    return hours * 3600


def _reading(rng: random.Random, machine: company.Equipment, moment: datetime) -> dict[str, object]:
    kind, (status, coming) = _KINDS[machine.equipment_type], _status(machine, moment)
    drift = 0.0
    if coming and moment < coming.failed:
        drift = (moment - coming.drifts) / (coming.failed - coming.drifts)
    resting = status != "running"
    temperature = kind.temperature[resting] + kind.drift * drift + rng.gauss(0, 0.01 * kind.temperature[0])
    vibration = kind.vibration[resting] * (1 + 1.6 * drift**2) * rng.uniform(0.93, 1.07)
    power = kind.power[resting] * (1 + 0.1 * drift) * rng.uniform(0.95, 1.05)
    if status in ("fault", "maintenance"):
        # It stands still: an oven cools down, a display warms up.
        temperature, vibration, power = rng.uniform(16, 24), 0.0, rng.uniform(0, 0.02)
    fields: dict[str, object] = {
        "equipment_id": machine.equipment_id,
        "store_id": machine.store_id,
        "temperature_c": Decimal(f"{temperature:.1f}"),
        "vibration_mm_s": Decimal(f"{vibration:.2f}"),
        "power_kw": Decimal(f"{power:.3f}"),
        "cycles": _cycles(machine, moment),
        "status": status,
    }
    if status == "fault" and coming:
        fields["error_code"] = coming.error_code
    return fields
