"""Bronze: the Iceberg catalog, the tables raw messages land in, and how far each has come."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from pyiceberg.catalog import Catalog, load_catalog
from pyiceberg.exceptions import NoSuchTableError, TableAlreadyExistsError
from pyiceberg.partitioning import PartitionField, PartitionSpec
from pyiceberg.schema import Schema
from pyiceberg.table import Table
from pyiceberg.transforms import DayTransform
from pyiceberg.types import (
    BinaryType,
    IntegerType,
    ListType,
    LongType,
    NestedField,
    StringType,
    StructType,
    TimestamptzType,
)
from sqlalchemy.exc import SQLAlchemyError

from ingest.contracts import Contract
from ingest.errors import LevainError
from ingest.settings import Settings

_T = TypeVar("_T")

#: Both engines must call the catalog by this name: in a SQL catalog it is a column of every row.
CATALOG = "lake"
NAMESPACE = "bronze"

#: Key, value and header values follow one rule: bytes that are UTF-8 land as a string, any others in the `_bytes`
#: column beside it, and both are null only when Kafka had no bytes at all (no key, a tombstone). Nothing is lost, and
#: what people look at is readable in every engine.
BRONZE_SCHEMA = Schema(
    NestedField(1, "kafka_cluster", StringType(), required=True, doc="alias of the Kafka cluster"),
    NestedField(2, "topic", StringType(), required=True),
    NestedField(3, "partition", IntegerType(), required=True),
    NestedField(4, "offset", LongType(), required=True),
    NestedField(5, "kafka_timestamp", TimestamptzType(), doc="the record's timestamp in Kafka"),
    NestedField(6, "key", StringType(), doc="null when there is none, or when it is not UTF-8"),
    NestedField(7, "key_bytes", BinaryType(), doc="the key when it is not UTF-8"),
    NestedField(8, "value", StringType(), doc="null for a tombstone, or when it is not UTF-8"),
    NestedField(9, "value_bytes", BinaryType(), doc="the value when it is not UTF-8"),
    NestedField(
        10,
        "headers",
        ListType(
            13,
            StructType(
                NestedField(14, "key", StringType(), required=True),
                NestedField(15, "value", StringType()),
                NestedField(16, "value_bytes", BinaryType()),
            ),
            element_required=True,
        ),
        required=True,
        doc="in the order they were sent; a key may occur more than once",
    ),
    NestedField(11, "ingested_at", TimestamptzType(), required=True, doc="when the batch landed"),
    NestedField(12, "ingest_batch_id", StringType(), required=True, doc="the commit that landed it"),
)

#: Table property `levain.next-offset/<cluster>/<topic>/<partition>` -> the first offset not landed yet.
NEXT_OFFSET = "levain.next-offset/"
#: Table property `levain.topic-id/<cluster>/<topic>` -> the id the broker gave the topic when it was made.
TOPIC_ID = "levain.topic-id/"

_PROPERTIES = {
    "format-version": "2",
    "write.parquet.compression-codec": "zstd",
    # PyIceberg's own retry appends again without looking what has landed; the lander's retry looks.
    "commit.retry.num-retries": "0",
}

Partition = tuple[str, str, int]
"""(cluster alias, topic, partition)"""


def open_catalog(settings: Settings) -> Catalog:
    """Open the catalog named by the settings: SQLite in the home unless `LEVAIN_CATALOG_URI` names another.

    Raises:
        LevainError: it cannot be reached or refuses us.
    """
    properties = {"type": settings.catalog_type, "warehouse": settings.lake, "uri": settings.catalog_uri}
    if settings.catalog_type == "sql" and not settings.catalog_uri:
        _make_directory(settings.root)
        properties["uri"] = f"sqlite:///{settings.catalog_file}"
    for name, secret in (("credential", settings.catalog_credential), ("token", settings.catalog_token)):
        if secret.get_secret_value():
            properties[name] = secret.get_secret_value()
    try:
        catalog = _again_if_raced(
            lambda: load_catalog(CATALOG, **{name: value for name, value in properties.items() if value})
        )
        catalog.list_namespaces()  # a REST or Glue catalog is first spoken to here
    except Exception as error:  # each kind of catalog brings errors of its own library
        raise LevainError(
            f"The catalog at {_without_password(properties['uri'])} cannot be opened: {_first_line(error)}",
            "Check LEVAIN_CATALOG_URI, LEVAIN_CATALOG_TYPE and its credentials, and that the catalog is running.",
        ) from error
    return catalog


def ensure_table(catalog: Catalog, contract: Contract) -> Table:
    """The contract's Bronze table, created if it is not there; safe to call from several processes at once.

    Raises:
        LevainError: a table of that name has another schema, or cannot be read.
    """
    identifier = (NAMESPACE, contract.table)
    try:
        table = load_bronze(catalog, contract.table)
    except NoSuchTableError:
        table = _create(catalog, identifier)
    expected = BRONZE_SCHEMA.column_names
    if table.schema().column_names != expected:
        raise LevainError(
            f"{NAMESPACE}.{contract.table} does not have the columns of a Bronze table: "
            f"{', '.join(table.schema().column_names)}.",
            "Something else owns this table. Rename it, or give the contract another topic.",
        )
    return table


def bronze_names(catalog: Catalog) -> list[str]:
    """Names of the Bronze tables, sorted."""
    if not catalog.namespace_exists(NAMESPACE):
        return []
    return sorted(identifier[-1] for identifier in catalog.list_tables(NAMESPACE))


def load_bronze(catalog: Catalog, name: str) -> Table:
    """A Bronze table that exists.

    Raises:
        LevainError: its metadata file is not where the catalog says.
    """
    try:
        return catalog.load_table((NAMESPACE, name))
    except OSError as error:
        raise LevainError(
            f"The table {NAMESPACE}.{name} cannot be read: {_first_line(error)}",
            "Iceberg keeps absolute paths: a lake that was moved is found again only at its old place. Move it back, "
            "or restore it.",
        ) from error


def watermarks(table: Table) -> dict[Partition, int]:
    """For each partition that has landed anything: the first offset that has not. From the table's properties."""
    found: dict[Partition, int] = {}
    for name, value in table.properties.items():
        if name.startswith(NEXT_OFFSET):
            cluster, topic, partition = name.removeprefix(NEXT_OFFSET).split("/")
            found[cluster, topic, int(partition)] = int(value)
    return found


