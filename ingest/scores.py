"""The worker that scores purchases as they come: `faust -A ingest.scores worker -l info`.

To import this module does nothing but declare the app. Settings and the model are read when Faust asks for its
configuration, as the `faust` command does; Kafka and the metrics' port are opened when the worker starts.

A message's path: topic `purchases` -> `transport.Consumer` (a fetch of one partition) -> the agent -> a score of each
message (`ingest.fraud`) -> topic `purchase-scores`. A fetch is acknowledged when Kafka has acknowledged all its scores.

So a purchase is scored at least once: when the process ends in between, the fetch is read again. A score follows from
the message and the model, and so does its `event_id`: what is sent twice is a duplicate in Silver. A score has the
Kafka timestamp of its purchase, and its header `received-at`, so it is as late as that, and of two versions of an event
the same one counts.
"""

# mypy: allow-subclassing-any, allow-untyped-decorators

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NoReturn, cast

import aiokafka
from aiokafka.errors import KafkaError
from faust.transport.drivers import aiokafka as driver
from faust.types import EventT, StreamT
from prometheus_client import CollectorRegistry, Counter, Histogram, Info, ProcessCollector
from prometheus_client.core import GaugeMetricFamily, Metric

from ingest import kafka
from ingest.catalog import Partition
from ingest.errors import LevainError, StateError, Unavailable, first_line
from ingest.fraud import Model, NoPurchase, load, read_purchase
from ingest.lander import Fetch
from ingest.metrics import Reading
from ingest.settings import Settings, load_settings
from ingest.sources.publish import RECEIVED_AT
from ingest.transport import SCHEME, Consumer, Fetching
from ingest.worker import SEEK_SECONDS, ReadingApp

PURCHASES, SCORES = "purchases", "purchase-scores"

LATENCY_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 60.0)
"""Upper bounds in seconds."""

PROMPTLY = Fetching(min_bytes=1, wait_ms=20, partition_bytes=64 * 1024)
"""A score is worth most at once."""

BUFFERED = 256
"""Fetches that wait for the agent, at most. Faust reads nothing for a second when there are as many."""

UNACKNOWLEDGED = 64
"""Fetches whose scores Kafka has not acknowledged yet, at most."""

AT_ONCE = 32
"""So many messages are scored before the producer's turn comes: some milliseconds."""

SHOWN = 5
"""Offsets without a score that the log names of a fetch and a reason."""

log = logging.getLogger(__name__)


@dataclass(slots=True)
class Sent:
    """A fetch whose scores the producer has.

    Attributes:
        scores: of each, what Kafka answers, and the Kafka timestamp of its purchase in ms.
        suspicious: how many of them reach the threshold.
        unscored: what is wrong with a message -> offsets.
    """

    event: EventT[Any]
    fetch: Fetch
    scores: list[tuple[Awaitable[Any], int | None]] = field(default_factory=list)
    suspicious: int = 0
    unscored: dict[str, list[int]] = field(default_factory=dict)


