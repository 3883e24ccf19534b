"""`levain quality --expectations`: the contracts as suites of Great Expectations 1.x, one JSON file per topic.

A suite is about the columns of Silver. Great Expectations is no part of Levain's environment and is not imported: a
suite is written in its file format. Each expectation says in its `meta` which of our rules it stands for, so that the
rows that it finds can be compared with our verdicts. What it cannot say is named in the suite's `meta`, `not_said`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ingest.contracts import Contract, Field, load_contracts
from levain.terminal import say

VERSION = "1.24.1"
"""Of Great Expectations, whose file format is written: requirements/expectations.in."""

WHOLE_MESSAGE = ("message_not_utf8", "message_tombstone", "message_malformed")
"""Rules by which a message has no fields at all."""

UUID = "^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$"

_TYPES = {"string": "str", "boolean": "bool", "integer": "int", "array": "str"}
"""Logical type -> Python type of a value in Silver; an array is JSON text."""

_COMPARISON = re.compile(r"(?P<left>[a-z]\w*) (?P<operator><=|>=|<|>) (?P<right>[a-z]\w*)")


def write(folder: Path) -> None:
    """Write a suite per contract, `<topic>.json`; says where.

    Raises:
        OSError: the folder cannot be made, or a file not be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for contract in load_contracts().values():
        path = folder / f"{contract.topic}.json"
        path.write_text(json.dumps(suite(contract), indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        say("written", str(path))


def suite(contract: Contract) -> dict[str, Any]:
    """A contract as a suite, as `ExpectationSuite(**suite)` takes it."""
    expectations = [each for field in contract.columns for each in _of_field(contract, field)]
    expectations.append(
        _expectation("expect_column_values_to_be_unique", {"column": "event_id"}, (), "of accepted events only")
    )
    not_said = [f"{field.name}_invalid" for field in contract.columns if not contract.is_always_there(field)]
    for rule in contract.rules:
        compared = _COMPARISON.fullmatch(rule.expression)
        if compared is None:
            not_said.append(rule.name)
            continue
        larger, smaller = compared["right"], compared["left"]
        if compared["operator"].startswith(">"):
            larger, smaller = smaller, larger
        columns = {"column_A": larger, "column_B": smaller, "or_equal": compared["operator"].endswith("=")}
        expectations.append(
            _expectation(
                "expect_column_pair_values_a_to_be_greater_than_b",
                {**columns, "ignore_row_if": "either_value_is_missing"},
                (rule.name,),
                rule.description,
            )
        )
    if contract.minimum_completeness:
        not_said.append("incomplete")
    return {
        "name": contract.topic,
        "expectations": expectations,
        "meta": {
            "great_expectations_version": VERSION,
            "contract": contract.path.name,
            "contract_version": contract.version,
            "not_said": not_said,
        },
    }


def _of_field(contract: Contract, field: Field) -> Iterator[dict[str, Any]]:
    column = {"column": field.column}
    if contract.is_always_there(field):
        names = ["_".join(field.path[:depth]) for depth in range(1, len(field.path) + 1)]
        rules = tuple(f"{name}_{what}" for name in names for what in ("missing", "invalid"))
        yield _expectation("expect_column_values_to_not_be_null", column, (*rules, *WHOLE_MESSAGE), field.description)
    if field.logical_type in ("integer", "number") and (field.minimum, field.maximum) != (None, None):
        limits = {
            name: float(limit)
            for name, limit in (("min_value", field.minimum), ("max_value", field.maximum))
            if limit is not None
        }
        rules = (f"{field.name}_out_of_range",)
        yield _expectation("expect_column_values_to_be_between", column | limits, rules, field.description)
    if field.allowed is not None:
        rules = (f"{field.name}_not_allowed",)
        values = {"value_set": list(field.allowed)}
        yield _expectation("expect_column_values_to_be_in_set", column | values, rules, field.description)
    if field.pattern is not None:
        rules = (f"{field.name}_malformed",)
        yield _expectation(
            "expect_column_values_to_match_regex", column | {"regex": field.pattern}, rules, field.description
        )
    if field.format == "uuid":
        yield _expectation("expect_column_values_to_match_regex", column | {"regex": UUID}, (), "in canonical form")
    if kind := _TYPES.get(field.logical_type):
        yield _expectation(
            "expect_column_values_to_be_of_type", column | {"type_": kind}, (), f"is of type {field.logical_type}"
        )


def _expectation(type: str, kwargs: dict[str, Any], rules: tuple[str, ...], description: str) -> dict[str, Any]:
    return {
        "type": type,
        "kwargs": kwargs,
        "meta": {"rules": list(rules)},
        "description": description,
        "severity": "critical",
    }
