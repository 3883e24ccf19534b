"""How fast messages become committed Iceberg rows, beside what others do on the same machine with the same messages.

`python bench/landing.py [--messages 4000000] [--rounds 3]`: one Apache Kafka broker, one topic of 3 partitions with
JSON messages of 230 bytes, read from its beginning by each in turn, alone, in rounds:

- aiokafka, only counting, as one thread;
- Levain's worker, as `faust -A ingest.app worker` starts it, to committed rows;
- Spark Structured Streaming into an Iceberg table of the same columns, in batches of 200,000 and in one batch. Its
  session is warm: it has streamed the topic once before, and stays for all rounds;
- a stock Faust agent, only counting; once, and a part of the topic.

A rate is the median of the rounds. A ratio is the median of those of each round, so that what else the machine does
weighs on both sides. Rates are without the start of the process: aiokafka's and stock Faust's are from their first
message on, Levain's from when its worker is ready, Spark's are of its batches alone. Levain's ends with the last
commit, which comes up to a commit interval (2 s) after the last message was read: a log of a million is read in less
time than that. CPU and memory are those of the reading process; Spark's of Python and the JVM together.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import re
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path
from statistics import median
from typing import Any

import aiokafka
from harness import BYTES, ROOT, Broker, Worker, apache_kafka, cpu_of, create_topics, fill, peak_of
from pyiceberg.catalog import Catalog

from ingest.catalog import CATALOG, ensure_table, open_catalog
from ingest.contracts import contract_for
from ingest.settings import Settings
from levain.terminal import show_table
from levain.warehouse.spark import jars_folder, prepare

TOPIC = "sales-events"
AIOKAFKA = "aiokafka, only counting"
LEVAIN = "Levain, to committed rows"
SPARK = "warm Spark, to committed rows"
STOCK_FAUST = "stock Faust, only counting"

STOCK_MESSAGES = 50_000
PER_BATCH = 200_000

APPS = Path(__file__).parent / "apps"
KAFKA_SOURCE = ROOT / ".cache" / "bench-jars"
"""The jars that let Spark read Kafka."""


@dataclass(frozen=True)
class Result:
    """What a reader did once: messages, seconds, CPU seconds, the most memory it ever had (MB)."""

    reader: str
    messages: int
    seconds: float
    cpu: float
    memory: float

    @property
    def rate(self) -> float:
        return self.messages / self.seconds


def aiokafka_alone(broker: Broker, messages: int) -> Result:
    """In a process of its own, like the others."""
    command = [sys.executable, __file__, "--count", broker.bootstrap, "--messages", str(messages)]
    return Result(AIOKAFKA, *json.loads(subprocess.run(command, check=True, capture_output=True).stdout))


async def count(bootstrap: str, messages: int) -> tuple[int, float, float, float]:
    consumer = aiokafka.AIOKafkaConsumer(
        TOPIC,
        bootstrap_servers=bootstrap,
        auto_offset_reset="earliest",
        isolation_level="read_committed",
        max_partition_fetch_bytes=2 * 1024 * 1024,
    )
    await consumer.start()
    began, cpu, seen = 0.0, 0.0, 0
    while seen < messages:
        fetched = await consumer.getmany(timeout_ms=1000)
        if not seen:
            began, cpu = time.monotonic(), time.process_time()
        seen += sum(map(len, fetched.values()))
    seconds, used = time.monotonic() - began, time.process_time() - cpu
    await consumer.stop()
    return seen, seconds, used, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6


def levain(broker: Broker, messages: int, folder: Path) -> Result:
    with Worker(folder, broker) as worker:
        began, cpu = time.monotonic(), cpu_of(worker.pid)
        worker.wait_until(lambda: worker.landed(TOPIC) >= messages)
        seconds, used, memory = time.monotonic() - began, cpu_of(worker.pid) - cpu, peak_of(worker.pid)
    check_rows(worker.catalog, messages)
    return Result(LEVAIN, messages, seconds, used, memory)


def stock_faust(broker: Broker, messages: int, folder: Path) -> Result:
    variables = {"BENCH_BOOTSTRAP": broker.bootstrap, "BENCH_TOPIC": TOPIC, "BENCH_MESSAGES": str(messages)}
    ran = subprocess.run(
        [sys.executable, "-m", "faust", "-A", "stock_faust", "worker", "-l", "error", "--without-web"],
        cwd=folder,
        env={**os.environ, **variables, "PYTHONPATH": str(APPS)},
        capture_output=True,
        text=True,
        timeout=600,
    )
    found = re.search(r"counted (\d+) (\S+) (\S+) (\S+)", ran.stdout)
    assert found, ran.stdout[-2000:] + ran.stderr[-2000:]
    return Result(STOCK_FAUST, int(found[1]), *map(float, found.groups()[1:]))


class WarmSpark:
    """A Spark session in a process of its own, which has streamed the topic once before."""

    def __init__(self, process: subprocess.Popen[str], home: Path) -> None:
        self._process = process
        self._home = home
        self._catalog = open_catalog(Settings(home=home))
        self._pids: list[int] = self._answer()["pids"]
        self._stream(PER_BATCH)

    def run(self, messages: int, per_batch: int | None) -> Result:
        cpu = sum(map(cpu_of, self._pids))
        done = self._stream(per_batch)
        used, memory = sum(map(cpu_of, self._pids)) - cpu, sum(map(peak_of, self._pids))
        check_rows(self._catalog, messages)
        reader = f"{SPARK}, {done['batches']} x {per_batch:,}" if per_batch else f"{SPARK}, {done['batches']} batch"
        return Result(reader, messages, done["seconds"], used, memory)

    def _stream(self, per_batch: int | None) -> dict[str, Any]:
        """Stream all of the topic into its Bronze table, recreated."""
        self._catalog.drop_table(ensure_table(self._catalog, contract_for(TOPIC)).name())
        table = ".".join((CATALOG, *ensure_table(self._catalog, contract_for(TOPIC)).name()))
        assert self._process.stdin
        self._process.stdin.write(json.dumps({"topic": TOPIC, "table": table, "per_batch": per_batch}) + "\n")
        self._process.stdin.flush()
        return self._answer()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout
        line = self._process.stdout.readline()
        assert line, f"Spark has ended: {(self._home / 'spark.log').read_text()[-3000:]}"
        answer: dict[str, Any] = json.loads(line)
        return answer


@contextmanager
def warm_spark(broker: Broker, folder: Path) -> Iterator[WarmSpark]:
    home = folder / "home"
    home.mkdir(parents=True)
    variables = {
        "LEVAIN_HOME": str(home),
        "BENCH_BOOTSTRAP": broker.bootstrap,
        "BENCH_CLASS_PATH": f"{jars_folder()}/*:{KAFKA_SOURCE}/*",
    }
    with (home / "spark.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, str(APPS / "spark_stream.py")],
            env={**os.environ, **variables},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        )
    try:
        yield WarmSpark(process, home)
        process.communicate(timeout=60)
    finally:
        process.kill()


def check_rows(catalog: Catalog, messages: int) -> None:
    rows = ensure_table(catalog, contract_for(TOPIC)).scan().count()
    assert rows == messages, f"{rows} rows of {messages}"


def measure(messages: int, rounds: int, folder: Path) -> tuple[Result, list[dict[str, Result]]]:
    """What stock Faust did, and per round what the others did, by reader."""
    with apache_kafka(folder) as broker:
        create_topics(broker, folder)
        fill(broker, TOPIC, messages)
        stock = stock_faust(broker, min(STOCK_MESSAGES, messages), folder)
        found = []
        with warm_spark(broker, folder / "spark") as session:
            for n in range(rounds):
                results = (
                    aiokafka_alone(broker, messages),
                    levain(broker, messages, folder / f"round-{n}"),
                    session.run(messages, PER_BATCH),
                    session.run(messages, None),
                )
                found.append({result.reader: result for result in results})
    return stock, found


def report(stock: Result, rounds: Sequence[dict[str, Result]], messages: int) -> None:
    every = {STOCK_FAUST: [stock], **{reader: [results[reader] for results in rounds] for reader in rounds[0]}}
    show_table(
        f"{messages:,} messages of {BYTES} bytes, 3 partitions (stock Faust: {stock.messages:,}), {len(rounds)} rounds",
        ("reader", "messages/s", "lowest - highest", "of aiokafka", "CPU s per million", "most memory, MB"),
        [
            (
                reader,
                f"{median(r.rate for r in results):,.0f}",
                f"{min(r.rate for r in results):,.0f} - {max(r.rate for r in results):,.0f}",
                f"{median(r.rate / beside[AIOKAFKA].rate for r, beside in zip(cycle(results), rounds)):.2f}",
                f"{median(r.cpu / r.messages * 1e6 for r in results):.1f}",
                f"{max(r.memory for r in results):,.0f}",
            )
            for reader, results in every.items()
        ],
    )
    sparks = [reader for reader in every if reader.startswith(SPARK)]
    goals = (
        ("of aiokafka's rate", [r[LEVAIN].rate / r[AIOKAFKA].rate for r in rounds], "at least 0.9"),
        ("times stock Faust's", [r[LEVAIN].rate / stock.rate for r in rounds], "at least 25"),
        (
            "times warm Spark's, the better of its two ways",
            [r[LEVAIN].rate / max(r[spark].rate for spark in sparks) for r in rounds],
            "at least 1.5",
        ),
        ("CPU s per million", [r.cpu / r.messages * 1e6 for r in every[LEVAIN]], "at most 2.0"),
    )
    memory = max(r.memory for r in every[LEVAIN])
    show_table(
        "Levain",
        ("", "measured", "lowest - highest", "goal"),
        [
            *((what, f"{median(rs):.2f}", f"{min(rs):.2f} - {max(rs):.2f}", goal) for what, rs, goal in goals),
            ("most memory, MB", f"{memory:,.0f}", "", "below 500"),
        ],
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--messages", type=int, default=4_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--count", metavar="BOOTSTRAP", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.count:
        print(json.dumps(asyncio.run(count(options.count, options.messages))))
        return
    prepare()
    assert KAFKA_SOURCE.is_dir(), "The jars with which Spark reads Kafka are not there: `make bench-jars` fetches them."
    with tempfile.TemporaryDirectory() as name:
        report(*measure(options.messages, options.rounds, Path(name)), options.messages)


if __name__ == "__main__":
    main()
