"""Random messages for every contract, and what must become of them: no message can stop a build.

`python tests/python/support/fuzz.py --examples 200` draws so many examples and builds them on DuckDB; `--spark` builds
them on both engines and compares every table; `--seed N` draws others. `pytest -m full
tests/python/project/test_fuzz.py` runs 200 on DuckDB and 20 on both.

An example is one to three batches of messages over all topics. It comes from the contracts alone: values at their
limits, just beyond them and of the wrong kind, odd JSON, odd headers and timestamps, copies. Each part of a message
knows whether it keeps the contract, so what the models make of the message is judged without them: its verdict, the
fields that its failed rules name, the values that the tables hold, which copy of an event wins.

A build costs much the same whatever it builds, so several examples are built at a time, a batch of each by one build,
and share a home with those before them; all have event ids of their own. The last of these builds runs the data tests.
When a home is left, the data tests read all of it, and a full refresh has to give the same tables.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
from hypothesis import HealthCheck, Phase, Verbosity, given, settings
from hypothesis import seed as with_seed
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy
from lake import CLUSTER, WITHOUT_TESTS, Lake, Record

from ingest.contracts import Contract, Field, load_contracts, time_range
from levain.dev.parity import compare
from levain.read.ledger import take
from levain.warehouse.dbt import run_dbt
from levain.warehouse.spark import prepare

PARTITIONS = 3
TOGETHER, PER_HOME = 20, 100
"""Examples that are built at a time, and that share a home."""

MOST_SHOWN = 40
"""Messages that are listed of those that are wrong."""

LAST_TIMESTAMP = 253_402_300_799_999
"""The last millisecond of the year 9999: what Kafka's timestamp says beyond it is lost."""

TOO_LATE, TOO_EARLY = timedelta(hours=48), timedelta(minutes=-10)

NASTY = (
    *("", " ", "a", "null", "NULL", "true", "0", "-1", "NaN", "Infinity", "it's", 'a "quote"', "back\\slash", "a,b"),
    *("{}", "[]", "$1 \\1", "%s", "--", "/*", "; drop table x", "\u0000", "a\u0000b", "\x01\x1b[31m\x7f"),
    *("tab\tnew\nline\r", "\u2028\u2029", "\ufeff", "\ufffd", "\uffff", "\u202eabc", "é", "e\u0301", "ß", "İ", "😀"),
    *("👩‍👩‍👧", "שלום", "S001", "s001", "S001 ", "P001", "x" * 300, "y" * 70_000),
)
"""Texts that one part or another of a warehouse might read as something else."""


@dataclass(frozen=True)
class Part:
    """One field of a message.

    Attributes:
        json: its JSON text; None: the field is left out.
        keeps: whether it keeps the contract; None: either reading is right, as long as both engines share it.
        value: what the warehouse must hold, where that is known.
    """

    json: str | None
    keeps: bool | None = True
    value: Any = None

    @property
    def present(self) -> bool:
        return self.json not in (None, "null")


@dataclass(frozen=True)
class Message:
    """A message before it has an identity and a place.

    Attributes:
        parts: field -> what it holds; the identity's is set when the message lands.
        payload: instead of the parts, with its rule: not an object at all.
        extra: members of the object that the contract does not know, as JSON text.
        again: a field and its JSON text, once more at the end of the object: of a repeated name the first counts.
        age: event time before `received`.
        copy_of: which earlier message of the example it is a copy of, counted from the end; None: none.
        times: how many messages of other identities it is.
        received: text of the header; None: without it.
        timestamp: Kafka's, in ms; None: the time of receipt.
    """

    contract: Contract = field(repr=False)
    partition: int
    parts: dict[str, Part]
    payload: tuple[bytes | None, str] | None = None
    extra: tuple[str, ...] = ()
    again: tuple[str, str] | None = None
    spaces: str = ""
    age: timedelta = timedelta(0)
    copy_of: int | None = None
    times: int = 1
    timestamp: int | None = None
    headers: tuple[tuple[str, bytes | None], ...] = ()


def string(text: str, escaped: bool = False) -> str:
    return json.dumps(text, ensure_ascii=escaped)


TEXTS = st.one_of(st.sampled_from(NASTY), st.text(st.characters(exclude_categories=["Cs"]), max_size=12))


def wrong(*tokens: str) -> SearchStrategy[Part]:
    """JSON that no such field can be."""
    return st.sampled_from(("{}", '{"a": 1}', "[]", "[1]", *tokens)).map(lambda token: Part(token, False))


def strings(each: Field) -> tuple[SearchStrategy[Part], SearchStrategy[Part]]:
    """Values that keep the contract, and values that do not."""
    no_string = wrong("1", "-0.5", "true", "false", "1e400")
    if each.format == "uuid":
        zero = "00000000-0000-4000-8000-000000000000"
        bad = ("", "till-2-000417", "0" * 32, f"{{{zero}}}", zero[:-1] + "g", zero + "\n", " " + zero)
        return st.nothing(), st.one_of(no_string, st.sampled_from(bad).map(lambda text: Part(string(text), False)))
    if each.allowed:
        good = st.sampled_from(each.allowed)
        other = st.one_of(good.map(str.swapcase), good.map(lambda text: text + " "), TEXTS)
        bad_texts = other.filter(lambda text: text not in each.allowed)
    elif each.pattern:
        whole = re.compile(each.pattern)
        exact = re.compile(re.sub(r"\$$", r"\\Z", each.pattern), re.ASCII)
        good = st.from_regex(exact, fullmatch=True).filter(lambda text: whole.search(text) is not None)
        bad_texts = TEXTS.filter(lambda text: exact.search(text) is None)
    else:
        return _as_strings(TEXTS), no_string
    return _as_strings(good), st.one_of(no_string, bad_texts.map(lambda text: Part(string(text), False)))


