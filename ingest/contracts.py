"""The data contracts, one file per topic: the only module that reads them.

A contract is an Open Data Contract Standard 3.1 document (https://bitol-io.github.io/open-data-contract-standard/)
whose one schema object describes a topic's events. What the standard has no word for is a custom property:

========================  =====================================================================================
on the schema object      `key`, `identity`, `eventTime` (names of fields), `partitions`, `minimumCompleteness` (0-100),
                          `encoding` (of the values: `confluent-avro`, `confluent-json-schema`; else they are JSON),
                          `anomalies` (metric, or field and metric -> direction in which it is watched)
on a property             `weight` (its part of the quality score), `column` (its name in the warehouse, where
                          the field's own name will not do), `strict` (true: an unknown reference holds the event),
                          `identifier` (true: an integer that names something, and is never added up)
on a rule                 `weight`
========================  =====================================================================================

Objects are flattened by path: the member `city` of `address` is the field `address_city`. Arrays of scalars or of flat
objects stay one field, whose column holds JSON text.

Of the service level (`slaProperties`) one is known, `frequency`: at least how often something is sent.

What is promised here is checked, so what would not be checked is refused: an unknown option, a misspelt property.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from decimal import Decimal
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import duckdb
import yaml
from open_data_contract_standard.model import (
    DataQuality,
    OpenDataContractStandard,
    SchemaObject,
    SchemaProperty,
    ServiceLevelAgreementProperty,
)
from pydantic import ValidationError

from ingest import rules
from ingest.errors import BadInput, ConfigurationError
from ingest.settings import PROJECT_ROOT

CONTRACTS_DIR = Path(__file__).resolve().parent / "contracts"
SCALARS = ("string", "integer", "number", "boolean", "timestamp", "date")
LOGICAL_TYPES = (*SCALARS, "object", "array")
AVRO, JSON_SCHEMA = ENCODINGS = ("confluent-avro", "confluent-json-schema")
"""How a topic's values may be encoded, in Confluent's wire format, if they are not plain JSON."""
DEEPEST = 8
"""Objects within each other, at most."""

EVENT_COLUMNS = ("event_id", "event_time")
"""Columns every event has, whatever its contract calls identity and event time."""

MESSAGE_COLUMNS = (
    "kafka_cluster",
    "topic",
    "partition",
    "kafka_offset",
    "kafka_timestamp",
    "received_at",
    "ingested_at",
    "ingest_batch_id",
    *EVENT_COLUMNS,
    "event_date",
    "payload_md5",
    "payload",
    "payload_bytes",
    "failed_rules",
    "missing_fields",
    "quality_score",
)
"""Columns of every checked message, whatever its topic: message_columns() in macros/topics/messages.sql."""

MOST_EVENTS = 10**10
"""As many events of a topic as sums hold: what models add up has a type that this many of the largest values fit."""

LARGEST_INTEGER = (2**63 - 1) // MOST_EVENTS
"""Of a field that is counted: `MOST_EVENTS` of it fit a bigint. Numbers always do: decimal(28, s) holds their sums."""

MOST_ITEMS = 10_000
"""Of an array, where a contract limits them."""

METRICS = ("volume", "freshness", "score")
"""Of a topic, that `quality_anomalies` watches."""

FIELD_METRICS = ("null_share", "distinct", "mean", "share")
"""The same of a field: macros/topics/metrics.sql says of which."""

DIRECTIONS = ("both", "falls", "rises", "never")

_OPTIONS = {
    "string": ("format", "pattern"),
    "integer": ("minimum", "maximum"),
    "number": ("minimum", "maximum"),
    "array": ("minItems", "maxItems"),
}
_JINJA = ("{{", "{%", "{#")
_SPARK_WORDS = {"lateral", "minus", "setminus"}
_NAME = re.compile(r"[a-z][a-z0-9_]*")
_TOPIC = re.compile(r"[a-z][a-z0-9_-]*")
_DECIMAL = re.compile(r"decimal\((\d+), ?(\d+)\)")


@dataclass(frozen=True)
class Reference:
    """A field that names a member of another table: `model.column` of the dbt project."""

    model: str
    column: str
    strict: bool
    """True: an event that names an unknown member is held; False: it is accepted, and the member inferred."""


@dataclass(frozen=True)
class Field:
    """One field of the event's JSON object, at any depth; an array is one field, its items have no place of their own.

    Attributes:
        path: names from the event's object down to the field.
        name: the path's names in one, such as `address_city`: what rules and the contract's data call it.
        column: its name in the warehouse; an object has no column, its members have.
        required: the object that holds it must hold it.
        minimum, maximum: of a number; of an array, how many items.
        items: of an array: what each item is, a scalar or an object.
        members: of an object that is an array's item; those of any other object are fields of the contract.
    """

    path: tuple[str, ...]
    column: str
    logical_type: str
    required: bool
    description: str
    weight: int
    minimum: int | Decimal | None = None
    maximum: int | Decimal | None = None
    allowed: tuple[str, ...] | None = None
    format: str | None = None
    pattern: str | None = None
    precision: int = 12
    scale: int = 2
    reference: Reference | None = None
    identifier: bool = False
    """An integer that names something: up to 18 digits, compared with others, never added up."""
    items: Field | None = None
    members: tuple[Field, ...] = ()

    @property
    def name(self) -> str:
        return "_".join(self.path)

    def value_in(self, event: Mapping[str, Any]) -> Any:
        """Its value in an event; None where the event has none."""
        value: Any = event
        for name in self.path:
            value = value.get(name) if isinstance(value, Mapping) else None
        return value

    @property
    def parent(self) -> str | None:
        """The name of the object that holds it; None: the event's own."""
        return "_".join(self.path[:-1]) or None

    @property
    def kind(self) -> rules.Kind:
        """What rules may do with its column; a number only ever has a value within its limits there."""
        match self.logical_type:
            case "integer" if self.identifier:
                return rules.IDENTIFIER
            case "integer":
                return rules.integer(int(self.minimum or 0), int(self.maximum or 0))
            case "number":
                most = Decimal(10) ** (self.precision - self.scale)
                low = -most if self.minimum is None else Decimal(self.minimum)
                high = most if self.maximum is None else Decimal(self.maximum)
                return rules.decimal(low, high, self.precision, self.scale)
            case "boolean":
                return rules.BOOLEAN
            case "timestamp" | "date":
                return rules.TIME
        return rules.TEXT


