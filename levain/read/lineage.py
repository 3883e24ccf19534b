"""`levain lineage`: the contract fields that a column is computed from, and what is computed from it.

A column is computed from another if the other's value goes into its own: as a term, an argument, a condition of a
`case`, the order of a window. Columns by which a model filters or joins decide which rows there are; they are listed
beside, and not followed.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Callable, Iterable, Mapping
from itertools import groupby
from operator import itemgetter
from typing import TYPE_CHECKING, Any

from ingest.contracts import load_contracts
from ingest.errors import BadInput
from ingest.settings import Settings
from levain.project import COLUMN
from levain.terminal import detail, emit, errors, say, show_table
from levain.warehouse.columns import Column, Columns, Relation, load_columns

if TYPE_CHECKING:
    from dbt.contracts.graph.manifest import Manifest

    from ingest.contracts import Contract, Field


def print_lineage(settings: Settings, name: str, *, format: str = "table", manifest: Manifest | None = None) -> None:
    """Print where a column comes from and where it goes.

    Args:
        settings: which home.
        name: `table.column` or `schema.table.column`.
        format: `table` or `json`.
        manifest: the project, if it was read before.

    Raises:
        BadInput: there is no such table or column.
    """
    with errors.status("Reading the models"):
        columns = load_columns(settings, manifest)
    relation, column = find(columns, name)
    place = (relation.name, column)
    origins, users = columns.origins([place]), _users(columns, place)
    staged = {contract.staging_model: contract for contract in load_contracts().values()}
    fields, others = _fields(columns, origins, staged)
    filters = sorted({each for name, _ in origins for each in columns.relations[name].filters})
    readers = _exposures(columns, [place[0], *(name for name, _ in users)])
    if format == "json":
        document = {
            "column": f"{relation.table}.{column}",
            "type": relation.types[column],
            "description": relation.texts.get(column, ""),
            "computed_from": [_edge(columns, each, columns.sources(each)) for each in origins if columns.sources(each)],
            "fields": [dict(zip(("topic", "path", "type", "description"), field, strict=True)) for field in fields],
            "other_origins": [dict(zip(("table", "column"), other, strict=True)) for other in others],
            "filtered_and_joined_by": [_written(columns, each) for each in filters],
            "used_by": [_written(columns, each) for each in users],
            "exposures": readers,
        }
        emit(json.dumps(document, indent=2, ensure_ascii=False) + "\n")
        return
    say("column", f"{relation.table}.{column}, {relation.types[column]}")
    say("", relation.texts.get(column, ""))
    if columns.sources(place):
        detail("\nComputed from")
        _print_tree(columns, place, columns.sources, "←", staged)
    if fields:
        show_table("\nFields of messages", ("topic", "field", "type", ""), fields)
    if others:
        tables = [(table, ", ".join(name for _, name in each)) for table, each in groupby(others, key=itemgetter(0))]
        show_table("\nNot from a message's payload", ("table", "columns"), tables)
    if not fields and not others:
        detail("\nIt is computed from no column: it counts rows, or is the same in each.")
    if filters:
        detail(f"\nNot followed: columns that models filter and join by ({len(filters)}; --format json has them).")
    if users:
        detail("\nUsed by")
        _print_tree(columns, place, lambda each: columns.users.get(each, []), "→", {})
    else:
        detail("\nNo other column is computed from it.")
    for reader in readers:
        say("read by", reader)


def find(columns: Columns, name: str) -> tuple[Relation, str]:
    """The relation and the column that `table.column` or `schema.table.column` names.

    Raises:
        BadInput: there is none; those with a name like it are listed.
    """
    table, _, column = name.rpartition(".")
    schema, _, alone = table.rpartition(".")
    known = {each.table if schema else each.name: each for each in columns.relations.values()}
    if not alone:
        raise BadInput(f"'{name}' is not the name of a column.", f"Name the table, too: `levain lineage {COLUMN}`.")
    if table not in known:
        raise BadInput(f"There is no table '{table}'.", _alike(table, known, "tables are listed by `levain show`."))
    relation = known[table]
    if column not in relation.types:
        raise BadInput(
            f"{relation.table} has no column '{column}'.",
            _alike(column, relation.types, f"its columns are {', '.join(relation.types)}."),
        )
    return relation, column


def _alike(word: str, known: Iterable[str], otherwise: str) -> str:
    alike = difflib.get_close_matches(word, list(known), n=3, cutoff=0.6)
    return f"Did you mean {' or '.join(alike)}?" if alike else otherwise[0].upper() + otherwise[1:]


def _fields(
    columns: Columns, origins: Iterable[Column], staged: Mapping[str, Contract]
) -> tuple[list[tuple[str, ...]], list[tuple[str, str]]]:
    """Of all that a column comes from: fields of contracts, with topic, JSON path, type and description; and the rest.

    All fields of a topic are written as one, `$`. The rest is what is not in the payload: Kafka's columns, seeds.
    """
    fields: dict[str, dict[str, Field]] = {}
    others: set[tuple[str, str]] = set()
    for name, column in origins:
        for field in fields_of(staged.get(name), column):
            fields.setdefault(name, {})[json_path(field)] = field
        if columns.relations[name].kind == "seed" or (name.startswith("bronze.") and column != "value"):
            others.add((columns.relations[name].table, column))
    rows: list[tuple[str, ...]] = []
    for name, found in fields.items():
        contract = staged[name]
        if len(found) == len(contract.columns):
            rows.append((contract.topic, "$", "object", "The whole message."))
        else:
            rows += [(contract.topic, path, each.logical_type, each.description) for path, each in found.items()]
    return sorted(rows), sorted(others)


def fields_of(contract: Contract | None, column: str) -> list[Field]:
    """The fields that a column of a contract's staging model has; all of them if it has the whole payload."""
    if contract is None:
        return []
    if column in ("fields", "payload"):
        return list(contract.columns)
    return [field for field in contract.columns if column in (field.column, f"{field.column}_items")]


