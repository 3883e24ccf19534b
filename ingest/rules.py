"""What a contract's rule may be: a condition that no message can turn into an error, on either engine.

A rule is read from the tree that DuckDB's parser makes of it. Every part must be known here; where numbers are added or
multiplied, the limits of the fields say how large the outcome can become, and whether the engines' types hold it.
The generated models leave a value out of a rule where it is beyond its field's limits.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal, localcontext
from functools import cache
from typing import Any

import duckdb

WIDEST = 38
"""Digits of the widest decimal on both engines."""
_KEPT_DECIMALS = 6
"""Decimals that Spark keeps where a result would need more than `WIDEST` digits."""
_BIGINT = 2**63 - 1
_INT = 2**31 - 1


class RuleError(Exception):
    """A rule that cannot be accepted; the text says why, and what to write."""


@dataclass(frozen=True)
class Number:
    """The values a number can have, and its type.

    Attributes:
        precision, scale: of the decimal that it is where it meets one.
        largest: of the integer type that it has; None: it is a decimal.
    """

    low: Decimal
    high: Decimal
    precision: int
    scale: int = 0
    largest: int | None = None

    @property
    def magnitude(self) -> Decimal:
        return max(abs(self.low), abs(self.high))


@dataclass(frozen=True)
class Other:
    """Anything that is no number to calculate with."""

    name: str


TEXT, BOOLEAN, TIME, NULL = Other("text"), Other("condition"), Other("time"), Other("null")
IDENTIFIER = Other("identifier")
"""An integer that names something: compared with others, never calculated with."""

Kind = Number | Other


def integer(low: int, high: int) -> Number:
    """A bigint between two limits."""
    return Number(Decimal(low), Decimal(high), precision=20, largest=_BIGINT)


def decimal(low: Decimal, high: Decimal, precision: int, scale: int) -> Number:
    """A decimal between two limits."""
    return Number(low, high, precision, scale)


def check_rule(expression: str, columns: Mapping[str, Kind]) -> None:
    """Accept a rule, or say why not.

    Args:
        expression: SQL of the condition.
        columns: name -> what the field's column holds.

    Raises:
        RuleError: it is no condition, names no field, or could end in an error for some message.
    """
    for sign in ('"', "`", "{{", "{%", "{#"):
        if sign in expression:
            raise RuleError(
                f"has {sign}, which is no SQL or not the same on both engines; texts stand in single quotes"
            )
    tree = _parsed(expression)
    with localcontext(prec=400):
        if _kind(tree, columns) != BOOLEAN:
            raise RuleError("must be a condition, true or false")


@cache
def _parsed(expression: str) -> dict[str, Any]:
    """The tree of an expression."""
    # Alone it must be SQL, and in parentheses, where a comment or a parenthesis too many would show.
    for query in (f"select {expression}", f"select ({expression})"):
        with _parser().cursor() as cursor:
            found = cursor.execute("select json_serialize_sql(?)", [query]).fetchone()
        parsed = json.loads(found[0]) if found else {}
        if parsed.get("error"):
            raise RuleError(f"is not a SQL condition: {parsed.get('error_message')}")
    tree: dict[str, Any] = parsed["statements"][0]["node"]["select_list"][0]
    return tree


@cache
def _parser() -> duckdb.DuckDBPyConnection:
    """A database for DuckDB's parser; each call of it has a cursor of its own, whichever thread it is in."""
    return duckdb.connect(config={"threads": 1})