@dataclass(frozen=True)
class Rule:
    """A business rule over an event's fields: a portable SQL boolean over warehouse columns.

    A rule over a missing value does not fail: what is missing has its own rule.
    """

    name: str
    expression: str
    description: str
    weight: int


@dataclass(frozen=True)
class Contract:
    """What a topic's producers promise, and all that is derived from it."""

    path: Path
    topic: str
    table: str
    system: str
    title: str
    description: str
    grain: str
    version: str
    key: str
    identity: str
    event_time: str
    partitions: int
    minimum_completeness: int
    frequency_hours: int | None
    """At least how often something is sent; None: nothing is promised."""
    encoding: str | None
    """One of `ENCODINGS`; None: the values are JSON."""
    fields: tuple[Field, ...]
    rules: tuple[Rule, ...]
    anomalies: Mapping[str, str]
    """Metric, or `<field>.<metric>` -> one of `DIRECTIONS`, where it is another than usual; fields come first."""

    @cached_property
    def by_name(self) -> dict[str, Field]:
        return {field.name: field for field in self.fields}

    @cached_property
    def columns(self) -> tuple[Field, ...]:
        """The fields that have a column: all but objects."""
        return tuple(field for field in self.fields if field.logical_type != "object")

    @cached_property
    def members(self) -> tuple[Field, ...]:
        """The members of the event's own object."""
        return tuple(field for field in self.fields if len(field.path) == 1)

    def is_always_there(self, field: Field) -> bool:
        """Whether every event must have it: it is required, and so is each object around it."""
        around = [self.by_name["_".join(field.path[:depth])] for depth in range(1, len(field.path))]
        return all(each.required for each in (*around, field))

    @property
    def staging_model(self) -> str:
        return f"stg_{self.system}__{self.table}"


@cache
def time_range() -> tuple[date, date]:
    """The days `[from, to)` in which all times lie, as the models have them: two vars of dbt_project.yml.

    Raises:
        ConfigurationError: the file cannot be read, or a var is missing or no date.
    """
    path = PROJECT_ROOT / "dbt_project.yml"
    try:
        variables = yaml.safe_load(path.read_text(encoding="utf-8"))["vars"]
        first, end = (date.fromisoformat(str(variables[name])) for name in ("time_from", "time_to"))
    except (OSError, yaml.YAMLError, KeyError, TypeError, ValueError) as error:
        raise ConfigurationError(
            f"The range of times cannot be read from {path}: {' '.join(str(error).split())}.",
            'Set the vars `time_from` and `time_to` there, as "yyyy-mm-dd".',
        ) from error
    return first, end


