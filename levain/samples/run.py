"""What every topic's events are made of: the event, the run they belong to, and how a topic's events come about.

Events are generated day by day, so that a run of any length needs the memory of some days.
"""

from __future__ import annotations

import math
import random
from bisect import bisect
from collections import deque
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from functools import cached_property
from hashlib import sha1
from operator import itemgetter
from typing import Any, Generic, TypeVar
from uuid import NAMESPACE_URL, UUID, uuid5

from levain.samples import calendar

SHORTEST_DAYS, LONGEST_DAYS = 28, 364

T = TypeVar("T")


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


class Window(Generic[T]):
    """What happens on each day of a run, for several topics that follow it side by side.

    A day is generated once, and kept until the last of them has passed it.
    """

    def __init__(self, days: Iterator[T], followers: int) -> None:
        self._days, self._followers = days, followers
        self._kept, self._first, self._places = deque[T](), 0, list[float]()

    @property
    def is_whole(self) -> bool:
        """Whether the first day is still there."""
        return self._first == 0

    def follow(self) -> Iterator[T]:
        """The days, from the first one on."""
        self._places.append(0)
        return self._follow(len(self._places) - 1)

    def _follow(self, follower: int) -> Iterator[T]:
        offset = 0
        try:
            while True:
                if self._first + len(self._kept) == offset:
                    try:
                        self._kept.append(next(self._days))
                    except StopIteration:
                        return
                yield self._kept[offset - self._first]
                offset += 1
                self._pass(follower, offset)
        finally:
            self._pass(follower, math.inf)

    def _pass(self, follower: int, offset: float) -> None:
        self._places[follower] = offset
        while self._kept and len(self._places) >= self._followers and min(self._places) > self._first:
            self._kept.popleft()
            self._first += 1


@dataclass(frozen=True)
class Run:
    """One call of the generator: all that the events depend on.

    Attributes:
        name: tells this run from every other; ids are derived from it, so another run sends other events.
        days: length of the simulated period.
        topics: the topics that are sent, each with how many events it has.
        start: first day of the simulated period.
    """

    name: str
    days: int
    topics: tuple[tuple[str, int], ...] = ()
    start: date = calendar.START
    _windows: dict[Hashable, Window[Any]] = field(default_factory=dict, init=False, repr=False, compare=False)

    @cached_property
    def namespace(self) -> UUID:
        return uuid5(NAMESPACE_URL, f"levain:{self.name}")

    @property
    def tag(self) -> str:
        """Eight hexadecimal digits, for ids that people read."""
        return self.namespace.hex[:8]

    @cached_property
    def calendar(self) -> tuple[date, ...]:
        """The days of the simulated period."""
        return tuple(self.start + timedelta(days=offset) for offset in range(self.days))

    @cached_property
    def begin(self) -> datetime:
        """The first moment of the simulated period."""
        return calendar.local_midnight(self.start)

    @cached_property
    def end(self) -> datetime:
        """The first moment after the simulated period."""
        return calendar.local_midnight(self.start + timedelta(days=self.days))

    def random(self, purpose: str) -> random.Random:
        return calendar.seeded(self.name, purpose)

    def identity(self, what: str) -> str:
        """The id of an event: the UUID of version 5 of that name in the run's namespace, as text (RFC 9562, 5.5)."""
        digest = sha1(self._salt + what.encode()).hexdigest()  # noqa: S324 - as the RFC has it
        variant = "89ab"[int(digest[16], 16) & 3]
        return f"{digest[:8]}-{digest[8:12]}-5{digest[13:16]}-{variant}{digest[17:20]}-{digest[20:32]}"

    @cached_property
    def _salt(self) -> bytes:
        return self.namespace.bytes

    def events_of(self, topic: str) -> int:
        """How many events are sent into a topic; 0: it is not in the run."""
        return dict(self.topics).get(topic, 0)

    def follow(self, name: Hashable, generate: Callable[[], Iterator[T]], topics: Iterable[str]) -> Iterator[T]:
        """What happens on each day of the run.

        Args:
            name: of what several topics follow.
            generate: the days.
            topics: those that follow it, if they are in the run.
        """
        if name not in self._windows or not self._windows[name].is_whole:
            followers = sum(self.events_of(topic) > 0 for topic in topics)
            self._windows[name] = Window(generate(), followers)
        return self._windows[name].follow()


def on_its_way(rng: random.Random) -> timedelta:
    """How long an event takes from its source until it is received."""
    return timedelta(milliseconds=80 + int(2421 * rng.random()))


def drawn(rng: random.Random, values: Sequence[T], cumulative: Sequence[float]) -> T:
    """One of the values, by their cumulative weights; several times as fast as `Random.choices`."""
    return values[bisect(cumulative, rng.random() * cumulative[-1], 0, len(values) - 1)]


def shared_out(count: int, weights: Iterable[float]) -> list[int]:
    """How many of `count` there are by the end of each day, in proportion to the days' weights."""
    summed, so_far = [], 0.0
    for weight in weights:
        so_far += weight
        summed.append(so_far)
    return [*(int(count * each / so_far) if so_far else 0 for each in summed[:-1]), count]


def in_time(days: Iterable[tuple[datetime, list[tuple[datetime, T]]]]) -> Iterator[tuple[datetime, T]]:
    """What happens on the days, each with the first moment after it, in the order of the times.

    What a day begins may end after it, but nothing happens before its day.
    """
    waiting: list[tuple[datetime, T]] = []
    for end, found in days:
        waiting = sorted(waiting + found, key=itemgetter(0))
        due = bisect(waiting, end, key=itemgetter(0))
        yield from waiting[:due]
        waiting = waiting[due:]
    yield from waiting


def days_for(events: int) -> int:
    """Length of the period: four weeks, or as many days as give 1,500 events a day, up to 52 weeks."""
    return min(max(math.ceil(events / 1500), SHORTEST_DAYS), LONGEST_DAYS)


@dataclass(frozen=True)
class Source:
    """How a topic's events come about.

    Attributes:
        generate: of a run (`events.run_of`), exactly that many events, nearly in the order of `received` (see
            `faults.SLACK`).
        share: its part of a run's messages, against the other topics' shares.
        least: messages that cover what must be known (every member of what others refer to) in a period of so
            many days from that day on; None: none.
        most: messages that such a period can hold without becoming implausible; None: any number.
        unit: its events come in batches of so many.
        protected: how many of the first carry no fault, because others rest on them.
    """

    generate: Callable[[Any, int], Iterator[Event]]
    share: float
    least: Callable[[int, date], int] | None = None
    most: Callable[[int, date], int] | None = None
    unit: int = 1
    protected: int = 0