def _as_strings(texts: SearchStrategy[str]) -> SearchStrategy[Part]:
    return st.builds(lambda text, escaped: Part(string(text, escaped), True, text), texts, st.booleans())


def integers(each: Field) -> tuple[SearchStrategy[Part], SearchStrategy[Part]]:
    most = 10**18 - 1
    low = -most if each.minimum is None else int(each.minimum)
    high = most if each.maximum is None else int(each.maximum)
    values = st.one_of(
        st.sampled_from((low, low + 1, high, high - 1)), st.integers(max(low, -5), min(high, 5)), st.integers(low, high)
    )
    good = st.builds(lambda n, text: Part(f'"{n}"' if text else str(n), True, n), values, st.sampled_from((0, 0, 0, 1)))
    odd = st.sampled_from(("1e0", "1.0", "10e-1", "-0", '"007"', '"-0"', "1e2", "-0.0")).map(lambda t: Part(t, None))
    beyond = st.sampled_from((low - 1, high + 1, -(2**63), 2**63, 2**64, 10**30)).filter(lambda n: not low <= n <= high)
    bad = st.one_of(
        beyond.map(lambda n: Part(str(n), False)),
        wrong("1.5", '"trois"', '""', '" 1"', '"1 "', '"1e0"', "true", '"+1"', '"0x1F"', "9" * 400, "1e400"),
    )
    return st.one_of(good, good, good, odd), bad


def numbers(each: Field) -> tuple[SearchStrategy[Part], SearchStrategy[Part]]:
    step = Decimal(1).scaleb(-each.scale)
    most = Decimal(10) ** (each.precision - each.scale) - step
    low = -most if each.minimum is None else max(-most, Decimal(str(each.minimum)))
    high = most if each.maximum is None else min(most, Decimal(str(each.maximum)))
    steps = st.integers(int(low / step), int(high / step)).map(lambda n: n * step)
    near = st.integers(max(int(low / step), -500), min(int(high / step), 500)).map(lambda n: n * step)
    values = st.one_of(st.sampled_from((low, low + step, high, high - step)), near, near, steps)
    forms = (
        lambda n: f"{n:f}", lambda n: f"{n:f}", lambda n: f'"{n:f}"', lambda n: f"{int(n / step)}e-{each.scale}",
        lambda n: f"{n:f}".rstrip("0").rstrip(".") if "." in f"{n:f}" else f"{n:f}", lambda n: f"{n:.9f}",
    )  # fmt: skip
    good = st.builds(lambda n, form: Part(form(n), True, n), values, st.sampled_from(forms))
    odd = st.sampled_from(("-0", "-0.0", "0e0", "0E+99", '"00.5"', "1e-400", "0." + "0" * 300)).map(
        lambda t: Part(t, None)
    )
    beyond = st.sampled_from((low - step, high + step, 10 * most, Decimal(10) ** 30, -(Decimal(10) ** 300)))
    bad = st.one_of(
        beyond.map(lambda n: Part(f"{n:f}", False)),
        wrong('"NaN"', '"Infinity"', '"-Infinity"', '"1,5"', '""', '" 1"', '"1.5d"', '"1_000"', "true"),
        wrong("9" * 400, "1e400"),
        near.map(lambda n: Part(f"{n + step / 2:f}", False)),
    )
    return st.one_of(good, good, good, odd), bad


def booleans(each: Field) -> tuple[SearchStrategy[Part], SearchStrategy[Part]]:
    good = st.sampled_from((Part("true", True, True), Part("false", True, False), Part('"true"', None)))
    return good, wrong("1", "0", '"yes"', '"True"', '" true"', '""', '"t"')


FIRST, END = (datetime(day.year, day.month, day.day, tzinfo=UTC) for day in time_range())
LAST = END - timedelta(microseconds=1)

OUTSIDE = (
    *("0001-01-02T00:00:00Z", "9999-12-30T23:59:59Z", f"{FIRST - timedelta(microseconds=1):%Y-%m-%dT%H:%M:%S.%f}Z"),
    *(f"{FIRST:%Y-%m-%d}T00:30:00+01:00", f"{END:%Y-%m-%d}T00:00:00Z", f"{LAST:%Y-%m-%d}T23:30:00-01:00"),
)
NO_TIMES = (
    "", "hier matin", "2026-02-30T08:15:00Z", "2026-13-01T00:00:00Z", "2016-12-31T23:59:60Z", "2026-01-01T24:00:00Z",
    "2026-01-01", "10:00:00", "2026", "2026-01-01T10:00Z", "2026-01-01T10:00:00+15:00", "2026-01-01T10:00:00+0200",
    "2026-01-01t10:00:00Z", "2026-01-01T10:00:00z", "2026-01-01T10:00:00,5Z", "2026-01-01T10:00:00.Z",
    " 2026-01-01T10:00:00Z", "2026-01-01T10:00:00Z\n", "0000-01-01T00:00:00Z", "infinity", "epoch", "now",
    "2026-01-01T10:00:00.1234567891Z", "10000-01-01T00:00:00Z", "-2026-01-01T00:00:00Z", "0001-01-01T00:00:00Z",
    "2026-01-01T10:00:00 Europe/Paris", "294247-01-10T04:00:54Z", "1795000000000",
)  # fmt: skip


