"""`levain query`: one SELECT on the built tables, which can do nothing but read them.

DuckDB itself parses the query and says what it is, before anything runs; then the connection may open no file but
those of the lake. Values are printed exactly: see `ingest.values`.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Iterator, Sequence
from decimal import Decimal
from itertools import chain, islice
from typing import Any

import duckdb
from duckdb import DuckDBPyConnection, DuckDBPyRelation

from ingest.errors import BadInput
from ingest.jsontext import json_object, json_text
from ingest.settings import Settings
from ingest.values import Convert, converter, exact_type
from levain.terminal import detail, emit, show_table
from levain.warehouse.dbt import one_line, reader

TABLE_ROWS = 100_000
"""How many rows `--format table` prints: it has all of them at once, for the widths of its columns."""

_ROWS_AT_A_TIME = 2_000

_EXPLAIN = re.compile(
    r"(?:\s|--[^\n]*(?:\n|$)|/\*.*?\*/)*(?P<how>explain(?:\s+analyze\b)?(?:\s*\([\w\s,]*\))?)(?=[\s(])(?P<sql>.*)",
    re.IGNORECASE | re.DOTALL,
)

_TABLE_FUNCTIONS = re.compile(
    "range|generate_series|unnest|repeat|repeat_row|glob|sniff_csv|json_each|json_tree|icu_calendar_names"
    "|pg_timezone_names|parquet_\\w+|read_\\w+|duckdb_(?!logs|log_contexts)\\w+|pragma_\\w+"
    "|iceberg_(scan|metadata|snapshots|column_stats|partition_stats)"
)
"""Table functions that only read. Others can be called in a SELECT, too, and write: a log, a table's properties."""

_LISTING = (
    '`levain query "select table_schema, table_name from information_schema.tables order by all"` lists the tables.'
)


def query(settings: Settings, sql: str, format: str = "table") -> None:
    """Print the rows of one SELECT, or the plan of one by EXPLAIN.

    Args:
        settings: which home.
        sql: one statement that only reads.
        format: `table` (numbers with commas between thousands), `json` (a list of objects) or `csv` (with a header).
            In the last two, decimals and integers have all their digits, timestamps are ISO 8601, bytes hexadecimal,
            intervals and infinite or far dates as DuckDB writes them, `NaN`, `Infinity` and `-Infinity` text. CSV has
            nested values as JSON; a null is an empty field, an empty text `""`.

    Raises:
        BadInput: it is not one reading statement, it cannot be run, JSON would lose a column because another has
            its name, there are too many rows for a table, or see `reader`.
    """
    statement, plan = reading(sql)
    with reader(settings) as connection:
        try:
            confine(connection, settings)
            if plan:
                names = ["plan"]
                rows: Iterator[Sequence[Any]] = ([text] for _, text in connection.execute(statement).fetchall())
            else:
                relation = connection.sql(statement)
                names = relation.columns
                if format == "json":
                    _check_names(names)
                rows = _exactly(relation)
            _print(names, rows, "plan" if format == "table" and plan else format)
        except duckdb.PermissionException as error:
            raise BadInput(
                f"The query cannot be run: {one_line(error)}",
                "`levain query` reads the built tables and the lake's own folder, no other file; `levain replay` "
                "brings files in as events.",
            ) from error
        except (duckdb.CatalogException, duckdb.BinderException) as error:
            raise BadInput(f"The query cannot be run: {one_line(error)}", _LISTING) from error
        except duckdb.Error as error:
            raise BadInput(
                f"The query cannot be run: {one_line(error)}",
                "Correct it; if it names a file of the lake that is damaged or missing, restore that from a backup.",
            ) from error


def _exactly(relation: DuckDBPyRelation) -> Iterator[Sequence[Any]]:
    """A query's rows, a few at a time, however many it has."""
    exact = (f"cast(#{place} as {exact_type(kind, _BYTES)})" for place, kind in enumerate(relation.types, 1))
    converters = [converter(kind, _OF_TYPE, lambda key: str(_text(key))) for kind in relation.types]
    read = relation.project(", ".join(exact))
    while rows := read.fetchmany(_ROWS_AT_A_TIME):
        for row in rows:
            yield [convert(value) for convert, value in zip(converters, row, strict=True)]


def _print(names: Sequence[str], rows: Iterator[Sequence[Any]], format: str) -> None:
    """Print rows as they come; those of a table, whose widths all of them decide, when they are there.

    Raises:
        BadInput: they are too many for a table.
    """
    if format == "plan":
        detail("\n".join(text for (text,) in rows))
    elif format == "table":
        shown = [[_text(value) for value in row] for row in islice(rows, TABLE_ROWS + 1)]
        if len(shown) > TABLE_ROWS:
            raise BadInput(
                f"The query has more than {TABLE_ROWS:,} rows, too many for a table.",
                "Add a `limit`, or use --format csv or json.",
            )
        show_table("", names, shown)
    else:
        lines = _json(names, rows) if format == "json" else _csv(names, rows)
        while some := "".join(islice(lines, _ROWS_AT_A_TIME)):
            emit(some)