def load_contracts(folder: Path = CONTRACTS_DIR) -> dict[str, Contract]:
    """Read every contract of a folder.

    Returns:
        topic name -> contract, sorted by topic.

    Raises:
        ConfigurationError: there is none, one is malformed, or two claim the same topic or table.
    """
    paths = sorted(folder.glob("*.odcs.yaml"))
    if not paths:
        raise ConfigurationError(
            f"There is no data contract in {folder}.", "Add <topic>.odcs.yaml; docs/adding-a-topic.md shows how."
        )
    contracts = [load_contract(path) for path in paths]
    for attribute in ("topic", "table"):
        seen: dict[str, Path] = {}
        for contract in contracts:
            name = getattr(contract, attribute)
            if name in seen:
                raise ConfigurationError(
                    f"{contract.path.name} and {seen[name].name} both describe the {attribute} '{name}'.",
                    "Remove one of them, or give it another name.",
                )
            seen[name] = contract.path
    return {contract.topic: contract for contract in sorted(contracts, key=lambda c: c.topic)}


def contract_for(topic: str, folder: Path = CONTRACTS_DIR) -> Contract:
    """The contract of one topic.

    Raises:
        BadInput: no contract describes that topic; the known topics are named.
    """
    contracts = load_contracts(folder)
    if topic not in contracts:
        raise BadInput(
            f"No data contract describes the topic '{topic}'.",
            f"Topics with a contract: {', '.join(contracts)}. docs/adding-a-topic.md shows how to add one.",
        )
    return contracts[topic]


def load_contract(path: Path) -> Contract:
    """Read and check one contract.

    Raises:
        ConfigurationError: the file cannot be read or breaks the standard or the project's additions to it; says where.
    """
    try:
        document = OpenDataContractStandard(**_mapping(path))
    except ValidationError as error:
        first = error.errors()[0]
        raise _wrong(path, ".".join(str(part) for part in first["loc"]), first["msg"]) from error
    if not (document.apiVersion or "").startswith("v3."):
        raise _wrong(path, "apiVersion", "must be v3.x of the Open Data Contract Standard")
    if len(document.schema_ or []) != 1:
        raise _wrong(path, "schema", "must hold exactly one object: the topic's event")
    if not document.domain or not _NAME.fullmatch(document.domain):
        raise _wrong(path, "domain", "must name the source system in lower case, such as retail")
    return _contract(path, document, (document.schema_ or [])[0])


def _mapping(path: Path) -> dict[str, Any]:
    try:
        # libyaml is ten times as fast, and each command reads every contract.
        content = yaml.load(path.read_text(encoding="utf-8"), yaml.CSafeLoader)
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"The contract {path} cannot be read: {error}.", "Check the file.") from error
    except yaml.YAMLError as error:
        reason = " ".join(str(error).split())
        raise ConfigurationError(f"The contract {path} is not YAML: {reason}.", "Correct the line it names.") from error
    if not isinstance(content, dict):
        raise _wrong(path, "(top)", "must be a YAML mapping")
    return content