def _kind(node: dict[str, Any], columns: Mapping[str, Kind]) -> Kind:
    """What the expression gives."""

    def of(part: dict[str, Any]) -> Kind:
        return _kind(part, columns)

    kind = node["type"]
    match node["class"]:
        case "COLUMN_REF":
            return _column(node["column_names"], columns)
        case "CONSTANT":
            return _constant(node["value"])
        case "CAST":
            return _cast(node, of)
        case "COMPARISON":
            return _compared([of(node["left"]), of(node["right"])])
        case "BETWEEN":
            return _compared([of(node[name]) for name in ("input", "lower", "upper")])
        case "CONJUNCTION":
            return _conditions([of(child) for child in node["children"]])
        case "CASE":
            _conditions([of(check["when_expr"]) for check in node["case_checks"]])
            return _same([*(of(check["then_expr"]) for check in node["case_checks"]), of(node["else_expr"])])
        case "OPERATOR" if kind in ("OPERATOR_IS_NULL", "OPERATOR_IS_NOT_NULL"):
            of(node["children"][0])
            return BOOLEAN
        case "OPERATOR" if kind == "OPERATOR_NOT":
            return _conditions([of(node["children"][0])])
        case "OPERATOR" if kind in ("COMPARE_IN", "COMPARE_NOT_IN"):
            return _compared([of(child) for child in node["children"]])
        case "OPERATOR" if kind == "OPERATOR_COALESCE":
            return _same([of(child) for child in node["children"]])
        case "FUNCTION":
            return _function(node["function_name"], [of(child) for child in node["children"]])
    raise RuleError(f"has a part that no rule can have ({node['class'].lower()}); docs/adding-a-topic.md lists them")


def _column(names: list[str], columns: Mapping[str, Kind]) -> Kind:
    name = ".".join(names).lower()
    if name not in columns:
        raise RuleError(f"names '{name}', which is no column of the event; its columns are {', '.join(columns)}")
    return columns[name]


def _constant(value: dict[str, Any]) -> Kind:
    kind = value["type"]["id"]
    if value.get("is_null"):
        return NULL
    if kind == "VARCHAR":
        if "\\" in value["value"]:
            raise RuleError("has a text with \\, which the engines read differently")
        return TEXT
    if kind in ("INTEGER", "BIGINT"):
        number = Decimal(value["value"])
        return Number(number, number, len(str(abs(value["value"]))), largest=_INT if kind == "INTEGER" else _BIGINT)
    if kind == "DECIMAL" and isinstance(value["value"], int):
        scale = value["type"]["type_info"]["scale"]
        number = Decimal(value["value"]).scaleb(-scale)
        return Number(number, number, value["type"]["type_info"]["width"], scale)
    raise RuleError("has a number with an exponent or with more than 18 digits: write it out, or a smaller one")


def _cast(node: dict[str, Any], of: Callable[[dict[str, Any]], Kind]) -> Kind:
    """Constants written with their type, and numbers as wider decimals; other casts could fail."""
    to, child = node["cast_type"], node["child"]
    text = child["value"]["value"] if child["class"] == "CONSTANT" and not child["value"].get("is_null") else None
    if to["id"] == "BOOLEAN" and text in ("t", "f"):
        return BOOLEAN
    if isinstance(text, str) and to["id"] in ("DATE", "TIMESTAMP"):
        try:
            (date if to["id"] == "DATE" else datetime).fromisoformat(text)
        except ValueError as error:
            raise RuleError(f"has '{text}', which is no {to['id'].lower()}") from error
        return TIME
    number = of(child)
    if to["id"] == "DECIMAL" and isinstance(number, Number):
        info = to["type_info"]
        wide = Number(number.low, number.high, info["width"], info["scale"])
        if info["scale"] >= number.scale and number.magnitude < Decimal(10) ** (info["width"] - info["scale"]):
            return wide
    raise RuleError(f"has a cast to {to['id'].lower()} that could fail or round; only a wider decimal is safe")


def _function(name: str, arguments: list[Kind]) -> Kind:
    match name, arguments:
        case (("+" | "-" | "*"), [left, right]):
            return _calculated(name, left, right)
        case (("-" | "+" | "abs"), [Number() as number]):
            most = number.magnitude
            return Number(-most, most, number.precision, number.scale, number.largest)
        case "length", [Other("text")]:
            return Number(Decimal(0), Decimal(_INT), 10, largest=_INT)
        case "trim", [Other("text")]:
            return TEXT
        case (("~~" | "!~~"), [Other("text"), Other("text")]):
            return BOOLEAN
        case "nullif", [first, second]:
            _compared([first, second])
            return first
        case (("least" | "greatest"), [_, *_]):
            return _same(arguments)
        case (("/" | "//" | "%"), _):
            raise RuleError("divides, which the engines do differently and not at all by 0: multiply instead")
    raise RuleError(f"calls {name} with {', '.join(map(_name, arguments)) or 'nothing'}, which no rule can do")


