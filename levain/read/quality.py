"""`levain quality`: what the quality tables say, for a person: scores, failed rules, freshness, late events, anomalies.

Everything is read from the tables of schema `quality`. The clock is read for one thing only: how long ago something
landed from a source, against what its contract promises.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from dataclasses import asdict, dataclass, field
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb

from ingest.contracts import Contract, Field, load_contracts
from ingest.errors import BadInput, StateError
from ingest.jsontext import json_object
from ingest.settings import Settings
from levain.terminal import console, emit, errors, say, show_table
from levain.warehouse.dbt import VERDICTS, reader, rows_of

RULES_SHOWN = 5
"""Per topic, the rules that most messages failed."""

ANOMALIES_SHOWN = 30
"""The newest; the JSON has all."""

EXAMPLE_LETTERS = 80
LATE = ("late_within_48_hours", "held_too_late", "held_in_future", "held_for_reference", "released")


@dataclass
class Rule:
    """A rule that messages of a topic failed, or are held for.

    Attributes:
        meaning: what it asks for, in words.
        example: what the newest of these messages has in the fields that the rule is about.
        place: that message's coordinates.
    """

    name: str
    verdict: str
    messages: int
    meaning: str
    example: str
    place: str


@dataclass
class Freshness:
    """How long ago something came from a source.

    Attributes:
        landed_at: when its newest commit into Bronze was; None: nothing has landed.
        last_event_at: of its accepted events.
        hours: from `landed_at` until the report.
        limit_hours: twice the `frequency` of its contract; None: it promises none.
    """

    landed_at: datetime | None
    last_event_at: datetime | None
    hours: Decimal | None
    limit_hours: int | None

    @property
    def state(self) -> str:
        """`fresh` or `stale`; `no events` where nothing has landed, `no limit` where nothing is promised."""
        if self.hours is None:
            return "no events"
        if self.limit_hours is None:
            return "no limit"
        return "stale" if self.hours > self.limit_hours else "fresh"


@dataclass
class Day:
    """A day of a topic's events: accepted ones, and the average score of all messages (None without messages)."""

    day: date
    accepted: int
    score: Decimal | None
    is_complete: bool


@dataclass
class Anomaly:
    """A row of `quality_anomalies`."""

    day: date
    topic: str
    field: str | None
    metric: str
    category: str | None
    events: int
    value: Decimal
    expected: Decimal
    expected_low: Decimal
    expected_high: Decimal
    direction: str
    score: Decimal

    @property
    def what(self) -> str:
        """What is measured, such as `share of payment_method = voucher`."""
        category = f" = {self.category}" if self.category else ""
        return f"{self.metric} of {self.field}{category}" if self.field else self.metric

    @property
    def words(self) -> str:
        """The same in words."""
        return {
            "volume": "Accepted events",
            "freshness": "Hours since the last accepted event",
            "score": "Average quality score",
            "null_share": f"Share of events without {self.field}",
            "distinct": f"Different values of {self.field}",
            "mean": f"Mean of {self.field}",
            "share": f"Share of events with {self.field} = {self.category}",
        }[self.metric]


def _average(total: int, messages: int) -> Decimal | None:
    return round(Decimal(total) / messages, 2) if messages else None


@dataclass
class Topic:
    """All about one topic.

    Attributes:
        scores: sum of its messages' quality scores.
        verdicts: verdict -> messages.
        late: of messages that were not rejected, see `quality_late_arrivals`.
    """

    name: str
    title: str
    messages: int
    scores: int
    verdicts: dict[str, int]
    freshness: Freshness
    late: dict[str, int]
    rules: list[Rule] = field(default_factory=list)
    days: list[Day] = field(default_factory=list)

    @property
    def score(self) -> Decimal | None:
        """Average of its messages; None without messages."""
        return _average(self.scores, self.messages)


@dataclass
class Series:
    """The days of one metric that has an anomaly: day and value, oldest first, and those anomalies."""

    topic: str
    values: list[tuple[date, Decimal]]
    anomalies: list[Anomaly]


