"""The rows of a DuckDB query over any file (CSV, Parquet, JSON), as events into a topic."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from datetime import UTC, date, datetime
from datetime import time as time_of_day
from pathlib import Path
from typing import Any
from uuid import NAMESPACE_URL, uuid5

import duckdb

from ingest.contracts import Contract, contract_for
from ingest.errors import BadInput
from ingest.jsontext import JsonText, json_object, json_timestamp, utc
from ingest.settings import Settings
from ingest.sources.publish import RECEIVED_AT, Headers, Publisher
from ingest.values import Convert, converter, exact_type

_ROWS_AT_ONCE = 1000
_Types = duckdb.StatementType
_BEFORE = frozenset(
    {
        *(_Types.SELECT, _Types.CREATE, _Types.DROP, _Types.ALTER, _Types.SET, _Types.VARIABLE_SET),
        *(_Types.INSERT, _Types.UPDATE, _Types.DELETE, _Types.MERGE_INTO, _Types.TRANSACTION),
    }
)
"""What may stand before the SELECT: it changes nothing but the database in memory that the query runs in."""


def replay(
    settings: Settings,
    topic: str,
    sql_file: Path,
    rate: float = 0,
    progress: Callable[[int], None] | None = None,
) -> int:
    """Publish each row of a query as an event: a JSON object of its columns, see `encode`.

    Where the query has no column for the topic's identity, each event gets a UUIDv5 of topic, row number and row
    content, so the same query over the same file gives the same ids, and equal rows stay different events. The query
    runs on one thread, which keeps the order of its rows the same too.

    Args:
        settings: which broker.
        topic: a topic with a data contract.
        sql_file: a file with a SELECT; statements that prepare it, such as `set` or `create macro`, may stand before
            it, and none that writes a file. A relative path in it is looked for in the current folder, then in the
            folder of the SQL file.
        rate: events a second; 0: as fast as the broker takes them.
        progress: called now and then with the number of events handed over.

    Returns:
        How many events were published; all of them are acknowledged.

    Raises:
        LevainError: the topic has no contract, the file or the query cannot be used, its columns are not the
            contract's fields, a value has no JSON form, the broker cannot be reached or has no such topic, or an event
            was not acknowledged.
    """
    contract = contract_for(topic)
    if contract.encoding is not None:
        raise BadInput(
            f"The values of {topic} are encoded ({contract.encoding}), and a replay sends plain JSON.",
            "Send them with a producer that uses the schema registry.",
        )
    sent = 0
    with closing(duckdb.connect()) as connection:
        names, rows = read_rows(connection, sql_file)
        check_columns(contract, names, sql_file)
        first = next(rows, None)  # a query that cannot run says so before a broker is asked
        if first is None:
            return 0
        began = time.monotonic()
        with Publisher(settings, [topic]) as publisher:
            row: dict[str, Any] | None = first
            while row is not None:
                sent += 1
                key, value, headers = encode(contract, row, sent)
                publisher.publish(topic, key, value, headers)
                if rate > 0:
                    time.sleep(max(0.0, began + sent / rate - time.monotonic()))
                if progress is not None and sent % _ROWS_AT_ONCE == 0:
                    progress(sent)
                row = next(rows, None)
    if progress is not None:
        progress(sent)
    return sent


def encode(contract: Contract, row: Mapping[str, Any], number: int) -> tuple[bytes | None, bytes, Headers]:
    """Key, value and headers of one row.

    Decimals are exact JSON numbers, timestamps ISO 8601 in UTC with `Z`, dates ISO 8601, nulls null. The key is the
    contract's key field, null where that is null or no column. The header `received-at` is the event's time, so that
    history is not late; it is left out where the event has no time that can be read.

    Args:
        contract: of the topic.
        row: column -> value.
        number: of the row, from 1.
    """
    text = json_object(row)
    if contract.identity not in row:
        identity = str(uuid5(NAMESPACE_URL, f"levain:replay/{contract.topic}/{number}/{text}"))
        text = f'{{"{contract.identity}": "{identity}", {text[1:]}'
        row = {**row, contract.identity: identity}
    key = row.get(contract.key)
    moment = _moment(row.get(contract.event_time))
    headers = [] if moment is None else [(RECEIVED_AT, json_timestamp(moment).encode())]
    return None if key is None else str(key).encode(), text.encode(), headers


def _moment(value: Any) -> datetime | None:
    """The event's time in UTC, from a timestamp, a date or text in ISO 8601."""
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value)
        except ValueError:
            return None
    if isinstance(value, datetime):
        return utc(value)
    return datetime.combine(value, time_of_day(), UTC) if isinstance(value, date) else None


