"""The ledger: what landed in Bronze against what became of it, counted independently of each other.

One side is counted from the Iceberg tables and their watermarks, the other from the tables of verdicts;
`meta.watermarks` says up to which offset they have judged. Per cluster, topic and partition it must hold that

- every row below the landing watermark has an offset of its own, and lies within the covered range;
- the rows of Bronze below the built offset are as many as the messages that have a verdict;
- messages = accepted + duplicate + conflict + rejected + held;
- `quality.quality_messages`, which the models sum up, says the same.

Rows at or above the built offset are not built yet: a number, not an error. Nor is it an error that a build of a part
of the models has judged a topic and `quality.quality_messages` was not built since: it is said.
"""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import asdict, dataclass, field
from typing import Any

import duckdb

from ingest.settings import Settings
from levain.terminal import emit, errors, say, show_table, warn
from levain.warehouse.dbt import VERDICTS, check_bronze, judged_offsets, reader, rows_of

Place = tuple[str, str, int]
"""(cluster alias, topic, partition)"""


@dataclass
class Line:
    """One partition of one topic of one cluster.

    Attributes:
        first: the first offset in Bronze; None if there is none.
        next: the landing watermark: the first offset that has not landed.
        rows: in Bronze.
        offsets: different ones among them.
        built: the first offset that no build has judged.
        judged: rows of Bronze below it.
        verdicts: verdict -> messages.
        messages: that have a verdict.
    """

    kafka_cluster: str
    topic: str
    partition: int
    first: int | None = None
    last: int | None = None
    next: int = 0
    rows: int = 0
    offsets: int = 0
    built: int = 0
    judged: int = 0
    messages: int = 0
    verdicts: dict[str, int] = field(default_factory=lambda: dict.fromkeys(VERDICTS, 0))

    @property
    def place(self) -> str:
        """Its coordinates, as messages name them."""
        return f"{self.kafka_cluster}, {self.topic}, partition {self.partition}"

    @property
    def not_built(self) -> int:
        """Rows that no build has seen yet."""
        return self.rows - self.judged

    @property
    def faults(self) -> list[str]:
        """What does not add up; empty if all does."""
        found = []
        if self.rows != self.offsets:
            found.append(f"Bronze has {self.rows} rows for {self.offsets} offsets")
        if self.last is not None and self.last >= self.next:
            found.append(f"Bronze has offset {self.last}, but the watermark says that {self.next} is the next to land")
        if self.built > self.next:
            found.append(
                f"offsets {self.next} to {self.built - 1} were built and are not in Bronze, "
                "which is older than the built tables"
            )
        if self.judged != self.messages:
            found.append(f"Bronze has {self.judged} rows below the built offset, the models {self.messages} messages")
        if sum(self.verdicts.values()) != self.messages:
            found.append(f"{self.messages} messages are not {_parts(self.verdicts)}")
        return found


@dataclass
class Ledger:
    """What `take` counted.

    Attributes:
        lines: one per partition.
        rules: topic -> rule -> how often it is among the failed ones of a message.
        unbuilt: which parts no build has built yet, in words.
        miscounted: where `quality.quality_messages` says something else than the verdicts, in words.
    """

    lines: list[Line]
    rules: dict[str, dict[str, int]]
    unbuilt: list[str] = field(default_factory=list)
    miscounted: list[str] = field(default_factory=list)

    @property
    def faults(self) -> list[str]:
        """What does not add up, each with its place."""
        return [f"{line.place}: {fault}" for line in self.lines for fault in line.faults] + self.miscounted

    @property
    def not_built(self) -> int:
        """Rows of Bronze that no build has seen yet."""
        return sum(line.not_built for line in self.lines)

    @property
    def sums(self) -> str:
        """The whole in one line."""
        parts = [f"{sum(line.verdicts[verdict] for line in self.lines):,} {verdict}" for verdict in VERDICTS]
        messages = sum(line.messages for line in self.lines)
        return f"{messages:,} messages = {' + '.join(parts)}; {self.not_built:,} not built yet"


def take(settings: Settings) -> Ledger:
    """Count both sides.

    Raises:
        LevainError: Bronze has no tables, nothing was built yet, or a build holds the tables.
    """
    from ingest.catalog import load_bronze, open_catalog, watermarks

    # The tables first, Bronze after: what lands between the two is "not built yet".
    with reader(settings) as connection:
        built = judged_offsets(connection)
        lines: dict[Place, Line] = {}
        catalog = open_catalog(settings)
        for name, location in check_bronze(settings):
            for place, offset in watermarks(load_bronze(catalog, name)).items():
                lines[place] = Line(*place, next=offset)
            _count(connection, location, built, lines)
        for place, offset in built.items():
            lines.setdefault(place, Line(*place)).built = offset
        models = dict(_pairs(connection, "watermarks", "topic, max(model)"))
        for model in models.values():
            _count_verdicts(connection, model, lines)
        sums = _sums(connection)
        for place in sums:
            lines.setdefault(place, Line(*place))
        counted = [lines[place] for place in sorted(lines)]
        return Ledger(counted, _rules(connection), *_compare(connection, models, sums, counted))