def moments(each: Field) -> tuple[SearchStrategy[Part], SearchStrategy[Part]]:
    values = st.one_of(
        st.sampled_from((FIRST, FIRST + timedelta(microseconds=1), LAST)),
        st.datetimes(FIRST.replace(tzinfo=None), LAST.replace(tzinfo=None)),
    )
    bad = st.sampled_from((*OUTSIDE, *NO_TIMES)).map(lambda text: Part(string(text), False))
    return written(values), st.one_of(bad, wrong("1795000000", "true"))


def written(moments: SearchStrategy[datetime]) -> SearchStrategy[Part]:
    """The moments in each form of ISO 8601 that is read."""

    def write(moment: datetime, form: int) -> Part:
        utc = moment.replace(tzinfo=None)
        zone = timedelta(minutes=(0, 0, 0, 120, -330, 840, -840, 765, 0)[form])
        local, sign = utc + zone, "-" if zone < timedelta(0) else "+"
        minutes = abs(int(zone.total_seconds())) // 60
        suffix = ("Z", "", "+00:00", *(f"{sign}{minutes // 60:02d}:{minutes % 60:02d}",) * 5, "-00:00")[form]
        digits = ("", "", "", "000", "", "", "", "000", "999")[form]  # more than microseconds: cut
        text = f"{local:%Y-%m-%d}{' ' if form % 2 else 'T'}{local:%H:%M:%S}"
        if utc.microsecond or digits:
            text += f".{utc.microsecond:06d}{digits}"
        return Part(string(text + suffix), True, utc.replace(tzinfo=UTC))

    return st.builds(write, moments, st.integers(0, 8))


def dates(each: Field) -> tuple[SearchStrategy[Part], SearchStrategy[Part]]:
    first, last = FIRST.date(), LAST.date()
    values = st.one_of(st.sampled_from((first, last, date(2024, 2, 29))), st.dates(first, last))
    bad = (
        *(f"{first - timedelta(days=1)}", f"{END.date()}", "0001-01-01", "9999-12-31", "0000-01-01", "2026-02-30"),
        *("2026-1-1", "20260101", "2026-13-01", "2026-01-01T00:00:00Z", " 2026-01-01", "2026-01-01\n", "", "infinity"),
    )
    return (
        values.map(lambda day: Part(f'"{day}"', True, day)),
        st.one_of(st.sampled_from(bad).map(lambda text: Part(string(text), False)), wrong("20260101", "true")),
    )


def objects(each: Field) -> tuple[SearchStrategy[Part], SearchStrategy[Part]]:
    """Whether there is an object; the parts of its members say what is in it."""
    return st.just(Part("{}")), st.sampled_from(
        tuple(Part(token, False) for token in ("[]", "[{}]", '"{}"', '"x"', "1", "true", "1e400"))
    )


def arrays(each: Field) -> tuple[SearchStrategy[Part], SearchStrategy[Part]]:
    assert each.items is not None
    good, bad = _items(each.items)
    most = 6 if each.maximum is None else int(each.maximum)
    few = st.lists(good, min_size=int(each.minimum or 0), max_size=min(most, 3))
    broken = st.builds(lambda items, one, at: [*items[:at], one, *items[at:]], few, bad, st.integers(0, 3))
    too_many = good.map(lambda item: [item] * (most + 1)) if each.maximum is not None else broken
    null = few.map(lambda items: [*items, Part("null", False)])
    no_array = wrong("1", '"x"', '"[]"', "true", "{}", "1e400").filter(lambda part: str(part.json)[0] != "[")
    return few.map(_array), st.one_of(no_array, st.one_of(broken, too_many, null).map(_array).map(_broken))


def _items(item: Field) -> tuple[SearchStrategy[Part], SearchStrategy[Part]]:
    """An array's items; their values are JSON text as the warehouse writes it."""
    if item.logical_type != "object":
        good, bad = KINDS[item.logical_type](item)
        return good.map(lambda part: _as_stored(item, part)), bad
    kinds = {member: _items(member) for member in item.members}
    absent = st.sampled_from((Part(None, True, "null"), Part("null", True, "null")))
    members = {member.name: good if member.required else st.one_of(absent, good) for member, (good, _) in kinds.items()}
    whole = st.fixed_dictionaries(members)

    def with_one_wrong(member: Field) -> SearchStrategy[Part]:
        missing = (Part(None, False), Part("null", False)) if member.required else ()
        wrong_ones = st.one_of(kinds[member][1], *([st.sampled_from(missing)] if missing else []))
        return st.builds(lambda parts, one: _object(item, {**parts, member.name: one}), whole, wrong_ones)

    no_object = wrong("1", '"x"', "true").filter(lambda part: str(part.json)[0] != "{")
    return whole.map(lambda parts: _object(item, parts)), st.one_of(
        no_object, *(with_one_wrong(member) for member in item.members)
    )


def _as_stored(item: Field, part: Part) -> Part:
    match item.logical_type:
        case "string":
            stored = stored_string(part.value)
        case "timestamp" | "date":
            stored = str(part.json)
        case "number":
            stored = "" if part.value is None else f"{part.value:.{item.scale}f}"
        case _:
            stored = str(part.value).lower()
    return replace(part, value=stored)


