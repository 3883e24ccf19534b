"""What a worker is made of: a buffer per topic, and the Faust app that lands what the buffers hold.

A message's path: Kafka -> `transport.Consumer` (a fetch of one partition) -> the agent of its topic -> that topic's
`TopicBuffer` -> `lander.land`, every few seconds or bytes, as one Iceberg commit -> acknowledged.
Until that commit Kafka holds the message, after it the table does, and reading starts where the table ends. So the
process may end at any point, and does on any failure: its supervisor starts it again.
"""

from __future__ import annotations

import asyncio
import ctypes
import gc
import itertools
import logging
import math
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any, NoReturn, TypeVar, cast

import faust
from faust.app import base as faust_app
from faust.types import EventT
from prometheus_client import CollectorRegistry
from pyiceberg.table import Table

from ingest import kafka, lake, lander, logs, maintenance
from ingest.catalog import Partition, ensure_table, open_catalog, refresh, topic_id, watermarks
from ingest.contracts import AVRO, JSON_SCHEMA, Contract
from ingest.errors import LevainError, StateError, Unavailable, first_line
from ingest.health import Health, serve
from ingest.lander import Fetch
from ingest.metrics import Metrics
from ingest.registry import Registry, json_texts
from ingest.settings import Settings
from ingest.transport import LANDING, ReadingMetrics, TransportApp

#: Of mallopt(3): how many arenas the allocator may have. By itself it gives one to nearly every thread, and what a
#: compaction has freed in all of them stays there, in pieces (docs/decisions/0002-memory-of-the-worker.md).
M_ARENA_MAX = -8

T = TypeVar("T")

log = logging.getLogger(__name__)

#: How long Kafka may take to tell a topic's id before it is asked again; an election of its controller takes as long.
ASK_SECONDS = 3.0

#: Between two questions to what is away, in seconds, at most; at first it is half a second.
LONGEST_PAUSE = 4.0

#: From the shutdown (SIGTERM) until the process has ended, at most.
STOP_SECONDS = 9.0

#: How long Faust lets an assignment look for where to read from. When that is over it says nothing and never reads
#: again, so it is longer than anything here waits, and waiting ends as `TopicBuffer` says.
SEEK_SECONDS = 86_400


