"""How fast messages become committed Iceberg rows, beside what the same machine can do without them.

`python bench/landing.py [--messages 1000000]`: one Apache Kafka broker, one topic of 3 partitions with JSON messages of
230 bytes, read by each in turn, alone:

- aiokafka, only counting: the ceiling of what Python reads;
- Levain's worker, as `faust -A ingest.app worker` starts it, to committed rows;
- a stock Faust agent, only counting (a part of the topic; the rate is what counts).

Rates are from the first message to the last, without the start of the process. CPU is that of the reading process.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import re
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import aiokafka
from confluent_kafka import Producer

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests" / "python"))

from kafka_broker import Broker, apache_kafka  # noqa: E402

from ingest import kafka  # noqa: E402
from ingest.catalog import ensure_table, open_catalog, watermarks  # noqa: E402
from ingest.contracts import contract_for, load_contracts  # noqa: E402
from ingest.settings import Settings  # noqa: E402
from levain.terminal import show_table  # noqa: E402

TOPIC = "sales-events"
BYTES = 230
TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Result:
    """What one reader did: messages, seconds, CPU seconds, most memory it ever had (bytes)."""

    name: str
    messages: int
    seconds: float
    cpu: float
    memory: float

    @property
    def rate(self) -> float:
        return self.messages / self.seconds


def fill(broker: Broker, messages: int) -> None:
    producer = Producer({"bootstrap.servers": broker.bootstrap, "linger.ms": 50, "batch.size": 1_000_000})
    for n in range(messages):
        head = f'{{"event_id": "00000000-0000-4000-8000-{n:012d}", "n": {n}, "text": "'
        while True:
            try:
                producer.produce(TOPIC, head + "x" * (BYTES - len(head) - 2) + '"}', f"S{n % 97:03d}")
                break
            except BufferError:
                producer.poll(0.1)
        if n % 10_000 == 0:
            producer.poll(0)
    assert producer.flush(60) == 0


async def count(bootstrap: str, messages: int) -> tuple[int, float, float]:
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
    result = seen, time.monotonic() - began, time.process_time() - cpu
    await consumer.stop()
    return result


def raw(broker: Broker, messages: int) -> Result:
    """In a process of its own, like the others."""
    command = [sys.executable, __file__, "--count", broker.bootstrap, "--messages", str(messages)]
    seen, seconds, cpu, memory = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
    return Result("aiokafka, only counting", seen, seconds, cpu, memory)


def levain(broker: Broker, messages: int, folder: Path) -> Result:
    home = folder / "home"
    environment = {**os.environ, "LEVAIN_HOME": str(home), "LEVAIN_KAFKA_BOOTSTRAP": broker.bootstrap}
    log = folder / "worker.log"
    with log.open("wb") as output:
        worker = subprocess.Popen(
            [sys.executable, "-m", "faust", "-A", "ingest.app", "worker", "-l", "info"],
            cwd=ROOT,
            env=environment,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        wait_until(worker, log, lambda: b"Worker ready" in log.read_bytes())
        began, cpu = time.monotonic(), cpu_of(worker.pid)
        catalog = open_catalog(Settings(home=home))

        def landed() -> bool:
            return sum(watermarks(ensure_table(catalog, contract_for(TOPIC))).values()) >= messages

        wait_until(worker, log, landed)
        seconds, used = time.monotonic() - began, cpu_of(worker.pid) - cpu
        memory = peak_of(worker.pid)
        rows = ensure_table(catalog, contract_for(TOPIC)).scan().count()
        assert rows == messages, f"{rows} rows of {messages}"
        worker.send_signal(signal.SIGTERM)
        worker.wait(20)
    finally:
        worker.kill()
    return Result("Levain, to committed rows", messages, seconds, used, memory)


def stock(broker: Broker, messages: int, folder: Path) -> Result:
    variables = {"BENCH_BOOTSTRAP": broker.bootstrap, "BENCH_TOPIC": TOPIC, "BENCH_MESSAGES": str(messages)}
    ran = subprocess.run(
        [sys.executable, "-m", "faust", "-A", "stock_faust", "worker", "-l", "error", "--without-web"],
        cwd=folder,
        env={**os.environ, **variables, "PYTHONPATH": str(Path(__file__).parent / "apps")},
        capture_output=True,
        text=True,
        timeout=600,
    )
    found = re.search(r"counted (\d+) (\S+) (\S+) (\d+)", ran.stdout)
    assert found, ran.stdout[-2000:] + ran.stderr[-2000:]
    return Result("stock Faust agent, only counting", int(found[1]), float(found[2]), float(found[3]), int(found[4]))


def wait_until(worker: subprocess.Popen[bytes], log: Path, true: Callable[[], bool], seconds: float = 300) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert worker.poll() is None and time.monotonic() < deadline, log.read_text()[-3000:]
        time.sleep(0.1)


def cpu_of(pid: int) -> float:
    """CPU seconds that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def peak_of(pid: int) -> int:
    """The most memory a process ever had resident, in bytes."""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    assert found
    return int(found[1]) * 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--messages", type=int, default=1_000_000)
    parser.add_argument("--count", metavar="BOOTSTRAP", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.count:
        found = asyncio.run(count(options.count, options.messages))
        print(json.dumps([*found, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024]))
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with apache_kafka(folder) as broker:
            settings = Settings(home=folder / "home", kafka_bootstrap=broker.bootstrap)
            kafka.create_topics(settings, load_contracts().values())
            fill(broker, options.messages)
            results = [
                stock(broker, min(50_000, options.messages), folder),
                raw(broker, options.messages),
                levain(broker, options.messages, folder),
                raw(broker, options.messages),
            ]
    ceiling = max(result.rate for result in results if result.name.startswith("aiokafka"))
    show_table(
        f"{options.messages:,} messages of {BYTES} bytes, 3 partitions",
        ("reader", "messages/s", "of aiokafka", "CPU s per million", "most memory, MB"),
        [
            (
                result.name,
                f"{result.rate:,.0f}",
                f"{result.rate / ceiling:.2f}",
                f"{result.cpu / result.messages * 1e6:.1f}",
                f"{result.memory / 1e6:,.0f}",
            )
            for result in results
        ],
    )


if __name__ == "__main__":
    main()
