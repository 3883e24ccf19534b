"""The forms that faults have: messages made from an event, each with the verdict it must get."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from ingest.contracts import Contract
from ingest.jsontext import JsonText, json_object, json_timestamp, utc
from ingest.sources.publish import RECEIVED_AT
from levain.samples.run import Event

VERDICTS = ("accepted", "duplicate", "conflict", "rejected", "held")


@dataclass(slots=True)
class Message:
    """A Kafka message, and what must become of it.

    Attributes:
        key: None: no key.
        value: None: a tombstone.
        received: simulated time of receipt (UTC), also in the header `received-at`.
        verdict: one of `VERDICTS`.
        rules: what it fails or is held for, in the order they are listed.
        fault: name of the fault it carries; empty: none. Of two copies, the later one carries it.
    """

    topic: str
    key: bytes | None
    value: bytes | None
    headers: list[tuple[str, bytes]]
    received: datetime
    verdict: str = "accepted"
    rules: tuple[str, ...] = ()
    fault: str = ""


Variant = Callable[["Make", Event], list[Message]]


class Make:
    """Messages from events, for the variants of a fault."""

    def __init__(
        self, contract: Contract, rng: random.Random, fault: str = "", other: Mapping[str, Any] | None = None
    ) -> None:
        """`other`: what another version of an event differs in, see `changed`; None: in a field of its own."""
        self.contract, self.rng, self.fault = contract, rng, fault
        self.other = {EXTRA: "other"} if other is None else other

    def message(self, event: Event, verdict: str = "accepted", *rules: str) -> Message:
        """The event as it is."""
        return self.raw(event, json_object(event.fields).encode(), verdict, *rules)

    def raw(self, event: Event, value: bytes | None, verdict: str, *rules: str) -> Message:
        """Any payload under the event's key, with its headers."""
        key = event.fields.get(self.contract.key)
        received = json_timestamp(event.received).encode()
        return Message(
            topic=self.contract.topic,
            key=None if key is None else str(key).encode(),
            value=value,
            headers=[(RECEIVED_AT, received), *event.headers],
            received=event.received,
            verdict=verdict,
            rules=rules,
            fault=self.fault,
        )

    def changed(self, event: Event, changes: Mapping[str, Any], verdict: str, *rules: str) -> Message:
        """The event with fields set, or left out where the change is `ABSENT`. The key stays what it was.

        A change that is a function is called with the fields as they were.
        """
        new = {name: value(event.fields) if callable(value) else value for name, value in changes.items()}
        fields = {name: value for name, value in (event.fields | new).items() if value is not ABSENT}
        return self.raw(event, json_object(fields).encode(), verdict, *rules)

    def later(self, event: Event, least: timedelta, most: timedelta) -> Event:
        """The same event, received again or only later, by a random time."""
        return replace(event, received=event.received + least + (most - least) * self.rng.random())

    def first(self, event: Event) -> Message:
        """The original of a copy: without fault."""
        return replace(self.message(event), fault="")


ABSENT = object()
EXTRA = "source_info"
"""A field that no contract knows."""


def duplicate(make: Make, event: Event) -> list[Message]:
    again = make.later(event, timedelta(seconds=2), timedelta(hours=20))
    return [make.first(event), make.message(again, "duplicate")]


def conflict(make: Make, event: Event) -> list[Message]:
    again = make.later(event, timedelta(seconds=2), timedelta(hours=20))
    return [make.first(event), make.changed(again, make.other, "conflict")]


def late_copy(make: Make, event: Event) -> list[Message]:
    """A copy that arrives when it is too late for any copy: held like any message of that age, not duplicate."""
    again = make.later(event, timedelta(hours=50), timedelta(hours=120))
    return [make.first(event), make.message(again, "held", "event_too_late")]


def out_of_order(make: Make, event: Event) -> list[Message]:
    return [make.message(make.later(event, timedelta(minutes=1), timedelta(minutes=50)))]


def late(make: Make, event: Event) -> list[Message]:
    return [make.message(make.later(event, timedelta(hours=1), timedelta(hours=40)))]


def too_late(make: Make, event: Event) -> list[Message]:
    again = make.later(event, timedelta(hours=49), timedelta(hours=240))
    return [make.message(again, "held", "event_too_late")]


def future(make: Make, event: Event) -> list[Message]:
    name = make.contract.event_time
    lag = event.received - utc(event.fields[name])
    ahead = timedelta(minutes=make.rng.randint(15, 60 * 24 * 20))
    return [make.changed(event, {name: event.fields[name] + lag + ahead}, "held", "event_in_future")]


def tombstone(make: Make, event: Event) -> list[Message]:
    return [make.raw(event, None, "rejected", "message_tombstone")]


def extra_field(make: Make, event: Event) -> list[Message]:
    return [make.changed(event, {EXTRA: "till 2, version 4.1"}, "accepted")]


def payload(change: Callable[[str], bytes], rule: str) -> Variant:
    """A payload that is not a JSON object in UTF-8, made from the text of the event's."""

    def variant(make: Make, event: Event) -> list[Message]:
        return [make.raw(event, change(json_object(event.fields)), "rejected", rule)]

    return variant


def fields(changes: Mapping[str, Any], verdict: str, *rules: str, key: str | None = None) -> Variant:
    """Fields with other values; `key`: the message's key, where it follows the changed field."""

    def variant(make: Make, event: Event) -> list[Message]:
        message = make.changed(event, changes, verdict, *rules)
        return [message if key is None else replace(message, key=key.encode())]

    return variant


def missing(*names: str, null: bool = False) -> Variant:
    """Required fields left out or null."""
    changes = dict.fromkeys(names, None if null else ABSENT)
    return fields(changes, "rejected", *(f"{name}_missing" for name in names))


def missing_first(make: Make, event: Event) -> list[Message]:
    """The first required field that is neither identity nor time, for topics that have no variants of their own."""
    contract, special = make.contract, (make.contract.identity, make.contract.event_time)
    names = [each.name for each in contract.members if each.required and each.name not in special]
    name = (names or [contract.event_time])[0]
    rules = [f"{name}_missing"]
    present = [each for each in contract.columns if each.value_in(event.fields) is not None and each.path[0] != name]
    optional = any(not each.required for each in contract.fields)
    weights = [sum(each.weight for each in fields) for fields in (present, contract.columns)]
    if optional and 100 * weights[0] < contract.minimum_completeness * weights[1]:
        rules.append("incomplete")
    return [make.changed(event, {name: ABSENT}, "rejected", *rules)]


def invalid(name: str, value: Any) -> Variant:
    return fields({name: value}, "rejected", f"{name}_invalid")


def not_json(name: str, token: str) -> Variant:
    """A bare NaN or Infinity, as some producers write it: RFC 8259 has no such token, so the payload is not JSON."""
    return fields({name: JsonText(token)}, "rejected", "message_malformed")


MALFORMED = (
    payload(lambda text: text[: len(text) // 2].encode(), "message_malformed"),
    payload(lambda text: b"ERROR till 2: paper jam", "message_malformed"),
    payload(lambda text: f"[{text}]".encode(), "message_malformed"),
    payload(lambda text: b"", "message_malformed"),
)
NOT_UTF8 = (
    payload(lambda text: (text[:-1] + ', "caissier": "Hélène"}').encode("latin-1", "replace"), "message_not_utf8"),
    payload(lambda text: b"\xff\xfe" + text.encode("utf-16-le"), "message_not_utf8"),
)
