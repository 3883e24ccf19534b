"""The landing protocol: raw Kafka records -> one Iceberg commit, each offset exactly once.

Iceberg is the source of truth. A commit carries, together and atomically:

- the records, as rows;
- in the snapshot's summary: the batch's id, and per partition the covered range `[from, to)`;
- as table properties: per partition the next offset, the *watermark* (a property survives snapshot expiry).

A commit lands only on the snapshot it was built on (the catalog compares and swaps), and a batch is trimmed to what
lies above the watermarks it was built on. So whatever was killed, fenced, delivered again or answered with a lost
reply: to look at the table and try again is always right, and to append without looking never happens.
"""

from __future__ import annotations

import itertools
import json
import logging
import random
import time
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any, Protocol

import pyarrow as pa
import pyarrow.compute as pc
from pyiceberg.exceptions import CommitFailedException
from pyiceberg.io.pyarrow import schema_to_pyarrow, write_file
from pyiceberg.manifest import DataFile
from pyiceberg.partitioning import PartitionFieldValue, PartitionKey
from pyiceberg.table import Table, Transaction, WriteTask
from pyiceberg.table.locations import load_location_provider
from pyiceberg.table.snapshots import Snapshot
from pyiceberg.utils.datetime import datetime_to_micros

from ingest.catalog import (
    BRONZE_SCHEMA,
    Partition,
    full_name,
    next_offset_property,
    topic_id_property,
    watermarks,
)
from ingest.catalog import topic_id as landed_topic_id
from ingest.errors import LevainError, StateError, Unavailable, first_line
from ingest.patches.iceberg_transaction import SingleTryTransaction

#: Keys of the snapshot summary. The ranges are a JSON list of [cluster, topic, partition, from, to].
BATCH_ID = "levain.batch-id"
RANGES = "levain.ranges"

TryAgain = Callable[[Exception, float], bool]
"""Asked with a failure, and the seconds since the first one, whether to try once more."""

#: Seconds to wait after the first failure, doubled after each further one, and the most; and the most after a
#: conflict, where the catalog is well and the others who commit should not be left to themselves.
FIRST_WAIT, LONGEST_WAIT, LONGEST_WAIT_IN_TURN = 0.2, 5.0, 0.5

#: Rows that the pieces of a batch, its fetches, should have on average when they are written.
PIECE_ROWS = 4096

log = logging.getLogger(__name__)


class Record(Protocol):
    """What is landed of a Kafka record, named as in aiokafka's records; `timestamp` is in ms."""

    @property
    def offset(self) -> int: ...
    @property
    def timestamp(self) -> int: ...
    @property
    def key(self) -> bytes | None: ...
    @property
    def value(self) -> bytes | None: ...
    @property
    def headers(self) -> Sequence[tuple[str, bytes | None]]: ...


@dataclass(frozen=True, slots=True)
class Fetch:
    """All that a partition holds for us in `[start, end)`, as the Bronze columns that are Kafka's, in order of offsets.

    Offsets of the range without a row are those no committed reader ever sees: transaction markers, aborted
    messages, what compaction removed.
    """

    partition: Partition
    start: int
    end: int
    rows: pa.Table

    @classmethod
    def of(
        cls, partition: Partition, records: Sequence[Record], start: int | None = None, end: int | None = None
    ) -> Fetch:
        """A fetch of records, by default from the first of them to the last.

        Each column is built from all records in one go, and the records can be forgotten: as Python objects they take
        several times their bytes.

        Raises:
            ValueError: a record is not in the range.
        """
        cluster, topic, number = partition
        key, key_bytes = _text_or_bytes([r.key for r in records])
        value, value_bytes = _text_or_bytes([r.value for r in records])
        columns = {
            "kafka_cluster": pa.repeat(pa.scalar(cluster, pa.large_string()), len(records)),
            "topic": pa.repeat(pa.scalar(topic, pa.large_string()), len(records)),
            "partition": pa.repeat(pa.scalar(number, pa.int32()), len(records)),
            "offset": pa.array([r.offset for r in records], pa.int64()),
            "kafka_timestamp": _timestamps([r.timestamp for r in records]),
            "key": key,
            "key_bytes": key_bytes,
            "value": value,
            "value_bytes": value_bytes,
            "headers": _headers([r.headers for r in records]),
        }
        start = records[0].offset if start is None else start
        end = records[-1].offset + 1 if end is None else end
        if records and not start <= records[0].offset <= records[-1].offset < end:
            raise ValueError(f"{partition}: {records[0].offset} to {records[-1].offset} are not in [{start}, {end})")
        return cls(partition, start, end, pa.Table.from_pydict(columns, schema=_KAFKA_SCHEMA))

    @property
    def size(self) -> int:
        """Bytes of keys and values."""
        return _size(self.rows)

    def decoded(self, texts_of: Callable[[list[bytes | None]], list[str | None]]) -> Fetch:
        """The same messages, with the text that each payload has as `value`, and every payload as `value_bytes`."""
        payloads = pc.coalesce(self.rows["value_bytes"], self.rows["value"].cast(pa.large_binary()))
        columns = {"value": pa.array(texts_of(payloads.to_pylist()), pa.large_string()), "value_bytes": payloads}
        rows = self.rows
        for name, column in columns.items():
            place = rows.schema.get_field_index(name)
            rows = rows.set_column(place, rows.schema.field(place), column)
        return replace(self, rows=rows)

    def above(self, offset: int) -> Fetch:
        """The part of it at or above an offset."""
        if offset <= self.start:
            return self
        below = pc.sum(pc.less(self.rows["offset"], offset)).as_py() or 0
        return replace(self, start=min(offset, self.end), rows=self.rows.slice(below))