def _calculated(operator: str, left: Kind, right: Kind) -> Kind:
    if not isinstance(left, Number) or not isinstance(right, Number):
        raise RuleError(
            f"calculates with {_name(left)} and {_name(right)}, of which not both are numbers to count with"
        )
    low, high = _outcome(operator, left, right)
    if left.largest is not None and right.largest is not None:
        outcome = Number(low, high, 20, largest=max(left.largest, right.largest))
        if outcome.magnitude > (outcome.largest or 0):
            raise _too_large(operator, outcome, "an integer; cast one of them to decimal(18, 0)")
        return outcome
    if operator == "*":
        scale, precision = left.scale + right.scale, left.precision + right.precision + 1
    else:
        scale = max(left.scale, right.scale)
        precision = max(left.precision - left.scale, right.precision - right.scale) + scale + 1
    if precision > WIDEST and scale > _KEPT_DECIMALS:
        raise RuleError(f"has a result of {precision} digits, {scale} of them decimals: Spark would round it")
    outcome = Number(low, high, min(precision, WIDEST), scale)
    if outcome.magnitude >= Decimal(10) ** (WIDEST - scale):
        raise _too_large(operator, outcome, f"a decimal of {WIDEST} digits")
    return outcome


def _outcome(operator: str, left: Number, right: Number) -> tuple[Decimal, Decimal]:
    match operator:
        case "+":
            return left.low + right.low, left.high + right.high
        case "-":
            return left.low - right.high, left.high - right.low
    corners = [a * b for a in (left.low, left.high) for b in (right.low, right.high)]
    return min(corners), max(corners)


def _too_large(operator: str, outcome: Number, what: str) -> RuleError:
    return RuleError(
        f"has a result of '{operator}' that can reach {outcome.magnitude:.3g}, too large for {what}, "
        "or give the fields a smaller maximum"
    )


def _conditions(parts: list[Kind]) -> Kind:
    for part in parts:
        if part not in (BOOLEAN, NULL):
            raise RuleError(f"uses {_name(part)} as a condition")
    return BOOLEAN


def _compared(parts: list[Kind]) -> Kind:
    _same(parts)
    return BOOLEAN


def _same(parts: list[Kind]) -> Kind:
    """One kind for values that are compared, or of which one is chosen."""
    known = [part for part in parts if part != NULL]
    numbers = [part for part in known if isinstance(part, Number)]
    if IDENTIFIER in known and len(numbers) + known.count(IDENTIFIER) == len(known):
        if all(number.largest is not None for number in numbers):
            return IDENTIFIER
    elif numbers and len(numbers) == len(known):
        return _hull(numbers)
    elif len(set(known)) == 1:
        return known[0]
    elif not known:
        return NULL
    names = sorted({_name(part) for part in known})
    raise RuleError(f"mixes {' and '.join(names)}; dates are written date '2026-01-31'")


def _hull(numbers: list[Number]) -> Number:
    low, high = min(each.low for each in numbers), max(each.high for each in numbers)
    if all(each.largest is not None for each in numbers):
        return Number(low, high, 20, largest=max(each.largest or 0 for each in numbers))
    scale = max(each.scale for each in numbers)
    whole = max(each.precision - each.scale for each in numbers)
    hull = Number(low, high, min(whole + scale, WIDEST), scale)
    if hull.magnitude >= Decimal(10) ** (WIDEST - scale):
        raise RuleError(f"compares numbers of {whole} digits with others of {scale} decimals: too many for one decimal")
    return hull


def _name(kind: Kind) -> str:
    return "a number" if isinstance(kind, Number) else f"a {kind.name}" if kind != IDENTIFIER else "an identifier"