def next_offset_property(partition: Partition) -> str:
    """Name of the table property that holds a partition's watermark."""
    cluster, topic, number = partition
    return f"{NEXT_OFFSET}{cluster}/{topic}/{number}"


def topic_id(table: Table, cluster: str, topic: str) -> str | None:
    """The id of the topic that landed in the table under this name, None if nothing has."""
    return table.properties.get(topic_id_property(cluster, topic))


def topic_id_property(cluster: str, topic: str) -> str:
    """Name of the table property that holds a topic's id."""
    return f"{TOPIC_ID}{cluster}/{topic}"


def metadata_location(table: Table) -> str:
    """Where the table's current metadata file is, for engines that read Iceberg without a catalog."""
    return table.metadata_location


def _create(catalog: Catalog, identifier: tuple[str, str]) -> Table:
    _again_if_raced(lambda: catalog.create_namespace_if_not_exists(NAMESPACE))
    # Fresh ids are assigned at creation, in the order above; the partition field refers to the id given here.
    ingested_at = BRONZE_SCHEMA.find_field("ingested_at").field_id
    spec = PartitionSpec(PartitionField(ingested_at, 1000, DayTransform(), "ingested_at_day"))
    try:
        return catalog.create_table(identifier, schema=BRONZE_SCHEMA, partition_spec=spec, properties=_PROPERTIES)
    except TableAlreadyExistsError:
        return catalog.load_table(identifier)


def _again_if_raced(make: Callable[[], _T]) -> _T:
    """Make something in a SQL database, once more if another process was making it at the same moment."""
    try:
        return make()
    except SQLAlchemyError:
        return make()


def _make_directory(path: Path) -> None:
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise LevainError(f"{path} cannot be created: {error.strerror}.", "Point LEVAIN_HOME elsewhere.") from error


def _without_password(uri: str) -> str:
    """The URI as it may be shown: `postgresql://user:secret@host` -> `postgresql://user:***@host`."""
    return re.sub(r"(://[^:/@]+):[^@]*@", r"\1:***@", uri)


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
