"""A data contract drafted from a sample, a CSV or JSON file, and the query that replays the sample as its events.

DuckDB reads the whole file and says what its columns are; from the values come what is required, ranges, enums, and the
digits of decimals. What the contract says, each row of the sample keeps. The query gives columns the names and types
that the contract has: a name in lower case, a decimal with its scale, a day as the timestamp that an event needs.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import yaml
from duckdb.sqltypes import DuckDBPyType

from ingest.contracts import (
    DEEPEST,
    LARGEST_INTEGER,
    MESSAGE_COLUMNS,
    MOST_ITEMS,
    SCALARS,
    load_contract,
    reserved_words,
    time_range,
)
from ingest.errors import BadInput

MADE_UP = "event_id"
"""The identity of events whose sample has none: a replay makes it up from each row's number and content."""

_UUID = "^[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}$"
_EMAIL = "^[^@ ]+@[^@ ]+[.][^@ ]+$"
_IDENTIFIES = re.compile(r"(^|_)(id|uuid|guid|key|nr|no|number|code|ref|reference)$")
_FEW, _OFTEN = 12, 10
"""An enum has at most so many values, and each of them stands for so many rows on average."""
_EVENT_TIMES = ("event_time", "occurred_at", "happened_at", "timestamp", "created_at", "ordered_at", "time", "datetime")
_DIGITS = 15
"""A JSON number is exact to so many."""
_INTEGERS = frozenset(f"{sign}{size}int" for sign in ("", "u") for size in ("tiny", "small", "", "big", "huge")) | {
    "integer",
    "uinteger",
}
_SOME = 1000


@dataclass(frozen=True)
class Choices:
    """What a sample does not say for certain: names of its columns, or of the contract's fields.

    Attributes:
        identity: what tells events apart; `MADE_UP` where no column does.
        event_time: when an event happened.
        key: what events of one Kafka partition share.
    """

    identity: str | None = None
    event_time: str | None = None
    key: str | None = None


@dataclass(frozen=True)
class Draft:
    """A contract and the query that goes with it.

    Attributes:
        contract: its YAML.
        query: the replay of the sample, a SELECT of DuckDB.
        rows: how many the sample has.
        remarks: what was decided that may surprise, a sentence each.
    """

    contract: str
    query: str
    rows: int
    identity: str
    event_time: str
    key: str
    remarks: tuple[str, ...]


@dataclass
class _Column:
    """A field, while it is drafted.

    Attributes:
        sql: gives its value as the contract has it.
        unique: no two rows have the same value, and none has none.
    """

    name: str
    source: str
    kind: str
    sql: str
    required: bool
    unique: bool = False
    options: dict[str, Any] = field(default_factory=dict)
    more: dict[str, Any] = field(default_factory=dict)
    custom: dict[str, Any] = field(default_factory=dict)


Ask = Callable[[str, Sequence[str], str | None], str]
"""What is asked for, the names to choose from, and the one that is likely; returns a name."""


def draft(sample: Path, topic: str, domain: str, choices: Choices = Choices(), ask: Ask | None = None) -> Draft:
    """Draft the contract of a topic from a sample of its events.

    Args:
        sample: a CSV file (`.csv`, `.tsv`, `.txt`), or JSON, one object per line or an array of them.
        topic: the topic's name.
        domain: the system that events come from, in lower case.
        choices: what is known; the rest is guessed, or asked for.
        ask: None: nobody is there to ask.

    Raises:
        BadInput: the file cannot be read or has no rows, a name has no form in a contract, a choice names no column or
            one that does not do, or nothing tells events apart or says when they happened, and nobody is there to ask.
    """
    with closing(duckdb.connect()) as connection, _failures(sample):
        reader = _open(connection, sample)
        (rows,) = connection.execute("select count(*) from sample").fetchone() or (0,)
        if not rows:
            raise BadInput(f"{sample} has no rows.", "Name a file with some events in it.")
        drafting = _Drafting(connection, sample)
        columns = drafting.columns()
        by_name = {each.name: each for each in columns}
        event_time = drafting.event_time(by_name, choices.event_time, ask)
        identity = drafting.identity(by_name, choices.identity, ask)
        key = drafting.key(by_name, choices.key, identity, event_time, ask)
        if identity == MADE_UP and MADE_UP not in by_name:
            columns.insert(0, _Column(MADE_UP, "", "string", "", True, options={"format": "uuid"}))
        for each in columns:
            _name_column(each, identity, event_time)
    contract = _document(sample, topic, domain, columns, identity, event_time, key)
    selected = ",\n".join(f"    {each.sql} as {_quoted(each.name)}" for each in columns if each.sql)
    query = (
        f"-- The rows of {sample.name} as events of {topic}: `levain replay --topic {topic} --sql` and this file.\n"
        f"-- The file is looked for in the current folder, then beside this one.\n"
        f"select\n{selected}\nfrom {reader}\n"
    )
    return Draft(contract, query, rows, identity, event_time, key, tuple(drafting.remarks))


