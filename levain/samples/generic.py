"""Sample events for a topic that has a data contract and no generator of its own in `events`.

Values are drawn from what the contract says of each field: type, range, enum, pattern, reference; what breaks one of
the contract's rules is drawn again. Such events are valid, not plausible.
"""

from __future__ import annotations

import random
import re
import string
from collections.abc import Iterator
from datetime import date, datetime, timedelta
from decimal import Decimal
from functools import partial
from re import _parser  # type: ignore[attr-defined]
from typing import Any
from uuid import NAMESPACE_URL, uuid5

import duckdb
import pyarrow as pa

from ingest.contracts import Contract, Field
from ingest.errors import ConfigurationError
from levain.samples.events import MEMBERS
from levain.samples.run import Event, Run, Source, on_its_way

_BATCH, _ATTEMPTS = 500, 100
_SPREAD = 50
"""Width of a number's range where the contract gives none."""


def source_for(contract: Contract) -> Source:
    """How the topic's events come about, from the contract alone."""
    return Source(partial(_events, contract), share=0.05)


def _events(contract: Contract, run: Run, count: int) -> Iterator[Event]:
    rng = run.random(contract.topic)
    start, step = run.begin, timedelta(days=run.days) / max(count, 1)
    with duckdb.connect() as connection:
        for first in range(0, count, _BATCH):
            numbers = range(first, min(first + _BATCH, count))
            times = [start + step * (number + rng.random()) for number in numbers]
            for fields in _drawn(contract, run, rng, connection, first, times):
                received = fields[contract.event_time] + on_its_way(rng)
                yield Event(fields, received)


def _drawn(
    contract: Contract,
    run: Run,
    rng: random.Random,
    connection: duckdb.DuckDBPyConnection,
    first: int,
    times: list[datetime],
) -> list[dict[str, Any]]:
    """An event for each time that keeps the contract's rules."""
    drawn: list[dict[str, Any]] = [{} for _ in times]
    waiting = list(range(len(times)))
    for _ in range(_ATTEMPTS):
        for place in waiting:
            drawn[place] = _draw(contract, run, rng, first + place + 1, times[place])
        kept = _keep_rules(contract, connection, [drawn[place] for place in waiting])
        waiting = [place for place, keeps in zip(waiting, kept, strict=True) if not keeps]
        if not waiting:
            return drawn
    raise ConfigurationError(
        f"Events drawn at random do not keep the rules of {contract.path.name}.",
        "Write a generator for the topic in levain/samples/events/.",
    )


def _draw(contract: Contract, run: Run, rng: random.Random, number: int, event_time: datetime) -> dict[str, Any]:
    row: dict[str, Any] = {}
    objects: dict[str | None, dict[str, Any] | None] = {None: row}
    spare = sum(field.weight for field in contract.fields) * (100 - contract.minimum_completeness) / 100
    for field in contract.fields:
        around, weight = objects.get(field.parent), _weight(contract, field)
        if around is None:
            continue
        name = field.path[-1]
        if field.name == contract.event_time:
            around[name] = event_time
        elif field.name == contract.identity and field.logical_type == "string":
            around[name] = run.identity(f"{contract.topic}/{number}")
        elif field.name == contract.identity:
            around[name] = (run.namespace.int % 900_000 + 100_000) * 1_000_000 + number
        elif not field.required and weight <= spare and rng.random() < 0.2:
            spare -= weight
            if rng.random() < 0.3:
                around[name] = None
        else:
            around[name] = _value(contract, field, rng, event_time)
            if field.logical_type == "object":
                objects[field.name] = around[name]
    return row


def _weight(contract: Contract, field: Field) -> int:
    """What is lost with a field; with an object, all that it holds."""
    inside = [each for each in contract.fields if each.path[: len(field.path)] == field.path]
    return sum(each.weight for each in inside)