class TopicBuffer:
    """Fetches of one topic that have been read but have not landed yet."""

    table: Table  # set when the worker starts
    topic_id: str  # set at each assignment: of the topic whose fetches follow

    def __init__(self, contract: Contract, app: App) -> None:
        self.contract = contract
        self.app = app
        self._events: list[EventT[Any]] = []
        self._bytes = 0
        self._committing = asyncio.Lock()
        self._commit_lock = threading.Lock()  # two commits of this process at once would only be in each other's way
        self.commits = 0
        self._orphans_at: float | None = None
        self.beginnings: dict[Partition, int] = {}
        """Where partitions that had landed nothing were positioned at."""

    def take(self, event: EventT[Any]) -> bool:
        """Add a fetch; True when that makes it enough for a commit."""
        fetch = cast(Fetch, event.value)
        size = fetch.size
        self._events.append(event)
        self._bytes += size
        self.app.metrics.taken(self.contract.topic, size)
        return self._bytes >= self.app.settings.commit_every_bytes

    @property
    def waits(self) -> bool:
        """Whether anything has not landed yet."""
        return bool(self._events) or self._committing.locked()

    async def commit(self) -> None:
        """Land what is buffered, then acknowledge it. One commit at a time; the next fetches are read meanwhile."""
        async with self._committing:
            events, self._events, size, self._bytes = self._events, [], self._bytes, 0
            if not events:
                return
            fetches = [cast(Fetch, event.value) for event in events]
            began = time.monotonic()
            with self._under_way("A commit"):
                landed = await asyncio.to_thread(self._land, fetches)
            for event in events:
                event.ack()
            self.commits += 1
            seconds = time.monotonic() - began
            self.app.metrics.landed(self.contract.topic, fetches, size, landed, seconds)
            self.app.health.failing.pop(self.contract.topic, None)
            logs.commit(log, self.contract.topic, landed, seconds)

    def _land(self, fetches: list[Fetch]) -> lander.Landed:
        self._check_topic()
        if (texts_of := self.app.texts_of(self.contract)) is not None:
            fetches = self._patiently(lambda: [fetch.decoded(texts_of) for fetch in fetches])
        with self._commit_lock:
            return lander.land(
                self.table,
                fetches,
                beginnings=self.beginnings,
                accept_missing=self.app.settings.accept_missing,
                topic_id=self.topic_id,
                try_again=self._try_again,
            )

    def _check_topic(self) -> None:
        """Have Kafka confirm, after the fetches were read, that the topic is still the one they were to be read from.

        A topic that was recreated meanwhile has the name and may have the offsets of the old one. That it is still
        the old one now shows that it was when the fetches were read.
        """
        found = self._ask_topic_id()
        if found != self.topic_id:
            raise lander.another_topic(self.app.cluster.alias, self.contract.topic, self.topic_id, found)

    def watermarks(self) -> dict[Partition, int]:
        """Where the table ends, now that partitions have been assigned.

        Raises:
            StateError: the topic is not the one that has landed.
            Unavailable: Kafka or the catalog is away for longer than `LEVAIN_COMMIT_PATIENCE_SECONDS`.
        """
        cluster, topic = self.app.cluster.alias, self.contract.topic
        with self._under_way("The question where to read from"):
            found = self._ask_topic_id()
            landed_id, marks = self._patiently(lambda: self._read_table(cluster, topic))
        if found is None or landed_id not in (None, found):
            raise lander.another_topic(cluster, topic, landed_id, found)
        self.topic_id = found
        return marks

    def _read_table(self, cluster: str, topic: str) -> tuple[str | None, dict[Partition, int]]:
        with self._commit_lock:  # a commit is built on the table as it was trimmed to
            table = refresh(self.table)
            return topic_id(table, cluster, topic), watermarks(table)

    def _ask_topic_id(self) -> str | None:
        topic = self.contract.topic
        return self._patiently(lambda: self.app.topic_ids(topic, seconds=ASK_SECONDS)[topic])

    def _patiently(self, ask: Callable[[], T]) -> T:
        """The answer of Kafka, the catalog or the registry, which are asked ever later as long as they may be away."""
        began = time.monotonic()
        for tries in itertools.count():
            try:
                return ask()
            except Unavailable as error:
                if not self._try_again(error, time.monotonic() - began):
                    raise
                log.warning("%s: %s", self.contract.topic, error.message)
                time.sleep(min(LONGEST_PAUSE, 0.5 * 2 ** min(tries, 10)))
        raise AssertionError("unreachable")

    @contextmanager
    def _under_way(self, what: str) -> Iterator[None]:
        key = f"{what} of {self.contract.topic}"
        self.app.health.under_way[key] = time.monotonic()
        try:
            yield
        finally:
            self.app.health.under_way.pop(key, None)

    def _try_again(self, failure: Exception, seconds: float) -> bool:
        again = seconds < self.app.settings.commit_patience_seconds and time.monotonic() < self.app.last_try
        if again:
            self.app.metrics.retrying(self.contract.topic, failure)
            self.app.health.failing[self.contract.topic] = first_line(failure)
        return again

    async def maintain(self) -> None:
        """Compact the table and expire its snapshots, once a day remove orphans; landing goes on meanwhile.

        A failure is only logged: landing does not depend on it, and one file that cannot be read must not stop it.
        """
        self.commits = 0
        orphans = self._orphans_at is None or time.monotonic() > self._orphans_at + 86_400
        try:
            done = await asyncio.to_thread(self._maintain, orphans)
        except Exception as error:
            log.error("%s", error, exc_info=None if isinstance(error, LevainError) else error)
            return
        if orphans:
            self._orphans_at = time.monotonic()
        log.info("%s", done)

    def _maintain(self, orphans: bool) -> maintenance.Done:
        # A table object of its own: a commit's retries look at theirs.
        table = self.table.catalog.load_table(self.table.name())
        done = maintenance.maintain(table, self.app.settings, orphans=orphans, lock=self._locked_for_maintenance)
        gc.collect()  # PyIceberg's transactions are cycles; by itself the collector comes to them seldom, see below
        return done

    @contextmanager
    def _locked_for_maintenance(self) -> Iterator[None]:
        with self._commit_lock:
            yield
            self.table.refresh()  # or the next batch would be built on what is not current any more


