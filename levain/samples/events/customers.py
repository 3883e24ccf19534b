"""The chain's customers, as the log of their changes."""

from __future__ import annotations

import random
import re
import unicodedata
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from functools import cache, lru_cache
from itertools import count as count_from

from faker import Faker

from levain.samples import company
from levain.samples.events.run import Run
from levain.samples.run import Event, on_its_way

FREQUENT = 90
"""So many customers make nearly nine of ten purchases by customers."""

_BEYOND = 40
"""No customer's place is taken by so many others, one after the other, in the company's calendar."""

_COUNTRIES = ("FR", "BE", "CH", "DE", "LU", "IT")
_SEGMENTS = ("household", "student", "business", "hospitality")
_DOMAINS = ("example.org", "example.com", "example.net")


@dataclass(frozen=True)
class Customer:
    """A customer's state from `valid_from` on, as it was recorded at `recorded`."""

    customer_id: str
    name: str
    email: str
    country: str
    segment: str
    is_member: bool
    signed_up_at: datetime
    valid_from: datetime
    recorded: datetime


@cache
def _fake() -> Faker:
    return Faker("fr_FR")


@lru_cache(maxsize=2 * company.CUSTOMERS)
def customer(number: int, first_day: date = company.START) -> Customer:
    """A customer as at the start of a period; those beyond `company.CUSTOMERS` sign up only later.

    The smaller the number, the more often the customer buys.
    """
    rng, fake = company.seeded("customer", number), _fake()
    fake.seed_instance(f"customer {number}")
    name = f"{fake.first_name()} {fake.last_name()}"
    start = company.local_midnight(first_day)
    signed_up = start - timedelta(days=rng.randint(1, 2500), minutes=rng.randint(240, 1000))
    return Customer(
        customer_id=f"C{number:05d}",
        name=name,
        email=_email(name, number, rng),
        country=rng.choices(_COUNTRIES, (90, 4, 2, 2, 1, 1))[0],
        segment=rng.choices(_SEGMENTS, (70, 14, 11, 5))[0],
        is_member=rng.random() < (0.7 if number <= 90 else 0.35),
        signed_up_at=signed_up,
        valid_from=signed_up,
        recorded=start + timedelta(hours=4, minutes=5, milliseconds=500 * number),
    )


def _email(name: str, number: int, rng: random.Random) -> str:
    """An address at a domain reserved for examples; the customer's number makes it the only one of its kind."""
    ascii_name = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().lower()
    first, *last = re.findall("[a-z]+", ascii_name)
    local = rng.choice((f"{first}.{''.join(last)}", f"{first[0]}{''.join(last)}", f"{''.join(last)}.{first}"))
    return f"{local}{number}@{rng.choice(_DOMAINS)}"


def customer_history(count: int, days: int, start: date = company.START) -> list[Customer]:
    """So many records, in the order they were recorded: the customers as at the start, then changes and sign-ups.

    Three quarters are the initial records, of those who buy most first, until all customers are there. Of the changes
    most are recorded on the day, some days ahead of `valid_from`, and a fifth only days after it. Nobody changes more
    often than about twice a year. Who signs up later has a number beyond `company.CUSTOMERS`, so nobody buys
    before the sign-up.

    Args:
        count: how many records.
        days: length of the period.
        start: its first day.
    """
    initial = [customer(number, start) for number in range(1, min(count - count // 4, company.CUSTOMERS) + 1)]
    rng, midnight = company.seeded("customer changes", days, start), company.local_midnight(start)
    end = company.local_midnight(start + timedelta(days=days))
    newcomers, changed = _newcomers(days, start), Counter[int]()
    due: list[tuple[datetime, int, datetime]] = []
    for _ in range(count - len(initial)):
        moment = midnight + timedelta(
            days=rng.randrange(1, days) if days > 1 else 0, minutes=rng.randint(480, 1200), seconds=rng.randrange(60)
        )
        habit, lag = rng.random(), timedelta(seconds=rng.randint(1, 600))
        if habit < 0.15 or not initial:
            number, since = next(newcomers)
            # Who takes the place of another signs up in the evening before the first visit.
            moment = company.local_midnight(since) - timedelta(minutes=rng.randint(60, 600)) if since else moment
            due.append((moment, number, moment + lag))
            continue
        shift = rng.randint(1, 6) if habit < 0.35 else -rng.randint(2, 9) if habit < 0.5 else 0
        if moment + timedelta(days=shift) >= end:
            shift = 0
        number = int(len(initial) * rng.random() ** 2) + 1
        if changed[number] > days // 150:
            number = rng.randint(1, len(initial))
        changed[number] += 1
        due.append((moment, number, max(moment + timedelta(days=shift), midnight + timedelta(hours=9)) + lag))
    states, changes = dict(enumerate(initial, start=1)), []
    for moment, number, recorded in sorted(due):
        if number in states:
            states[number] = _changed(states[number], number, rng, moment, recorded)
        else:
            states[number] = replace(customer(number, start), signed_up_at=moment, valid_from=moment, recorded=recorded)
        changes.append(states[number])
    return initial + sorted(changes, key=lambda each: (each.recorded, each.customer_id))


def _newcomers(days: int, start: date) -> Iterator[tuple[int, date | None]]:
    """Who signs up in a period, without end: first those who take the place of one who left, each with the first day.

    Then others, of whom it is not known whether they ever come; their numbers are beyond all numbers of those.
    """
    from levain.samples.events.shoppers import stays

    end = start + timedelta(days=days)
    for first in range(1, company.CUSTOMERS + 1):
        yield from ((each.number, each.since) for each in stays(first, start)[1:] if each.since < end)
    yield from ((number, None) for number in count_from(_BEYOND * company.CUSTOMERS + 1))


def _changed(before: Customer, number: int, rng: random.Random, moment: datetime, recorded: datetime) -> Customer:
    """The customer with one thing changed: member now, or another segment, email address or name."""
    after = replace(before, valid_from=moment, recorded=recorded)
    match rng.choices(("member", "segment", "email", "name"), (0 if before.is_member else 70, 20, 25, 15))[0]:
        case "member":
            return replace(after, is_member=True)
        case "segment":
            return replace(after, segment=rng.choice([each for each in _SEGMENTS if each != before.segment]))
        case "email":
            emails = (_email(before.name, number, rng) for _ in range(100))
            return replace(after, email=next(each for each in emails if each != before.email))
    _fake().seed_instance(f"name {number} {moment}")
    return replace(after, name=f"{before.name.split()[0]} {_fake().last_name()}")


def customer_changes(run: Run, count: int) -> Iterator[Event]:
    """The customers as at the start, then their changes and those who sign up."""
    rng = run.random("customer-changes")
    for number, each in enumerate(customer_history(count, run.days, run.start), start=1):
        fields = dict(vars(each))
        recorded = fields.pop("recorded")
        head = {"event_id": run.identity(f"customer-changes/{number}"), "event_time": recorded}
        yield Event(head | fields, recorded + on_its_way(rng))
