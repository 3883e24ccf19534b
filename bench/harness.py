"""What the benchmarks share: Apache Kafka with a topic in it, the worker as a process, and what such a process uses."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType

from confluent_kafka import Producer

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests" / "python" / "support"))

from kafka_broker import Broker, apache_kafka  # noqa: E402

from ingest import kafka  # noqa: E402
from ingest.catalog import ensure_table, open_catalog, watermarks  # noqa: E402
from ingest.contracts import contract_for, load_contracts  # noqa: E402
from ingest.settings import Settings  # noqa: E402

__all__ = [
    "ROOT",
    "Broker",
    "Worker",
    "apache_kafka",
    "cpu_of",
    "create_topics",
    "fill",
    "peak_of",
    "resident",
    "send",
    "value_of",
]

BYTES = 230
"""Length of each message that is sent here."""

_TICKS = os.sysconf("SC_CLK_TCK")


class Worker:
    """Levain's worker, as `faust -A ingest.app worker` starts it, from the moment it is ready to read.

    Args:
        settings: further ones, as environment variables.
    """

    def __init__(self, folder: Path, broker: Broker, **settings: str) -> None:
        self.home = folder / "home"
        self.catalog = open_catalog(Settings(home=self.home))
        self._log = folder / "worker.log"
        own = {"LEVAIN_HOME": str(self.home), "LEVAIN_KAFKA_BOOTSTRAP": broker.bootstrap, "LEVAIN_METRICS_PORT": "0"}
        folder.mkdir(parents=True, exist_ok=True)
        with self._log.open("wb") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "faust", "-A", "ingest.app", "worker", "-l", "info"],
                cwd=ROOT,
                env={**os.environ, **own, **settings},
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        self.pid = self._process.pid

    def __enter__(self) -> Worker:
        try:
            self.wait_until(lambda: b"Worker ready" in self._log.read_bytes())
        except BaseException:
            self._process.kill()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        try:
            self._process.send_signal(signal.SIGTERM)
            self._process.wait(30)
        finally:
            self._process.kill()

    def landed(self, topic: str) -> int:
        """How many messages of a topic are in Bronze, by its watermarks: the topics here have no gaps."""
        return sum(watermarks(ensure_table(self.catalog, contract_for(topic))).values())

    def check(self) -> None:
        """Fail, with the end of its log, if it has ended."""
        assert self._process.poll() is None, self._log.read_text()[-3000:]

    def wait_until(self, true: Callable[[], bool], seconds: float = 600) -> None:
        deadline = time.monotonic() + seconds
        while not true():
            self.check()
            assert time.monotonic() < deadline, self._log.read_text()[-3000:]
            time.sleep(0.1)


def create_topics(broker: Broker, folder: Path) -> None:
    """A topic of three partitions for each contract."""
    kafka.create_topics(Settings(home=folder, kafka_bootstrap=broker.bootstrap), load_contracts().values())


def fill(broker: Broker, topic: str, messages: int) -> None:
    """So many messages, as fast as they can be sent."""
    producer = Producer({"bootstrap.servers": broker.bootstrap, "linger.ms": 50, "batch.size": 1_000_000})
    for n in range(messages):
        while True:
            try:
                producer.produce(topic, value_of(n), f"S{n % 97:03d}")
                break
            except BufferError:
                producer.poll(0.1)
        if n % 10_000 == 0:
            producer.poll(0)
    assert producer.flush(120) == 0


def send(broker: Broker, topic: str, rate: int, until: float, sent: list[int]) -> None:
    """So many messages a second, evenly, each with the producer's time as its Kafka timestamp; `sent` counts them.

    Args:
        until: by the monotonic clock.
    """
    producer = Producer({"bootstrap.servers": broker.bootstrap, "linger.ms": 5})
    began = time.monotonic()
    while time.monotonic() < until:
        due = int((time.monotonic() - began) * rate)
        while sent[0] < due:
            producer.produce(topic, value_of(sent[0]), f"S{sent[0] % 97:03d}")
            sent[0] += 1
        producer.poll(0)
        time.sleep(0.005)
    assert producer.flush(30) == 0


def value_of(n: int) -> str:
    head = f'{{"event_id": "00000000-0000-4000-8000-{n:012d}", "n": {n}, "text": "'
    return head + "x" * (BYTES - len(head) - 2) + '"}'


def cpu_of(pid: int) -> float:
    """CPU seconds that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def resident(pid: int) -> float:
    """What a process has resident, in MB."""
    return _status(pid, "VmRSS")


def peak_of(pid: int) -> float:
    """The most that a process ever had resident, in MB."""
    return _status(pid, "VmHWM")


def _status(pid: int, field: str) -> float:
    found = re.search(rf"{field}:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    assert found
    return int(found[1]) * 1024 / 1e6