class ReadingApp(faust.App, TransportApp):
    """A Faust app that reads by our transport, and ends at a failure that a retry cannot fix.

    To make one opens nothing: `configure` gives it its settings, and `on_first_start` opens what it needs.
    """

    class BootStrategy(faust_app.BootStrategy):
        """No producer, and no web server."""

        enable_kafka_producer = False
        enable_web = False

    settings: Settings
    health: Health
    metrics: ReadingMetrics
    registry: CollectorRegistry
    """Of the metrics."""
    metrics_port: int | None
    """Where they are served, as the setting `metrics_port` has it."""
    fetching = LANDING

    def __init__(self, id: str, **options: Any) -> None:
        self._from_settings: dict[str, Any] = {}
        super().__init__(id, config_source=self._from_settings, **options)

    def configure(self, settings: Settings) -> None:
        """Take the settings, before Faust reads its configuration.

        Raises:
            ConfigurationError: a certificate or a key for Kafka cannot be read.
        """
        self._from_settings |= {
            "broker_credentials": kafka.credentials(settings),
            "broker_commit_interval": settings.commit_every_seconds,
            "datadir": settings.run_dir / "faust",
            **logs.faust_options(settings),
        }
        self.settings = settings
        self.health = Health(settings.commit_patience_seconds)

    async def on_first_start(self) -> None:
        """Find the cluster and open what is needed, or say what is missing before anything is read."""
        # A fetch makes thousands of objects that are gone at once, and none of them is in a cycle. To collect after
        # every 700, as Python does by itself, took a seventh of the CPU.
        gc.set_threshold(100_000)
        with suppress(AttributeError):  # only glibc has it
            ctypes.CDLL(None).mallopt(M_ARENA_MAX, 2)
        self.health.loop = asyncio.get_running_loop()
        try:
            url = serve(self.health, self.registry, self.settings.metrics_host, self.metrics_port)
            log.info("Metrics are at %s/metrics, health is at /healthz and /readyz there", url)
            self.settings.run_dir.mkdir(parents=True, exist_ok=True)
            self.cluster = kafka.cluster(self.settings)
            await self.open()
        except Exception as error:
            self.end(error)
        await super().on_first_start()

    async def open(self) -> None:
        """Open what the app works with, now that the cluster is known."""
        raise NotImplementedError

    async def on_stop(self) -> None:
        """Stop reading; in any case end within `STOP_SECONDS`."""
        self.health.stopping = True
        in_time = threading.Timer(STOP_SECONDS, self.end_in_time)
        in_time.daemon = True
        in_time.start()
        await super().on_stop()

    def end_in_time(self) -> None:
        """End the process: what is left is to leave the group, which waits for a broker that has gone."""
        logging.shutdown()
        os._exit(0)

    def end(self, reason: Exception) -> NoReturn:
        """Log the reason and end the process with exit code 1, at once.

        Not by way of Faust's shutdown, which may wait for a broker that has gone: ending is always safe, since reading
        starts again where the app's watermarks are.
        """
        log.critical("%s", reason, exc_info=None if isinstance(reason, LevainError) else reason)
        logging.shutdown()
        os._exit(1)