def _contract(path: Path, document: OpenDataContractStandard, schema: SchemaObject) -> Contract:
    known = ("key", "identity", "eventTime", "partitions", "minimumCompleteness", "encoding", "anomalies")
    custom = _custom(path, "schema", schema, known)
    topic = schema.physicalName or ""
    if not _TOPIC.fullmatch(topic):
        raise _wrong(path, "schema.physicalName", "must be the topic's name")
    table = topic.replace("-", "_")
    if not schema.properties:
        raise _wrong(path, "schema.properties", "must list the event's fields")
    fields = tuple(_fields(path, schema.properties, custom.get("identity")))
    columns = [field for field in fields if field.logical_type != "object"]
    for attribute, named in (("name", fields), ("column", columns)):
        names = [getattr(field, attribute) for field in named]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise _wrong(path, "schema.properties", f"{attribute} '{twice[0]}' is duplicated")
    encoding = custom.get("encoding")
    if encoding is not None and encoding not in ENCODINGS:
        raise _wrong(path, "schema.customProperties.encoding", f"must be one of {', '.join(ENCODINGS)}, or absent")
    by_name = {field.name: field for field in columns if field.logical_type != "array" and len(field.path) == 1}
    _check_columns(path, columns, {"event_id": custom.get("identity"), "event_time": custom.get("eventTime")})
    for role in ("key", "identity", "eventTime"):
        if custom.get(role) not in by_name:
            raise _wrong(
                path, f"schema.customProperties.{role}", "must name one of the event's fields, no object, no array"
            )
    if not by_name[custom["identity"]].required:
        raise _wrong(path, f"schema.properties.{custom['identity']}", "is the identity, so it must be required")
    event_time = by_name[custom["eventTime"]]
    if not event_time.required or event_time.logical_type != "timestamp":
        raise _wrong(path, f"schema.properties.{event_time.name}", "is the event time: a required timestamp")
    if not any(field.weight for field in fields):
        raise _wrong(path, "schema.properties", "have no weight at all, so there is no quality score to give")
    return Contract(
        path=path,
        topic=topic,
        table=table,
        system=document.domain or "",
        title=document.name or topic,
        description=_text(path, "schema.description", schema.description),
        grain=_text(path, "schema.dataGranularityDescription", schema.dataGranularityDescription),
        version=document.version or "",
        key=custom["key"],
        identity=custom["identity"],
        event_time=custom["eventTime"],
        partitions=_integer(path, "schema.customProperties.partitions", custom.get("partitions", 3), 1, 10_000),
        minimum_completeness=_integer(
            path, "schema.customProperties.minimumCompleteness", custom.get("minimumCompleteness", 0), 0, 100
        ),
        frequency_hours=_frequency(path, document.slaProperties or []),
        encoding=encoding,
        fields=fields,
        rules=_rules(path, schema, fields),
        anomalies=_anomalies(path, custom.get("anomalies", {}), columns),
    )


def _anomalies(path: Path, directions: Any, columns: Sequence[Field]) -> dict[str, str]:
    """What is watched in another direction than usual."""
    where = "schema.customProperties.anomalies"
    if not isinstance(directions, dict):
        raise _wrong(path, where, "must be a mapping, such as volume: falls")
    names = {field.name for field in columns}
    for name, direction in directions.items():
        field, _, metric = str(name).rpartition(".")
        if metric not in (FIELD_METRICS if field else METRICS + FIELD_METRICS) or (field and field not in names):
            raise _wrong(
                path,
                f"{where}.{name}",
                f"must be one of {', '.join(METRICS + FIELD_METRICS)}, or a field and one of "
                f"{', '.join(FIELD_METRICS)}, such as unit_price.mean",
            )
        if direction not in DIRECTIONS:
            raise _wrong(path, f"{where}.{name}", f"must be one of {', '.join(DIRECTIONS)}")
    return dict(sorted(directions.items(), key=lambda each: "." not in each[0]))


_HOURS = {"h": 1, "hour": 1, "d": 24, "day": 24}


def _frequency(path: Path, promises: list[ServiceLevelAgreementProperty]) -> int | None:
    """The hours of the service level's `frequency`."""
    hours = None
    for promise in promises:
        if promise.property != "frequency" or hours is not None:
            raise _wrong(path, "slaProperties", "may promise one thing, once: frequency")
        if promise.unit not in _HOURS:
            raise _wrong(path, "slaProperties.frequency.unit", f"must be one of {', '.join(_HOURS)}")
        hours = _HOURS[promise.unit] * _integer(path, "slaProperties.frequency.value", promise.value, 1, 10_000)
    return hours


def _fields(
    path: Path, properties: list[SchemaProperty], identity: Any, around: tuple[str, ...] = (), always: bool = True
) -> Iterator[Field]:
    """The fields in their order, an object before its members.

    around: path of the object that holds them; always: whether every event must have that object.
    """
    for each in properties:
        field = _field(path, each, around, always, not around and each.name == identity)
        yield field
        if field.logical_type == "object":
            members = _members(path, each, field.path)
            yield from _fields(path, members, None, field.path, always and field.required)


def _members(path: Path, each: SchemaProperty, place: tuple[str, ...]) -> list[SchemaProperty]:
    where = _where(place)
    if not each.properties:
        raise _wrong(path, f"{where}.properties", "must list the object's members")
    if len(place) > DEEPEST:
        raise _wrong(path, where, f"is nested too deep: at most {DEEPEST} objects within each other")
    return each.properties


def _where(place: tuple[str, ...]) -> str:
    return "schema.properties." + ".properties.".join(place)


