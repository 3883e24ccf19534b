"""Bronze: the Iceberg catalog, the tables raw messages land in, and how far each has come."""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from pyiceberg.catalog import Catalog, load_catalog
from pyiceberg.catalog.rest import RestCatalog
from pyiceberg.catalog.sql import IcebergTables, SqlCatalog
from pyiceberg.exceptions import NoSuchTableError, NotInstalledError, TableAlreadyExistsError, ValidationError
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
from sqlalchemy import select
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, SQLAlchemyError

from ingest.contracts import Contract
from ingest.errors import ConfigurationError, StateError, Unavailable, first_line
from ingest.patches.iceberg_rest import PromptRestCatalog
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
    NestedField(8, "value", StringType(), doc="null for a tombstone, or when it has no text"),
    NestedField(9, "value_bytes", BinaryType(), doc="the value when it is not UTF-8, or was encoded"),
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

#: What libpq is given unless the URI says otherwise: how long to wait for a server, in seconds, and when to give up a
#: connection that has gone silent. Without them a worker waits for the kernel, minutes to hours.
_POSTGRES_WAITS = {
    "connect_timeout": "10",
    "keepalives_idle": "30",
    "keepalives_interval": "10",
    "keepalives_count": "3",
    "tcp_user_timeout": "60000",
}

#: Names of catalog properties whose values must not be shown.
_SECRET = re.compile("secret|token|password|credential|key")

Partition = tuple[str, str, int]
"""(cluster alias, topic, partition)"""


def open_catalog(settings: Settings) -> Catalog:
    """Open the catalog named by the settings: SQLite in the home unless `LEVAIN_CATALOG_URI` names another.

    Raises:
        Unavailable: it cannot be reached or refuses us. No secret is in the message.
        ConfigurationError: its client library is not installed, or its URI is not valid.
    """
    if settings.has_own_catalog:
        _make_directory(settings.root)
    properties = catalog_properties(settings)
    try:
        if settings.catalog_type == "rest":
            catalog: Catalog = PromptRestCatalog(CATALOG, **properties)
        else:
            catalog = _again_if_raced(lambda: load_catalog(CATALOG, **properties))
        catalog.list_namespaces()  # a REST or Glue catalog is first spoken to here
    except (ImportError, NotInstalledError) as error:
        raise ConfigurationError(
            f"The catalog {_shown(settings)} cannot be opened: {first_line(error.__cause__ or error)}.",
            "What SQLite, PostgreSQL (postgresql://) and REST catalogs need comes with Levain. Install boto3 for Glue, "
            "for another database its driver: `.venv/bin/uv pip install NAME`.",
        ) from error
    except Exception as error:  # each kind of catalog brings errors of its own library
        raise Unavailable(
            f"The catalog {_shown(settings)} cannot be opened: {_without_secrets(first_line(error), settings)}",
            _how_to_open(settings),
        ) from error
    return catalog


def _how_to_open(settings: Settings) -> str:
    if not settings.has_own_catalog:
        return "Check LEVAIN_CATALOG_URI, LEVAIN_CATALOG_TYPE and its credentials, and that the catalog is running."
    return (
        "Check the disk and the rights on this file. If it is damaged, restore it from a backup, or move it away: "
        "`levain recover` then registers every table of the lake in a new one."
    )


def catalog_properties(settings: Settings) -> dict[str, str]:
    """The settings as properties of PyIceberg's catalogs, with the secrets in clear.

    Raises:
        ConfigurationError: the URI of a SQL catalog is not valid.
    """
    properties = {"type": settings.catalog_type, "warehouse": settings.lake, "uri": settings.catalog_uri}
    if settings.catalog_type == "sql":
        properties["uri"] = _sql_uri(settings)
        properties["pool_pre_ping"] = "true"  # a connection that the server has closed is opened again
    if settings.catalog_type == "rest":  # where PyIceberg looks by itself, but says that it will not for ever
        properties["oauth2-server-uri"] = f"{settings.catalog_uri.rstrip('/')}/v1/oauth/tokens"
    properties["credential"] = settings.catalog_credential.get_secret_value()
    properties["token"] = settings.catalog_token.get_secret_value()
    properties |= storage_properties(settings)
    return {name: value for name, value in properties.items() if value}


