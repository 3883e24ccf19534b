"""The rows of a DuckDB query over any file (CSV, Parquet, JSON), as events into a topic."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from datetime import UTC, date, datetime
from datetime import time as time_of_day
from pathlib import Path
from typing import Any
from uuid import NAMESPACE_URL, uuid5

import duckdb

from ingest.contracts import Contract, contract_for
from ingest.errors import LevainError
from ingest.jsontext import JsonText, json_object, json_timestamp, utc
from ingest.publish import RECEIVED_AT, Headers, Publisher
from ingest.settings import Settings

_ROWS_AT_ONCE = 1000
_AS_TIMESTAMP = ("TIMESTAMP WITH TIME ZONE", "TIMESTAMP_S", "TIMESTAMP_MS", "TIMESTAMP_NS")
_AS_TEXT = ("BLOB", "BIT", "TIME", "TIME WITH TIME ZONE", "TIME_NS", "INTERVAL")


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
        sql_file: a file with a SELECT; other statements may stand before it. A relative path in it is looked for in
            the current folder, then in the folder of the SQL file.
        rate: events a second; 0: as fast as the broker takes them.
        progress: called now and then with the number of events handed over.

    Returns:
        How many events were published; all of them are acknowledged.

    Raises:
        LevainError: the topic has no contract, the file or the query cannot be used, the broker cannot be reached or
            has no such topic, or an event was not acknowledged.
    """
    contract = contract_for(topic)
    sent = 0
    with closing(duckdb.connect()) as connection:
        rows = read_rows(connection, contract, sql_file)
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

    Raises:
        LevainError: a value has no JSON form.
    """
    try:
        text = json_object({name: _plain(value) for name, value in row.items()})
    except (KeyError, TypeError) as error:
        raise LevainError(
            f"Row {number} of the query has a value that has no JSON form: {error}.", "Cast that column in the query."
        ) from error
    if contract.identity not in row:
        identity = uuid5(NAMESPACE_URL, f"levain:replay/{contract.topic}/{number}/{text}")
        text = f'{{"{contract.identity}": "{identity}", {text[1:]}'
    key = row.get(contract.key)
    moment = _moment(row.get(contract.event_time))
    headers = [] if moment is None else [(RECEIVED_AT, json_timestamp(moment).encode())]
    return None if key is None else str(key).encode(), text.encode(), headers


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return utc(value)
    if isinstance(value, Mapping):
        return {name: _plain(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    return value


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


def read_rows(connection: duckdb.DuckDBPyConnection, contract: Contract, sql_file: Path) -> Iterator[dict[str, Any]]:
    """The rows of the query, some at a time.

    Raises:
        LevainError: the file or the query cannot be used.
    """
    sql = _read(sql_file)
    sent = 0
    try:
        connection.execute("set threads = 1")
        connection.execute("set timezone = 'UTC'")
        connection.execute("set file_search_path = ?", [str(sql_file.resolve().parent)])
        relation = connection.sql(sql)
        if relation is None:
            raise LevainError(f"{sql_file} does not end in a SELECT.", "Its last statement gives the rows to replay.")
        _check_columns(contract, relation.columns, sql_file)
        types = [str(kind) for kind in relation.types]
        names = relation.columns
        cursor = connection.execute(relation.project(", ".join(map(_column, names, types))).sql_query())
        while rows := cursor.fetchmany(_ROWS_AT_ONCE):
            for row in rows:
                yield {
                    name: JsonText(value) if kind == "JSON" and value is not None else value
                    for name, kind, value in zip(names, types, row, strict=True)
                }
                sent += 1
    except duckdb.Error as error:
        before = f" after {sent} rows" if sent else ""
        raise LevainError(
            f"The query in {sql_file} failed{before}: {_one_line(error)}",
            "Correct the query, or the file it reads; a relative path is looked for in the current folder, then in "
            f"{sql_file.resolve().parent}.",
        ) from error


def _one_line(error: duckdb.Error) -> str:
    """DuckDB's message and the line it means, without the excerpt and the arrow below it."""
    message, mark, excerpt = str(error).partition("\n\nLINE ")
    return " ".join(message.split()) + (f" (line {excerpt.split(':')[0]})" if mark else "")


def _read(sql_file: Path) -> str:
    try:
        return sql_file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise LevainError(
            f"The SQL file {sql_file} cannot be read: {reason}.", "Name a file that holds one SELECT."
        ) from error


def _check_columns(contract: Contract, columns: list[str], sql_file: Path) -> None:
    twice = sorted({name for name in columns if columns.count(name) > 1})
    if twice:
        raise LevainError(f"The query in {sql_file} has two columns {twice[0]}.", "Give one of them another name.")
    identity = contract.by_name[contract.identity]
    if identity.name not in columns and identity.logical_type != "string":
        raise LevainError(
            f"The query in {sql_file} has no column {identity.name}, the identity of {contract.topic}.",
            f"Select one: it is of type {identity.logical_type}, so none can be made up.",
        )


def _column(name: str, kind: str) -> str:
    """The column in a type that has one JSON form: zones become UTC, nanoseconds microseconds."""
    quoted = '"' + name.replace('"', '""') + '"'
    if kind in _AS_TIMESTAMP:
        return f"cast({quoted} as timestamp) as {quoted}"
    if kind in _AS_TEXT:
        return f"cast({quoted} as varchar) as {quoted}"
    return quoted