def _field(path: Path, each: SchemaProperty, around: tuple[str, ...], always: bool, is_identity: bool) -> Field:
    name = each.name or ""
    place = (*around, name or "?")
    where = _where(place)
    custom = _custom(path, where, each, ("weight", "column", "strict", "identifier"))
    column = str(custom.get("column", "_".join(place)))
    if not _NAME.fullmatch(name) or not _NAME.fullmatch(column):
        raise _wrong(path, where, "name and column must be lower case letters, digits and underscores")
    value = _value(path, where, each, bool(custom.get("strict", False)))
    identifier = is_identity or value.reference is not None or bool(custom.get("identifier", False))
    if "identifier" in custom and each.logicalType != "integer":
        raise _wrong(path, f"{where}.customProperties.identifier", "is said of an integer only")
    if each.logicalType == "integer" and not identifier:
        _check_summable(path, where, value.minimum, value.maximum)
    has_column = each.logicalType != "object"
    if not has_column and custom:
        raise _wrong(path, f"{where}.customProperties", "an object has none: it has no column, its members have")
    required = bool(each.required)
    return replace(
        value,
        path=place,
        column=column if has_column else "",
        required=required,
        description=_text(path, f"{where}.description", each.description),
        weight=_integer(path, f"{where}.weight", custom.get("weight", 10 if required and always else 5), 0, 1000)
        if has_column
        else 0,
        identifier=identifier,
        items=_items(path, where, each) if each.logicalType == "array" else None,
    )


def _items(path: Path, where: str, each: SchemaProperty) -> Field:
    """What each item of an array is: a scalar, or an object of scalars."""
    where = f"{where}.items"
    if each.items is None:
        raise _wrong(path, where, "must say what each item is")
    if each.items.logicalType != "object":
        _custom(path, where, each.items, ())
        return _scalar(path, where, each.items)
    properties = each.items.properties or []
    names = [member.name or "?" for member in properties]
    twice = [name for name in names if names.count(name) > 1]
    if not properties or twice:
        raise _wrong(path, f"{where}.properties", f"'{twice[0]}' is duplicated" if twice else "must list its members")
    members = []
    for member in properties:
        inner = f"{where}.properties.{member.name or '?'}"
        _custom(path, inner, member, ())
        if not _NAME.fullmatch(member.name or ""):
            raise _wrong(path, inner, "name must be lower case letters, digits and underscores")
        members.append(
            replace(
                _scalar(path, inner, member),
                path=(member.name or "",),
                column=member.name or "",
                required=bool(member.required),
                description=_text(path, f"{inner}.description", member.description),
            )
        )
    return Field(
        path=(), column="", logical_type="object", required=True, description="", weight=0, members=tuple(members)
    )


def _scalar(path: Path, where: str, each: SchemaProperty) -> Field:
    """An array's item, or a member of one that is an object."""
    if each.logicalType not in SCALARS:
        raise _wrong(
            path, f"{where}.logicalType", f"of an array's item, or of its members, must be one of {', '.join(SCALARS)}"
        )
    if each.relationships:
        raise _wrong(path, f"{where}.relationships", "of an array's item would not be checked")
    value = _value(path, where, each, False)
    if each.logicalType == "integer":
        _check_summable(path, where, value.minimum, value.maximum)
    return value


def _value(path: Path, where: str, each: SchemaProperty, strict: bool) -> Field:
    """What a value may be, whatever holds it: type, limits, reference."""
    if each.logicalType not in LOGICAL_TYPES:
        raise _wrong(path, f"{where}.logicalType", f"must be one of {', '.join(LOGICAL_TYPES)}")
    if each.properties and each.logicalType != "object":
        raise _wrong(path, f"{where}.properties", f"a {each.logicalType} has none")
    if each.items and each.logicalType != "array":
        raise _wrong(path, f"{where}.items", f"a {each.logicalType} has none")
    if each.relationships and each.logicalType not in SCALARS:
        raise _wrong(path, f"{where}.relationships", f"of an {each.logicalType} would not be checked")
    options = _options(path, where, each)
    precision, scale = 12, 2
    if each.logicalType == "number":
        match = _DECIMAL.fullmatch(each.physicalType or "decimal(12,2)")
        if not match:
            raise _wrong(path, f"{where}.physicalType", "of a number must be decimal(precision,scale)")
        precision, scale = int(match[1]), int(match[2])
        if not 1 <= precision <= 15 or scale > precision:
            raise _wrong(path, f"{where}.physicalType", "a JSON number is exact to 15 digits, so decimal(15,s) at most")
    low, high = ("minItems", "maxItems") if each.logicalType == "array" else ("minimum", "maximum")
    minimum = _limit(path, where, each.logicalType, low, options, precision, scale)
    maximum = _limit(path, where, each.logicalType, high, options, precision, scale)
    if minimum is not None and maximum is not None and minimum > maximum:
        raise _wrong(path, f"{where}.logicalTypeOptions", f"{low} is greater than {high}")
    return Field(
        path=(),
        column="",
        logical_type=each.logicalType,
        required=True,
        description="",
        weight=0,
        minimum=minimum,
        maximum=maximum,
        allowed=_allowed(path, where, each),
        format=options.get("format"),
        pattern=options.get("pattern"),
        precision=precision,
        scale=scale,
        reference=_reference(path, where, each, strict),
    )