@dataclass
class Report:
    """What `read` found; anomalies and series come newest first."""

    as_of: datetime
    build: int
    topics: list[Topic]
    anomalies: list[Anomaly]
    series: list[Series]

    @property
    def messages(self) -> int:
        return sum(topic.messages for topic in self.topics)

    @property
    def accepted(self) -> int:
        return sum(topic.verdicts["accepted"] for topic in self.topics)

    @property
    def score(self) -> Decimal | None:
        """Average score of all messages."""
        return _average(sum(topic.scores for topic in self.topics), self.messages)

    @property
    def stale(self) -> list[Topic]:
        """Topics of which nothing has landed for longer than their contract allows."""
        return [topic for topic in self.topics if topic.freshness.state == "stale"]

    @property
    def fresh(self) -> int:
        """How many topics are neither stale nor without events."""
        return sum(topic.freshness.state in ("fresh", "no limit") for topic in self.topics)


def read(settings: Settings, as_of: datetime | None = None) -> Report:
    """Read the quality tables.

    Args:
        settings: which home.
        as_of: the time of the report, UTC; None: now.

    Raises:
        LevainError: nothing was built yet, a quality table is missing, or the tables cannot be read.
    """
    as_of = as_of or datetime.now(UTC)
    contracts = load_contracts()
    with reader(settings) as connection:
        topics = _topics(connection, contracts, as_of)
        _add_days(connection, topics)
        _add_rules(connection, topics, contracts)
        anomalies = [
            Anomaly(*row)
            for row in _rows(
                connection,
                "quality_anomalies",
                """
                select event_date, topic, field, metric, category, events, value, expected, expected_low, expected_high,
                    direction, score
                from {} order by event_date desc, score desc, topic, metric, field, category
                """,
            )
        ]
        series = _series(connection, anomalies[:ANOMALIES_SHOWN])
        found = rows_of(connection, "meta", "builds", "select coalesce(max(build), 0) from {}")
        return Report(as_of, found[1][0][0] if found else 0, list(topics.values()), anomalies, series)


def run(settings: Settings, *, format: str = "table", html: Path | None = None) -> None:
    """Print the report, or write it as one HTML file.

    Raises:
        LevainError: see `read`; the file cannot be written.
    """
    if html is not None and not html.parent.is_dir():
        raise BadInput(f"There is no folder {html.parent}.", "Make it, or name another file.")
    with errors.status("Reading the quality tables"):
        report = read(settings)
    if html is not None:
        from levain.read.quality_page import page

        html.write_text(page(report), encoding="utf-8")
        say("quality", str(html))
    elif format == "json":
        emit(as_json(report) + "\n")
    else:
        _print(report)


def as_json(report: Report) -> str:
    """The report as one JSON object, numbers exact."""
    document = {
        "as_of": report.as_of,
        "build": report.build,
        "messages": report.messages,
        "score": report.score,
        "topics": [
            {
                **asdict(topic),
                "score": topic.score,
                "freshness": {**asdict(topic.freshness), "state": topic.freshness.state},
            }
            for topic in report.topics
        ],
        "anomalies": [asdict(anomaly) for anomaly in report.anomalies],
    }
    return json_object(document)


def _rows(connection: duckdb.DuckDBPyConnection, table: str, sql: str) -> list[tuple[Any, ...]]:
    found = rows_of(connection, "quality", table, sql)
    if found is None:
        raise StateError(f"There is no quality.{table}.", "`levain build` builds it.")
    return found[1]


