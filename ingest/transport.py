"""A Faust transport that hands agents whole fetches, read from where the app says: a worker's from where Bronze ends.

Faust's own Kafka transport hands over one event at a time, starts where the consumer group's offsets say, and reads
aborted messages. This one is the same but for three things:

- an agent gets one message per partition fetch, its value a `Fetch`: all records Kafka had ready, as columns;
- on every assignment each partition is positioned at the app's watermark, a worker's that of the table, or at its
  beginning if there is none;
- only committed messages are read.

Group offsets are committed for what has been acknowledged. Where a table has the watermarks, they are only for the
tools that show a consumer's lag.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NoReturn, Protocol, cast

import aiokafka
from aiokafka import TopicPartition
from aiokafka.coordinator.assignors.roundrobin import RoundRobinPartitionAssignor
from aiokafka.errors import NoOffsetForPartitionError, OffsetOutOfRangeError
from faust.transport import drivers
from faust.transport.drivers import aiokafka as driver
from faust.types import TP, AppT, ConsumerMessage
from mode import Service

from ingest.catalog import Partition
from ingest.errors import ConfigurationError
from ingest.health import Health
from ingest.kafka import Cluster
from ingest.lander import Fetch, Record
from ingest.metrics import Reading
from ingest.patches import aiokafka_records
from ingest.patches.faust_offsets import GapTolerantConsumer
from ingest.patches.faust_thread import OpenConsumerThread

#: Broker URLs with this scheme use this transport: `faust.App(..., broker="bronze://")`.
SCHEME = "bronze"
drivers.TRANSPORTS.aliases[SCHEME] = "ingest.transport:Transport"

#: Bytes of one fetch of all partitions together, at most.
FETCH_BYTES = 16 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Fetching:
    """How the broker is asked for messages.

    Attributes:
        min_bytes, wait_ms: it answers once it has so many bytes, or after so many milliseconds. Meanwhile another
            partition of it is not asked for.
        partition_bytes: of one partition, at most. With the agents' buffers it bounds memory.
    """

    min_bytes: int
    wait_ms: int
    partition_bytes: int


LANDING = Fetching(min_bytes=256 * 1024, wait_ms=100, partition_bytes=2 * 1024 * 1024)
"""A fetch of few messages costs as much as one of thousands: let the broker collect some first."""

#: How long Kafka may take to answer a request.
REQUEST_SECONDS = 90

#: How old what is known of the topics may be: how long until a partition that was added to one is read.
METADATA_SECONDS = 10

#: How long until the group gives a dead worker's partitions to others; 6 s is the least Kafka allows by default.
_TIMES = {"session_timeout_ms": 6_000, "heartbeat_interval_ms": 2_000, "rebalance_timeout_ms": 30_000}
#: The embedded broker lets the first worker of a group wait for half its session time-out.
_TIMES_EMBEDDED = {"session_timeout_ms": 2_000, "heartbeat_interval_ms": 400, "rebalance_timeout_ms": 10_000}


class ReadingMetrics(Protocol):
    """What the transport tells of its reading."""

    def positioned(self, partition: Partition, offset: int) -> None:
        """A partition is read from this offset on; all below is done."""

    def revoked(self) -> None:
        """No partition is ours any more."""

    def fetched(self, fetch: Fetch) -> None:
        """This was read, and waits for the app."""


class TransportApp(AppT):
    """What the transport asks of the app it serves.

    Attributes:
        fetching: how the broker is asked.
    """

    cluster: Cluster
    health: Health
    metrics: ReadingMetrics
    fetching: Fetching

    async def watermarks(self) -> dict[Partition, int]:
        """Where partitions are to be read from, once all that was read is done."""
        raise NotImplementedError

    def begins(self, beginnings: Mapping[Partition, int]) -> None:
        """Partitions without a watermark are read from here."""
        raise NotImplementedError

    def lost(self, partition: Partition, offset: int, beginning: int) -> None:
        """Kafka does not have the offset where reading was to go on: it goes on at the beginning of what Kafka has."""
        raise NotImplementedError

    def end(self, reason: Exception) -> NoReturn:
        """End the process: nothing that follows a failure here could be trusted."""
        raise NotImplementedError


class ConsumerThread(OpenConsumerThread):
    """Owns the aiokafka consumer, in a thread of its own, so that heartbeats go on while the agents work."""

    app: TransportApp
    _next: dict[TP, int]
    """Where the next fetch of each partition starts. A new dict with each assignment, empty, and with each seek."""
    _positioned_at: float
    """When partitions were last positioned, in Unix seconds."""
    _asked: float
    """When Kafka was last asked for something, by the monotonic clock, or could be again."""

    def make_consumer(self) -> aiokafka.AIOKafkaConsumer:
        aiokafka_records.apply()
        self._next = {}
        self._asked = time.monotonic()
        self.app.health.reader = self
        conf = self.app.conf
        return aiokafka.AIOKafkaConsumer(
            client_id=conf.broker_client_id,
            group_id=conf.id,
            bootstrap_servers=self.app.cluster.bootstrap,
            isolation_level="read_committed",
            # Where to read from is the tables' word; a position that Kafka does not have is an error, not a guess.
            auto_offset_reset="none",
            enable_auto_commit=False,
            partition_assignment_strategy=[RoundRobinPartitionAssignor],
            **_TIMES_EMBEDDED if self.app.cluster.pid else _TIMES,
            # By itself it leaves the group, for good, when nothing was fetched for 5 minutes, as by a spare worker.
            max_poll_interval_ms=math.inf,
            metadata_max_age_ms=METADATA_SECONDS * 1000,
            request_timeout_ms=REQUEST_SECONDS * 1000,
            fetch_max_bytes=FETCH_BYTES,
            max_partition_fetch_bytes=self.app.fetching.partition_bytes,
            fetch_min_bytes=self.app.fetching.min_bytes,
            fetch_max_wait_ms=self.app.fetching.wait_ms,
            **driver.credentials_to_aiokafka_auth(conf.broker_credentials, conf.ssl_context),
        )

    @Service.task
    async def _watch_the_group(self) -> None:
        """End when aiokafka cannot be in its group any more: it says so only to who asks for messages its own way."""
        while not self.should_stop:
            await self.sleep(1.0)
            try:
                self.check_group()
            except Exception as error:
                self.app.end(
                    ConfigurationError(
                        f"This worker cannot be in the group {self.app.conf.id}: {error!r}.",
                        "Check the broker's log and its `group.*` settings, and the rights on that group.",
                    )
                )

    async def on_partitions_revoked(self, revoked: set[TP]) -> None:
        self._next = {}
        self.app.metrics.revoked()
        await super().on_partitions_revoked(revoked)

    async def on_partitions_assigned(self, assigned: set[TP], generation_id: int = 0) -> None:
        # A seek of the assignment before may have come in between; aiokafka has forgotten it, and reads from the
        # group's offsets.
        self._next = {}
        await super().on_partitions_assigned(assigned, generation_id)

    async def fetch(
        self, consumer: aiokafka.AIOKafkaConsumer, partitions: set[TP], timeout: float | None, max_records: int | None
    ) -> Mapping[TP, list[Fetch]]:
        """What the partitions have ready, as partition -> one `Fetch`."""
        positions = self._next
        positioned = partitions & positions.keys()
        if not positioned:
            await asyncio.sleep(0.05)
            return {}
        self._asked = time.monotonic()
        fetched: Mapping[TP, list[Record]] = {}
        failure: Exception | None = None
        try:
            fetched = await super().fetch(consumer, positioned, timeout, max_records)
        except (OffsetOutOfRangeError, NoOffsetForPartitionError) as error:
            failure = error
        if positions is not self._next:
            # A rebalance or a seek came in between, and this belongs to what was before it. Partitions that were
            # positioned since then may have been read from there on: they are to be read from there again.
            for tp in fetched.keys() & self._next.keys():
                consumer.seek(tp, self._next[tp])
            return {}
        if isinstance(failure, OffsetOutOfRangeError):
            await self._skip_missing(consumer, failure.args[0])
        elif failure is not None:
            raise failure
        fetches = {}
        for tp, records in fetched.items():
            fetch = Fetch.of(self.partition(tp), records, positions[tp])
            positions[tp] = fetch.end
            fetches[tp] = [fetch]
            self.app.metrics.fetched(fetch)
        return fetches

    async def seek_to(self, offsets: Mapping[TP, int]) -> None:
        """Go on reading from these offsets, in those of the partitions that are still assigned."""
        consumer = self._ensure_consumer()
        positioned = {tp: offsets[tp] for tp in consumer.assignment() & offsets.keys()}
        for tp, offset in positioned.items():
            consumer.seek(tp, offset)
            self.app.metrics.positioned(self.partition(tp), offset)
        self._next = {**self._next, **positioned}
        self._positioned_at = time.time()
        self._asked = time.monotonic()

    @property
    def idle(self) -> float:
        """Seconds since something was asked of Kafka; 0 without partitions to read."""
        return time.monotonic() - self._asked if self._next else 0.0

    async def readings(self) -> dict[Partition, Reading | None]:
        """How each assigned partition is read; None for one that is not positioned yet."""
        found: dict[Partition, Reading | None] = {}
        if self._consumer is None:
            return found
        consumer = self._consumer
        for tp in consumer.assignment():
            found[self.partition(tp)] = None
            if tp in self._next:
                observed = consumer.last_poll_timestamp(tp)
                found[self.partition(tp)] = Reading(
                    await consumer.position(tp),
                    consumer.highwater(tp),
                    observed / 1000 if observed else self._positioned_at,
                )
        return found

    def partition(self, tp: TP) -> Partition:
        return self.app.cluster.alias, tp.topic, tp.partition

    async def committed(self, partitions: Iterable[TP]) -> dict[TP, int]:
        """The group's offsets, of partitions that have one."""
        consumer = self._ensure_consumer()
        offsets = {tp: await consumer.committed(tp) for tp in partitions}
        return {tp: offset for tp, offset in offsets.items() if offset is not None}

    async def _skip_missing(self, consumer: aiokafka.AIOKafkaConsumer, lost: Mapping[TopicPartition, int]) -> None:
        beginnings = await consumer.beginning_offsets(list(lost))
        for tp, offset in lost.items():
            self.app.lost(self.partition(tp), offset, beginnings[tp])
        await self.seek_to(beginnings)


