"""Workers as processes, what is sent to Kafka for them, and what Bronze then has to hold."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from commands import Forked
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient
from exactness import Content, Place, committed, differences, holes, rows
from kafka_broker import ROOT, Broker
from pyiceberg.table import Table

from ingest import kafka
from ingest.catalog import ensure_table, open_catalog, watermarks
from ingest.contracts import contract_for, load_contracts
from ingest.settings import Settings

SALES, CHANGES, VENTES = "sales-events", "product-changes", "ventes_stream"


class Worker:
    """A `faust -A ingest.app worker`, in a process of its own."""

    def __init__(
        self, home: Path, log: Path, module: str = "ingest.app", project: Path = ROOT, **environment: str
    ) -> None:
        self.log = log
        command = ["faust", "-A", module, "worker", "-l", "info"]
        variables = {"PATH": os.environ["PATH"], "HOME": str(home), "LEVAIN_HOME": str(home), **environment}
        log.touch()
        if (project, module) == (ROOT, "ingest.app"):
            self.process: Forked | subprocess.Popen[bytes] = Forked(
                command, env=variables, cwd=ROOT, outputs=[log, log]
            )
            return
        program = [sys.executable, "-m", *command]  # imports modules of its own
        with log.open("ab") as output:
            self.process = subprocess.Popen(
                program, cwd=project, env=variables, stdout=output, stderr=subprocess.STDOUT
            )

    def wait(self, seconds: float = 40) -> int:
        return self.process.wait(seconds)

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.wait()

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    @property
    def output(self) -> str:
        return self.log.read_text()


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


@pytest.fixture
def start(tmp_path: Path, home: Path) -> Iterator[Callable[..., Worker]]:
    """Starts workers of one home and group; ends those that still run after the test."""
    started: list[Worker] = []
    group = f"test-{uuid.uuid4()}"

    def start(broker: Broker, **environment: str) -> Worker:
        fixed = {
            "LEVAIN_KAFKA_BOOTSTRAP": broker.bootstrap,
            "LEVAIN_KAFKA_CLUSTER": "test",
            "LEVAIN_KAFKA_GROUP": group,
        }
        quick = {"LEVAIN_COMMIT_EVERY_SECONDS": "0.3"}
        log = tmp_path / f"worker-{len(started)}.log"
        started.append(Worker(home, log, **(fixed | quick | environment)))
        return started[-1]

    yield start
    for worker in started:
        worker.kill()


def settings_for(broker: Broker, home: Path) -> Settings:
    return Settings(home=home, kafka_bootstrap=broker.bootstrap, kafka_cluster="test")


def make_topics(broker: Broker, home: Path) -> None:
    kafka.create_topics(settings_for(broker, home), load_contracts().values())


def produce(broker: Broker, topic: str, count: int, start: int = 0, codec: str = "none") -> None:
    producer = Producer({"bootstrap.servers": broker.bootstrap, "linger.ms": 5, "compression.type": codec})
    for n in range(start, start + count):
        producer.produce(topic, json.dumps({"n": n, "text": "x" * 100}), key=f"S{n % 30:03d}")
        producer.poll(0)
    assert producer.flush(30) == 0


def produce_transactions(broker: Broker, topic: str) -> None:
    """Committed and aborted messages in turn, so that offsets have gaps, the first and the last among them."""
    producer = Producer({"bootstrap.servers": broker.bootstrap, "transactional.id": str(uuid.uuid4())})
    producer.init_transactions(30)
    for number, commits in enumerate((False, True, False, False, True, True, False)):
        producer.begin_transaction()
        for n in range(20):
            producer.produce(
                topic, f'{{"transaction": {number}, "n": {n}, "committed": {str(commits).lower()}}}', str(n)
            )
        producer.flush(30)
        if commits:
            producer.commit_transaction(30)
        else:
            producer.abort_transaction(30)


def bronze(home: Path, topic: str) -> Table:
    return ensure_table(open_catalog(Settings(home=home)), contract_for(topic))


def landed(home: Path, topic: str) -> dict[Place, Content]:
    """Every row of a Bronze table; fails if one offset is there twice."""
    found = rows(bronze(home, topic), "test")
    places = [place for place, _ in found]
    assert len(places) == len(set(places)), differences({}, found)
    return dict(found)


def wait_until_landed(broker: Broker, home: Path, worker: Worker, *topics: str, seconds: float = 60) -> None:
    """Wait until the tables' watermarks are past the last committed message of the topics."""
    deadline = time.monotonic() + seconds
    for topic in topics:
        last: dict[int, int] = {}
        for partition, offset in committed(broker.bootstrap, topic):
            last[partition] = max(offset, last.get(partition, 0))
        while True:
            marks = {p: offset for (_, _, p), offset in watermarks(bronze(home, topic)).items()}
            if all(marks.get(p, 0) > offset for p, offset in last.items()):
                break
            assert worker.process.poll() is None, f"the worker has ended:\n{worker.output[-3000:]}"
            assert time.monotonic() < deadline, f"{topic}: {marks} of {last}\n{worker.output[-3000:]}"
            time.sleep(0.1)


def assert_exact(broker: Broker, home: Path, *topics: str) -> None:
    """Bronze holds each committed message once, byte for byte, in contiguous ranges."""
    for topic in topics:
        table = bronze(home, topic)
        assert not differences(committed(broker.bootstrap, topic), rows(table, "test"))
        assert not holes(table)


@contextmanager
def producing(broker: Broker, topic: str) -> Iterator[None]:
    """Messages keep coming while the block runs, a few thousand each second."""
    done = threading.Event()

    def run() -> None:
        sent = 0
        while not done.wait(0.1):
            produce(broker, topic, 300, sent)
            sent += 300

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def wait_until(true: Callable[[], bool], worker: Worker, seconds: float = 40) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert worker.process.poll() is None, f"the worker has ended:\n{worker.output[-3000:]}"
        assert time.monotonic() < deadline, worker.output[-3000:]
        time.sleep(0.1)


def wait_for(worker: Worker, line: str) -> None:
    wait_until(lambda: line in worker.output, worker)


def delete_topic(broker: Broker, topic: str) -> None:
    admin = AdminClient({"bootstrap.servers": broker.bootstrap})
    admin.delete_topics([topic])[topic].result(30)
    while topic in admin.list_topics(timeout=10).topics:
        time.sleep(0.1)