@dataclass(frozen=True, slots=True)
class Range:
    """Offsets `[start, end)` of a partition that one commit covers."""

    partition: Partition
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Landed:
    """What one call of `land` appended, and what it covers; no ranges: all had landed before.

    Attributes:
        size: bytes of keys and values.
        timestamps: the rows' `kafka_timestamp`.
    """

    batch_id: str
    rows: int
    ranges: list[Range]
    size: int
    timestamps: pa.ChunkedArray


def land(
    table: Table,
    fetches: Iterable[Fetch],
    *,
    beginnings: Mapping[Partition, int] = MappingProxyType({}),
    accept_missing: bool = False,
    topic_id: str | None = None,
    try_again: TryAgain = lambda failure, seconds: seconds < 30,
) -> Landed:
    """Append what is not in the table yet, in one commit; return once it is there.

    Args:
        table: a Bronze table; it is refreshed as needed, and shows the commit afterwards.
        fetches: in order per partition, partitions interleaved as they came; they may overlap one another and
            what has landed.
        beginnings: where partitions that have landed nothing were to be read from; of others: from anywhere.
        accept_missing: go on where offsets are missing between the table and a fetch.
        topic_id: of the one topic that the fetches are of; the commit notes it in the table. None: not known.
        try_again: asked before each further try.

    Raises:
        StateError: offsets are missing (with the exact range), or another topic of that name has landed.
        Unavailable: the data cannot be written, or the catalog does not take the commit.
    """
    fetches = list(fetches)
    batch_id = str(uuid.uuid4())
    nothing = landed = _landed(batch_id, _ARROW_SCHEMA.empty_table(), [])
    ingested_at = datetime.now(UTC)
    file: DataFile | None = None
    failure: Exception | None = None
    failed_at = 0.0
    for tries in itertools.count():
        if failure is not None:
            failed_at = failed_at or time.monotonic()
            seconds = time.monotonic() - failed_at
            if not try_again(failure, seconds):
                raise _gave_up(table, tries, seconds, failure) from failure
            log.warning("%s: commit not confirmed (%s), looking at the table", full_name(table), first_line(failure))
            longest = LONGEST_WAIT_IN_TURN if isinstance(failure, CommitFailedException) else LONGEST_WAIT
            wait = min(longest, FIRST_WAIT * 2 ** min(tries - 1, 10))
            time.sleep(random.uniform(0.5, 1) * wait)  # noqa: S311 - spreads writers, hides nothing
            try:
                table.refresh()
            except Exception as error:  # the catalog is away, by its own library: look again after a longer wait
                failure = error
                continue
            if has_landed(table, batch_id):
                return landed
        _refuse_another_topic(table, fetches, topic_id)
        todo = _trim(fetches, {**beginnings, **watermarks(table)}, accept_missing)
        if not todo:
            return nothing
        if (ranges := _ranges(todo)) != landed.ranges:
            rows, file = to_arrow(todo, ingested_at, batch_id), None
            landed = _landed(batch_id, rows, ranges)
        try:
            # A further try of the same rows needs no new file: of all tries at most one can land.
            file = file or _write(table, rows, ingested_at)
            _stage(table, file, landed, topic_id).commit_transaction()
            return landed
        except CommitFailedException as error:  # another commit came first: this one did not land
            failure = error
        except Unavailable as error:  # storage did not take a file
            failure = error
        except LevainError:  # a retry finds the same
            raise
        except Exception as error:  # a time-out, a lost reply, by the catalog's own library: it may have landed or not
            failure = error
    raise AssertionError("unreachable")


def _gave_up(table: Table, tries: int, seconds: float, failure: Exception) -> Unavailable:
    if isinstance(failure, Unavailable):
        return failure
    return Unavailable(
        f"{full_name(table)} does not take a commit: tried {tries} times in {seconds:.0f} s, the last with: "
        f"{first_line(failure)}",
        "Check the catalog. Nothing is lost: landing goes on from the table's own offsets.",
    )