def storage_properties(settings: Settings) -> dict[str, str]:
    """`LEVAIN_S3_*` and `LEVAIN_CATALOG_PROPERTIES`, by PyIceberg's names, with the secrets in clear."""
    region = settings.s3_region or ("us-east-1" if settings.s3_endpoint else "")
    properties = {
        "s3.endpoint": settings.s3_endpoint,
        "s3.region": region,
        "s3.access-key-id": settings.s3_access_key_id,
        "s3.secret-access-key": settings.s3_secret_access_key.get_secret_value(),
    }
    properties |= {name: value.get_secret_value() for name, value in settings.catalog_properties.items()}
    return {name: value for name, value in properties.items() if value}


def ensure_table(catalog: Catalog, contract: Contract) -> Table:
    """The contract's Bronze table, created if it is not there; safe to call from several processes at once.

    Raises:
        StateError: a table of that name has another schema.
        Unavailable: it cannot be created or read.
    """
    identifier = (NAMESPACE, contract.table)
    try:
        table = load_bronze(catalog, contract.table)
    except NoSuchTableError:
        with _asking(catalog, contract.table):
            table = _create(catalog, identifier)
    if not is_bronze(table):
        raise StateError(
            f"{NAMESPACE}.{contract.table} does not have the columns of a Bronze table: "
            f"{', '.join(table.schema().column_names)}.",
            "Something else owns this table. Rename it, or give the contract another topic.",
        )
    return table


def is_bronze(table: Table) -> bool:
    """Whether it has the columns of a Bronze table, and is not someone else's in that namespace."""
    return table.schema().column_names == BRONZE_SCHEMA.column_names


def bronze_names(catalog: Catalog) -> list[str]:
    """Names of the tables where the Bronze tables are, sorted."""
    if not catalog.namespace_exists(NAMESPACE):
        return []
    return sorted(identifier[-1] for identifier in catalog.list_tables(NAMESPACE))


def load_bronze(catalog: Catalog, name: str) -> Table:
    """A Bronze table that exists.

    Raises:
        Unavailable: the catalog does not answer, or the table's metadata file cannot be read.
        StateError: that file is damaged.
        NoSuchTableError: there is no such table.
    """
    with _asking(catalog, name):
        return catalog.load_table((NAMESPACE, name))


def full_name(table: Table) -> str:
    """As it is shown to people: `bronze.orders`."""
    return ".".join(table.name())


def refresh(table: Table) -> Table:
    """The table, with what has been committed to it meanwhile.

    Raises:
        Unavailable, StateError: as `load_bronze`.
    """
    with _asking(table.catalog, table.name()[-1]):
        return table.refresh()


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
        return catalog.create_table(
            identifier, BRONZE_SCHEMA, new_location(catalog, identifier), partition_spec=spec, properties=_PROPERTIES
        )
    except TableAlreadyExistsError:
        return catalog.load_table(identifier)


def new_location(catalog: Catalog, identifier: tuple[str, str]) -> str | None:
    """A folder that no other table has, whatever other catalog has the same warehouse; None: the REST server says."""
    if isinstance(catalog, RestCatalog):
        return None
    namespace, name = identifier
    return f"{catalog.properties['warehouse'].rstrip('/')}/{namespace}/{name}-{uuid.uuid4()}"


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
        raise ConfigurationError(
            f"{path} cannot be created: {error.strerror}.", "Point LEVAIN_HOME elsewhere."
        ) from error


DAMAGED = (ValidationError, UnicodeDecodeError)
"""What PyIceberg raises for a metadata file that is not what Iceberg's specification says."""


