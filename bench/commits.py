"""Whether a commit to a Bronze table takes longer the more commits came before it, with maintenance running beside.

`python bench/commits.py [--commits 2000] [--messages 500]`: the worker's own parts without Kafka. The buffer of a
topic (`ingest.worker.TopicBuffer`) is given batch after batch and commits each, while the worker's own task maintains
the table (`ingest.app.maintain_in_time`, with its default settings). There is no pause between commits, where a worker
commits every two seconds: maintenance runs beside far more of them here.

A busy machine makes commits slower too. So every fifth commit is followed by one to a table that is recreated for each
hundred and is never maintained: a commit's latency is also given as a ratio to those.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import tempfile
import time
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from statistics import median, quantiles
from typing import TYPE_CHECKING, Any

from harness import value_of

from ingest.catalog import ensure_table, open_catalog
from ingest.contracts import contract_for
from ingest.kafka import Cluster
from ingest.lander import Fetch
from ingest.settings import Settings
from levain.terminal import show_table

if TYPE_CHECKING:
    from ingest.worker import TopicBuffer

TOPIC = "sales-events"
PARTITIONS = 3
HUNDRED = 100
BASELINE_EVERY = 5


@dataclass(frozen=True, slots=True)
class Record:
    offset: int
    timestamp: int
    key: bytes
    value: bytes
    headers: tuple[()] = ()


class Event:
    """A message as an agent gets it."""

    def __init__(self, value: Fetch) -> None:
        self.value = value

    def ack(self) -> None:
        """Nobody waits for it."""


async def commit(buffer: TopicBuffer, number: int, messages: int) -> float:
    """Give a table its next batch, a fetch of each partition; the seconds that its commit takes."""
    each = messages // PARTITIONS
    now = int(time.time() * 1000)
    for partition in range(PARTITIONS):
        offsets = range(number * each, (number + 1) * each)
        event: Any = Event(
            Fetch.of(
                ("kafka", TOPIC, partition),
                [Record(n, now, b"S%03d" % (n % 97), value_of(n).encode()) for n in offsets],
            )
        )
        buffer.take(event)
    began = time.perf_counter()
    await buffer.commit()
    return time.perf_counter() - began


async def measure(commits: int, messages: int, folder: Path) -> tuple[list[float], list[float]]:
    """Seconds of each commit, and of each commit of the baseline."""
    from ingest import app as worker

    worker.app.finalize()  # reads the settings
    worker.app.cluster = Cluster("", "kafka")
    worker.app.topic_ids = lambda *topics, seconds: dict.fromkeys(topics, "id")  # type: ignore[method-assign]  # no Kafka
    buffer = worker.app.buffers[TOPIC]
    young = worker.TopicBuffer(buffer.contract, worker.app)
    buffer.topic_id = young.topic_id = "id"
    buffer.table = ensure_table(open_catalog(worker.app.settings), contract_for(TOPIC))
    maintenance = asyncio.create_task(worker.maintain_in_time())
    taken: list[float] = []
    baseline: list[float] = []
    for number in range(commits):
        if number % HUNDRED == 0:
            catalog = open_catalog(Settings(home=folder / f"young-{number}"))
            young.table = ensure_table(catalog, contract_for(TOPIC))
        taken.append(await commit(buffer, number, messages))
        if number % BASELINE_EVERY == 0:
            baseline.append(await commit(young, number % HUNDRED // BASELINE_EVERY, messages))
        assert not maintenance.done(), maintenance.result()
    maintenance.cancel()
    await asyncio.wait([maintenance])
    rows, snapshots = buffer.table.refresh().scan().count(), len(buffer.table.metadata.snapshots)
    expected = commits * (messages // PARTITIONS) * PARTITIONS
    assert rows == expected, f"{rows} rows of {expected}"
    assert snapshots < commits or commits <= HUNDRED, "maintenance has not run"
    return taken, baseline


def report(taken: list[float], baseline: list[float], messages: int) -> None:
    bounds = [*range(0, len(taken), HUNDRED), len(taken)]
    rows = []
    for begin, end in pairwise(bounds):
        ours, young = taken[begin:end], baseline[begin // BASELINE_EVERY : end // BASELINE_EVERY]
        rows.append((begin, end, median(ours), quantiles(ours, n=100)[-1], median(young)))
    show_table(
        f"{len(taken):,} commits of {messages} messages: milliseconds",
        ("commits", "median", "p99", "median on a young table", "ratio"),
        [
            (f"{begin:,} - {end:,}", *(f"{s * 1000:.0f}" for s in (middle, p99, young)), f"{middle / young:.2f}")
            for begin, end, middle, p99, young in rows
        ],
    )
    first, last = rows[0], rows[-1]
    show_table(
        "Last hundred by first hundred",
        ("", "measured", "goal"),
        [
            ("median", f"{last[2] / first[2]:.2f}", "at most 1.5"),
            ("median, each as a ratio to the young table's", f"{last[2] / last[4] / (first[2] / first[4]):.2f}", ""),
            ("p99", f"{last[3] / first[3]:.2f}", ""),
        ],
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--commits", type=int, default=2000)
    parser.add_argument("--messages", type=int, default=500, help="of each commit")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        os.environ["LEVAIN_HOME"] = f"{name}/home"  # before the app reads its settings
        taken, baseline = asyncio.run(measure(options.commits, options.messages, Path(name)))
    report(taken, baseline, options.messages)


if __name__ == "__main__":
    main()
