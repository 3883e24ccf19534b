"""Values of DuckDB, exact in Python.

Python has no infinite or far timestamp, no nanosecond and no interval of months, and DuckDB's client rounds or cuts
such values without an error. So a column is read as `exact_type`, which has text in their place, and each value goes
through its column's `converter`. Both go into nested types.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import duckdb
from duckdb.sqltypes import DuckDBPyType

Convert = Callable[[Any], Any]

_INTEGERS = ("tinyint", "smallint", "integer", "bigint", "hugeint")
_EXACT = frozenset(
    ("boolean", "decimal", "float", "double", "varchar", *_INTEGERS, *(f"u{name}" for name in _INTEGERS))
)
"""Types whose values Python has without loss."""


def exact_type(kind: DuckDBPyType, also: frozenset[str] = frozenset()) -> DuckDBPyType:
    """The type to read a column as: itself, or VARCHAR where Python would lose something.

    Args:
        kind: the column's type.
        also: ids of further types to read as they are.
    """
    match kind.id:
        case "list":
            return duckdb.list_type(exact_type(_part(kind, "child"), also))
        case "array":
            return duckdb.array_type(exact_type(_part(kind, "child"), also), int(_part(kind, "size")))
        case "map":
            return duckdb.map_type(exact_type(_part(kind, "key"), also), exact_type(_part(kind, "value"), also))
        case "struct":
            return duckdb.struct_type({name: exact_type(each, also) for name, each in _fields(kind).items()})
    return kind if kind.id in _EXACT or kind.id in also else DuckDBPyType("VARCHAR")


def converter(kind: DuckDBPyType, of_type: Mapping[str, Convert], key_text: Callable[[Any], str] = str) -> Convert:
    """What turns a value of a column, read as `exact_type`, into the wanted one; null stays null.

    Args:
        kind: the column's type.
        of_type: for ids of types, what to do with their values; others stay as they are.
        key_text: what turns the converted key of a map into text.
    """
    convert: Convert
    match kind.id:
        case "list" | "array":
            of_each = converter(_part(kind, "child"), of_type, key_text)

            def convert(value: Any) -> Any:
                return [of_each(each) for each in value]

        case "struct":
            of_field = {name: converter(each, of_type, key_text) for name, each in _fields(kind).items()}

            def convert(value: Any) -> Any:
                return {name: of_field[name](each) for name, each in value.items()}

        case "map":
            of_key = converter(_part(kind, "key"), of_type, key_text)
            of_value = converter(_part(kind, "value"), of_type, key_text)
            nested = _part(kind, "key").id in ("list", "array", "struct", "map")  # such a key cannot be a dict's

            def convert(value: Any) -> Any:
                pairs = zip(value["key"], value["value"], strict=True) if nested else value.items()
                return {key_text(of_key(key)): of_value(each) for key, each in pairs}

        case id:
            convert = of_type.get(id, lambda value: value)
    return lambda value: None if value is None else convert(value)


def _part(kind: DuckDBPyType, name: str) -> Any:
    """A part of a nested type: `child`, `size`, `key`, `value`."""
    return dict(kind.children)[name]


def _fields(kind: DuckDBPyType) -> dict[str, Any]:
    """Names and types of a struct's fields; those of `row(1, 2)`, which have no names, are called v1, v2."""
    return {name or f"v{number}": each for number, (name, each) in enumerate(kind.children, 1)}