@contextmanager
def _asking(catalog: Catalog, name: str) -> Iterator[None]:
    """Say of a table what the errors of many libraries mean: storage, or else the catalog."""
    try:
        yield
    except NoSuchTableError:
        raise
    except DAMAGED as error:
        raise StateError(
            f"The metadata file of {NAMESPACE}.{name} is damaged: {_pointer(catalog, name)}",
            "Restore it from a backup. Without one, `levain recover` points the catalog to the newest version that can "
            "be read; what was landed after that lands again as far as Kafka has it.",
        ) from error
    except FileNotFoundError as error:
        raise Unavailable(
            f"The table {NAMESPACE}.{name} cannot be read: {first_line(error)}",
            "If the home was moved, move it back or put a symbolic link at its old place: Iceberg has absolute paths. "
            "If the lake was lost, restore it from a backup; docs/troubleshooting.md says what to do without one.",
        ) from error
    except OSError as error:
        raise Unavailable(
            f"The table {NAMESPACE}.{name} cannot be read or written below {catalog.properties.get('warehouse')}: "
            f"{first_line(error)}",
            "Check that this place exists, the rights there, and for S3 the LEVAIN_S3_* settings.",
        ) from error
    except Exception as error:
        raise Unavailable(
            f"The catalog does not give {NAMESPACE}.{name}: {first_line(error)}",
            "Check that the catalog is running, what its credentials may do, and that the metadata file is whole.",
        ) from error


def _pointer(catalog: Catalog, name: str) -> str:
    """The metadata file that the catalog has for a Bronze table; empty where only a server knows."""
    if not isinstance(catalog, SqlCatalog):
        return ""
    rows = select(IcebergTables.metadata_location).where(
        IcebergTables.catalog_name == catalog.name,
        IcebergTables.table_namespace == NAMESPACE,
        IcebergTables.table_name == name,
    )
    with catalog.engine.connect() as connection:
        return connection.scalar(rows) or ""


def _sql_uri(settings: Settings) -> str:
    """The URI of a SQL catalog; for PostgreSQL by the driver that Levain brings, and not waiting for ever."""
    if not settings.catalog_uri:
        return _sqlite(settings.catalog_file)
    try:
        url = make_url(settings.catalog_uri)
    except (ArgumentError, ValueError) as error:
        raise ConfigurationError(
            f"The catalog {_shown(settings)} cannot be opened: this is not a valid URI.",
            "LEVAIN_CATALOG_URI is driver://user:password@host:port/database, with %40, %3A and %2F for @, : and / in "
            "the password.",
        ) from error
    if url.drivername == "postgresql":
        url = url.set(drivername="postgresql+psycopg")
    if url.drivername == "postgresql+psycopg":
        url = url.set(query={**_POSTGRES_WAITS, **url.query})
    return url.render_as_string(hide_password=False)


def _sqlite(file: Path) -> str:
    """The URI of a SQLite database, which opens the file of just that name."""
    return URL.create("sqlite", database=str(file)).render_as_string()


def _shown(settings: Settings) -> str:
    """The catalog as it may be shown: `at postgresql://levain:***@host/db`, or its type where it has no address."""
    if settings.catalog_uri:
        return f"at {_without_password(settings.catalog_uri).partition('?')[0]}"
    return f"at sqlite:///{settings.catalog_file}" if settings.catalog_type == "sql" else settings.catalog_type


def _without_password(text: str) -> str:
    """`postgresql://user:secret@host/db` -> `postgresql://user:***@host/db`, whatever characters the secret has."""
    return re.sub(r"(://[^:/@\s]*):.*@", r"\1:***@", text, flags=re.DOTALL)


def _without_secrets(text: str, settings: Settings) -> str:
    """The text of an error, should a library quote in it what it was given."""
    secrets = [settings.catalog_credential, settings.catalog_token, settings.s3_secret_access_key]
    secrets += [value for name, value in settings.catalog_properties.items() if _SECRET.search(name)]
    for value in (secret.get_secret_value() for secret in secrets):
        for part in {value, value.rpartition(":")[2]} - {""}:
            text = text.replace(part, "***")
    return _without_password(text)
