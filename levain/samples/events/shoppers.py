"""Who buys by name, and how: the same for every run of a period.

Some customers leave: their visits fade out, and when they have, a new customer signs up who comes as often. That and
all that follows from a customer's number is not in any event; it is what a model of churn or of risk should find out.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from functools import cache, lru_cache
from uuid import NAMESPACE_URL, uuid5

from levain.samples import company
from levain.samples.events.customers import customer, customer_history
from levain.samples.events.run import Run

FADING_DAYS = 42
"""From when a customer begins to leave until there are no more visits."""

SHOPS = 9
"""As many customers are of each rank: those who come often to their shop come often online, too."""
_HORIZON = (company.LAST_DAY - company.FIRST_DAY).days
_TRIPS = ("ES", "IT", "GB", "PT", "DE", "MA", "US")
_BANKS = ("DE", "IE", "GB", "BE", "US", "CA")


@dataclass(frozen=True)
class Shopper:
    """What does not change of a customer.

    Attributes:
        home: country of residence.
        joined: whether the customer is a member at the start.
        card_country: of the bank; now and then not that of residence.
        appetite: how many times as much as others the customer orders.
        trips: journeys abroad: first day, first day at home again, country.
        devices: ids of the devices, each with the day since when it has been used; the last one is the main one.
    """

    number: int
    home: str
    joined: bool
    card_country: str
    appetite: int
    trips: tuple[tuple[date, date, str], ...]
    devices: tuple[tuple[date, str], ...]

    @property
    def customer_id(self) -> str:
        return f"C{self.number:05d}"

    def country_on(self, day: date) -> str:
        """Where the customer is."""
        return next((country for since, until, country in self.trips if since <= day < until), self.home)

    def device_on(self, rng: random.Random, day: date) -> str:
        """One of the devices: mostly the main one, which is replaced now and then."""
        owned = [device for since, device in self.devices if since <= day]
        return owned[-1] if len(owned) == 1 or rng.random() < 0.8 else owned[0]


@dataclass(frozen=True, slots=True)
class Stay:
    """How long somebody is a customer.

    Attributes:
        since: first day.
        leaves: day from which visits fade out; None: the customer stays.
    """

    number: int
    since: date
    leaves: date | None

    def loyalty(self, day: date) -> float:
        """Part of the usual visits that is left on a day: 1 until the customer begins to leave, then halved weekly."""
        if self.leaves is None or day < self.leaves:
            return 1.0
        gone = (day - self.leaves).days
        return 0.5 ** (gone / 7) if gone < FADING_DAYS else 0.0


@lru_cache(maxsize=2 * company.CUSTOMERS)
def stays(first: int, start: date = company.START) -> tuple[Stay, ...]:
    """A customer as at the start of a period, and those who take that customer's place one after the other.

    Args:
        first: number of the customer, 1 to `company.CUSTOMERS`.
        start: of the period.
    """
    found, number, since = list[Stay](), first, start
    while since <= company.LAST_DAY:
        rng = company.seeded("stay", number)
        leaves = since + timedelta(days=10 + int(rng.expovariate(1 / 150))) if rng.random() < 0.45 else None
        found.append(Stay(number, since, leaves))
        if leaves is None:
            break
        number, since = number + company.CUSTOMERS, leaves + timedelta(days=FADING_DAYS)
    return tuple(found)


def visitor(rng: random.Random, home: int, day: date, start: date) -> int | None:
    """Number of somebody who comes on a day: few customers come often. None: one who comes no more.

    Args:
        rng: chooses.
        home: the customer's shop, 0 to 8.
        day: of the visit.
        start: of the period.
    """
    rank = min(int(rng.paretovariate(0.9)) - 1, company.CUSTOMERS // SHOPS - 1)
    stay = next(each for each in reversed(stays(rank * SHOPS + home + 1, start)) if each.since <= day)
    return stay.number if rng.random() < stay.loyalty(day) else None


@lru_cache(maxsize=4096)
def shopper(number: int, start: date = company.START) -> Shopper:
    """The customer of that number, in a period that starts on that day."""
    rng, known = company.seeded("shopper", number), customer(number)
    trips, offset = [], rng.randint(0, 120) if rng.random() < 0.6 else _HORIZON
    while offset < _HORIZON:
        since = start + timedelta(days=offset)
        country = rng.choice([each for each in _TRIPS if each != known.country])
        trips.append((since, since + timedelta(days=rng.randint(4, 12)), country))
        offset += rng.randint(60, 200)
    known_since = [date.min]
    if rng.random() < 0.45:
        known_since.append(date.min)
    if rng.random() < 0.6:
        known_since.append(start + timedelta(days=rng.randint(0, 900)))
    return Shopper(
        number=number,
        home=known.country,
        joined=known.is_member,
        card_country=known.country if rng.random() < 0.95 else rng.choice(_BANKS),
        appetite={"business": 4, "hospitality": 8}.get(known.segment, 1),
        trips=tuple(trips),
        devices=tuple((since, device_id("shopper", number, place)) for place, since in enumerate(known_since)),
    )


def drawn(rng: random.Random, day: date, start: date) -> Shopper | None:
    """Somebody who buys online on a day, see `visitor`."""
    number = visitor(rng, rng.randrange(SHOPS), day, start)
    return shopper(number, start) if number else None


def is_member(run: Run, number: int, moment: datetime) -> bool:
    """Whether a customer is a member at a time, as the run's `customer-changes` say it, if there are any."""
    states = [member for since, member in _memberships(run).get(number, ()) if since <= moment]
    return states[-1] if states else shopper(number, run.start).joined


@lru_cache(maxsize=2)
def _memberships(run: Run) -> dict[int, list[tuple[datetime, bool]]]:
    found: dict[int, list[tuple[datetime, bool]]] = {}
    records = customer_history(run.events_of("customer-changes"), run.days, run.start)
    for each in sorted(records, key=lambda record: record.valid_from):
        found.setdefault(int(each.customer_id[1:]), []).append((each.valid_from, each.is_member))
    return found


@dataclass(frozen=True)
class Device:
    """What a browser says of itself."""

    type: str
    os: str
    browser: str
    viewport_width: int


_DEVICES = (
    (Device("mobile", "iOS", "Safari", 390), 27),
    (Device("mobile", "iOS", "Safari", 430), 7),
    (Device("mobile", "Android", "Chrome", 360), 12),
    (Device("mobile", "Android", "Chrome", 412), 11),
    (Device("mobile", "Android", "Samsung Internet", 384), 5),
    (Device("desktop", "Windows", "Chrome", 1536), 10),
    (Device("desktop", "Windows", "Edge", 1920), 8),
    (Device("desktop", "Windows", "Firefox", 1920), 4),
    (Device("desktop", "macOS", "Safari", 1440), 7),
    (Device("desktop", "macOS", "Chrome", 1728), 4),
    (Device("desktop", "Linux", "Firefox", 1920), 1),
    (Device("tablet", "iPadOS", "Safari", 820), 4),
)


def device_id(*parts: object) -> str:
    """An id that is the same wherever it is asked for under the same name."""
    return f"V{uuid5(NAMESPACE_URL, '/'.join(map(str, parts))).hex[:12]}"


@cache
def device(identity: str) -> Device:
    """What kind of device has that id."""
    kinds, weights = zip(*_DEVICES, strict=True)
    found: Device = company.seeded("device", identity).choices(kinds, weights)[0]
    return found
