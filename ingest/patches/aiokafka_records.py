"""aiokafka: records as its parser in C gives them, a batch at a time.

aiokafka takes each record through three functions of Python and makes a `ConsumerRecord` of it, which takes longer than
fetching, checking and parsing together. The landing builds columns from the parser's own records and needs no other;
what is decided of a batch (its checksum, aborted and control batches, where the next fetch starts) stays aiokafka's.

Not on import: `apply` makes the change, for all consumers of the process. `max_poll_records` would count batches.

Upstream: https://github.com/aio-libs/aiokafka/blob/v0.14.0/aiokafka/consumer/fetcher.py (`PartitionRecords`,
`FetchResult`)
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from typing import Any
from weakref import proxy

from aiokafka.consumer import fetcher

from ingest.patches import written_for

written_for(
    "aiokafka",
    "0.14.0",
    "see whether the fetcher still takes records from batches in `PartitionRecords._unpack_records`, passes each "
    "through `_consumer_record` and collects them in `FetchResult.getall`, whether it takes both by their names "
    "in `fetcher`, and whether the parser's records have `offset`, `timestamp`, `key`, `value` and `headers`.",
)


class _Chunk(list[Any]):
    """The records of a batch, which aiokafka takes for one record, the last."""

    @property
    def offset(self) -> int:
        return int(self[-1].offset)


class _Batch:
    """A batch of the parser whose only item is the chunk of its records that are to be read, if there are any."""

    def __init__(self, batch: Any, reader: Any) -> None:
        self._batch = batch
        self._reader = reader

    def __getattr__(self, name: str) -> Any:
        return getattr(self._batch, name)

    def __next__(self) -> Any:  # of a control batch: its record
        return next(self._batch)

    def __iter__(self) -> Iterator[_Chunk]:
        chunk = _Chunk(self._batch)
        first = self._reader.next_fetch_offset
        if chunk and chunk[0].offset < first:
            chunk = _Chunk(record for record in chunk if record.offset >= first)
        return iter([chunk] if chunk else [])


class _Batches:
    """The parser's batches, each as a `_Batch`."""

    def __init__(self, records: Any, reader: Any) -> None:
        self._records = records
        self._reader = reader

    def has_next(self) -> bool:
        return bool(self._records.has_next())

    def next_batch(self) -> _Batch:
        return _Batch(self._records.next_batch(), self._reader)


class _Records(fetcher.PartitionRecords):
    def __init__(self, tp: Any, records: Any, *arguments: Any) -> None:
        # Weak: a cycle would keep each fetch until the collector comes, which is seldom in the worker.
        super().__init__(tp, _Batches(records, proxy(self)), *arguments)

    def _consumer_record(self, tp: Any, record: Any) -> Any:
        return record


class _Result(fetcher.FetchResult):
    def getall(self, max_records: int | None = None) -> list[Any]:
        return list(chain.from_iterable(super().getall(max_records)))


def apply() -> None:
    """Have every consumer that is made from now on give the parser's records."""
    fetcher.PartitionRecords = _Records
    fetcher.FetchResult = _Result
