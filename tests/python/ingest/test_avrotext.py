"""Avro payloads as JSON text: each type as contracts read it, and nothing that is no payload of its schema.

What is read here was written by Apache Avro's own library.
"""

from __future__ import annotations

import json
import random
import warnings
from datetime import UTC, date, datetime, time
from decimal import Decimal
from io import BytesIO
from typing import Any

import avro.io
import avro.schema
import pytest

from ingest.avrotext import UNREADABLE, UnusableSchema, decoder

MOMENT = datetime(2026, 1, 31, 12, 0, 0, 123456, UTC)


def schema_of(*types: Any) -> str:
    """A record with a field of each type, called a, b, ..."""
    fields = [{"name": "abcdefghijkl"[place], "type": each} for place, each in enumerate(types)]
    return json.dumps({"type": "record", "name": "levain.test.Event", "fields": fields})


def payload(schema: str, value: Any) -> bytes:
    stream = BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it warns of each logical type that it does not know
        avro.io.DatumWriter(avro.schema.parse(schema)).write(value, avro.io.BinaryEncoder(stream))
    return stream.getvalue()


def text_of(kind: Any, value: Any) -> str:
    """JSON text of a value that Apache Avro has written as a field of that type."""
    schema = schema_of(kind)
    text = decoder(schema)(BytesIO(payload(schema, {"a": value})))
    json.loads(text)
    return text.removeprefix('{"a": ').removesuffix("}")


def logical(kind: str, of: str, /, **parts: object) -> dict[str, object]:
    return {"type": kind, "logicalType": of, **parts}


@pytest.mark.parametrize(
    ("kind", "value", "text"),
    [
        ("string", 'é "\\\n', '"é \\"\\\\\\n"'),
        ("long", -(2**63), "-9223372036854775808"),
        ("boolean", True, "true"),
        ("null", None, "null"),
        ("double", 0.1, "0.1"),
        ("double", 1e22, "1e+22"),
        ("double", float("nan"), '"NaN"'),
        ("double", float("-inf"), '"-Infinity"'),
        ("float", 0.1, "0.1"),
        ("float", 16777216.0, "16777216.0"),
        ("float", 1.17549435e-38, "1.1754944e-38"),
        ("float", 3.4028234663852886e38, "3.4028235e+38"),
        ({"type": "float"}, -2.5, "-2.5"),
        ("bytes", b"\xff\x00", '"/wA="'),
        ({"type": "fixed", "name": "F", "size": 2}, b"ab", '"YWI="'),
        ({"type": "enum", "name": "E", "symbols": ["card", "cash"]}, "cash", '"cash"'),
        (logical("bytes", "decimal", precision=12, scale=2), Decimal("-12.50"), "-12.50"),
        (logical("bytes", "decimal", precision=38, scale=4), Decimal("9" * 34 + ".0100"), "9" * 34 + ".0100"),
        (logical("bytes", "decimal", precision=4), Decimal("7"), "7"),
        (logical("fixed", "decimal", name="D", size=4, precision=9, scale=2), Decimal("0.00"), "0.00"),
        (logical("fixed", "uuid", name="U", size=16), bytes(15) + b"\1", '"00000000-0000-0000-0000-000000000001"'),
        (logical("fixed", "duration", name="U", size=12), bytes(12), '"AAAAAAAAAAAAAAAA"'),
        (logical("int", "date"), date(1969, 12, 31), '"1969-12-31"'),
        (logical("int", "time-millis"), time(1, 2, 3, 4000), '"01:02:03.004000"'),
        (logical("long", "time-micros"), time(23, 59, 59), '"23:59:59"'),
        (logical("long", "timestamp-millis"), MOMENT.replace(microsecond=0), '"2026-01-31T12:00:00Z"'),
        (logical("long", "timestamp-micros"), MOMENT, '"2026-01-31T12:00:00.123456Z"'),
        (logical("long", "timestamp-micros"), datetime(1955, 1, 1, 0, 0, 0, 1, UTC), '"1955-01-01T00:00:00.000001Z"'),
        (logical("long", "timestamp-nanos"), 1_500_000_999, '"1970-01-01T00:00:01.500000Z"'),
        (logical("long", "local-timestamp-millis"), 1_000, '"1970-01-01T00:00:01"'),
        (logical("long", "of somebody's own"), 5, "5"),
        (["null", "long"], None, "null"),
        (["null", logical("int", "date")], date(2026, 1, 31), '"2026-01-31"'),
        (["null", "string", {"type": "record", "name": "R", "fields": [{"name": "x", "type": "float"}]}], {"x": 0.5},
         '{"x": 0.5}'),
        ({"type": "array", "items": ["null", "int"]}, [1, None], "[1, null]"),
        ({"type": "map", "values": "bytes"}, {"k": b""}, '{"k": ""}'),
    ],
)  # fmt: skip
def test_a_value_is_the_text_that_contracts_read(kind: Any, value: Any, text: str) -> None:
    assert text_of(kind, value) == text