def print_ledger(settings: Settings, *, format: str = "table") -> bool:
    """Print the ledger; True if it adds up, else each fault is named on stderr.

    Raises:
        LevainError: see `take`.
    """
    with errors.status("Counting Bronze"):
        ledger = take(settings)
    if format == "json":
        document = {
            "adds_up": not ledger.faults,
            "faults": ledger.faults,
            "partitions": [{**asdict(line), "not_built": line.not_built} for line in ledger.lines],
            "rules": ledger.rules,
            "unbuilt": ledger.unbuilt,
        }
        emit(json.dumps(document, indent=2) + "\n")
    else:
        columns = ("cluster", "topic", "partition", "offsets", "Bronze", "messages", *VERDICTS, "not built")
        rows = [
            (
                *(line.kafka_cluster, line.topic, line.partition, _span(line), line.rows, line.messages),
                *(line.verdicts[verdict] for verdict in VERDICTS),
                line.not_built,
            )
            for line in ledger.lines
        ]
        show_table("", columns, rows)
        for part in ledger.unbuilt:
            say("not built", part)
        if not ledger.faults:
            say("\nadds up", ledger.sums)
    for fault in ledger.faults:
        warn(f"Does not add up: {fault}.", style="red")
    return not ledger.faults


def _count(
    connection: duckdb.DuckDBPyConnection, location: str, built: dict[Place, int], lines: dict[Place, Line]
) -> None:
    connection.execute("create or replace temp table built (cluster varchar, topic varchar, number int, upto bigint)")
    if built:
        connection.executemany("insert into built values (?, ?, ?, ?)", [(*place, n) for place, n in built.items()])
    counted = connection.execute(
        """
        select
            kafka_cluster, bronze.topic, "partition", min("offset"), max("offset"), count(*), count(distinct "offset"),
            count(*) filter (where "offset" < coalesce(upto, 0))
        from iceberg_scan(?) as bronze
        left join built on cluster = kafka_cluster and built.topic = bronze.topic and number = "partition"
        group by kafka_cluster, bronze.topic, "partition"
        """,
        [location],
    ).fetchall()
    for cluster, topic, number, first, last, rows, offsets, judged in counted:
        line = lines.setdefault((cluster, topic, number), Line(cluster, topic, number))
        line.first, line.last, line.rows, line.offsets, line.judged = first, last, rows, offsets, judged


def _sums(connection: duckdb.DuckDBPyConnection) -> dict[Place, tuple[int, dict[str, int]]]:
    """Place -> its messages, and verdict -> messages, as `quality_messages` has them."""
    sql = f'select kafka_cluster, topic, "partition", messages, {", ".join(VERDICTS)} from {{}}'
    found = rows_of(connection, "quality", "quality_messages", sql)
    return {
        (cluster, topic, number): (messages, dict(zip(VERDICTS, verdicts, strict=True)))
        for cluster, topic, number, messages, *verdicts in (found[1] if found else [])
    }


def _compare(
    connection: duckdb.DuckDBPyConnection,
    models: dict[str, str],
    sums: dict[Place, tuple[int, dict[str, int]]],
    counted: list[Line],
) -> tuple[list[str], list[str]]:
    """Which topics no build has judged, and where `quality_messages` says something else than the verdicts.

    Args:
        connection: to the built tables.
        models: topic -> its verdict model, of those that a build has judged.
        sums: see `_sums`.
        counted: every line.

    Returns:
        `unbuilt` and `miscounted` of a ledger.
    """
    unbuilt, miscounted = [], []
    builds = dict(_pairs(connection, "progress", "model, max(build)"))
    summed = min(builds.get(model, 0) for model in ("int_messages__daily", "quality_messages"))
    for topic in sorted({line.topic for line in counted}):
        lines = [line for line in counted if line.topic == topic]
        if topic not in models:
            if rows := sum(line.rows for line in lines):
                unbuilt.append(f"{topic}: no build has judged its {rows:,} messages")
            continue
        differing = []
        for line in lines:
            place = (line.kafka_cluster, topic, line.partition)
            messages, verdicts = sums.get(place, (0, dict.fromkeys(VERDICTS, 0)))
            if (messages, verdicts) != (line.messages, line.verdicts) and not line.faults:
                differing.append(
                    f"{line.place}: {_parts(line.verdicts)}, "
                    f"but quality_messages has {_parts(verdicts)} of {messages} messages"
                )
        if differing and summed < builds.get(models[topic], summed + 1):
            unbuilt.append(f"{topic}: judged, but quality_messages was not built since; `levain build` does")
        else:
            miscounted += differing
    return unbuilt, miscounted


def _parts(verdicts: dict[str, int]) -> str:
    return " + ".join(f"{count} {verdict}" for verdict, count in verdicts.items())


def _pairs(connection: duckdb.DuckDBPyConnection, table: str, columns: str) -> list[tuple[Any, ...]]:
    found = rows_of(connection, "meta", table, f"select {columns} from {{}} group by all")
    return found[1] if found else []


def _count_verdicts(connection: duckdb.DuckDBPyConnection, model: str, lines: dict[Place, Line]) -> None:
    sql = 'select kafka_cluster, topic, "partition", verdict, count(*) from {} group by all'
    found = rows_of(connection, "silver", model, sql)
    for cluster, topic, number, verdict, messages in found[1] if found else []:
        line = lines.setdefault((cluster, topic, number), Line(cluster, topic, number))
        line.messages += messages
        if verdict in line.verdicts:
            line.verdicts[verdict] += messages


def _rules(connection: duckdb.DuckDBPyConnection) -> dict[str, dict[str, int]]:
    found = rows_of(
        connection,
        "quality",
        "quality_rejects",
        "select topic, failed_rules, count(*) from {} where failed_rules <> '' group by all order by all",
    )
    rules: dict[str, Counter[str]] = {}
    for topic, failed, messages in found[1] if found else []:
        for rule in failed.split(","):
            rules.setdefault(topic, Counter())[rule.strip()] += messages
    return {topic: dict(sorted(counts.items())) for topic, counts in rules.items()}


def _span(line: Line) -> str:
    return "" if line.first is None else f"{line.first}-{line.next - 1}"