def has_landed(table: Table, batch_id: str) -> bool:
    """Whether one of the snapshots of the table, as loaded, is that batch's commit."""
    return any(s.summary is not None and s.summary[BATCH_ID] == batch_id for s in table.metadata.snapshots)


def covered_ranges(table: Table) -> list[Range]:
    """The ranges of every commit whose snapshot has not expired, oldest first."""
    snapshots = sorted(table.metadata.snapshots, key=lambda snapshot: snapshot.sequence_number or 0)
    return [covered for snapshot in snapshots for covered in ranges_of(snapshot)]


def ranges_of(snapshot: Snapshot) -> list[Range]:
    """The ranges that the commit of a snapshot covers; none where it was not a landing."""
    text = snapshot.summary[RANGES] if snapshot.summary is not None else None
    return [
        Range((cluster, topic, partition), start, end)
        for cluster, topic, partition, start, end in json.loads(text or "[]")
    ]


def to_arrow(fetches: Sequence[Fetch], ingested_at: datetime, batch_id: str) -> pa.Table:
    """The rows of one or more fetches in the Bronze schema."""
    rows = pa.concat_tables([fetch.rows for fetch in fetches])
    landed = {
        "ingested_at": pa.repeat(pa.scalar(ingested_at, pa.timestamp("us", "UTC")), rows.num_rows),
        "ingest_batch_id": pa.repeat(pa.scalar(batch_id, pa.large_string()), rows.num_rows),
    }
    return pa.Table.from_arrays([*rows.columns, *landed.values()], schema=_ARROW_SCHEMA)


_ARROW_SCHEMA = schema_to_pyarrow(BRONZE_SCHEMA, include_field_ids=False)
_KAFKA_SCHEMA = pa.schema([field for field in _ARROW_SCHEMA if not field.name.startswith("ingest")])

#: The last millisecond of the year 9999. A producer may send any 64 bits as a timestamp; beyond this no engine can
#: show it, and it lands as null.
_LAST_TIMESTAMP = 253_402_300_799_999


def _trim(fetches: Sequence[Fetch], reached: Mapping[Partition, int], accept_missing: bool) -> list[Fetch]:
    """What of the fetches lies at or above what was reached, and of each offset the first copy only."""
    reached = dict(reached)
    todo = []
    for fetch in fetches:
        mark = reached.get(fetch.partition, fetch.start)
        if fetch.start > mark and not accept_missing:
            raise missing(fetch.partition, mark, fetch.start)
        fetch = fetch.above(mark)
        if fetch.end > fetch.start:
            todo.append(fetch)
            reached[fetch.partition] = fetch.end
    return todo


def missing(partition: Partition, start: int, end: int) -> StateError:
    """The error for offsets `[start, end)` that Kafka no longer has and Bronze never got."""
    cluster, topic, number = partition
    return StateError(
        f"Offsets {start} to {end - 1} of {topic}, partition {number}, cluster {cluster}, have not landed, and Kafka "
        "no longer has them: retention or a deletion was faster than the worker.",
        f"To go on from {end} without them, start the worker once with LEVAIN_ACCEPT_MISSING=true.",
    )


def _refuse_another_topic(table: Table, fetches: Iterable[Fetch], topic_id: str | None) -> None:
    """Its first batch may have landed only since these fetches were read, while they waited for the catalog."""
    for cluster, topic in {fetch.partition[:2] for fetch in fetches}:
        landed_id = landed_topic_id(table, cluster, topic)
        if topic_id is not None and landed_id not in (None, topic_id):
            raise another_topic(cluster, topic, landed_id, topic_id)


def another_topic(cluster: str, topic: str, landed_id: str | None, found: str | None) -> StateError:
    """The error for a topic that has another id than the one that has landed, or none any more."""
    return StateError(
        f"Topic {topic} of cluster {cluster} is not the one that has landed (id {landed_id}): "
        f"it was deleted{' and recreated' if found else ''}.",
        "To land the new one beside the old, give the cluster another alias in LEVAIN_KAFKA_CLUSTER.",
    )


def _landed(batch_id: str, rows: pa.Table, ranges: list[Range]) -> Landed:
    return Landed(batch_id, rows.num_rows, ranges, _size(rows), rows["kafka_timestamp"])


def _size(rows: pa.Table) -> int:
    sizes = (pc.sum(pc.binary_length(rows[name])) for name in ("key", "key_bytes", "value", "value_bytes"))
    return sum(size.as_py() or 0 for size in sizes)


def _ranges(fetches: Sequence[Fetch]) -> list[Range]:
    """One range per partition; more only where offsets are missing between two fetches."""
    found: dict[Partition, list[Range]] = {}
    for fetch in fetches:
        ranges = found.setdefault(fetch.partition, [])
        if ranges and ranges[-1].end == fetch.start:
            ranges[-1] = replace(ranges[-1], end=fetch.end)
        else:
            ranges.append(Range(fetch.partition, fetch.start, fetch.end))
    return [r for partition in sorted(found) for r in found[partition]]


