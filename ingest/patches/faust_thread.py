"""Faust: the thread that owns the aiokafka consumer lets a subclass make the consumer and change what it fetches.

Faust gives every option of the consumer by its own settings, which lack `isolation_level` and the sizes of fetches,
and hands over records one by one. Both are done in private methods, which have public names here.

Upstream: https://github.com/faust-streaming/faust/blob/v0.15.3/faust/transport/drivers/aiokafka.py
(`AIOKafkaConsumerThread`)
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import aiokafka
from aiokafka.coordinator.assignors.roundrobin import RoundRobinPartitionAssignor
from faust.transport.drivers import aiokafka as driver
from faust.types import TP

from ingest.patches import written_for

written_for(
    "faust-streaming",
    "0.15.3",
    "see whether `_create_worker_consumer` still makes the consumer and sets nothing but `_assignor`, and whether all "
    "messages still come through `_fetch_records`.",
)
written_for("aiokafka", "0.14.0", "see whether `_coordinator.check_errors` still raises what keeps a consumer out.")


class OpenConsumerThread(driver.AIOKafkaConsumerThread):
    """Faust's thread of a consumer, with its private steps to be changed."""

    def make_consumer(self) -> aiokafka.AIOKafkaConsumer:
        """The consumer, with `RoundRobinPartitionAssignor` as its only strategy."""
        raise NotImplementedError

    async def fetch(
        self, consumer: aiokafka.AIOKafkaConsumer, partitions: set[TP], timeout: float | None, max_records: int | None
    ) -> Mapping[TP, list[Any]]:
        """What the partitions have ready."""
        return await super()._fetch_records(consumer, partitions, timeout, max_records)

    def check_group(self) -> None:
        """Raise what keeps the consumer out of its group; nothing as long as it can be in it, or there is none yet."""
        if self._consumer is not None:
            self._consumer._coordinator.check_errors()

    def _create_worker_consumer(self, transport: driver.Transport) -> aiokafka.AIOKafkaConsumer:
        self._assignor = RoundRobinPartitionAssignor
        return self.make_consumer()

    async def _fetch_records(
        self,
        consumer: aiokafka.AIOKafkaConsumer,
        active_partitions: set[TP],
        timeout: float | None = None,
        max_records: int | None = None,
    ) -> Mapping[TP, list[Any]]:
        return await self.fetch(consumer, active_partitions, timeout, max_records)