def stored_string(text: str) -> str:
    """JSON of a text as both engines write it: what must be escaped, with upper-case digits."""
    escapes = {number: f"\\u{number:04X}" for number in range(32)}
    escapes |= {8: "\\b", 9: "\\t", 10: "\\n", 12: "\\f", 13: "\\r", 34: '\\"', 92: "\\\\"}
    return f'"{text.translate(escapes)}"'


def _object(item: Field, parts: dict[str, Part]) -> Part:
    """An item; its members may come in any order, and are stored in that of the contract."""
    members = [f"{string(name)}: {part.json}" for name, part in parts.items() if part.json is not None]
    stored = ",".join(f"{string(each.name)}:{parts[each.name].value}" for each in item.members)
    return Part("{" + ", ".join(members) + "}", _all_keep(parts.values()), "{" + stored + "}")


def _array(items: Sequence[Part]) -> Part:
    stored = ",".join(str(item.value) for item in items)
    return Part("[" + ", ".join(str(item.json) for item in items) + "]", _all_keep(items), f"[{stored}]")


def _broken(array: Part) -> Part:
    return replace(array, keeps=False, value=None)


def _all_keep(parts: Iterable[Part]) -> bool | None:
    keeps = {part.keeps for part in parts}
    return False if False in keeps else None if None in keeps else True


KINDS: dict[str, Callable[[Field], tuple[SearchStrategy[Part], SearchStrategy[Part]]]] = {
    "string": strings, "integer": integers, "number": numbers, "boolean": booleans, "timestamp": moments, "date": dates,
    "object": objects, "array": arrays,
}  # fmt: skip

MALFORMED = (
    *("", " ", "null", "1", '"text"', "[]", "[{}]", "{", "}", "{}{}", "{} 1", "{'a': 1}", "{a: 1}", '{"a" 1}'),
    *('{"a": NaN}', '{"a": -Infinity}', '{"a": 1,}', '{"a": [1,]}', '{"a": 01}', '{"a": .5}', '{"a": +1}', '{"a": 1.}'),
    *('{"a": 0x1F}', '{"a": tru}', '{"a": "b', '{"a": "\\x"}', '{"a": "\\ud800"}', '{"\\ud83d": 1}', '{"a": "\t"}'),
    *('{"a": "\u0000"}', '{"a": 1} // comment', '/* comment */ {"a": 1}', '\ufeff{"a": 1}', "ERROR: paper jam"),
    *("{" * 1001, '{"a": ' + "[" * 1100 + "]" * 1100 + "}", '{"a": ' + "7" * 1100 + "}"),
)
"""Texts that are no JSON object."""

NO_OBJECTS: tuple[tuple[bytes | None, str], ...] = (
    (None, "message_tombstone"),
    (b"\xff\xfe\x00", "message_not_utf8"),
    (b'{"a": "\xe9"}', "message_not_utf8"),
    (b"\xed\xa0\x80", "message_not_utf8"),
    *((text.encode(), "message_malformed") for text in MALFORMED),
)
"""Payloads with the one rule that they fail."""

EXTRAS = (
    *('"x": null', '"x": {"event_id": 7, "store_id": 1, "product_id": {"quantity": "a"}}', '"": 1', '"x\\u0000y": 1'),
    *('"x": "\\u0000"', '"x": "😀"', '"x": "\\ud83d\\ude00"', '"x": 1e400', '"x": -1e-400', '"x": ' + "9" * 400),
    *(
        '"x": ' + "[" * 400 + "]" * 400,
        '"x": "' + "y" * 1_000_000 + '"',
        '"x": "' + "7" * 900 + '"',
        '"x.y": 1',
        '"$": 1',
    ),
    *('"x": [1, "a", null, true, {"quantity": 5}]', '"\\u0078": "NaN, Infinity, [1,]"', '"x": "https:\\/\\/a\\/b"'),
    *('"event_id ": 1', '"EVENT_ID": 1', '"mark": "1"', '"__proto__": {}'),
)
"""Members of the object that no contract knows, and must not mind."""

Headers = tuple[tuple[str, bytes | None], ...]
HEADERS: tuple[Headers, ...] = (
    (("received-at", b""),),
    (("received-at", None),),
    (("received-at", b"\xff\xfe"),),
    (("received-at", b"yesterday"),),
    (("received-at", b"0001-01-02T00:00:00Z"),),
    (("received-at", b"9999-12-30T00:00:00Z"),),
    (("received-at", b"2016-12-31T23:59:60Z"),),
    (("received-at", b"2026-01-01T00:00:00.123456789+14:00"),),
    (("received-at", None), ("received-at", b"2026-01-01T00:00:00Z")),
    (("received-at", b"2026-01-01T00:00:00Z"), ("received-at", b"2025-01-01T00:00:00Z")),
    (("Received-At", b"2026-01-01T00:00:00Z"),),
    (("", b""), ("", None), ("received-at ", b"x"), ("\u0000", b"\x00"), ("😀", "😀".encode())),
    tuple((f"h{n}", bytes([n])) for n in range(256)),
)
TIMESTAMPS = (
    *(-(2**63), -1, 0, 1, 1_000, 1_795_000_000, LAST_TIMESTAMP, LAST_TIMESTAMP + 1, 1_795_000_000_000_000, 2**63 - 1),
    *(int(FIRST.timestamp()) * 1000, int(END.timestamp()) * 1000 - 1, int(END.timestamp()) * 1000),
)
AGES = tuple(
    timedelta(hours=hours, seconds=seconds)
    for hours, seconds in (
        *((0, 0), (0, 0), (0, 0), (0, 0), (0, 1800), (1, 0), (1, 1), (40, 0), (48, 0), (48, 1), (49, 0), (9600, 0)),
        *((0, -360), (0, -600), (0, -601), (-1, 0), (-9600, 0)),
    )
)
"""Event time before the time of receipt: around each bound."""


