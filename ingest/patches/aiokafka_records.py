"""aiokafka: records as its parser in C gives them.

aiokafka would make a `ConsumerRecord` of each, which takes longer than fetching, checking and parsing together. The
landing builds columns from the parser's own records and needs no other.

Not on import: `apply` makes the change, for all consumers of the process.

Upstream: https://github.com/aio-libs/aiokafka/blob/v0.14.0/aiokafka/consumer/fetcher.py (`PartitionRecords`)
"""

from __future__ import annotations

from typing import Any

from aiokafka.consumer import fetcher

from ingest.patches import written_for

written_for(
    "aiokafka",
    "0.14.0",
    "see whether the fetcher still makes its records in `PartitionRecords._consumer_record`, whether it is still the "
    "name `fetcher.PartitionRecords` that it takes the class from, and whether the parser's records still have "
    "`offset`, `timestamp`, `key`, `value` and `headers`.",
)


class _Records(fetcher.PartitionRecords):
    def _consumer_record(self, tp: Any, record: Any) -> Any:
        return record


def apply() -> None:
    """Have every consumer that is made from now on give the parser's records."""
    fetcher.PartitionRecords = _Records