class ScoreMetrics:
    """The numbers of one worker that scores purchases.

    Args:
        model: that it scores with.
        readings: asks the consumer how it reads its partitions; None for one that is not positioned yet.
    """

    def __init__(self, model: Model, readings: Callable[[], Mapping[Partition, Reading | None]]) -> None:
        self.registry = CollectorRegistry()
        self._readings = readings
        self._done: dict[Partition, int] = {}
        self._scored = Counter("levain_scored_purchases_total", "Purchases scored.", registry=self.registry)
        self._suspicious = Counter(
            "levain_suspicious_purchases_total", "Purchases whose score reached the threshold.", registry=self.registry
        )
        self._unscored = Counter(
            "levain_unscored_messages_total",
            "Messages that could not be scored, by what is wrong with them.",
            ["reason"],
            registry=self.registry,
        )
        self._latency = Histogram(
            "levain_score_latency_seconds",
            "From a purchase's Kafka timestamp until Kafka had acknowledged its score.",
            buckets=LATENCY_BUCKETS,
            registry=self.registry,
        )
        Info("levain_score_model", "The model that purchases are scored with.", registry=self.registry).info(
            {"version": model.version, "trained_until": model.trained_until.isoformat()}
        )
        ProcessCollector(registry=self.registry)
        self.registry.register(self)

    def positioned(self, partition: Partition, offset: int) -> None:
        """A partition is read from this offset on; all below has been scored."""
        self._done[partition] = offset

    def revoked(self) -> None:
        """No partition is ours any more."""
        self._done.clear()

    def fetched(self, fetch: Fetch) -> None:
        """Nothing: what waits for its score is the lag."""

    def scored(self, timestamp: int | None) -> None:
        """A score was acknowledged. timestamp: of its purchase, in ms; None: the producer set none."""
        self._scored.inc()
        if timestamp is not None:
            self._latency.observe(max(0.0, time.time() - timestamp / 1000))

    def done(self, sent: Sent) -> None:
        """All scores of a fetch were acknowledged."""
        self._suspicious.inc(sent.suspicious)
        if sent.fetch.partition in self._done:
            self._done[sent.fetch.partition] = sent.fetch.end
        for reason, offsets in sent.unscored.items():
            self._unscored.labels(reason).inc(len(offsets))

    def describe(self) -> tuple[Metric, ...]:
        """Nothing: what `collect` gives depends on the assignment."""
        return ()

    def collect(self) -> Iterator[Metric]:
        """How far behind it is, as of when it is asked."""
        lag = GaugeMetricFamily(
            "levain_scores_lag_messages",
            "High watermark minus the first offset that has not been scored.",
            labels=("topic", "partition"),
        )
        for (cluster, topic, number), reading in self._readings().items():
            done = self._done.get((cluster, topic, number))
            if reading is not None and reading.end is not None and done is not None:
                # Behind the last message there may be offsets that nobody reads: transaction markers.
                behind = 0 if reading.position >= reading.end and done >= reading.position else reading.end - done
                lag.add_metric([topic, str(number)], max(0, behind))
        yield lag