@st.composite
def messages(draw: st.DrawFn, contract: Contract) -> Message:
    """One message: mostly as it should be, with a few odd parts."""
    message = Message(
        contract=contract,
        partition=draw(st.integers(0, PARTITIONS - 1)),
        parts={},
        age=draw(st.sampled_from(AGES)),
        copy_of=draw(st.sampled_from((None, None, None, 1, 2, 5))),
        times=draw(st.sampled_from((1, 1, 1, 1, 1, 1, 12))),
        timestamp=draw(st.sampled_from((None, None, None, None, None, None, *TIMESTAMPS))),
        headers=draw(st.sampled_from((*((),) * 20, *HEADERS))),
    )
    if draw(st.integers(0, 11)) == 11:
        return replace(message, payload=draw(st.sampled_from(NO_OBJECTS)))
    rules = {each: KINDS[each.logical_type](each) for each in contract.fields}
    broken = draw(st.sampled_from((0, 0, 0, 0, 1, 1, 2, 20)))
    breaks = {*contract.fields} if broken == 20 else {draw(st.sampled_from(contract.fields)) for _ in range(broken)}
    parts = {}
    for each in contract.fields:
        good, bad = rules[each]
        if each in breaks:
            missing = st.sampled_from((Part(None, not each.required), Part("null", not each.required)))
            parts[each.name] = draw(st.one_of(missing, bad, bad))
        elif each.name in (contract.identity, contract.event_time):
            continue
        elif not each.required and draw(st.integers(0, 3)) == 0:
            parts[each.name] = draw(st.sampled_from((Part(None), Part("null"))))
        else:
            parts[each.name] = draw(good)
        if each.parent is not None and not _is_object(parts[each.parent]):
            parts[each.name] = Part(None)
    extra = draw(st.sampled_from(((),) * 6 + tuple((each,) for each in EXTRAS)))
    spaces = draw(st.sampled_from(("", "", " ", "\n\t \r")))
    token = draw(st.sampled_from((None,) * 8 + ("null", "1", "true", '""', '"other"', '{"a": 1}', "[1, 2]")))
    again = None if token is None else (draw(st.sampled_from(contract.members)).name, token)
    return replace(message, parts=parts, extra=extra, again=again, spaces=spaces)


def _is_object(part: Part) -> bool:
    return part.json == "{}" and part.keeps is True


def batches(contracts: Iterable[Contract]) -> SearchStrategy[list[list[Message]]]:
    """Examples: one to three batches of messages of all topics."""
    each = st.one_of([messages(contract) for contract in contracts])
    return st.lists(st.lists(each, min_size=8, max_size=20), min_size=1, max_size=3)


@dataclass
class Landed:
    """A message in Bronze, with what is known of it."""

    message: Message
    value: bytes | None
    parts: dict[str, Part]
    timestamp: int
    headers: Headers


Place = tuple[str, int, int]


@dataclass
class Home:
    """A lake that examples share."""

    lake: Lake
    contracts: dict[str, Contract] = field(default_factory=load_contracts)
    landed: dict[Place, Landed] = field(default_factory=dict)
    now: datetime = field(default_factory=lambda: datetime.now(UTC).replace(microsecond=0))
    identities: int = 0
    examples: int = 0

    def land(self, batch: Sequence[Message]) -> list[Place]:
        """Give each message an identity, its time and its place, and land them in a commit per partition."""
        log: dict[tuple[str, int], list[Landed]] = {}
        for message in batch:
            for _ in range(message.times):
                landed = self._with_identity(message, log)
                log.setdefault((message.contract.topic, message.partition), []).append(landed)
        places = []
        for (topic, partition), sent in log.items():
            start = sum(place[:2] == (topic, partition) for place in self.landed)
            for offset, landed in enumerate(sent, start):
                self.landed[topic, partition, offset] = landed
                places.append((topic, partition, offset))
            records = [
                Record(offset, each.timestamp, b"key", each.value, list(each.headers))
                for offset, each in enumerate(sent, start)
            ]
            self.lake.land(topic, partition, records)
        return places

    def _with_identity(self, message: Message, log: dict[tuple[str, int], list[Landed]]) -> Landed:
        contract = message.contract
        timestamp = int(self.now.timestamp() * 1000) if message.timestamp is None else message.timestamp
        same = [each for sent in log.values() for each in sent if each.message.contract == contract]
        if message.copy_of is not None and message.payload is None and message.copy_of <= len(same):
            first = same[-message.copy_of]
            if first.message.payload is None:
                if message.times > 1 or message.copy_of == 5:  # the same payload once more
                    again = replace(message, parts=first.parts)
                    return replace(first, message=again, timestamp=timestamp, headers=message.headers)
                identity = first.parts[contract.identity]
                if contract.by_name[contract.identity].format == "uuid" and identity.keeps:
                    identity = replace(identity, json=str(identity.json).swapcase())
                return self._rendered(message, timestamp, identity)
        return self._rendered(message, timestamp, None)

    def _rendered(self, message: Message, timestamp: int, identity: Part | None) -> Landed:
        contract = message.contract
        if message.payload is not None:
            return Landed(message, message.payload[0], {}, timestamp, message.headers)
        self.identities += 1
        parts = dict(message.parts)
        if identity is not None:
            parts[contract.identity] = identity
        elif contract.identity not in parts:
            parts[contract.identity] = _identity(contract.by_name[contract.identity], self.identities)
        if contract.event_time not in parts:
            happened = self.now - message.age
            parts[contract.event_time] = Part(f'"{happened:%Y-%m-%dT%H:%M:%S}Z"', True, happened)
        parts = {each.name: parts[each.name] for each in contract.fields}
        gap = message.spaces
        members = self._members(contract, parts, None, gap)
        members += message.extra
        if self.identities % 3 == 0:
            members.reverse()
        if message.again is not None and parts[message.again[0]].json is not None:
            members.append(f'"{message.again[0]}"{gap}:{gap}{message.again[1]}')
        text = gap + "{" + gap + f"{gap},{gap}".join(members) + gap + "}" + gap
        return Landed(message, text.encode(), parts, timestamp, message.headers)

    def _members(self, contract: Contract, parts: dict[str, Part], parent: str | None, gap: str) -> list[str]:
        """The members of an object as JSON text."""
        members = []
        for each in contract.fields:
            part = parts[each.name]
            if each.parent != parent or part.json is None:
                continue
            name, json = each.path[-1], part.json
            if each.logical_type == "object" and _is_object(part):
                json = "{" + f"{gap},".join(self._members(contract, parts, each.name, gap)) + "}"
            written = f"\\u{ord(name[0]):04x}{name[1:]}" if self.identities % 7 == 0 else name
            members.append(f'"{written}"{gap}:{gap}{json}')
        return members


