"""What every topic's events are made of: the event, the run they belong to, and how a topic's events come about."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from functools import cached_property
from typing import Any
from uuid import NAMESPACE_URL, UUID, uuid5

from levain.samples import company

SHORTEST_DAYS, LONGEST_DAYS = 28, 364


@dataclass(slots=True)
class Event:
    """An event as its source sends it.

    Attributes:
        fields: of the JSON object, in order; timestamps without a zone are UTC.
        received: when it is received, in simulated time (UTC).
        headers: beside `received-at`.
    """

    fields: dict[str, Any]
    received: datetime
    headers: tuple[tuple[str, bytes], ...] = ()


@dataclass(frozen=True)
class Run:
    """One call of the generator: all that the events depend on.

    Attributes:
        name: tells this run from every other; ids are derived from it, so another run sends other events.
        days: length of the simulated period, from `company.START` on.
        changes: how many product changes follow the initial catalogue.
        sales: how many receipt lines there are, whether or not they are sent.
        topics: the topics that are sent, each with how many events it has.
    """

    name: str
    days: int
    changes: int
    sales: int
    topics: tuple[tuple[str, int], ...] = ()

    @cached_property
    def namespace(self) -> UUID:
        return uuid5(NAMESPACE_URL, f"levain:{self.name}")

    @property
    def tag(self) -> str:
        """Eight hexadecimal digits, for ids that people read."""
        return self.namespace.hex[:8]

    @property
    def end(self) -> datetime:
        """The first moment after the simulated period."""
        return company.local_midnight(company.START + timedelta(days=self.days))

    def random(self, purpose: str) -> random.Random:
        return company.seeded(self.name, purpose)

    def events_of(self, topic: str) -> int:
        """How many events are sent into a topic; 0: it is not in the run."""
        return dict(self.topics).get(topic, 0)

    @cached_property
    def product_changes(self) -> list[company.ProductChange]:
        return company.product_changes(self.changes, self.days)

    @cached_property
    def prices(self) -> Mapping[str, list[tuple[date, Decimal]]]:
        """Product id -> (first day, price), oldest first."""
        book: dict[str, list[tuple[date, Decimal]]] = {}
        for change in sorted((*company.catalogue(), *self.product_changes), key=lambda change: change.valid_from):
            book.setdefault(change.product_id, []).append((change.day, change.base_price))
        return book


def on_its_way(rng: random.Random) -> timedelta:
    """How long an event takes from its source until it is received."""
    return timedelta(milliseconds=rng.randint(80, 2500))


def days_for(events: int) -> int:
    """Length of the period: four weeks, or as many days as give a shop about 120 lines a day, up to 52 weeks."""
    return min(max(math.ceil(0.8 * events / (len(company.stores(company.START)) * 120)), SHORTEST_DAYS), LONGEST_DAYS)


@dataclass(frozen=True)
class Source:
    """How a topic's events come about.

    Attributes:
        generate: exactly that many events, nearly in the order of `received` (see `faults.SLACK`).
        share: its part of a run's messages, against the other topics' shares.
        least: messages that cover what must be known (every product, every store).
        most: messages that a period of so many days can hold without becoming implausible; None: any number.
        unit: its events come in batches of so many.
        protected: how many of the first carry no fault, because others rest on them.
    """

    generate: Callable[[Run, int], Iterator[Event]]
    share: float
    least: int = 0
    most: Callable[[int], int] | None = None
    unit: int = 1
    protected: int = 0
