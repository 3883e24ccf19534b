"""Avro payloads as JSON text, of which a contract's fields are read.

fastavro reads a payload by its schema. What JSON has no type for is read as the text that it becomes: the schema is
rewritten so that such a type has a logical type of ours, and fastavro calls the reader of that.

=====================================  ==============================================================================
Avro                                   JSON
=====================================  ==============================================================================
`decimal`                              number, with all decimals of its scale
`float`, `double`                      number, the shortest that is the same float; "NaN", "Infinity", "-Infinity"
`timestamp-millis`, `-micros`,         ISO 8601 in UTC, with `Z`, cut to microseconds; `local-timestamp-...` the same
`-nanos`                               without a zone
`date`, `time-millis`, `time-micros`   ISO 8601
`uuid`, enum                           text
`bytes`, `fixed`                       Base64 (RFC 4648)
union                                  the value, without its type
=====================================  ==============================================================================

A time that no calendar shows stays the number it is. Source: https://avro.apache.org/docs/1.12.0/specification/
"""

from __future__ import annotations

import json
import math
import struct
from base64 import b64encode
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from functools import partial
from io import BytesIO
from typing import Any
from uuid import UUID

from fastavro import parse_schema, schemaless_reader
from fastavro.read import LOGICAL_READERS
from fastavro.schema import SchemaParseException, UnknownType

from ingest.jsontext import JsonText, json_text, json_timestamp

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_EPOCH_DAY = date(1970, 1, 1).toordinal()
_OURS = "levain."
_NOT_FINITE = {"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"}

_Schema = Mapping[str, Any]

UNREADABLE = (ValueError, EOFError, IndexError, ArithmeticError, RecursionError)
"""What a decoder raises for bytes that are no payload of its schema."""


class UnusableSchema(Exception):
    """Payloads cannot be read by this schema; the text says why."""