def _identity(each: Field, number: int) -> Part:
    if each.logical_type == "integer":
        return Part(str(number), True, number)
    if each.format == "uuid":
        text = f"{number:08x}-0000-4000-8000-abcdefabcdef"
        return Part(string(text.upper() if number % 5 == 0 else text), True, text)
    text = f"{NASTY[number % len(NASTY)]}{number}"
    return Part(string(text), True, text)


# -- what must be true after a build ------------------------------------------------------------------------------


@dataclass
class Judged:
    verdict: str
    rules: frozenset[str]
    event_id: Any
    event_time: datetime | None
    received_at: datetime | None
    kafka_timestamp: datetime | None


def faults(home: Home) -> list[str]:
    """Everything that the built tables have wrong, with the messages it is wrong for."""
    lake = home.lake
    found = [f"the ledger: {fault}" for fault in take(lake.settings).faults]
    judged = {
        (topic, partition, offset): Judged(verdict, frozenset(filter(None, rules.split(","))), event_id, *times)
        for topic, partition, offset, verdict, rules, event_id, *times in lake.read(
            f"select topic, partition, kafka_offset, verdict, failed_rules, event_id, event_time, received_at, "
            f"kafka_timestamp from silver.int_messages where kafka_cluster = '{CLUSTER}'"
        )
    }
    if judged.keys() != home.landed.keys():
        found.append(f"{len(home.landed)} messages landed, {len(judged)} have a verdict")
    members = _strict_members(home)
    for place, landed in home.landed.items():
        if place in judged:
            found += [f"{fault}: {_shown(place, landed)}" for fault in _faults_of(landed, judged[place], members)]
    found += _winner_faults(home, judged)
    found += _value_faults(home, judged)
    found += _null_keys(lake)
    return found


def _faults_of(landed: Landed, judged: Judged, members: dict[tuple[str, str], set[Any]]) -> Iterator[str]:
    contract = landed.message.contract
    about = f"{judged.verdict} by {','.join(sorted(judged.rules)) or 'no rule'}"
    usable = 0 <= landed.timestamp <= LAST_TIMESTAMP
    if landed.message.timestamp is None and not landed.headers:
        expected = datetime.fromtimestamp(landed.timestamp / 1000, UTC)
        if judged.received_at != expected:
            yield f"received at {judged.received_at}, not {expected}"
    if not usable and judged.kafka_timestamp is not None:
        yield f"has the Kafka timestamp {judged.kafka_timestamp}"
    if landed.message.payload is not None:
        if (judged.verdict, judged.rules) != ("rejected", {landed.message.payload[1]}):
            yield f"{about}, not rejected by {landed.message.payload[1]}"
        return
    if judged.verdict == "rejected":
        yield from (f"{about}, but {why}" for why in _rejection_faults(contract, landed.parts, judged.rules))
        return
    broken = sorted(name for name, part in landed.parts.items() if part.keeps is False)
    if broken:
        yield f"{about}, though {', '.join(broken)} breaks the contract"
    failing = [rule for rule, kept in _quality(contract, landed.parts).items() if kept is False]
    if failing:
        yield f"{about}, though it fails {', '.join(failing)}"
    if _incomplete(contract, landed.parts):
        yield f"{about}, though it is incomplete"
    reasons = set()
    if judged.event_time is None or judged.received_at is None:
        yield f"{about}, event time {judged.event_time}, received at {judged.received_at}"
        return
    late = judged.received_at - judged.event_time
    reasons |= {"event_too_late"} if late > TOO_LATE else {"event_in_future"} if late < TOO_EARLY else set()
    for each in contract.fields:
        part = landed.parts[each.name]
        if each.reference and each.reference.strict and part.value is not None:
            if part.value not in members[each.reference.model, each.reference.column]:
                reasons.add(f"{each.name}_unknown")
        elif each.reference and each.reference.strict and part.keeps is None:
            reasons |= {rule for rule in judged.rules if rule == f"{each.name}_unknown"}
    if (judged.verdict == "held") != bool(reasons) or judged.rules != reasons:
        yield f"{about}, but the reasons to hold it are {sorted(reasons)}"