def _limit(
    path: Path, where: str, kind: str, name: str, options: dict[str, Any], precision: int, scale: int
) -> int | Decimal | None:
    """A limit, which the field's type must be able to hold."""
    value = options.get(name)
    if value is None:
        return None
    place = f"{where}.logicalTypeOptions.{name}"
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise _wrong(path, place, "must be a number")
    limit = Decimal(str(value))
    if kind in ("integer", "array"):
        if limit != int(limit) or (kind == "array" and not 0 <= limit <= MOST_ITEMS):
            what = f"must be a whole number from 0 to {MOST_ITEMS}" if kind == "array" else "must be a whole number"
            raise _wrong(path, place, f"of an {kind} {what}")
        return int(limit)
    if abs(limit) >= Decimal(10) ** (precision - scale) or limit != round(limit, scale):
        raise _wrong(path, place, f"is no decimal({precision},{scale}), so no value could reach it")
    return limit


def _check_summable(path: Path, where: str, minimum: int | Decimal | None, maximum: int | Decimal | None) -> None:
    """Integers are counted and added up, so both limits are needed, and a sum over every event must fit a bigint."""
    limits: dict[str, int | Decimal | None] = {"minimum": minimum, "maximum": maximum}
    for name, limit in limits.items():
        place = f"{where}.logicalTypeOptions.{name}"
        if limit is None:
            raise _wrong(
                path,
                place,
                "is missing: without a limit, one event could overflow every sum. Write the least or most that makes "
                "sense; or say that the integer only names something, by the custom property `identifier: true`",
            )
        if not -LARGEST_INTEGER <= limit <= LARGEST_INTEGER:
            raise _wrong(
                path,
                place,
                f"must lie within -{LARGEST_INTEGER:,} and {LARGEST_INTEGER:,}, so that the sum of ten billion events "
                "fits a bigint; where it only names something, say so by the custom property `identifier: true`",
            )


def _check_columns(path: Path, fields: Sequence[Field], roles: dict[str, Any]) -> None:
    """A column's name must be free: no reserved SQL keyword, no column that every message has."""
    for field in fields:
        where = _where(field.path)
        advice = "give it another name with the custom property `column`"
        if field.column in reserved_words():
            raise _wrong(path, where, f"'{field.column}' is a reserved SQL keyword: {advice}")
        if field.column in ("fields", "verdict", *MESSAGE_COLUMNS) and roles.get(field.column) != field.name:
            raise _wrong(path, where, f"every message has a column '{field.column}' of its own: {advice}")


@cache
def reserved_words() -> frozenset[str]:
    """Words that cannot be a column's name in one of the engines."""
    words = duckdb.sql(
        "select keyword_name from duckdb_keywords() where keyword_category in ('reserved', 'type_function')"
    ).fetchall()
    return frozenset({word for (word,) in words} | _SPARK_WORDS)


def _options(path: Path, where: str, each: SchemaProperty) -> dict[str, Any]:
    """The options of a field's type, each of which is a rule of the verdicts."""
    options = each.logicalTypeOptions or {}
    kind = each.logicalType or ""
    known = _OPTIONS.get(kind, ())
    for name, value in options.items():
        place = f"{where}.logicalTypeOptions.{name}"
        if name not in known:
            one = "an" if kind[:1] in "aeiou" else "a"
            what = f"of {one} {kind} can be checked: {', '.join(known)}" if known else f"{one} {kind} has no options"
            raise _wrong(path, place, f"{what}; for anything else write a rule")
        if name == "format" and value != "uuid":
            raise _wrong(path, place, "only uuid is known")
        if name == "pattern":
            _check_pattern(path, place, value)
    return options