def json_path(field: Field) -> str:
    """Where a field is in the message, such as `$.device.type`."""
    return ".".join(("$", *field.path))


def _users(columns: Columns, place: Column) -> list[Column]:
    """All that is computed from a column, at any distance, each once, near ones first."""
    found: dict[Column, None] = {}
    todo = [place]
    while todo:
        for each in columns.users.get(todo.pop(0), []):
            if each not in found:
                found[each] = None
                todo.append(each)
    return list(found)


def _exposures(columns: Columns, names: Iterable[str]) -> list[str]:
    found = set(names)
    return [each.label for each in columns.exposures if found & set(each.reads)]


def _written(columns: Columns, column: Column) -> str:
    return f"{columns.relations[column[0]].table}.{column[1]}"


def _edge(columns: Columns, column: Column, sources: Iterable[Column]) -> dict[str, Any]:
    return {"column": _written(columns, column), "sources": [_written(columns, each) for each in sources]}


def _print_tree(
    columns: Columns,
    place: Column,
    following: Callable[[Column], list[Column]],
    arrow: str,
    staged: Mapping[str, Contract],
) -> None:
    """A tree of columns: one that is only passed on has its tables in a line, one that was shown is not shown again.

    Under a column of a staging model are fields of the contract, not the payload that they are in. What a verdict is
    made of, most of a message, is left to the list of fields.
    """
    shown: set[Column] = set()

    def grow(column: Column, first: str, then: str) -> None:
        texts = [_written(columns, column)]
        repeats = column in shown
        shown.add(column)
        after = following(column)
        while not repeats and len(after) == 1 and after[0][1] == column[1]:
            column = after[0]
            shown.add(column)
            texts.append(column[0])
            after = following(column)
        fields = fields_of(staged.get(column[0]), column[1])
        if len(fields) == 1:
            texts.append(f"{staged[column[0]].topic} {json_path(fields[0])}")
        is_folded = len(after) > 1 and not columns.relations[column[0]].is_for_users
        detail(
            first + f" {arrow} ".join(texts) + (" (see above)" if repeats and after else " ..." if is_folded else "")
        )
        if not (repeats or fields or is_folded):
            branch(after, then)

    def branch(after: list[Column], indent: str) -> None:
        for number, each in enumerate(after, 1):
            last = number == len(after)
            grow(each, indent + ("└── " if last else "├── "), indent + ("    " if last else "│   "))

    branch(following(place), "  ")