def from_fields(fields: Sequence[str], topic: str, domain: str, choices: Choices = Choices()) -> Draft:
    """Draft the contract of a topic from its fields, each `name:type`, where there is no sample.

    Types are those of a contract's scalars. All fields are required; what tells events apart and says when they
    happened is added (`event_id`, `event_time`) where no field of that name or choice is given.

    Raises:
        BadInput: a field is not written as `name:type`, or a choice names none of them.
    """
    columns: dict[str, _Column] = {}
    for each in fields:
        name, _, kind = (part.strip() for part in each.partition(":"))
        if _name(name) != name or not name or kind not in SCALARS or name in columns:
            raise BadInput(f"The field '{each}' cannot be used.", f"Write name:type, once each: {', '.join(SCALARS)}.")
        columns[name] = _Column(name, "", kind, "", True)
        if kind == "integer" and _IDENTIFIES.search(name):
            columns[name].custom["identifier"] = True
        elif kind == "integer":
            columns[name].options = {"minimum": 0, "maximum": 1_000_000}
        elif kind == "number":
            columns[name].more["physicalType"] = "decimal(12,2)"
    identity, event_time = choices.identity or MADE_UP, choices.event_time or "event_time"
    key = choices.key or next((name for name in columns if name.endswith("_id") and name != identity), identity)
    if event_time not in columns and not choices.event_time:
        columns = {event_time: _Column(event_time, "", "timestamp", "", True), **columns}
    if identity not in columns and not choices.identity:
        columns = {identity: _Column(identity, "", "string", "", True, options={"format": "uuid"}), **columns}
    for option, name, kinds in (
        ("--identity", identity, ("string", "integer")),
        ("--event-time", event_time, ("timestamp",)),
        ("--key", key, ("string", "integer")),
    ):
        if name not in columns or columns[name].kind not in kinds:
            raise BadInput(f"`{option} {name}` is none of the fields that can be it.", f"Give it: {name}:{kinds[0]}.")
    columns[identity].options.pop("minimum", None), columns[identity].options.pop("maximum", None)
    for column in columns.values():
        _name_column(column, identity, event_time)
    contract = _document(None, topic, domain, [*columns.values()], identity, event_time, key)
    return Draft(contract, "", 0, identity, event_time, key, ())


def from_contract(path: Path, query: str = "") -> Draft:
    """A contract that is there, in place of a draft, and the query that replays its sample, if it has one."""
    known = load_contract(path)
    text = path.read_text(encoding="utf-8")
    return Draft(text, query, 0, known.identity, known.event_time, known.key, ())


@contextmanager
def _failures(sample: Path) -> Iterator[None]:
    try:
        yield
    except duckdb.Error as error:
        raise BadInput(
            f"{sample} cannot be read: {' '.join(str(error).splitlines()[0].split())}",
            "Name a CSV file with a header, or JSON: an object per line, or an array of objects.",
        ) from error


def _open(connection: duckdb.DuckDBPyConnection, sample: Path) -> str:
    """Load the sample as the table `sample`. Returns the reader, as a query has it."""
    if not sample.is_file():
        raise BadInput(f"There is no file {sample}.", "Name a CSV or JSON file with `--sample`.")
    ending = sample.suffix.lower()
    if ending in (".csv", ".tsv", ".txt"):
        call = "read_csv({}, sample_size = -1)"
    elif ending in (".json", ".jsonl", ".ndjson"):
        call = "read_json({}, sample_size = -1, maximum_depth = 10, map_inference_threshold = -1)"
    else:
        raise BadInput(
            f"{sample} is neither CSV nor JSON by its name.", "Name a file that ends in .csv, .tsv or .json."
        )
    connection.execute("set timezone = 'UTC'")
    connection.execute(f"create table sample as select * from {call.format(_text(str(sample)))}")
    return call.format(_text(sample.name))