class App(ReadingApp):
    """Lands what it reads. `prepare` gives it its settings and topics."""

    metrics: Metrics
    buffers: dict[str, TopicBuffer]
    """By topic."""

    def __init__(self, id: str, **options: Any) -> None:
        super().__init__(id, **options)
        self.last_try = math.inf
        """By the monotonic clock, when a commit that fails is not tried again."""
        self._all_landed = False
        self._landings: set[asyncio.Task[None]] = set()

    def prepare(self, settings: Settings, contracts: Mapping[str, Contract]) -> None:
        """Take the settings and the topics to land, before Faust reads its configuration.

        Raises:
            ConfigurationError: a certificate or a key for Kafka cannot be read.
        """
        self.configure(settings)
        self.metrics_port = settings.metrics_port
        self.metrics = Metrics(contracts, self.health.readings)
        self.registry = self.metrics.registry
        encodings = {contract.encoding for contract in contracts.values()}
        self._registry = Registry(settings) if AVRO in encodings else None
        # Those that may wait for the registry come last: no other topic waits for them.
        in_turn = sorted(contracts.items(), key=lambda item: item[1].encoding == AVRO)
        self.buffers = {topic: TopicBuffer(contract, self) for topic, contract in in_turn}

    async def open(self) -> None:
        """Find the topics and the tables."""
        await asyncio.to_thread(self._open_tables)

    async def on_stop(self) -> None:
        """Stop reading, then land what is buffered; in any case end within `STOP_SECONDS`."""
        self.last_try = time.monotonic() + STOP_SECONDS / 2
        await super().on_stop()
        await self.land(*self.buffers.values())
        self._all_landed = True

    async def land(self, *buffers: TopicBuffer) -> None:
        """Land what these topics have buffered, to the end: who waits for it may be cancelled, as by a rebalance."""
        landing = asyncio.create_task(self._land(buffers))
        self._landings.add(landing)
        landing.add_done_callback(self._landings.discard)
        await asyncio.shield(landing)

    async def _land(self, buffers: Iterable[TopicBuffer]) -> None:
        try:
            for buffer in buffers:
                await buffer.commit()
        except Exception as error:
            self.end(error)

    async def watermarks(self) -> dict[Partition, int]:
        """Where each table ends, once all that is buffered has landed.

        Raises:
            StateError: a topic is not the one that has landed.
        """
        await self.land(*self.buffers.values())
        found: dict[Partition, int] = {}
        for topic, buffer in self.buffers.items():
            found |= await asyncio.to_thread(buffer.watermarks)
            self.health.failing.pop(topic, None)
        return found

    def texts_of(self, contract: Contract) -> Callable[[list[bytes | None]], list[str | None]] | None:
        """What decodes a topic's payloads; None for plain JSON."""
        if contract.encoding == AVRO and self._registry is not None:
            return self._registry.avro_texts
        return json_texts if contract.encoding == JSON_SCHEMA else None

    def begins(self, beginnings: Mapping[Partition, int]) -> None:
        """Note where partitions that have landed nothing are read from."""
        for partition, offset in beginnings.items():
            self.buffers[partition[1]].beginnings[partition] = offset

    def lost(self, partition: Partition, offset: int, beginning: int) -> None:
        """End, unless messages that Kafka no longer has may be missing (`LEVAIN_ACCEPT_MISSING`)."""
        _, topic, number = partition
        if offset > beginning:
            self.end(
                StateError(
                    f"Topic {topic}, partition {number}, has landed up to offset {offset}, where Kafka "
                    "has not come yet: the topic was deleted and recreated, or its log was cut.",
                    "To land what it holds now, give the cluster another alias in LEVAIN_KAFKA_CLUSTER.",
                )
            )
        if not self.settings.accept_missing:
            self.end(lander.missing(partition, offset, beginning))

    def end_in_time(self) -> None:
        """End the process, with exit code 1 unless all has landed."""
        if self._all_landed:
            super().end_in_time()
        waiting = ", ".join(topic for topic, buffer in self.buffers.items() if buffer.waits) or "nothing"
        self.end(
            Unavailable(
                f"What was buffered ({waiting}) has not landed within {STOP_SECONDS:.0f} s after the shutdown began.",
                "Check the catalog and Kafka. Nothing is lost: landing goes on from the table's own offsets.",
            )
        )

    def topic_ids(self, *topics: str, seconds: float = kafka.CONTACT_SECONDS) -> dict[str, str | None]:
        """The topics' ids as Kafka tells them now; see `kafka.Admin`."""
        return self._admin.topic_ids(topics, seconds)

    def _open_tables(self) -> None:
        catalog = open_catalog(self.settings)
        for remark in lake.check(catalog, self.settings):
            log.warning("%s", remark)
        self._admin = kafka.Admin(self.settings)
        ids = self.topic_ids(*self.buffers)
        missing = [topic for topic, found in ids.items() if found is None]
        if missing:
            raise StateError(f"Kafka has no topic {', '.join(missing)}.", "Create them with `levain init`.")
        for buffer in self.buffers.values():
            buffer.table = ensure_table(catalog, buffer.contract)
        self.health.catalog = catalog
        log.info("%s at %s lands in %s", self.cluster.alias, self.cluster.bootstrap, self.settings.lake)