def read_rows(connection: duckdb.DuckDBPyConnection, sql_file: Path) -> tuple[list[str], Iterator[dict[str, Any]]]:
    """The columns of the query, and its rows as they are asked for, each value as JSON is to have it.

    A NaN is null: columnar files have it for each missing number.

    Raises:
        BadInput: the file or the query cannot be used; from the iterator, too, and when a value has no JSON form.
    """
    sql = _read(sql_file)
    with _failures(sql_file):
        # A query reads files: it installs nothing, keeps no secret, and sees no variable of this program.
        for setting in ("autoinstall_known_extensions", "allow_persistent_secrets", "python_enable_replacements"):
            connection.execute(f"set {setting} = false")
        connection.execute("set threads = 1")
        connection.execute("set timezone = 'UTC'")
        connection.execute("set file_search_path = ?", [str(sql_file.resolve().parent)])
        _check_statements(connection, sql, sql_file)
        relation = connection.sql(sql)
        names, types = relation.columns, relation.types
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise BadInput(f"The query in {sql_file} has two columns {twice[0]}.", "Give one of them another name.")
        exact = ", ".join(f"cast(#{place} as {exact_type(kind)})" for place, kind in enumerate(types, 1))
        cursor = connection.execute(relation.project(exact).sql_query())
    converters = [_json if str(kind) == "JSON" else converter(kind, _OF_TYPE) for kind in types]
    return names, _rows(cursor, names, converters, sql_file)


def _rows(
    cursor: duckdb.DuckDBPyConnection, names: Sequence[str], converters: Sequence[Convert], sql_file: Path
) -> Iterator[dict[str, Any]]:
    number = 0
    while True:
        with _failures(sql_file, number):
            rows = cursor.fetchmany(_ROWS_AT_ONCE)
        if not rows:
            return
        for values in rows:
            number += 1
            row = {}
            for name, convert, value in zip(names, converters, values, strict=True):
                try:
                    row[name] = convert(value)
                except ValueError as error:
                    raise BadInput(
                        f"Row {number} of the query in {sql_file} has in {name} what has no JSON form: {error}.",
                        "Have the query leave it out, or put null in its place.",
                    ) from error
            yield row


@contextmanager
def _failures(sql_file: Path, rows: int = 0) -> Iterator[None]:
    """DuckDB's errors, in our words."""
    try:
        yield
    except duckdb.Error as error:
        before = f" after {rows} rows" if rows else ""
        raise BadInput(
            f"The query in {sql_file} failed{before}: {_one_line(error)}",
            "Correct the query, or the file it reads; a relative path is looked for in the current folder, then in "
            f"{sql_file.resolve().parent}.",
        ) from error


def _check_statements(connection: duckdb.DuckDBPyConnection, sql: str, sql_file: Path) -> None:
    """Refuse, before anything runs, what would write a file or ends without rows."""
    kinds = [statement.type for statement in connection.extract_statements(sql)]
    refused = sorted({kind.name for kind in kinds if kind not in _BEFORE})
    if refused:
        raise BadInput(
            f"{sql_file} has a statement that `levain replay` does not run: {', '.join(refused)}.",
            "Replaying reads: have the SELECT read the files (read_csv, read_parquet, read_json).",
        )
    if not kinds or kinds[-1] != _Types.SELECT:
        raise BadInput(f"{sql_file} does not end in a SELECT.", "Its last statement gives the rows to replay.")


def check_columns(contract: Contract, names: Sequence[str], sql_file: Path) -> None:
    """See that the query's columns are fields of the contract, and that it has those an event must have.

    Raises:
        BadInput: they are not; names them.
    """
    identity = contract.by_name[contract.identity]
    if identity.name not in names and identity.logical_type != "string":
        raise BadInput(
            f"The query in {sql_file} has no column {identity.name}, the identity of {contract.topic}.",
            f"Select one: it is of type {identity.logical_type}, so none can be made up.",
        )
    members = [field.name for field in contract.members]
    required = [field.name for field in contract.members if field.required and field.name != contract.identity]
    missing = [name for name in required if name not in names]
    unknown = [name for name in names if name not in members]
    wrong = [f"no column {', '.join(missing)}"] * bool(missing)
    wrong += [f"{', '.join(unknown)}, which no field is called"] * bool(unknown)
    if wrong:
        raise BadInput(
            f"The query in {sql_file} has {'; and '.join(wrong)}.",
            f"Name its columns as the fields of {contract.topic}: {', '.join(members)}.",
        )


def _one_line(error: duckdb.Error) -> str:
    """DuckDB's message and the line it means, without the excerpt and the arrow below it."""
    message, mark, excerpt = str(error).partition("\n\nLINE ")
    return " ".join(message.split()) + (f" (line {excerpt.split(':')[0]})" if mark else "")


def _read(sql_file: Path) -> str:
    try:
        return sql_file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise BadInput(
            f"The SQL file {sql_file} cannot be read: {reason}.", "Name a file that holds one SELECT."
        ) from error


def _number(value: float) -> float | None:
    if math.isinf(value):
        raise ValueError("infinity" if value > 0 else "-infinity")
    return None if math.isnan(value) else value


def _timestamp(text: str) -> datetime:
    try:
        return utc(datetime.fromisoformat(text))
    except ValueError:
        raise ValueError(text) from None


def _date(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise ValueError(text) from None


def _json(value: str | None) -> JsonText | None:
    return None if value is None else JsonText(value)


_OF_TYPE: dict[str, Convert] = {"float": _number, "double": _number, "date": _date}
_OF_TYPE |= dict.fromkeys(
    ("timestamp", "timestamp_s", "timestamp_ms", "timestamp_ns", "timestamp with time zone"), _timestamp
)