@pytest.mark.parametrize(
    ("kind", "raw", "number"),
    [
        (logical("int", "date"), "int", 2**31 - 1),
        (logical("long", "timestamp-millis"), "long", 2**60),
        (logical("long", "timestamp-micros"), "long", -(2**63)),
        (logical("int", "time-millis"), "int", 86_400_000),
    ],
)
def test_a_time_that_no_calendar_shows_stays_a_number(kind: Any, raw: str, number: int) -> None:
    written = payload(schema_of(raw), {"a": number})
    assert decoder(schema_of(kind))(BytesIO(written)) == f'{{"a": {number}}}'


def test_nothing_but_a_whole_payload_is_read() -> None:
    """Cut off anywhere, or with a byte too many; and whatever bytes it has, it is read or refused."""
    kinds = ("string", "double", "float", logical("bytes", "decimal", precision=9, scale=2), ["null", "string"])
    items = {"type": "array", "items": {"type": "map", "values": "long"}}
    schema = schema_of(*kinds, items, {"type": "enum", "name": "E", "symbols": ["x", "y"]}, logical("int", "date"))
    value = dict(zip("abcdefgh", ("text", 0.1, 1.5, Decimal("1.25"), "x", [{"k": 1}], "y", MOMENT.date()), strict=True))
    decode, written = decoder(schema), payload(schema, value)
    assert json.loads(decode(BytesIO(written)))["d"] == 1.25
    for wrong in (*(written[:end] for end in range(len(written))), written + b"\0"):
        with pytest.raises(UNREADABLE):
            decode(BytesIO(wrong))
    rng, outcomes = random.Random(7), set()
    for _ in range(2000):
        altered = bytearray(written)
        for _ in range(rng.randint(1, 3)):
            altered[rng.randrange(len(altered))] = rng.randrange(256)
        try:
            json.loads(decode(BytesIO(altered)))
            outcomes.add("read")
        except UNREADABLE:
            outcomes.add("refused")
    assert outcomes == {"read", "refused"}


@pytest.mark.parametrize("depth", [100, 300, 5000])
def test_a_schema_as_deep_as_it_may_be(depth: int) -> None:
    """What is too deep for Python is refused, by the schema or the payload; it ends nothing."""
    schema = '{"type": "array", "items": ' * depth + '"int"' + "}" * depth
    try:
        text = decoder(schema)(BytesIO(b"\2" * (depth + 1) + b"\0" * depth))
    except (UnusableSchema, *UNREADABLE):
        assert depth > 100
    else:
        assert text == "[" * depth + "1" + "]" * depth


def test_types_of_other_schemas() -> None:
    """A reference's types are known by their names, and may be used often; the order is theirs."""
    money = {"type": "record", "name": "shop.Money", "fields": [{"name": "amount", "type": "float"}]}
    basket = {"type": "record", "name": "shop.Basket", "fields": [{"name": "total", "type": "shop.Money"}]}
    whole = {"type": "array", "items": basket | {"fields": [{"name": "total", "type": money}]}}
    written = payload(schema_of(whole, ["null", "shop.Money"]), {"a": [{"total": {"amount": 1.5}}], "b": {"amount": 2}})
    schema = schema_of({"type": "array", "items": "shop.Basket"}, ["null", "shop.Money"])
    read = decoder(schema, [json.dumps(money), json.dumps(basket)])
    assert read(BytesIO(written)) == '{"a": [{"total": {"amount": 1.5}}], "b": {"amount": 2.0}}'
    with pytest.raises(UnusableSchema, match=r"names the type shop\.Money"):
        decoder(schema, [json.dumps(basket)])


@pytest.mark.parametrize(
    ("schema", "reason"),
    [
        ({"type": "record", "name": "L", "fields": [{"name": "n", "type": ["null", "L"]}]}, "its type L holds itself"),
        ({"type": "array", "items": "null"}, "items have no bytes"),
        ({"type": "array", "items": {"type": "record", "name": "R", "fields": []}}, "no bytes"),
        ({"type": "array", "items": {"type": "fixed", "name": "F", "size": 0}}, "no bytes"),
        ({"type": "record", "name": "L", "fields": [{"name": "n", "type": "M"}]}, "names the type M"),
        ({"type": "record", "name": "L"}, "not a valid Avro schema"),
        ({"type": "enum", "name": "L"}, "not a valid Avro schema"),
        (5, "not a valid Avro schema"),
    ],
)  # fmt: skip
def test_a_schema_that_payloads_cannot_be_read_by(schema: Any, reason: str) -> None:
    """The first would let a payload of a few kilobytes end the process, the next two one of ten bytes run for ever."""
    with pytest.raises(UnusableSchema, match=reason):
        decoder(json.dumps(schema))