def decoder(schema: str, references: Iterable[str] = ()) -> Callable[[BytesIO], str]:
    """What reads payloads of a schema.

    Args:
        schema: JSON text of the schema.
        references: schemas whose types it names, each after those whose types it names itself.

    Returns:
        What reads a stream from where it is to its end, and gives JSON text; one of `UNREADABLE` where that is no
        payload of the schema.

    Raises:
        UnusableSchema: it is not a valid schema, names a type that is not known, or has no end: a type that holds
            itself, or an array of items without any bytes. A small payload could overflow the stack by the first, and
            take forever by the second.
    """
    named: dict[str, Any] = {}
    try:
        for each in (*_FLOATS, *(_readable(json.loads(text)) for text in references)):
            parse_schema(each, named)
        parsed = parse_schema(_readable(json.loads(schema)), named)
        _has_bytes(parsed, named, {})
    except UnknownType as error:
        raise UnusableSchema(f"it names the type {error.name}, which neither it nor a reference has") from error
    except (SchemaParseException, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise UnusableSchema(f"it is not a valid Avro schema: {error!r}") from error

    def decode(payload: BytesIO) -> str:
        text = json_text(schemaless_reader(payload, parsed, None))
        if payload.read(1):
            raise ValueError("the payload goes on after its end")
        return text

    return decode


def _readable(schema: Any) -> Any:
    """A schema of the same payloads, with our logical types, and without what reading does not need."""
    if isinstance(schema, list):
        return [_readable(each) for each in schema]
    if isinstance(schema, str):
        schema = {"type": schema}
    kind = schema["type"]
    if not isinstance(kind, str):
        return _readable(kind)
    if kind in ("float", "double"):
        return _OURS + kind
    kept = {name: schema[name] for name in ("type", "name", "namespace", "size", "symbols", "scale") if name in schema}
    match kind:
        case "record" | "error":
            kept["fields"] = [{"name": field["name"], "type": _readable(field["type"])} for field in schema["fields"]]
        case "array":
            kept["items"] = _readable(schema["items"])
        case "map":
            kept["values"] = _readable(schema["values"])
    logical = schema.get("logicalType", "")
    for known in (f"{kind}-{_OURS}{logical}", f"{kind}-{_OURS}"):
        if known in LOGICAL_READERS:
            return kept | {"logicalType": known.removeprefix(f"{kind}-")}
    return kept if len(kept) > 1 else kind


def _has_bytes(schema: Any, named: _Schema, known: dict[str, bool | None]) -> bool:
    """Whether every value of a schema takes at least a byte. known: of named types; None: it is being looked at."""
    if isinstance(schema, list):
        for each in schema:
            _has_bytes(each, named, known)
        return True
    if isinstance(schema, str):
        if schema not in named:
            return schema != "null"
        if schema in known:
            if (found := known[schema]) is None:
                raise UnusableSchema(f"its type {schema} holds itself, directly or not")
            return found
        schema = named[schema]
    match schema["type"]:
        case "record" | "error":
            known[schema["name"]] = None
            found_in = [_has_bytes(field["type"], named, known) for field in schema["fields"]]  # all are looked at
            known[schema["name"]] = any(found_in)
            return any(found_in)
        case "array":
            if not _has_bytes(schema["items"], named, known):
                raise UnusableSchema("it has an array whose items have no bytes")
        case "map":
            _has_bytes(schema["values"], named, known)
        case "fixed":
            return bool(schema["size"])
    return bool(schema["type"] != "null")


# What reads each type: its value as fastavro has it, and its schema


def _base64(value: bytes, _: _Schema) -> str:
    return b64encode(value).decode()


def _decimal(value: bytes, schema: _Schema) -> JsonText:
    unscaled, scale = int.from_bytes(value, "big", signed=True), schema.get("scale", 0)
    return JsonText(f"{Decimal(f'{unscaled}E-{scale}'):f}")


def _uuid(value: bytes, schema: _Schema) -> str:
    return str(UUID(bytes=value)) if len(value) == 16 else _base64(value, schema)


def _double(value: bytes, _: _Schema) -> JsonText:
    return _number(struct.unpack("<d", value)[0])


def _float(value: bytes, _: _Schema) -> JsonText:
    number = struct.unpack("<f", value)[0]
    for digits in range(6, 9):
        shorter = float(f"{number:.{digits}g}")
        if struct.pack("<f", shorter) == value:
            return _number(shorter)
    return _number(float(f"{number:.9g}"))


def _number(number: float) -> JsonText:
    return JsonText(repr(number) if math.isfinite(number) else f'"{_NOT_FINITE[str(number)]}"')


def _date(value: int, _: _Schema) -> date | int:
    try:
        return date.fromordinal(_EPOCH_DAY + value)
    except (ValueError, OverflowError):
        return value


def _time(value: int, _: _Schema, *, a_second: int) -> str | int:
    seconds, rest = divmod(value, a_second)
    if not 0 <= seconds < 86_400:
        return value
    return (datetime.min + timedelta(seconds=seconds, microseconds=rest * 1_000_000 // a_second)).time().isoformat()


def _timestamp(value: int, _: _Schema, *, a_second: int, zone: bool) -> JsonText | int:
    seconds, rest = divmod(value, a_second)
    try:
        moment = _EPOCH + timedelta(seconds=seconds, microseconds=rest * 1_000_000 // a_second)
    except OverflowError:
        return value
    return JsonText(f'"{json_timestamp(moment if zone else moment.replace(tzinfo=None))}"')


_UNITS = {"millis": 1_000, "micros": 1_000_000, "nanos": 1_000_000_000}

_READERS: dict[str, Callable[[Any, _Schema], Any]] = {
    "fixed-float": _float,
    "fixed-double": _double,
    "bytes-": _base64,
    "fixed-": _base64,
    "bytes-decimal": _decimal,
    "fixed-decimal": _decimal,
    "fixed-uuid": _uuid,
    "int-date": _date,
    "int-time-millis": partial(_time, a_second=1_000),
    "long-time-micros": partial(_time, a_second=1_000_000),
    **{f"long-timestamp-{unit}": partial(_timestamp, a_second=n, zone=True) for unit, n in _UNITS.items()},
    **{f"long-local-timestamp-{unit}": partial(_timestamp, a_second=n, zone=False) for unit, n in _UNITS.items()},
}
"""Avro type and logical type -> reader; without a logical type: of those that are not known."""


def _register(name: str, read: Callable[[Any, _Schema], Any]) -> None:
    kind, _, logical = name.partition("-")
    LOGICAL_READERS[f"{kind}-{_OURS}{logical}"] = lambda value, schema, _: read(value, schema or {})


for _name, _read in _READERS.items():
    _register(_name, _read)

_FLOATS = [
    {"type": "fixed", "name": _OURS + name, "size": size, "logicalType": _OURS + name}
    for name, size in (("float", 4), ("double", 8))
]
"""A float's bytes as they are: fastavro would widen a `float` to a double, and 0.1 to 0.10000000149011612."""
