"""The worker's numbers, for Prometheus: how far behind it is, what it has committed, and what that took.

The transport, the agents and the lander say what happened, once per fetch and per commit, never per message; the
rest is worked out when somebody asks. What each number means is in docs/operations.md.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import prometheus_client
import pyarrow as pa
import pyarrow.compute as pc
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector
from prometheus_client.core import GaugeMetricFamily, HistogramMetricFamily, Metric
from pyiceberg.exceptions import CommitFailedException

from ingest.catalog import Partition
from ingest.lander import Fetch, Landed

#: Upper bounds in seconds.
COMMIT_BUCKETS = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
FRESHNESS_BUCKETS = (0.5, 1.0, 2.0, 3.0, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0, 3600.0, 21600.0, 86400.0)

# The library adds a series `_created` to each counter, which nothing here reads: half of all lines.
prometheus_client.disable_created_metrics()  # type: ignore[no-untyped-call]

_M = TypeVar("_M", Counter, Gauge)


@dataclass(frozen=True, slots=True)
class Reading:
    """How a partition is read, as of Kafka's last answer.

    Attributes:
        position: the next offset to be read.
        end: the high watermark: the offset the partition's next message will get; None before the first answer.
        observed_at: when Kafka said so, in Unix seconds; before the first answer, when the partition was positioned.
    """

    position: int
    end: int | None
    observed_at: float


@dataclass(slots=True)
class _Progress:
    """How far a partition has landed.

    Attributes:
        landed: the first offset that has not.
        waiting: the fetches that have been read and have not landed: their end, and the times of their first and
            their last message.
        since: what has not been read yet is no older than this.
    """

    landed: int
    since: float
    waiting: deque[tuple[int, float, float]] = field(default_factory=deque)


class Metrics:
    """The numbers of one worker.

    Args:
        topics: those it lands; each has its series from the start.
        readings: asks the consumer how it reads its partitions; None for one that is not positioned yet.

    Its methods are called from several threads.
    """

    def __init__(self, topics: Iterable[str], readings: Callable[[], Mapping[Partition, Reading | None]]) -> None:
        self.registry = CollectorRegistry()
        self._readings = readings
        self._lock = threading.Lock()
        self._progress: dict[Partition, _Progress] = {}
        self._started = time.time()
        self._committed: dict[str, float] = {}
        self._freshness = {topic: _Counts() for topic in topics}

        def per_topic(kind: type[_M], name: str, help: str) -> dict[str, _M]:
            metric = kind(name, help, ["topic"], registry=self.registry)
            return {topic: metric.labels(topic) for topic in self._freshness}

        self._rows = per_topic(Counter, "levain_committed_rows_total", "Messages committed to Bronze.")
        self._bytes = per_topic(Counter, "levain_committed_bytes_total", "Bytes of their keys and values.")
        self._conflicts = per_topic(
            Counter, "levain_commit_conflicts_total", "Commits that another writer's commit came before."
        )
        self._retries = per_topic(
            Counter, "levain_commit_retries_total", "Further tries of a commit, after a conflict or any other failure."
        )
        self._buffered = per_topic(
            Gauge, "levain_buffered_bytes", "Bytes of keys and values that agents hold and have not committed."
        )
        durations = Histogram(
            "levain_commit_duration_seconds",
            "From the begin of a commit until it is confirmed, all tries together.",
            ["topic"],
            buckets=COMMIT_BUCKETS,
            registry=self.registry,
        )
        self._durations = {topic: durations.labels(topic) for topic in self._freshness}
        ProcessCollector(registry=self.registry)
        self.registry.register(self)

    # What the transport says

    def positioned(self, partition: Partition, offset: int) -> None:
        """A partition is read from this offset on; all below has landed."""
        with self._lock:
            self._progress[partition] = _Progress(offset, time.time())

    def revoked(self) -> None:
        """No partition is ours any more."""
        with self._lock:
            self._progress.clear()

    def fetched(self, fetch: Fetch) -> None:
        """This was read, and waits for its commit."""
        times = fetch.rows["kafka_timestamp"]
        first, last = (_seconds(times[n].value) for n in (0, -1))
        with self._lock:
            if fetch.partition in self._progress:
                self._progress[fetch.partition].waiting.append((fetch.end, first, last))

    # What the agents and the lander say

    def taken(self, topic: str, size: int) -> None:
        """An agent holds so many bytes more."""
        self._buffered[topic].inc(size)

    def retrying(self, topic: str, failure: Exception) -> None:
        """A commit failed, and is tried again."""
        self._retries[topic].inc()
        if isinstance(failure, CommitFailedException):
            self._conflicts[topic].inc()

    def landed(self, topic: str, fetches: Sequence[Fetch], size: int, landed: Landed, seconds: float) -> None:
        """These fetches, of so many bytes, are in Bronze: by this commit, unless others had landed them."""
        now = time.time()
        self._buffered[topic].dec(size)
        with self._lock:
            for fetch in fetches:
                if fetch.partition in self._progress:
                    progress = self._progress[fetch.partition]
                    progress.landed = max(progress.landed, fetch.end)
                    while progress.waiting and progress.waiting[0][0] <= progress.landed:
                        progress.since = progress.waiting.popleft()[2]
        if not landed.ranges:
            return
        self._rows[topic].inc(landed.rows)
        self._bytes[topic].inc(landed.size)
        self._durations[topic].observe(seconds)
        self._committed[topic] = now
        self._freshness[topic].add(landed.timestamps, now)

    # What Prometheus asks

    def describe(self) -> Iterable[Metric]:
        """Nothing: what `collect` gives depends on the assignment."""
        return ()

    def collect(self) -> Iterator[Metric]:
        """The numbers that depend on when they are asked for."""
        now = time.time()
        yield from self._lag(now)
        last = _gauge("levain_last_commit_timestamp_seconds", "Unix time of the last commit; none before the first.")
        age = _gauge(
            "levain_last_commit_age_seconds", "Seconds since the last commit; since the start before the first."
        )
        freshness = HistogramMetricFamily(
            "levain_freshness_seconds", "From a message's Kafka timestamp until it was committed.", labels=["topic"]
        )
        for topic, counts in self._freshness.items():
            committed = self._committed.get(topic)
            if committed is not None:
                last.add_metric([topic], committed)
            age.add_metric([topic], now - (committed or self._started))
            freshness.add_metric([topic], *counts.read())
        yield from (last, age, freshness)

    def _lag(self, now: float) -> Iterator[Metric]:
        labels = ("topic", "partition")
        messages = _gauge("levain_lag_messages", "High watermark minus the first offset that has not landed.", *labels)
        seconds = _gauge("levain_lag_seconds", "Age of the oldest message that has not landed; 0 if all have.", *labels)
        observed = _gauge(
            "levain_high_watermark_timestamp_seconds", "Unix time at which the high watermark was observed.", *labels
        )
        for partition, reading in self._readings().items():
            if reading is None or reading.end is None:
                continue
            with self._lock:
                progress = self._progress.get(partition)
                if progress is None:
                    continue
                # Behind the last message there may be offsets that never land: transaction markers, aborted messages.
                reached = progress.landed if progress.waiting else max(progress.landed, reading.position)
                lag = max(0, reading.end - reached)
                if lag == 0:
                    progress.since = now
                oldest = progress.waiting[0][1] if progress.waiting else progress.since
            _, topic, number = partition
            place = [topic, str(number)]
            messages.add_metric(place, lag)
            seconds.add_metric(place, max(0.0, now - oldest) if lag else 0.0)
            observed.add_metric(place, reading.observed_at)
        yield from (messages, seconds, observed)


class _Counts:
    """A histogram that takes an Arrow column at a time; the library's own takes one value."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._cumulative = [0] * (len(FRESHNESS_BUCKETS) + 1)
        self._sum = 0.0

    def add(self, timestamps: pa.ChunkedArray, now: float) -> None:
        """Count how long before `now` (Unix seconds) these were; null: not known, and not counted."""
        ms = timestamps.cast(pa.timestamp("ms", "UTC")).cast(pa.int64()).drop_null()
        # A producer's clock may be ahead of ours: such a message is as fresh as can be.
        ages = pc.max_element_wise(pc.subtract(pa.scalar(int(now * 1000)), ms), 0)
        below = [pc.sum(pc.less_equal(ages, int(bound * 1000))).as_py() or 0 for bound in FRESHNESS_BUCKETS]
        with self._lock:
            self._cumulative = [a + b for a, b in zip(self._cumulative, [*below, len(ages)], strict=True)]
            self._sum += (pc.sum(ages).as_py() or 0) / 1000

    def read(self) -> tuple[list[tuple[str, float]], float]:
        """(upper bound, count up to it) of each bucket, and the sum of all in seconds."""
        bounds = [*map(str, FRESHNESS_BUCKETS), "+Inf"]
        with self._lock:
            return [(bound, count) for bound, count in zip(bounds, self._cumulative, strict=True)], self._sum


def _gauge(name: str, help: str, *labels: str) -> GaugeMetricFamily:
    return GaugeMetricFamily(name, help, labels=labels or ("topic",))


def _seconds(timestamp: int | None) -> float:
    """Microseconds as Unix seconds; where the producer set no timestamp, now."""
    return time.time() if timestamp is None else timestamp / 1e6