def _stage(table: Table, file: DataFile, landed: Landed, topic_id: str | None) -> Transaction:
    """Prepare the commit of a data file: rows, summary, watermarks and the topic's id together."""
    ranges = [[*r.partition, r.start, r.end] for r in landed.ranges]
    transaction = SingleTryTransaction(table)
    summary = {BATCH_ID: landed.batch_id, RANGES: json.dumps(ranges)}
    try:
        with transaction.update_snapshot(snapshot_properties=summary).fast_append() as append:
            append.append_data_file(file)
    except OSError as error:
        raise _unwritable(table, error) from error
    properties = {next_offset_property(r.partition): str(r.end) for r in landed.ranges}
    if topic_id is not None:
        properties |= {topic_id_property(*r.partition[:2]): topic_id for r in landed.ranges}
    transaction.set_properties(properties)
    return transaction


def _write(table: Table, rows: pa.Table, ingested_at: datetime) -> DataFile:
    """Write one data file.

    All rows are of one day. PyIceberg's own `append` would find that out by sorting them into partitions, which takes
    as long as all the rest.
    """
    # PyIceberg looks at each piece by itself, so small ones are joined first; large ones are not, as that copies all.
    if rows.num_rows < rows["offset"].num_chunks * PIECE_ROWS:
        rows = rows.combine_chunks()
    spec, schema = table.spec(), table.schema()
    days = [
        PartitionFieldValue(
            field, field.transform.transform(schema.find_type(field.source_id))(datetime_to_micros(ingested_at))
        )
        for field in spec.fields
    ]
    task = WriteTask(
        write_uuid=uuid.uuid4(),
        task_id=0,
        schema=schema,
        record_batches=rows.to_batches(),
        partition_key=PartitionKey(days, spec, schema),
    )
    try:
        (written,) = write_file(table.io, table.metadata, iter([task]))
    except OSError as error:
        # What was written of it would be an orphan, and on a full disk each try would leave another.
        places = load_location_provider(table.location(), table.properties)
        with suppress(OSError):
            table.io.delete(places.new_data_location(task.generate_data_file_filename("parquet"), task.partition_key))
        raise _unwritable(table, error) from error
    return written


def _unwritable(table: Table, error: OSError) -> Unavailable:
    return Unavailable(
        f"{full_name(table)} cannot be written at {table.location()}: {first_line(error)}",
        "Check space and rights there. Nothing is lost: landing goes on from the table's own offsets.",
    )


def _text_or_bytes(values: Sequence[bytes | None]) -> tuple[pa.Array, pa.Array]:
    """Bytes as (text, bytes): those that are UTF-8 on the left, the others on the right, null on the other side."""
    raw = pa.array(values, pa.large_binary())
    try:
        return raw.cast(pa.large_string()), pa.nulls(len(raw), pa.large_binary())
    except pa.ArrowInvalid:  # some are not UTF-8, and only now it is worth asking each of them
        is_text = pa.array([_is_utf8(value) for value in values])
        nothing = pa.scalar(None, pa.large_binary())
        return pc.if_else(is_text, raw, nothing).cast(pa.large_string()), pc.if_else(is_text, nothing, raw)


def _is_utf8(value: bytes | None) -> bool:
    try:
        (value or b"").decode()
    except UnicodeDecodeError:
        return False
    return True


def _timestamps(values: Sequence[int]) -> pa.Array:
    """Kafka's milliseconds as timestamps; null where the producer set none (-1) or one that no calendar shows."""
    ms = pa.array(values, pa.int64())
    known = pc.and_(pc.greater_equal(ms, 0), pc.less_equal(ms, _LAST_TIMESTAMP))
    return pc.if_else(known, ms, pa.scalar(None, pa.int64())).cast(pa.timestamp("ms", "UTC"))


def _headers(headers: Sequence[Sequence[tuple[str, bytes | None]]]) -> pa.Array:
    """One list of (key, value, value_bytes) per record, empty where it has no headers."""
    flat: list[tuple[str, Any]] = []
    ends = pa.repeat(pa.scalar(0, pa.int32()), len(headers) + 1)
    if any(headers):
        flat = [pair for pairs in headers for pair in pairs]
        ends = pc.cumulative_sum(pa.array([0, *map(len, headers)], pa.int32()))
    value, value_bytes = _text_or_bytes([value for _, value in flat])
    struct = pa.StructArray.from_arrays(
        [pa.array([key for key, _ in flat], pa.string()), value, value_bytes], names=["key", "value", "value_bytes"]
    )
    return pa.ListArray.from_arrays(ends, struct)