def _rejection_faults(contract: Contract, parts: dict[str, Part], rules: frozenset[str]) -> Iterator[str]:
    """Why a rejection by these rules is wrong."""
    named: dict[str, set[str]] = {}
    quality = _quality(contract, parts)
    for rule in rules:
        if rule == "incomplete":
            if not _incomplete(contract, parts):
                yield "it is complete"
        elif rule in quality:
            if quality[rule] is True:
                yield f"{rule} holds"
        else:
            fits = [f.name for f in contract.fields if rule.startswith((f"{f.name}_", f"{f.column}_"))]
            if not fits:
                yield f"{rule} is no rule of the contract"
            else:
                named.setdefault(max(fits, key=len), set()).add(rule)
    for name, part in parts.items():
        if part.keeps is True and name in named:
            yield f"{name} keeps the contract"
        if part.keeps is False and name not in named:
            yield f"no rule names {name}"
    if _incomplete(contract, parts) and "incomplete" not in rules:
        yield "it is incomplete"
    for rule, kept in quality.items():
        if kept is False and rule not in rules:
            yield f"{rule} does not hold"


def _incomplete(contract: Contract, parts: dict[str, Part]) -> bool:
    if all(each.required for each in contract.fields):
        return False  # each missing one has its own rule, and the contract no other
    present = sum(each.weight for each in contract.columns if parts[each.name].present)
    return 100 * present < contract.minimum_completeness * sum(each.weight for each in contract.fields)


def _quality(contract: Contract, parts: dict[str, Part]) -> dict[str, bool | None]:
    """Rule -> whether it holds; None where it reads a value that is not known exactly."""
    found: dict[str, bool | None] = {}
    for rule in contract.rules:
        words = set(re.findall(r"[a-z_][a-z0-9_]*", rule.expression))
        read = [each for each in contract.columns if each.column in words]
        if any(parts[each.name].keeps is not True for each in read):
            found[rule.name] = None
            continue
        types = {"integer": "decimal(18, 0)", "number": "decimal({0.precision}, {0.scale})", "string": "varchar"}
        types |= {"timestamp": "timestamptz", "date": "date", "boolean": "boolean"}
        values = ", ".join(f"cast(? as {types[each.logical_type].format(each)}) as {each.column}" for each in read)
        outcome = _engine.execute(
            f"select {rule.expression} from (select {values})", [parts[each.name].value for each in read]
        ).fetchall()[0][0]
        found[rule.name] = outcome is not False
    return found


_engine = duckdb.connect()


def _strict_members(home: Home) -> dict[tuple[str, str], set[Any]]:
    """Members of each table that a strict reference names, as built."""
    references = {
        (each.reference.model, each.reference.column)
        for contract in home.contracts.values()
        for each in contract.fields
        if each.reference and each.reference.strict
    }
    found = {}
    for model, column in references:
        schemas = home.lake.read(f"select table_schema from information_schema.tables where table_name = '{model}'")
        found[model, column] = {member for (member,) in home.lake.read(f"select {column} from {schemas[0][0]}.{model}")}
    return found


def _winner_faults(home: Home, judged: dict[Place, Judged]) -> Iterator[str]:
    """Of the valid copies of an event the first by (Kafka timestamp, partition, offset) is accepted."""
    copies: dict[tuple[str, Any], list[Place]] = {}
    for place, each in judged.items():
        if place in home.landed and each.verdict in ("accepted", "duplicate", "conflict"):
            copies.setdefault((place[0], each.event_id), []).append(place)
    never = datetime.max.replace(tzinfo=UTC)
    for places in copies.values():
        ranked = sorted(places, key=lambda place: (judged[place].kafka_timestamp or never, place[1], place[2]))
        winner = home.landed[ranked[0]].value
        for place in ranked:
            same = "duplicate" if home.landed[place].value == winner else "conflict"
            verdict = "accepted" if place == ranked[0] else same
            if judged[place].verdict != verdict:
                yield f"{judged[place].verdict}, not {verdict}: {_shown(place, home.landed[place])}"


def _value_faults(home: Home, judged: dict[Place, Judged]) -> Iterator[str]:
    """What an accepted message says, the tables must hold."""
    for topic, contract in home.contracts.items():
        # The identity goes by its column; its text may be in other case.
        fields = [each for each in contract.columns if each.name not in (contract.identity, contract.event_time)]
        columns = ", ".join(each.column for each in fields)
        rows = home.lake.read(
            f"select partition, kafka_offset, event_time, {columns} from silver.int_{contract.table}__verdicts "
            "where verdict <> 'rejected'"
        )
        for partition, offset, event_time, *values in rows:
            landed = home.landed.get((topic, partition, offset))
            if landed is None:
                continue
            held = dict(zip([each.name for each in fields], values, strict=True)) | {contract.event_time: event_time}
            for name, value in held.items():
                part = landed.parts.get(name)
                if part is not None and part.keeps and part.value != value:
                    yield f"{name} is {value!r}, not {part.value!r}: {_shown((topic, partition, offset), landed)}"