class _Drafting:
    """What the columns of a sample are; collects remarks."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, sample: Path) -> None:
        self.connection, self.sample = connection, sample
        self.remarks: list[str] = []

    def columns(self) -> list[_Column]:
        """Each column of the sample as a field."""
        relation = self.connection.table("sample")
        found: list[_Column] = []
        for source, kind in zip(relation.columns, relation.types, strict=True):
            name = _name(source)
            if not name or name in {each.name for each in found}:
                raise BadInput(
                    f"The column '{source}' of {self.sample} has no name that a contract can have"
                    f"{f' beside another {name}' if name else ''}.",
                    "Rename it: letters, digits and underscores.",
                )
            found.append(self._field(name, source, _quoted(source), kind, "sample", (name,)))
        return found

    def _one(self, sql: str) -> tuple[Any, ...]:
        return self.connection.execute(sql).fetchone() or ()

    def _field(
        self, name: str, source: str, sql: str, kind: DuckDBPyType, rows: str, path: tuple[str, ...], item: bool = False
    ) -> _Column:
        """A value as a field.

        sql: of the value, over the relation `rows`, which has a row for each place that could hold one; item: of an
        array, or a member of one.
        """
        id, table = str(kind.id), f"(select {sql} as v from {rows})"
        if id == "struct" and not item and len(path) <= DEEPEST and kind.children:
            return self._object(name, source, sql, kind, rows, path)
        if id in ("list", "array") and not item:
            return self._array(name, source, sql, kind, rows, path)
        if id in _INTEGERS:
            found = self._integer(name, sql, table, item)
        elif id in ("double", "float", "decimal"):
            found = self._number(sql, table)
        elif id == "boolean":
            found = _Column(name, source, "boolean", sql, False)
        elif id == "date" or id.startswith("timestamp"):
            found = self._time("date" if id == "date" else "timestamp", sql, table)
        else:
            found = self._string(sql, id, table)
        found.name, found.source = name, source
        total, given, different = self._one(
            f"select count(*), count(v), count(distinct v) from (select {found.sql} as v from {rows})"
        )
        found.required, found.unique = given == total > 0, given == total == different
        if found.kind == "string" and "pattern" not in found.options and "format" not in found.options:
            self._enum(found, rows, given, different)
        return found

    def _integer(self, name: str, sql: str, table: str, item: bool) -> _Column:
        low, high = self._one(f"select min(v), max(v) from {table}")
        if max(abs(low), abs(high)) >= 10**18:
            return _Column(name, "", "string", f"cast({sql} as varchar)", False)
        if not item and _IDENTIFIES.search(name):
            return _Column(name, "", "integer", sql, False, custom={"identifier": True})
        if max(abs(low), abs(high)) * 2 <= LARGEST_INTEGER:
            options = {"minimum": int(_lower(low)), "maximum": int(_upper(high))}
            return _Column(name, "", "integer", sql, False, options=options)
        if item:
            return _Column(name, "", "string", f"cast({sql} as varchar)", False)
        return _Column(name, "", "integer", sql, False, custom={"identifier": True})

    def _number(self, sql: str, table: str) -> _Column:
        texts = self.connection.execute(f"select distinct cast(v as varchar) from {table} where isfinite(v::double)")
        values = [Decimal(text) for (text,) in texts.fetchall()]
        (infinite,) = self._one(f"select count(*) from {table} where not isfinite(cast(v as double))")
        finite = f"case when isfinite(cast({sql} as double)) then {sql} end" if infinite else sql
        if not values:
            return _Column(
                "", "", "number", "cast(null as decimal(12, 2))", False, more={"physicalType": "decimal(12,2)"}
            )
        low, high = _lower(min(values)), _upper(max(values))
        whole = max(len(str(int(abs(limit)))) for limit in (low, high))
        scale = max(max(-int(each.normalize().as_tuple().exponent), 0) for each in values)
        if whole > _DIGITS:
            return _Column("", "", "string", f"cast({finite} as varchar)", False)
        if whole + scale > _DIGITS:
            scale = _DIGITS - whole
            self.remarks.append(f"{sql} is rounded to {scale} decimals: a JSON number is exact to {_DIGITS} digits.")
        scale = max(scale, min(2, _DIGITS - whole))
        precision = min(max(whole + scale, 12), _DIGITS)
        exact = f"cast({finite} as decimal({precision}, {scale}))"
        limits = {"minimum": _plain(low), "maximum": _plain(high)}
        return _Column(
            "", "", "number", exact, False, options=limits, more={"physicalType": f"decimal({precision},{scale})"}
        )

    def _time(self, kind: str, sql: str, table: str) -> _Column:
        first, end = time_range()
        low, high = self._one(f"select cast(min(v) as date), cast(max(v) as date) from {table} where isfinite(v)")
        (infinite,) = self._one(f"select count(*) from {table} where not isfinite(v)")
        if infinite or (low is not None and (low < first or high >= end)):
            self.remarks.append(f"{sql} is text: not all of its values lie from {first} to {end - timedelta(days=1)}.")
            return _Column("", "", "string", f"cast({sql} as varchar)", False)
        return _Column("", "", kind, sql, False)

    def _string(self, sql: str, id: str, table: str) -> _Column:
        text = sql if id == "varchar" else f"cast({sql} as varchar)"
        (empty,) = self._one(f"select count(*) from {table} where cast(v as varchar) = ''")
        found = _Column("", "", "string", f"nullif({text}, '')" if empty else text, False)
        values = f"(select nullif(cast(v as varchar), '') as v from {table})"
        total, uuids, emails = self._one(
            f"select count(v), count(*) filter (regexp_matches(v, '{_UUID}')), "
            f"count(*) filter (regexp_matches(v, '{_EMAIL}')) from {values}"
        )
        if total and uuids == total:
            found.options["format"] = "uuid"
        elif total and emails == total:
            found.options["pattern"] = _EMAIL
        return found

    def _enum(self, column: _Column, rows: str, given: int, different: int) -> None:
        if not 1 < different <= _FEW or given < different * _OFTEN or _IDENTIFIES.search(column.name):
            return
        texts = self.connection.execute(f"select distinct {column.sql} as v from {rows} where v is not null order by v")
        values = [text for (text,) in texts.fetchall()]
        if not any(sign in text for text in values for sign in ("'", "\\", "{{", "{%", "{#")):
            column.more["enum"] = [{"value": text, "description": "Seen in the sample."} for text in values]

    def _object(
        self, name: str, source: str, sql: str, kind: DuckDBPyType, rows: str, path: tuple[str, ...]
    ) -> _Column:
        owner = f"o{len(path)}"
        inside = f"(select {sql} as {owner} from {rows} where {sql} is not null)"
        members = self._members(kind, owner, inside, path, item=False)
        total, given = self._one(f"select count(*), count({sql}) from {rows}")
        packed = ", ".join(f"{_quoted(each.name)}: {_inside(each.sql, owner, sql)}" for each in members)
        return _Column(
            name,
            source,
            "object",
            f"case when {sql} is not null then {{{packed}}} end",
            given == total,
            more={"properties": [_property(each) for each in members]},
        )

    def _members(self, kind: DuckDBPyType, owner: str, rows: str, path: tuple[str, ...], item: bool) -> list[_Column]:
        members: list[_Column] = []
        for source, each in kind.children:
            inner = _name(str(source))
            where = ".".join((*path, str(source)))
            if not inner or inner in {member.name for member in members}:
                raise BadInput(
                    f"The field '{where}' of {self.sample} has no name that a contract can have.",
                    "Rename it: letters, digits and underscores.",
                )
            value = f"{owner}.{_quoted(str(source))}"
            members.append(self._field(inner, str(source), value, _type(each), rows, (*path, inner), item))
        return members

    def _array(self, name: str, source: str, sql: str, kind: DuckDBPyType, rows: str, path: tuple[str, ...]) -> _Column:
        items = f"(select unnest({sql}) as item from {rows})"
        child = _type(kind.children[0][1])
        total, given, most = self._one(f"select count(*), count({sql}), coalesce(max(len({sql})), 0) from {rows}")
        present = f"(select item from {items} where item is not null)"
        if str(child.id) == "struct" and child.children:
            members = self._members(child, "item", present, path, item=True)
            packed = "{" + ", ".join(f"{_quoted(each.name)}: {each.sql}" for each in members) + "}"
            holds: dict[str, Any] = {"logicalType": "object", "properties": [_property(each) for each in members]}
        else:
            one = self._field("item", "", "item", child, present, path, item=True)
            packed = one.sql
            holds = {
                key: value for key, value in _property(one).items() if key not in ("name", "required", "description")
            }
            # an empty text is no item, as it is no value elsewhere
            sql = f"list_transform({sql}, lambda item: {packed})" if packed != "item" else sql
            packed = "item"
        each = f"list_filter({sql}, lambda item: item is not null)"
        each = each if packed == "item" else f"list_transform({each}, lambda item: {packed})"
        limit = min(int(_upper(max(most, 5))), MOST_ITEMS)
        if most > MOST_ITEMS:
            raise BadInput(
                f"{'.'.join(path)} of {self.sample} has {most} items in one event.", f"At most {MOST_ITEMS} fit."
            )
        return _Column(name, source, "array", each, given == total, options={"maxItems": limit}, more={"items": holds})

    def event_time(self, columns: dict[str, _Column], wanted: str | None, ask: Ask | None) -> str:
        """The field that says when an event happened, which is a timestamp from here on."""
        able = [each.name for each in columns.values() if each.required and each.kind in ("timestamp", "date")]
        likely = sorted(able, key=lambda name: (columns[name].kind == "date", _place(name, _EVENT_TIMES)))
        name = self._chosen("event time", "--event-time", wanted, columns, able)
        if name is None and (len(likely) == 1 or (likely and ask is None)):
            name = likely[0]
        if name is None and likely and ask is not None:
            name = ask("Which column says when an event happened?", able, likely[0])
        if name is None:
            raise BadInput(
                f"No column of {self.sample} has a time in every row, so nothing says when an event happened.",
                "Add a column with a date or a timestamp, such as 2026-01-31 09:58:11.",
            )
        column = columns[name]
        if column.kind == "date":
            self.remarks.append(f"{name} has days: events happen at midnight UTC.")
            column.kind, column.sql = "timestamp", f"cast({column.sql} as timestamp)"
        return name

    def identity(self, columns: dict[str, _Column], wanted: str | None, ask: Ask | None) -> str:
        """The field that tells events apart."""
        able = [each.name for each in columns.values() if each.unique and each.kind in ("string", "integer")]
        likely = [name for name in able if _IDENTIFIES.search(name) or columns[name].options.get("format") == "uuid"]
        if wanted == MADE_UP and MADE_UP not in columns:
            return MADE_UP
        name = self._chosen("identity", "--identity", wanted, columns, able)
        if name is None and likely:
            name = sorted(likely, key=lambda name: not re.search(r"(^|_)(id|uuid|guid)$", name))[0]
        if name is None and ask is not None:
            name = ask(
                f"Which column is different in every event? ({MADE_UP}: none; it is made up when the file is replayed)",
                [*able, MADE_UP],
                MADE_UP,
            )
        if name is None:
            others = f"{', '.join(able)} may be one by chance: name it. " if able else ""
            raise BadInput(
                f"No column of {self.sample} is an id: one that is different in every row, by which a copy "
                "of an event is recognised.",
                f"{others}Add a column with an id, or say `--identity {MADE_UP}`: the field is then in the contract, "
                "your producers send a UUID in it, and a replay makes it up from each row's number and content.",
            )
        if columns.get(name) and columns[name].kind == "integer":
            columns[name].options, columns[name].custom = {}, {}
        if name in columns:
            columns[name].more.pop("enum", None)
        return name

    def key(
        self, columns: dict[str, _Column], wanted: str | None, identity: str, event_time: str, ask: Ask | None
    ) -> str:
        """The field that events of one Kafka partition share."""
        able = [each.name for each in columns.values() if each.kind in ("string", "integer")]
        shared = [name for name in able if name != identity and columns[name].required and not columns[name].unique]
        likely = [name for name in shared if re.search(r"(^|_)id$", name)] or [identity]
        name = self._chosen("key", "--key", wanted, columns, [*able, identity])
        if name is None and ask is not None and shared:
            name = ask("Which column shall keep its events in order (the Kafka key)?", [*shared, identity], likely[0])
        return name or likely[0]

    def _chosen(
        self, what: str, option: str, wanted: str | None, columns: dict[str, _Column], able: Sequence[str]
    ) -> str | None:
        if wanted is None:
            return None
        name = wanted if wanted in able else _name(wanted)
        if name in able:
            return name
        why = {
            "identity": "is not different in every row, or no text or integer",
            "event time": "does not have a date or a timestamp in every row",
            "key": "is no text or integer",
        }[what]
        known = {*columns, *(each.source for each in columns.values())}
        raise BadInput(
            f"The column {wanted} of {self.sample} {why}."
            if wanted in known
            else f"{self.sample} has no column {wanted}.",
            f"`{option}` takes one of: {', '.join(able) or 'none of its columns will do'}.",
        )


def _type(kind: Any) -> DuckDBPyType:
    return kind if isinstance(kind, DuckDBPyType) else DuckDBPyType(kind)


def _inside(sql: str, owner: str, value: str) -> str:
    """The SQL of a member of `owner`, where that is the value of another expression."""
    return re.sub(rf"(?<![\w\"']){owner}(?=\.\")", lambda _: f"({value})", sql)


def _place(name: str, names: Sequence[str]) -> int:
    found = [place for place, each in enumerate(names) if name == each]
    return found[0] if found else len(names) + (not name.endswith(("_at", "_time")))


def _name(text: str) -> str:
    """A column's name as a field's: lower case letters, digits, underscores."""
    plain = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", text)
    plain = re.sub(r"[^a-z0-9]+", "_", plain.lower()).strip("_")
    return f"n{plain}" if plain[:1].isdigit() else plain


def _lower(value: Decimal | int) -> Decimal:
    """A limit below all that was seen: 0, or twice as far below it."""
    return Decimal(0) if value >= 0 else -_upper(-value)


def _upper(value: Decimal | int) -> Decimal:
    """A limit above all that was seen: the next 1, 2 or 5 of a power of ten after twice as much; 0 below it."""
    if value <= 0:
        return Decimal(0 if value < 0 else 10)
    wanted, power = 2 * Decimal(value), Decimal(10)
    while True:
        for step in (1, 2, 5):
            if power * step >= wanted:
                return power * step
        power *= 10


def _plain(limit: Decimal) -> int:
    return int(limit)


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _text(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _name_column(each: _Column, identity: str, event_time: str) -> None:
    """Give a field whose name no column can have another column's name."""
    taken = {"fields", "verdict", *MESSAGE_COLUMNS} - ({"event_id"} if identity == "event_id" else set())
    taken -= {"event_time"} if event_time == "event_time" else set()
    if each.kind != "object" and (each.name in taken or each.name in reserved_words()):
        each.custom["column"] = f"{each.name}_value"


