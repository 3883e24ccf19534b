"""Rows as JSON, exact: decimals digit for digit, timestamps and dates as ISO 8601."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime
from decimal import Decimal
from functools import lru_cache
from json.encoder import encode_basestring
from typing import Any
from uuid import UUID


class JsonText(str):
    """Text that goes into the JSON as it is, such as the bare NaN that some producers write."""


def json_timestamp(moment: datetime) -> str:
    """ISO 8601; UTC is written `Z`, another zone as its offset, and no zone stays no zone."""
    return moment.isoformat().replace("+00:00", "Z")


def _number(value: float) -> str:
    return {"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"}.get(text := repr(value), text)


def _decimal(value: Decimal) -> str:
    text = str(value)
    return f"{value:f}" if "E" in text else text


@lru_cache(maxsize=4096)
def _name(name: str) -> str:
    return f"{encode_basestring(name)}: "


_TEXT: dict[type, Callable[[Any], str]] = {
    str: encode_basestring,
    int: str,
    bool: lambda value: "true" if value else "false",
    type(None): lambda _: "null",
    Decimal: _decimal,
    float: _number,
    datetime: lambda value: f'"{json_timestamp(value)}"',
    date: lambda value: f'"{value.isoformat()}"',
    UUID: lambda value: f'"{value}"',
    JsonText: str,
    dict: lambda value: json_object(value),
    list: lambda value: "[" + ", ".join([_TEXT[type(each)](each) for each in value]) + "]",
}


def json_object(fields: Mapping[str, Any]) -> str:
    """The fields as a JSON object, in their order.

    Decimals are written digit for digit (`json` could only write them as floats), timestamps by `json_timestamp`,
    dates as ISO 8601.

    Raises:
        KeyError: a value is of a type that has no JSON form here; the key is the type.
    """
    return "{" + ", ".join([_name(name) + _TEXT[type(value)](value) for name, value in fields.items()]) + "}"


def json_text(value: Any) -> str:
    """A value as JSON; as `json_object` writes it."""
    return _TEXT[type(value)](value)


def utc(moment: datetime) -> datetime:
    """The moment in UTC; without a zone it is UTC already."""
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