def reading(sql: str) -> tuple[str, bool]:
    """The statement to run, and whether it asks for a plan; DuckDB's parser has found it to be one SELECT.

    Raises:
        BadInput: it is something else, or calls a table function that does more than read.
    """
    explained = _EXPLAIN.fullmatch(sql)
    select = explained["sql"] if explained else sql
    with duckdb.connect() as parser:
        (text,) = parser.execute("select json_serialize_sql(?)", [select]).fetchone() or ("",)
        tree = json.loads(text)
        if tree["error"] and tree["error_type"] == "parser":
            raise BadInput(f"The query cannot be read: {tree['error_message']}", "Correct it.")
        if tree["error"] or len(tree["statements"]) != 1:
            raise BadInput(
                f"`levain query` takes one SELECT, or EXPLAIN of one; this is {_kinds(parser, sql)}.",
                "Tables change only by a build. (Of PIVOT, write the values: `pivot ... on x in (1, 2)`.)",
            )
    writing = sorted({name for name in _functions(tree) if not _TABLE_FUNCTIONS.fullmatch(name)})
    if writing:
        raise BadInput(
            f"`levain query` calls no table function {', '.join(writing)}: it is not known to only read.",
            "Select from the built tables.",
        )
    return (f"{explained['how']} {select}", True) if explained else (sql, False)


def _kinds(parser: DuckDBPyConnection, sql: str) -> str:
    """The statements' types, as the parser names them."""
    try:
        found = parser.extract_statements(sql)
    except duckdb.Error:  # it wants to do a part already, as PRAGMA import_database does
        return "something else"
    kinds = ["an EXPLAIN of something else" if each.type.name == "EXPLAIN" else each.type.name for each in found]
    return ", ".join("PRAGMA" if len(found) == 1 and kind == "SELECT" else kind for kind in kinds) or "nothing"


def _functions(tree: Any) -> Iterator[str]:
    """Names of the table functions that a parsed query calls, at any depth."""
    if isinstance(tree, dict):
        if tree.get("type") == "TABLE_FUNCTION":
            yield str(tree["function"]["function_name"]).lower()
        tree = list(tree.values())
    if isinstance(tree, list):
        for each in tree:
            yield from _functions(each)


def confine(connection: DuckDBPyConnection, settings: Settings) -> None:
    """Let a connection open no file but those of the lake, for good: where new tables lie, and where the built ones do.

    The views of Bronze name their metadata files, `<table>/metadata/<file>`.
    """
    views = connection.execute("select sql from duckdb_views() where schema_name = 'bronze'").fetchall()
    files = [found[1].replace("''", "'") for (sql,) in views for found in re.finditer(r"iceberg_scan\('(.*)'\)", sql)]
    folders = {settings.lake, *(file.rpartition("/metadata/")[0] for file in files)}
    connection.execute("set allowed_directories = ?", [sorted(f"{folder.rstrip('/')}/" for folder in folders)])
    connection.execute("set enable_external_access = false")
    connection.execute("set lock_configuration = true")


def _check_names(names: Sequence[str]) -> None:
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise BadInput(
            f"The query has two columns {', '.join(twice)}: a JSON object can hold one of that name.",
            "Give one of them another name (`as`), or use --format csv.",
        )


_DATE_AND_TIME = re.compile(r"(\d{4,}-\d\d-\d\d) (\d\d:\d\d:\d\d(?:\.\d+)?)(\+00)?")


def _iso(text: str) -> str:
    """`2026-01-05 07:00:00+00` as ISO 8601; as it is if it is infinite or before Christ."""
    found = _DATE_AND_TIME.fullmatch(text)
    return f"{found[1]}T{found[2]}{'+00:00' if found[3] else ''}" if found else text


def _text(value: Any) -> Any:
    """A value for a cell: numbers and nulls as they are, nested values and booleans as JSON."""
    return json_text(value) if isinstance(value, bool | dict | list) else value


def _float(value: float) -> float | str:
    return value if math.isfinite(value) else json_text(value)


_BYTES = frozenset(["blob"])
_OF_TYPE: dict[str, Convert] = {"float": _float, "double": _float, "blob": bytes.hex}
_OF_TYPE |= dict.fromkeys(
    ("timestamp", "timestamp_s", "timestamp_ms", "timestamp_ns", "timestamp with time zone"), _iso
)


def _json(names: Sequence[str], rows: Iterable[Sequence[Any]]) -> Iterator[str]:
    """A list of objects, one a line."""
    yield "["
    for number, row in enumerate(rows):
        yield (",\n " if number else "") + json_object(dict(zip(names, row, strict=True)))
    yield "]\n"


def _csv(names: Sequence[str], rows: Iterable[Sequence[Any]]) -> Iterator[str]:
    """A header and a line per row, as RFC 4180 quotes them."""
    for row in chain([names], rows):
        yield ",".join(map(_field, row)) + "\n"


def _field(value: Any) -> str:
    if value is None:
        return ""
    text = f"{value:f}" if isinstance(value, Decimal) else str(_text(value))
    quoted = not text or any(character in text for character in '",\r\n')
    return '"' + text.replace('"', '""') + '"' if quoted else text
