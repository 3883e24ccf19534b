"""Faults put into sample events on purpose, each with the verdict it must get.

What a message is worth is written down here by hand, beside the fault, and never found by checking the message: the
warehouse's rules are judged by it.
"""

from __future__ import annotations

import heapq
import random
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from ingest.contracts import Contract
from ingest.errors import BadInput
from levain.samples.events import FORMS, OTHER_VERSIONS
from levain.samples.run import Event
from levain.samples.variants import (
    MALFORMED,
    NOT_UTF8,
    Make,
    Message,
    Variant,
    conflict,
    duplicate,
    extra_field,
    future,
    late,
    late_copy,
    missing_first,
    out_of_order,
    tombstone,
    too_late,
)

SLACK = timedelta(seconds=10)
"""No source sends an event more than this before one it received earlier."""


@dataclass(frozen=True)
class Fault:
    """A kind of fault.

    Attributes:
        rate: part of a topic's messages that carry it.
        variants: topic -> its forms, taken in turn; `*`: of any other topic. The first topic named that is in a run
            is its home there.
        extra: messages it adds beside the event's own.
    """

    rate: float
    variants: Mapping[str, Sequence[Variant]]
    extra: int = 0

    def of(self, topic: str) -> Sequence[Variant]:
        return self.variants.get(topic, self.variants.get("*", ()))


def _fault(name: str, rate: float, *variants: Variant, extra: int = 0) -> Fault:
    """A fault with these forms in any topic that has no forms of its own."""
    everywhere = {"*": variants} if variants else {}
    return Fault(rate, {**FORMS.get(name, {}), **everywhere}, extra)


FAULTS: dict[str, Fault] = {
    name: _fault(name, rate, *variants, extra=name in ("duplicates", "conflicts", "late-copies"))
    for name, rate, variants in (
        ("duplicates", 0.008, (duplicate,)),
        ("conflicts", 0.003, (conflict,)),
        ("late-copies", 0.002, (late_copy,)),
        ("out-of-order", 0.010, (out_of_order,)),
        ("late", 0.008, (late,)),
        ("too-late", 0.003, (too_late,)),
        ("future", 0.002, (future,)),
        ("malformed", 0.003, MALFORMED),
        ("not-utf8", 0.002, NOT_UTF8),
        ("tombstones", 0.002, (tombstone,)),
        ("extra-fields", 0.003, (extra_field,)),
        ("missing-fields", 0.003, (missing_first,)),
        ("wrong-types", 0.003, ()),
        ("numbers-as-text", 0.002, ()),
        ("broken-rules", 0.004, ()),
        ("impossible-amounts", 0.003, ()),
        ("unknown-references", 0.004, ()),
    )
}

ENOUGH = 200
"""Messages from which on a topic holds every form of the faults it is home to."""


def profile(name: str) -> tuple[str, ...]:
    """Faults of a profile: `none`, `all`, or the name of one fault.

    Raises:
        BadInput: there is no such profile; the valid ones are named.
    """
    if name == "none":
        return ()
    if name == "all":
        return tuple(FAULTS)
    if name in FAULTS:
        return (name,)
    raise BadInput(f"There is no fault profile '{name}'.", f"Valid profiles: none, all, {', '.join(FAULTS)}.")


def homes(names: Iterable[str], topics: Sequence[str]) -> dict[str, str]:
    """Fault -> the topic that gets each of its forms at least once; a fault that fits no topic is left out.

    Args:
        names: of the faults.
        topics: of the run, the largest first.
    """
    found = {}
    for name in names:
        named = [topic for topic in FAULTS[name].variants if topic in topics]
        able = [topic for topic in (*named, *topics) if FAULTS[name].of(topic)]
        if able:
            found[name] = able[0]
    return found


@dataclass
class Plan:
    """The faults that a topic gets, which are taken out at random, one by one.

    Attributes:
        left: fault and form -> how many of it are left.
    """

    left: dict[tuple[str, Variant], int]

    def __len__(self) -> int:
        return sum(self.left.values())

    @property
    def extras(self) -> int:
        """Messages these faults add beside the events' own."""
        return sum(FAULTS[name].extra * number for (name, _), number in self.left.items())

    def take(self, rng: random.Random) -> tuple[str, Variant]:
        """One of them, of which there is one less then."""
        (each,) = rng.sample([*self.left], 1, counts=[*self.left.values()])
        self.left[each] -= 1
        return each


def plan(home_of: Mapping[str, str], topic: str, count: int, rng: random.Random) -> Plan:
    """The faults that a topic of about so many messages gets.

    A fault's home gets each of its forms; elsewhere the rates decide, so a topic of some tens of messages gets few.
    """
    chosen = Counter[tuple[str, Variant]]()
    owed = rng.random()
    for name, home in home_of.items():
        variants = FAULTS[name].of(topic)
        if not variants:
            continue
        owed += FAULTS[name].rate * count
        number = int(owed)
        owed -= number
        if topic == home:
            number = max(number, len(variants) if count >= ENOUGH else 1)
        start = rng.randrange(len(variants)) if number < len(variants) else 0
        for place, variant in enumerate(variants):
            if times := (number - (place - start) % len(variants) - 1) // len(variants) + 1:
                chosen[name, variant] += times
    return Plan(dict(chosen))


def inject(
    contract: Contract,
    events: Iterator[Event],
    count: int,
    protected: int,
    faults: Plan,
    rng: random.Random,
) -> Iterator[Message]:
    """Messages of the events, in the order they are received, with each fault on an event of its own.

    Args:
        contract: of the topic.
        events: in about the order they are received (`SLACK`).
        count: how many events there are.
        protected: how many of the first stay without fault, because others rest on them.
        faults: as many as there are unprotected events, at most.
        rng: chooses the events.
    """
    planned, plain = len(faults), Make(contract, rng)
    waiting: list[tuple[datetime, int, Message]] = []
    serial = 0
    for number, event in enumerate(events):
        # Each event that is left is as likely as any other to carry one of the faults that are left.
        if number >= protected and planned and rng.random() * (count - number) < planned:
            planned -= 1
            name, variant = faults.take(rng)
            messages = variant(Make(contract, rng, name, OTHER_VERSIONS.get(contract.topic)), event)
        else:
            messages = [plain.message(event)]
        for message in messages:
            heapq.heappush(waiting, (message.received, serial, message))
            serial += 1
        while waiting and waiting[0][0] < event.received - SLACK:
            yield heapq.heappop(waiting)[2]
    while waiting:
        yield heapq.heappop(waiting)[2]