def _topics(connection: duckdb.DuckDBPyConnection, contracts: dict[str, Contract], as_of: datetime) -> dict[str, Topic]:
    verdicts = ", ".join(f"cast(sum({name}) as bigint)" for name in ("messages", *VERDICTS, "quality_scores"))
    counted = {
        topic: counts
        for topic, *counts in _rows(connection, "quality_messages", f"select topic, {verdicts} from {{}} group by 1")
    }
    late = {
        topic: counts
        for topic, *counts in _rows(
            connection,
            "quality_late_arrivals",
            f"select topic, {', '.join(f'cast(sum({name}) as bigint)' for name in LATE)} from {{}} group by 1",
        )
    }
    fresh = {
        topic: times
        for topic, *times in _rows(
            connection, "quality_freshness", "select topic, last_ingested_at, last_accepted_event_time from {}"
        )
    }
    topics = {}
    for name, contract in contracts.items():
        messages, *parts, scores = counted.get(name, [0] * (len(VERDICTS) + 2))
        landed_at, last_event_at = fresh.get(name, (None, None))
        hours = round(Decimal((as_of - landed_at).total_seconds()) / 3600, 1) if landed_at else None
        limit = None if contract.frequency_hours is None else 2 * contract.frequency_hours
        topics[name] = Topic(
            name=name,
            title=contract.description.replace("`", ""),
            messages=messages,
            scores=scores,
            verdicts=dict(zip(VERDICTS, parts, strict=True)),
            freshness=Freshness(landed_at, last_event_at, hours, limit),
            late=dict(zip(LATE, late.get(name, [0] * len(LATE)), strict=True)),
        )
    return topics


def _add_days(connection: duckdb.DuckDBPyConnection, topics: dict[str, Topic]) -> None:
    sql = """
        select
            topic, event_date, cast(max(value) filter (where metric = 'volume') as bigint),
            round(max(value) filter (where metric = 'score'), 2), bool_and(is_complete)
        from {} where field is null group by all order by topic, event_date
    """
    for topic, *day in _rows(connection, "quality_metrics", sql):
        if topic in topics:
            topics[topic].days.append(Day(*day))


def _add_rules(connection: duckdb.DuckDBPyConnection, topics: dict[str, Topic], contracts: dict[str, Contract]) -> None:
    sql = """
        select
            topic, rule, verdict, count(*),
            max_by(
                {{'cluster': kafka_cluster, 'partition': "partition", 'offset': kafka_offset, 'payload': payload}},
                (received_at, kafka_cluster, "partition", kafka_offset)
            )
        from (select *, unnest(string_split(failed_rules, ',')) as rule from {} where failed_rules <> '')
        group by all order by topic, count(*) desc, rule, verdict
    """
    for name, rule, verdict, messages, newest in _rows(connection, "quality_rejects", sql):
        if name in topics and len(topics[name].rules) < RULES_SHOWN:
            contract = contracts[name]
            topics[name].rules.append(
                Rule(
                    rule,
                    verdict,
                    messages,
                    meaning(contract, rule),
                    example(contract, rule, newest["payload"]),
                    f"{newest['cluster']}, partition {newest['partition']}, offset {newest['offset']}",
                )
            )


def _series(connection: duckdb.DuckDBPyConnection, anomalies: list[Anomaly]) -> list[Series]:
    grouped: dict[tuple[str, str, str, str], list[Anomaly]] = defaultdict(list)
    for each in anomalies:
        grouped[each.topic, each.metric, each.field or "", each.category or ""].append(each)
    found = []
    for key, mine in grouped.items():
        values = connection.execute(
            "select event_date, value from quality.quality_metrics where is_complete and topic = ? and metric = ? "
            "and coalesce(field, '') = ? and coalesce(category, '') = ? order by event_date",
            key,
        ).fetchall()
        found.append(Series(mine[0].topic, values, mine))
    return found


_MESSAGE_RULES = {
    "message_not_utf8": "the message is text in UTF-8",
    "message_tombstone": "the message has a value",
    "message_malformed": "the message is one JSON object",
    "incomplete": "enough of the optional fields are there",
    "event_too_late": "received at most 48 hours after the event; held until released",
    "event_in_future": "received at most 10 minutes before the event; held until released",
}


def meaning(contract: Contract, rule: str) -> str:
    """What a rule of a topic asks for, in words."""
    if rule in _MESSAGE_RULES:
        return _MESSAGE_RULES[rule]
    for each in contract.rules:
        if each.name == rule:
            return each.description
    named = _field_of(contract, rule)
    if named is None:
        return ""
    about = rule.removeprefix(f"{named.name}_")
    match about:
        case "missing":
            return f"{named.name} is there"
        case "invalid":
            return f"{named.name} is a {named.format or named.logical_type}"
        case "out_of_range" if named.logical_type in ("integer", "number"):
            return f"{named.name} is {_between(named)}"
        case "out_of_range":
            return f"{named.name} lies in the range of times"
        case "not_allowed" if named.allowed:
            return f"{named.name} is one of {', '.join(named.allowed)}"
        case "malformed" if named.pattern:
            return f"{named.name} matches {named.pattern}"
        case "unknown":
            return f"{named.name} is known; held until it is"
    return f"items of {named.name}: {about.replace('_', ' ')}"