def _value(contract: Contract, field: Field, rng: random.Random, event_time: datetime) -> Any:
    reference = f"{field.reference.model}.{field.reference.column}" if field.reference else ""
    if reference in MEMBERS:
        return rng.choice(MEMBERS[reference])
    if field.reference and field.reference.strict:
        raise _cannot(contract, field, f"refers to {reference}, of which no members are known here")
    if field.allowed:
        return rng.choice(field.allowed)
    match field.logical_type:
        case "object":
            return {
                each.name: _value(contract, each, rng, event_time)
                for each in field.members
                if each.required or rng.random() < 0.7
            }
        case "array":
            assert field.items is not None
            least = int(field.minimum or 0)
            count = rng.randint(least, min(least + 3, int(least + 3 if field.maximum is None else field.maximum)))
            return [_value(contract, field.items, rng, event_time) for _ in range(count)]
        case "integer" | "number":
            return _number(field, rng)
        case "boolean":
            return rng.random() < 0.7
        case "date":
            return (event_time + timedelta(days=rng.randint(-30, 30))).date()
        case "timestamp":
            return event_time + timedelta(seconds=rng.randint(-86_400, 86_400))
    if field.format == "uuid":
        return uuid5(NAMESPACE_URL, f"{field.name}/{rng.randrange(400)}")
    if field.pattern:
        text = _matching(contract, field, _parser.parse(field.pattern), rng)
        if re.search(field.pattern, text) is None:
            raise _cannot(contract, field, "has a pattern that no text could be made for")
        return text
    return f"{(field.name or 'item').removesuffix('_id').upper()}-{rng.randint(1, 40):03d}"


def _number(field: Field, rng: random.Random) -> int | Decimal:
    """From the range; small numbers more often than large ones, as with prices and most else that is counted."""
    low, high = (None if limit is None else float(limit) for limit in (field.minimum, field.maximum))
    if low is None:
        low = 0.0 if high is None or high > 0 else high - _SPREAD
    if high is None:
        high = low + _SPREAD
    if field.logical_type == "integer":
        return min(int(rng.triangular(low, high + 1, low)), int(high))
    most = 10.0 ** (field.precision - field.scale) - 10.0**-field.scale
    value = Decimal(f"{rng.triangular(low, min(high, most), low):.{field.scale}f}")
    return min(max(value, Decimal(str(low))), Decimal(str(min(high, most))))


def _matching(contract: Contract, field: Field, pattern: Any, rng: random.Random) -> str:
    """A text that the parsed regular expression matches; knows what patterns of codes are written in."""
    text = ""
    for kind, what in pattern:
        match str(kind):
            case "LITERAL":
                text += chr(what)
            case "ANY":
                text += rng.choice(string.ascii_lowercase)
            case "IN":
                text += rng.choice(_characters(what))
            case "MAX_REPEAT" | "MIN_REPEAT":
                least, most, part = what
                times = rng.randint(least, min(int(most), least + 6))
                text += "".join(_matching(contract, field, part, rng) for _ in range(times))
            case "SUBPATTERN":
                text += _matching(contract, field, what[-1], rng)
            case "BRANCH":
                text += _matching(contract, field, rng.choice(what[1]), rng)
            case "AT":
                pass
            case other:
                raise _cannot(contract, field, f"has a pattern with a part ({other}) that no text could be made for")
    return text


def _characters(items: list[tuple[Any, Any]]) -> str:
    """The printable ASCII characters of a character class."""
    found = ""
    for kind, what in items:
        match str(kind):
            case "LITERAL":
                found += chr(what)
            case "RANGE":
                found += "".join(chr(code) for code in range(what[0], what[1] + 1))
    if str(items[0][0]) == "NEGATE":
        every = string.ascii_letters + string.digits + string.punctuation + " "
        return "".join(character for character in every if character not in found)
    return found


def _keep_rules(contract: Contract, connection: duckdb.DuckDBPyConnection, draws: list[dict[str, Any]]) -> list[bool]:
    if not contract.rules:
        return [True] * len(draws)
    columns = {
        field.column: [_in_warehouse(field.value_in(draw)) for draw in draws]
        for field in contract.columns
        if field.logical_type != "array"
    }
    rules = " and ".join(f"coalesce({rule.expression}, true)" for rule in contract.rules)
    connection.register("draws", pa.table(columns))
    try:
        return [bool(keeps) for (keeps,) in connection.execute(f"select {rules} from draws").fetchall()]
    except duckdb.Error as error:
        raise ConfigurationError(
            f"A rule of {contract.path.name} cannot be tried on sample events: {' '.join(str(error).split())}",
            "Correct the rule, or write a generator for the topic in levain/samples/events/.",
        ) from error


def _in_warehouse(value: Any) -> Any:
    """The value as the warehouse's column has it: timestamps without a zone, ids as text."""
    if isinstance(value, datetime):
        return value.replace(tzinfo=None)
    return value if value is None or isinstance(value, bool | int | Decimal | date) else str(value)


def _cannot(contract: Contract, field: Field, why: str) -> ConfigurationError:
    return ConfigurationError(
        f"No sample events can be made from {contract.path.name} alone: its field {field.name} {why}.",
        "Write a generator for the topic in levain/samples/events/.",
    )