class Consumer(GapTolerantConsumer):
    """Faust's consumer, in the main thread: passes fetches on, decides where reading starts."""

    app: TransportApp
    _thread: ConsumerThread

    def _new_consumer_thread(self) -> ConsumerThread:
        return ConsumerThread(self, loop=self.loop, beacon=self.beacon)

    def _to_message(self, tp: TP, record: Any) -> ConsumerMessage:
        fetch: Fetch = record
        # Its offset is the last one, so that the commit of it is `fetch.end`.
        return ConsumerMessage(
            topic=tp.topic,
            partition=tp.partition,
            offset=fetch.end - 1,
            timestamp=0.0,
            timestamp_type=0,
            headers=[],
            key=None,
            value=cast(bytes, fetch),
            checksum=None,
            tp=tp,
            generation_id=self.app.consumer_generation_id,
        )

    async def committed(self) -> dict[Partition, int]:
        """The group's offsets of the assigned partitions that have one."""
        offsets = await self._thread.call_thread(self._thread.committed, self.assignment())
        return {self._thread.partition(tp): offset for tp, offset in offsets.items()}

    async def perform_seek(self) -> None:
        """Called by Faust after every rebalance, before anything is read: start where the app says."""
        try:
            watermarks = await self.app.watermarks()
            places = {tp: self._thread.partition(tp) for tp in self.assignment()}
            offsets = {tp: watermarks[place] for tp, place in places.items() if place in watermarks}
            # Only of these: one partition that nobody leads would hold up the answer for all.
            if new := places.keys() - offsets.keys():
                beginnings = await self.earliest_offsets(*new)
                self.app.begins({places[tp]: beginnings[tp] for tp in new})
                offsets |= beginnings
        except Exception as error:
            self.app.end(error)
        self._read_offset.update(offsets)
        await self._thread.call_thread(self._thread.seek_to, offsets)


class Transport(driver.Transport):
    """The transport of `bronze://`. Bootstrap servers come from the app's cluster, not from the URL."""

    Consumer = Consumer
    driver_version = f"levain, {driver.Transport.driver_version}"
