"""`levain explain`: the messages behind a number, by topic, partition and offset.

Each table says in its YAML where its rows come from (`rows_from`, docs/lineage.md). From the rows asked for, these
declarations lead from table to table, and the lineage of columns says which of them matter to the number, until rows
carry Kafka coordinates. A message that was held, rejected, or a duplicate is behind no number of Gold, since no row of
Silver is made of it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from itertools import count, groupby
from typing import TYPE_CHECKING, Any

import duckdb

from ingest.contracts import load_contracts
from ingest.errors import BadInput, ConfigurationError
from ingest.jsontext import json_text
from ingest.settings import Settings
from levain.project import CONDITION
from levain.read.lineage import find
from levain.read.query import confine, reading
from levain.terminal import detail, emit, errors, printable, say, show_table
from levain.warehouse.columns import Columns, Relation, load_columns
from levain.warehouse.dbt import not_built, one_line, reader

if TYPE_CHECKING:
    from dbt.contracts.graph.manifest import Manifest

COORDINATES = ("kafka_cluster", "topic", "partition", "kafka_offset")

RANGES_SHOWN = 12
"""How many ranges of offsets the table shows of a topic; JSON has all."""

Ranges = dict[str, dict[str, dict[int, list[tuple[int, int]]]]]
"""Topic -> cluster -> partition -> first and last offset of each run of messages."""


def print_explanation(
    settings: Settings,
    name: str,
    where: str = "true",
    *,
    format: str = "table",
    messages: int = 0,
    manifest: Manifest | None = None,
) -> None:
    """Print which messages are behind a column of some rows.

    Args:
        settings: which home.
        name: `table.column`.
        where: SQL condition on the table: of which rows.
        format: `table` or `json`.
        messages: how many of them to print, too, with what is in them.
        manifest: the project, if it was read before.

    Raises:
        BadInput: there is no such column, the condition cannot be read, or no row meets it.
        ConfigurationError: a table does not say where its rows come from.
        LevainError: see `reader`.
    """
    if not settings.duckdb_file.exists():
        raise not_built(settings)
    with errors.status("Reading the models"):
        columns = load_columns(settings, manifest)
    relation, column = find(columns, name)
    try:
        statement, _ = reading(f"select * from {relation.table} where {where}\n")
    except BadInput as error:
        raise BadInput(
            f"The condition cannot be read: {where}",
            f'Write what stands after WHERE in a SELECT: `--where "{CONDITION}"`.',
        ) from error
    with reader(settings) as connection, errors.status("Looking for the messages"):
        confine(connection, settings)
        try:
            connection.execute(f"create temp table asked as {statement}")
            rows, value = _one(connection, f'select count(*), any_value("{column}") from asked')
        except duckdb.Error as error:
            raise BadInput(f"The rows cannot be selected: {one_line(error)}", "Correct the condition.") from error
        if not rows:
            raise BadInput(
                f"No row of {relation.table} meets the condition: {where}",
                f'`levain query "select * from {relation.table} limit 10"` shows some.',
            )
        trace(connection, columns, relation, {column}, "asked")
        found = ranges(connection)
        read = _read(connection, messages)
    total = {
        topic: sum(last - first + 1 for spans in _spans(each) for first, last in spans) for topic, each in found.items()
    }
    if format == "json":
        document = {
            "column": f"{relation.table}.{column}",
            "where": where,
            "rows": rows,
            "topics": [
                {
                    "topic": topic,
                    "messages": total[topic],
                    "partitions": [
                        {"kafka_cluster": cluster, "partition": partition, "offsets": [list(span) for span in spans]}
                        for cluster, partitions in clusters.items()
                        for partition, spans in partitions.items()
                    ],
                }
                for topic, clusters in found.items()
            ],
        }
        if messages:
            document["messages"] = read
        emit(json.dumps(document, indent=2, ensure_ascii=False) + "\n")
        return
    say("column", f"{relation.table}.{column}, {relation.types[column]}")
    say("rows", f"{rows:,}" + (f", its value is {json_text(value)}" if rows == 1 else ""))
    if not found:
        detail("No message is behind it: it is made of reference data, of the calendar, or inferred.")
        return
    show_table(
        "\nMessages behind it",
        ("topic", "messages", "cluster/partition: offsets"),
        [(topic, total[topic], _text(clusters)) for topic, clusters in found.items()],
    )
    for each in read:
        detail()
        detail("{topic}, {kafka_cluster}, partition {partition}, offset {kafka_offset}".format(**each))
        detail(printable(each["value"]))


def trace(
    connection: duckdb.DuckDBPyConnection, columns: Columns, relation: Relation, asked: Iterable[str], rows: str
) -> None:
    """Collect the coordinates of the messages behind some rows in the temporary table `behind`.

    Args:
        connection: to the built tables.
        columns: of the project.
        relation: the rows' table.
        asked: the columns that are asked for.
        rows: a table that holds the rows.

    Raises:
        ConfigurationError: a table on the way does not say where its rows come from, or says what DuckDB refuses.
    """
    connection.execute(
        "create or replace temp table behind "
        '(kafka_cluster varchar, topic varchar, "partition" integer, kafka_offset bigint)'
    )
    numbers = count()

    def follow(relation: Relation, asked: set[str], keys: set[str], rows: str) -> None:
        if set(COORDINATES) <= relation.types.keys():
            connection.execute(f"insert into behind select {_list(COORDINATES)} from {rows}")
            return
        for entry, is_first in _entries(columns, relation, asked | keys):
            source = columns.relations[entry["from"]]
            by = _by(entry)
            name = f"rows_{next(numbers)}"
            try:
                added_up = asked | (keys - by.keys()) if is_first else ()
                query = _rows_of(source, relation, rows, entry, by, added_up)
                connection.execute(f"create temp table {name} as {query}")
            except duckdb.Error as error:
                raise ConfigurationError(
                    f"{relation.name} says in rows_from what DuckDB refuses: {one_line(error)}",
                    f"Correct it in the YAML beside {relation.path}: docs/lineage.md.",
                ) from error
            # what rows are grouped by, further up, decides which rows these are
            grouped = keys | (set(by) & relation.types.keys() if is_first else set())
            follow(source, _in(columns, relation, asked, source), _in(columns, relation, grouped, source), name)
            connection.execute(f"drop table {name}")

    follow(relation, set(asked), set(), rows)


def _in(columns: Columns, relation: Relation, names: Iterable[str], source: Relation) -> set[str]:
    """The columns of a source that columns of a relation are computed from."""
    reached = columns.origins((relation.name, name) for name in sorted(names))
    return {column for place, column in reached if place == source.name}


def _entries(columns: Columns, relation: Relation, asked: set[str]) -> list[tuple[dict[str, Any], bool]]:
    """What of `rows_from` these columns need, and whether it says where the rows come from.

    An entry that names columns is for these alone, which need no other. Of the rest, the first says where the rows come
    from; another is needed where a column's value comes from it, or `always`.
    """
    if relation.rows_from is None:
        raise ConfigurationError(
            f"{relation.table} does not say where its rows come from.",
            f"Add `rows_from` to its YAML beside {relation.path}: docs/lineage.md."
            if relation.path
            else "Ask for a table of Silver, Gold or quality.",
        )
    named = [entry for entry in relation.rows_from if asked & set(entry.get("columns", ()))]
    rest = asked - {column for entry in named for column in entry["columns"]}
    found = [(entry, False) for entry in named]
    if rest or not asked:
        general = [entry for entry in relation.rows_from if "columns" not in entry]
        direct = {name for column in rest for name, _ in columns.sources((relation.name, column))}
        found += [
            (entry, place == 0)
            for place, entry in enumerate(general)
            if place == 0 or entry.get("always") or entry["from"] in direct
        ]
    return found


def _by(entry: Mapping[str, Any]) -> dict[str, str]:
    """Column of the table -> SQL over the rows it comes from that is equal to it."""
    by: dict[str, str] = {}
    for each in entry.get("by", ()):
        by |= each if isinstance(each, dict) else {each: f'"{each}"'}
    return by


def _rows_of(
    source: Relation,
    relation: Relation,
    rows: str,
    entry: Mapping[str, Any],
    by: Mapping[str, str],
    asked: Iterable[str],
) -> str:
    """Query: the rows of a source that rows come from."""
    keys = [f"({sql}) as _by_{place}" for place, sql in enumerate(by.values())]
    same = [f'source._by_{place} is not distinct from this."{column}"' for place, column in enumerate(by)]
    conditions = [relation.conditions.get(column) for column in asked]
    if conditions and all(each is not None and set(each[1]) <= source.types.keys() for each in conditions):
        measured = " or ".join(f"({each[0]})" for each in conditions if each is not None)
    else:
        measured = "true"
    last = ""
    if "last_by" in entry:
        order = ", ".join(f'source."{column}" desc nulls last' for column in entry["last_by"])
        parts = ", ".join(f"source._by_{place}" for place in range(len(by)))
        last = f"qualify row_number() over (partition by {parts} order by {order}) = 1"
    return f"""
        select {_list(source.types, "source")}
        from (select {", ".join(["*", *keys])} from {source.table}) as source
        where
            exists (select 1 from {rows} as this where {" and ".join([*same, f"({entry.get('where', 'true')})"])})
            and ({measured})
        {last}
    """


def ranges(connection: duckdb.DuckDBPyConnection) -> Ranges:
    """What `trace` has collected, as runs of offsets."""
    found: Ranges = {}
    rows = connection.execute(
        'select distinct topic, kafka_cluster, "partition", kafka_offset from behind order by all'
    ).fetchall()
    for (topic, cluster, partition), each in groupby(rows, key=lambda row: row[:3]):
        offsets = [row[3] for row in each]
        for _, run in groupby(enumerate(offsets), key=lambda pair: pair[1] - pair[0]):
            span = [offset for _, offset in run]
            spans = found.setdefault(topic, {}).setdefault(cluster, {}).setdefault(partition, [])
            spans.append((span[0], span[-1]))
    return found


def _spans(clusters: Mapping[str, Mapping[int, Sequence[tuple[int, int]]]]) -> Iterable[Sequence[tuple[int, int]]]:
    return (spans for partitions in clusters.values() for spans in partitions.values())


def _text(clusters: Mapping[str, Mapping[int, Sequence[tuple[int, int]]]]) -> str:
    """Ranges of a topic in a line; of many, the first."""
    left = RANGES_SHOWN
    parts = []
    for cluster, partitions in clusters.items():
        for partition, spans in partitions.items():
            shown = spans[:left]
            left -= len(shown)
            if shown:
                offsets = ", ".join(f"{first}-{last}" if last > first else str(first) for first, last in shown)
                parts.append(f"{cluster}/{partition}: {offsets}")
    more = sum(len(spans) for spans in _spans(clusters)) - (RANGES_SHOWN - left)
    return "; ".join(parts) + (f"; and {more:,} more ranges (--format json has all)" if more else "")


def _read(connection: duckdb.DuckDBPyConnection, limit: int) -> list[dict[str, Any]]:
    """The first messages behind the number, from Bronze."""
    found: list[dict[str, Any]] = []
    tables = {topic: contract.table for topic, contract in load_contracts().items()}
    for (topic,) in connection.execute("select distinct topic from behind order by topic").fetchall() if limit else []:
        cursor = connection.execute(
            f"""
            select kafka_cluster, topic, "partition", "offset" as kafka_offset, value
            from bronze.{tables[topic]} as messages
            where (kafka_cluster, topic, "partition", "offset") in (select {_list(COORDINATES)} from behind)
            order by kafka_cluster, "partition", "offset" limit ?
            """,
            [limit - len(found)],
        )
        names = [column[0] for column in cursor.description or []]
        found += [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
    return found


def _list(names: Iterable[str], table: str = "") -> str:
    return ", ".join(f'{table}."{name}"' if table else f'"{name}"' for name in names)


def _one(connection: duckdb.DuckDBPyConnection, sql: str) -> tuple[Any, ...]:
    row = connection.execute(sql).fetchone()
    assert row is not None
    return row