def _between(field: Field) -> str:
    if field.minimum is None or field.maximum is None:
        return f"at most {field.maximum:,}" if field.minimum is None else f"at least {field.minimum:,}"
    return f"{field.minimum:,} to {field.maximum:,}"


def _field_of(contract: Contract, rule: str) -> Field | None:
    """The field that a rule is named after: the longest name that it begins with."""
    named = [each for each in contract.fields if rule.startswith(f"{each.name}_")]
    return max(named, key=lambda each: len(each.name), default=None)


def example(contract: Contract, rule: str, payload: str | None) -> str:
    """What a message has in the fields that a rule is about, and nothing else of it, which may be personal."""
    fields = [each for each in contract.columns if _is_about(contract, rule, each)]
    try:
        event = json.loads(payload or "")
    except ValueError:
        event = None
    if not isinstance(event, dict) or not fields:
        return ""
    return ", ".join(f"{each.name} = {_shortened(each.value_in(event))}" for each in fields)


def _is_about(contract: Contract, rule: str, field: Field) -> bool:
    for each in contract.rules:
        if each.name == rule:
            return re.search(rf"\b{field.column}\b", each.expression) is not None
    if rule in ("event_too_late", "event_in_future"):
        return field.name == contract.event_time
    return field == _field_of(contract, rule)


def _shortened(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= EXAMPLE_LETTERS else f"{text[: EXAMPLE_LETTERS - 1]}…"


def _print(report: Report) -> None:
    show_table(
        "Topics",
        ("topic", "score", *VERDICTS, "messages", "late or early", "anomalies"),
        [
            (
                *(topic.name, topic.score, *topic.verdicts.values(), topic.messages),
                sum(topic.late.values()) - topic.late["held_for_reference"],
                sum(anomaly.topic == topic.name for anomaly in report.anomalies),
            )
            for topic in report.topics
        ],
    )
    show_table(
        "\nFreshness",
        ("topic", "state", "landed (UTC)", "hours ago", "limit, hours", "last accepted event (UTC)"),
        [
            (
                *(topic.name, topic.freshness.state, short(topic.freshness.landed_at), topic.freshness.hours),
                *(topic.freshness.limit_hours, short(topic.freshness.last_event_at)),
            )
            for topic in report.topics
        ],
    )
    rules = [(topic.name, rule) for topic in report.topics for rule in topic.rules]
    if rules:
        show_table(
            "\nRules that messages fail, or are held for",
            ("topic", "rule", "verdict", "messages", "newest example", "where"),
            [(name, rule.name, rule.verdict, rule.messages, rule.example, rule.place) for name, rule in rules],
        )
    if report.anomalies:
        shown = report.anomalies[:ANOMALIES_SHOWN]
        show_table(
            f"\nAnomalies, {'all' if len(shown) == len(report.anomalies) else f'the newest {len(shown)}'} of "
            f"{len(report.anomalies)}",
            ("day", "topic", "what", "", "value", "expected", "score"),
            [
                (
                    *(str(each.day), each.topic, each.what, each.direction, rounded(each.value)),
                    *(f"{rounded(each.expected_low)} to {rounded(each.expected_high)}", each.score),
                )
                for each in shown
            ],
        )
    console.print()
    say("score", f"{report.score} of 100 over {report.messages:,} messages" if report.messages else "no messages yet")
    say("fresh", f"{report.fresh} of {len(report.topics)} sources")
    say("anomalies", f"{len(report.anomalies):,}")


def rounded(value: Decimal) -> str:
    """A number as people read it: whole from 100 on, else with three decimals at most."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:,.3f}".rstrip("0").rstrip(".")


def short(moment: datetime | None) -> str:
    """A moment to the minute; empty for none."""
    return f"{moment:%Y-%m-%d %H:%M}" if moment else ""