def _property(each: _Column) -> dict[str, Any]:
    """A field as the standard writes it."""
    words = each.name.replace("_", " ")
    found: dict[str, Any] = {"name": each.name, "logicalType": each.kind}
    if "physicalType" in each.more:
        found["physicalType"] = each.more["physicalType"]
    if each.required:
        found["required"] = True
    found["description"] = f"{words[:1].upper()}{words[1:]}; say what it means."
    if each.options:
        found["logicalTypeOptions"] = each.options
    found |= {name: value for name, value in each.more.items() if name != "physicalType"}
    if each.custom:
        found["customProperties"] = [{"property": name, "value": value} for name, value in each.custom.items()]
    return found


def _document(
    sample: Path | None, topic: str, domain: str, columns: list[_Column], identity: str, event_time: str, key: str
) -> str:
    seen = f", as in {sample.name}" if sample else ""
    properties = [_property(each) for each in columns]
    for each in properties:
        if each["name"] == identity:
            each["primaryKey"] = True
    document = {
        "apiVersion": "v3.1.0",
        "kind": "DataContract",
        "id": f"{domain}.{topic}",
        "name": topic,
        "version": "1.0.0",
        "status": "active",
        "domain": domain,
        "description": {"purpose": f"Events of {topic}."},
        "schema": [
            {
                "name": topic.replace("-", "_"),
                "physicalName": topic,
                "physicalType": "topic",
                "logicalType": "object",
                "description": f"An event of {topic}{seen}; say what happened.",
                "dataGranularityDescription": f"one event of {topic}",
                "customProperties": [
                    {"property": "key", "value": key},
                    {"property": "identity", "value": identity},
                    {"property": "eventTime", "value": event_time},
                    {"property": "partitions", "value": 3},
                ],
                "properties": properties,
            }
        ],
    }
    head = "# A draft: read it, correct it, and say what each field means.\n"
    return head + yaml.safe_dump(document, sort_keys=False, allow_unicode=True, width=110)