def _check_pattern(path: Path, where: str, pattern: Any) -> None:
    if not isinstance(pattern, str) or "'" in pattern or "\\" in pattern:
        raise _wrong(path, where, "must be a text without ' and \\, which engines read differently: write [.], [0-9]")
    if any(sign in pattern for sign in _JINJA):
        raise _wrong(path, where, f"has one of {', '.join(_JINJA)}, which dbt would take for its own: write [{{]")
    try:
        re.compile(pattern)
    except re.error as error:
        raise _wrong(path, where, f"is not a regular expression: {error}") from error


def _allowed(path: Path, where: str, each: SchemaProperty) -> tuple[str, ...] | None:
    if not each.enum:
        return None
    values = [str(value.value) for value in each.enum if isinstance(value.value, str)]
    if each.logicalType != "string" or len(values) < len(each.enum):
        raise _wrong(path, f"{where}.enum", "must list texts, of a string")
    if any(sign in value for sign in ("'", "\\", *_JINJA) for value in values):
        raise _wrong(path, f"{where}.enum", f"must list texts without any of ' \\ {' '.join(_JINJA)}")
    return tuple(values)


def _reference(path: Path, where: str, each: SchemaProperty, strict: bool) -> Reference | None:
    if not each.relationships:
        return None
    target = each.relationships[0].to
    parts = target.split(".") if isinstance(target, str) else []
    if len(each.relationships) > 1 or len(parts) != 2:
        raise _wrong(path, f"{where}.relationships", "must be one relationship whose `to` is model.column")
    return Reference(model=parts[0], column=parts[1], strict=strict)


def _rules(path: Path, schema: SchemaObject, fields: tuple[Field, ...]) -> tuple[Rule, ...]:
    columns = {field.column: field.kind for field in fields if field.logical_type in SCALARS}
    found: list[Rule] = []
    for quality in schema.quality or []:
        where = f"schema.quality.{quality.name or '?'}"
        if quality.type != "custom" or quality.engine != "dbt" or not isinstance(quality.implementation, str):
            raise _wrong(path, where, "must be type: custom, engine: dbt, with a SQL condition as implementation")
        if not _NAME.fullmatch(quality.name or ""):
            raise _wrong(path, where, "must have a name in lower case letters, digits and underscores")
        if quality.severity not in (None, "error"):
            raise _wrong(path, f"{where}.severity", "can only be error: a message that fails a rule is rejected")
        custom = _custom(path, where, quality, ("weight",))
        expression = " ".join(quality.implementation.split())
        try:
            rules.check_rule(expression, columns)
        except rules.RuleError as error:
            raise _wrong(path, f"{where}.implementation", str(error)) from error
        found.append(
            Rule(
                name=quality.name or "",
                expression=expression,
                description=_text(path, f"{where}.description", quality.description),
                weight=_integer(path, f"{where}.weight", custom.get("weight", 10), 0, 1000),
            )
        )
    return tuple(found)


def _custom(
    path: Path, where: str, element: SchemaObject | SchemaProperty | DataQuality, known: tuple[str, ...]
) -> dict[str, Any]:
    found = {each.property or "": each.value for each in element.customProperties or []}
    for name in found:
        if name not in known:
            raise _wrong(path, f"{where}.customProperties.{name}", f"is not known; known are {', '.join(known)}")
    return found


def _text(path: Path, where: str, value: str | None) -> str:
    if not value or not value.strip():
        raise _wrong(path, where, "is missing: say what it means")
    if len(value.strip()) < 4 or value.strip().lower() in ("none", "null", "n/a"):
        raise _wrong(path, where, f"is '{value.strip()}', which says nothing: write what it means")
    if any(sign in value for sign in _JINJA):
        raise _wrong(path, where, f"has one of {', '.join(_JINJA)}, which dbt would take for its own")
    return " ".join(value.split())


def _integer(path: Path, where: str, value: Any, low: int, high: int) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        raise _wrong(path, where, f"must be a whole number from {low} to {high}")
    return value


def _wrong(path: Path, where: str, what: str) -> ConfigurationError:
    return ConfigurationError(
        f"The contract {path} is malformed at {where}: {what}.",
        "Correct it; docs/adding-a-topic.md describes each part.",
    )