class App(ReadingApp):
    """Scores purchases. `prepare` gives it its settings and its model."""

    metrics: ScoreMetrics
    model: Model
    fetching = PROMPTLY

    def prepare(self, settings: Settings) -> None:
        """Take the settings and read the model, before Faust reads its configuration.

        Raises:
            LevainError: see `ingest.fraud.load`; a certificate or a key for Kafka cannot be read.
        """
        self.configure(settings)
        self.model = load(settings.models_dir, settings.scores_model)
        self.health.needs_catalog = False
        self.metrics = ScoreMetrics(self.model, self.health.readings)
        self.registry = self.metrics.registry
        self.metrics_port = settings.scores_metrics_port

    async def open(self) -> None:
        """Find the topics, and connect the producer."""
        known = await asyncio.to_thread(kafka.topics, self.settings)
        missing = [topic for topic in (PURCHASES, SCORES) if topic not in known]
        if missing:
            raise StateError(f"Kafka has no topic {', '.join(missing)}.", "Create them with `levain init`.")
        self._to_scores = aiokafka.AIOKafkaProducer(
            bootstrap_servers=self.cluster.bootstrap,
            client_id=self.conf.id,
            acks="all",  # a retry may send a score twice: it is a duplicate then
            **driver.credentials_to_aiokafka_auth(self.conf.broker_credentials, self.conf.ssl_context),
        )
        await self._to_scores.start()
        self._sent = asyncio.Queue[Sent](UNACKNOWLEDGED)
        log.info("%s: scores with model %s", self.cluster.alias, self.model.version)

    async def on_stop(self) -> None:
        """Stop reading; what is not acknowledged is scored again by the next worker."""
        await super().on_stop()
        await self._to_scores.stop()

    async def watermarks(self) -> dict[Partition, int]:
        """The group's own offsets."""
        return await cast(Consumer, self.consumer).committed()

    def begins(self, beginnings: Mapping[Partition, int]) -> None:
        """Nothing to remember."""

    def lost(self, partition: Partition, offset: int, beginning: int) -> None:
        """Go on with what Kafka has: scoring again gives duplicates, and what is gone can have no score any more."""
        _, topic, number = partition
        log.warning(
            "%s, partition %d: Kafka does not have offset %d, up to which purchases were scored: "
            "scoring goes on at its first one, %d",
            *(topic, number, offset, beginning),
        )

    async def score(self, event: EventT[Any]) -> None:
        """Score the messages of a fetch and hand the scores to the producer; `acknowledge` does the rest."""
        fetch = cast(Fetch, event.value)
        columns = (fetch.rows[name].to_pylist() for name in ("offset", "value", "value_bytes"))
        times = [None if t is None else t // 1000 for t in fetch.rows["kafka_timestamp"].cast("int64").to_pylist()]
        sent = Sent(event, fetch)
        try:
            for number, (offset, value, value_bytes, timestamp, headers) in enumerate(
                zip(*columns, times, fetch.rows["headers"].to_pylist(), strict=True), 1
            ):
                try:
                    purchase = read_purchase(value if value_bytes is None else value_bytes)
                except NoPurchase as error:
                    sent.unscored.setdefault(str(error), []).append(offset)
                    continue
                text, is_suspicious = self.model.event(purchase)
                received = [(each["key"], each["value"].encode()) for each in headers if _is_received(each)]
                score = await self._to_scores.send(
                    SCORES, text.encode(), purchase.customer_id.encode(), timestamp_ms=timestamp, headers=received
                )
                sent.scores.append((score, timestamp))
                sent.suspicious += is_suspicious
                if number % AT_ONCE == 0:
                    await asyncio.sleep(0)
        except Exception as error:
            self._end(sent, error)
        await self._sent.put(sent)

    async def acknowledge(self) -> None:
        """Acknowledge a fetch when Kafka has acknowledged its scores: one after the other, in the order of reading."""
        sent = await self._sent.get()
        try:
            for score, timestamp in sent.scores:
                await score
                self.metrics.scored(timestamp)
        except Exception as error:
            self._end(sent, error)
        sent.event.ack()
        self.metrics.done(sent)
        for reason, offsets in sent.unscored.items():
            shown = ", ".join(map(str, offsets[:SHOWN])) + (", ..." if len(offsets) > SHOWN else "")
            log.warning(
                "%s, partition %d: not scored, by %s: %d, offsets %s",
                *(PURCHASES, sent.fetch.partition[2], reason, len(offsets), shown),
            )

    def _end(self, sent: Sent, error: Exception) -> NoReturn:
        if not isinstance(error, KafkaError):
            self.end(error)
        fetch = sent.fetch
        self.end(
            Unavailable(
                f"Kafka did not take the scores of {PURCHASES}, partition {fetch.partition[2]}, offsets "
                f"{fetch.start} to {fetch.end - 1}: {first_line(error)}.",
                "Check the broker. Nothing is lost: scoring goes on from the offsets of the group.",
            )
        )


def _is_received(header: Mapping[str, Any]) -> bool:
    return header["key"] == RECEIVED_AT and header["value"] is not None


app = App(
    "levain-scores",  # until the settings have been read: `LEVAIN_SCORES_GROUP`
    broker=f"{SCHEME}://",
    broker_request_timeout=SEEK_SECONDS,
    store="memory://",
    stream_buffer_maxsize=BUFFERED,
    stream_wait_empty=False,  # what is not acknowledged is read again
    topic_allow_declare=False,
    topic_disable_leader=True,
)


@app.on_before_configured.connect
def read_settings(app: App, /, *_: Any, **__: Any) -> None:
    """Give the app its settings and its model."""
    try:
        app.prepare(load_settings())
    except LevainError as error:  # to the person who typed `faust -A ingest.scores` this module is the program
        raise SystemExit(str(error)) from None


@app.on_after_configured.connect
def declare_agent(app: App, /, *_: Any, **__: Any) -> None:
    """Name the consumer group, which is Faust's id, and declare the agent."""
    app.conf.id = app.settings.scores_group
    topic = app.topic(PURCHASES, key_serializer="raw", value_serializer="raw")

    @app.agent(topic, name=PURCHASES)
    async def agent(fetches: StreamT[Any]) -> None:
        async for event in fetches.noack().events():  # type: ignore[attr-defined]  # Faust's interface forgets it
            await app.score(event)


@app.task
async def acknowledge_scores() -> None:
    """Acknowledge what has been scored, one fetch after the other."""
    while not app.should_stop:
        await app.acknowledge()


@app.task
async def end_with_the_broker() -> None:
    """End when the embedded broker has ended: its log is gone, and the next one is another cluster."""
    while not app.should_stop:
        await app.sleep(app.settings.commit_every_seconds)
        if not app.cluster.alive:
            app.end(Unavailable(f"The embedded broker {app.cluster.alias} has ended.", "Restart it: `levain score`."))