def _null_keys(lake: Lake) -> Iterator[str]:
    """Every row of Gold has its keys."""
    columns = lake.read(
        "select table_name, column_name from information_schema.columns "
        "where table_schema = 'gold' and column_name like '%\\_key' escape '\\'"
    )
    assert columns
    for table, column in columns:
        nulls = lake.read(f"select count(*) from gold.{table} where {column} is null")[0][0]
        if nulls:
            yield f"gold.{table} has {nulls} rows without {column}"


def _shown(place: Place, landed: Landed) -> str:
    value = landed.value
    short = value if value is None or len(value) < 1500 else value[:1500] + b"..."
    return f"{place}, timestamp {landed.timestamp}, headers {list(landed.headers)[:4]}, value {short!r}"


# -- running ------------------------------------------------------------------------------------------------------

#: Views show what their tables hold: after the first build they need not be created again.
CHANGING = ("config.materialized:incremental", "config.materialized:table", "resource_type:snapshot")

Build = Callable[[Lake, bool, bool], None]
"""Build a lake: whether it is the first time, and whether this is the last build before the tables are judged."""


def on_duckdb(lake: Lake, first: bool, last: bool) -> None:
    tests = ("resource_type:test",) if last else ()
    lake.build(*(() if first else ("--select", *CHANGING, *tests)), tests=last)


def on_both(lake: Lake, first: bool, last: bool) -> None:
    """On DuckDB and on Spark; then every table has to be the same on both."""
    prepare()
    for target in ("duckdb", "spark"):
        chosen = () if first else ("--select", *CHANGING)
        run_dbt(lake.settings, ["build", "--target", target, *WITHOUT_TESTS, *chosen], "")
    if last:
        different = [f"{each.relation}: {each.remarks}" for each in compare(lake.settings, False) if not each.equal]
        assert not different, different


class Fuzz:
    """Builds examples, several at a time, and in a new home now and then."""

    def __init__(self, folder: Path, build: Build = on_duckdb) -> None:
        self.folder, self.build = folder, build
        self.waiting: list[Sequence[Sequence[Message]]] = []
        self.home: Home | None = None
        self.homes = self.examples = self.messages = 0

    def run(self, example: Sequence[Sequence[Message]]) -> None:
        """Take one example, and build once there are enough.

        Raises:
            AssertionError: something is not as it must be; names the messages.
        """
        self.waiting.append(example)
        if len(self.waiting) == TOGETHER:
            self.build_all()

    def build_all(self) -> None:
        """Land the batches of what waits one after the other, each followed by a build, and judge the outcome."""
        examples, self.waiting = self.waiting, []
        if not examples:
            return
        if self.home is None:
            self.homes += 1
            self.home = Home(Lake(self.folder / f"home-{self.homes}"))
        home, sent = self.home, []
        self.home = None  # what fails must not fail the next examples too
        batches = max(map(len, examples), default=0)
        for number in range(batches):
            landing = [example[number] for example in examples if number < len(example)]
            sent += home.land([message for batch in landing for message in batch])
            try:
                self.build(home.lake, home.examples == 0 and number == 0, number == batches - 1)
            except Exception as error:
                messages = self.folder / "messages.txt"
                messages.write_text(_listed(home, sent))
                raise AssertionError(f"a build failed; {messages} has its messages: {error}") from error
        self.messages += len(sent)
        wrong = faults(home)
        assert not wrong, "\n".join([*wrong[:MOST_SHOWN], f"({len(wrong)} in all)"])
        home.examples += len(examples)
        self.examples += len(examples)
        self.home = home
        if home.examples >= PER_HOME:
            self.leave()

    def leave(self) -> None:
        """Tests of everything, then a full refresh, which gives the same tables."""
        home, self.home = self.home, None
        if home is None:
            return
        before = home.lake.contents()
        home.lake.build("--vars", "{audit: true}", tests=True)
        assert home.lake.contents() == before, "a build with nothing new changed rows"
        home.lake.build("--full-refresh")
        after = home.lake.contents()
        for name in sorted({*before, *after}):
            assert before.get(name) == after.get(name), f"{name} is another after a full refresh"


def _listed(home: Home, places: Iterable[Place]) -> str:
    return "\n".join(_shown(place, home.landed[place]) for place in places)


def fuzz(run: Fuzz, examples: int, seed: int | None = None) -> None:
    """Draw and run so many examples; without a seed always the same ones."""

    @settings(
        max_examples=examples,
        deadline=None,
        database=None,
        verbosity=Verbosity.quiet,  # what failed is listed by its messages
        report_multiple_bugs=False,
        derandomize=seed is None,
        phases=(Phase.explicit, Phase.generate),  # shrinking would build for hours
        suppress_health_check=list(HealthCheck),
    )
    @given(example=batches(load_contracts().values()))
    def each(example: list[list[Message]]) -> None:
        run.run(example)

    (each if seed is None else with_seed(seed)(each))()
    run.build_all()


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Build random messages of every contract.")
    parser.add_argument("--examples", type=int, default=200)
    parser.add_argument("--seed", type=int, help="draw others than the tests do")
    parser.add_argument("--spark", action="store_true", help="build on both engines and compare them")
    chosen = parser.parse_args(arguments)
    began = time.monotonic()
    run = Fuzz(Path(tempfile.mkdtemp(prefix="fuzz-")), on_both if chosen.spark else on_duckdb)
    try:
        fuzz(run, chosen.examples, chosen.seed)
        run.leave()
    finally:
        print(f"{run.examples} examples, {run.messages} messages, {time.monotonic() - began:.0f} s, in {run.folder}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
