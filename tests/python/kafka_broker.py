"""Brokers for the tests, as processes of their own: Apache Kafka, and the embedded one."""

from __future__ import annotations

import base64
import os
import shutil
import socket
import subprocess
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

ROOT = Path(__file__).resolve().parents[2]
POM = Path(__file__).parent / "kafka" / "pom.xml"
JARS = ROOT / ".cache" / "kafka" / "4.3.1"
START_SECONDS = 60


@dataclass(frozen=True)
class Broker:
    """A running broker; `pid` is its process."""

    bootstrap: str
    pid: int

    @property
    def port(self) -> int:
        return int(self.bootstrap.rpartition(":")[2])


class ApacheKafka:
    """One Apache Kafka broker that is its own controller, and can be killed and started again on its log."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        port, controller = free_port(), free_port()
        self.bootstrap = f"127.0.0.1:{port}"
        self._properties = folder / "server.properties"
        self._properties.write_text(
            "\n".join(
                (
                    "process.roles=broker,controller",
                    "node.id=1",
                    f"controller.quorum.voters=1@127.0.0.1:{controller}",
                    f"listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}",
                    f"advertised.listeners=PLAINTEXT://127.0.0.1:{port}",
                    "controller.listener.names=CONTROLLER",
                    "inter.broker.listener.name=PLAINTEXT",
                    "listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
                    f"log.dirs={folder / 'log'}",
                    "auto.create.topics.enable=false",
                    "group.initial.rebalance.delay.ms=0",
                    "offsets.topic.replication.factor=1",
                    "offsets.topic.num.partitions=3",
                    "transaction.state.log.replication.factor=1",
                    "transaction.state.log.min.isr=1",
                    "transaction.state.log.num.partitions=3",
                    "share.coordinator.state.topic.replication.factor=1",
                    "share.coordinator.state.topic.min.isr=1",
                    "share.coordinator.state.topic.num.partitions=3",
                )
            )
        )
        heap = ["-Xms256m", "-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"]
        self._run = [_java(), *heap, "-cp", f"{_jars()}/*"]
        cluster_id = "L" + base64.urlsafe_b64encode(uuid.uuid4().bytes).decode()[:21]  # a first "-" would be an option
        formats = [*self._run, "kafka.tools.StorageTool", "format", "-t", cluster_id, "-c", self._properties]
        subprocess.run(formats, check=True, capture_output=True)

    def start(self) -> Broker:
        """Start it and wait until it answers."""
        log = self.folder / "server.log"
        with log.open("ab") as output:
            command = [*self._run, "kafka.Kafka", str(self._properties)]
            self._process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, cwd=self.folder)
        broker = Broker(self.bootstrap, self._process.pid)
        try:
            _wait_for(broker, self._process, log)
        except BaseException:
            self.kill()
            raise
        return broker

    def kill(self) -> None:
        """End it at once; its log stays."""
        self._process.kill()
        self._process.wait()


@contextmanager
def apache_kafka(folder: Path) -> Iterator[Broker]:
    """Apache Kafka for as long as the block runs; its log is in the folder."""
    kafka = ApacheKafka(folder)
    try:
        yield kafka.start()
    finally:
        kafka.kill()


@contextmanager
def embedded(folder: Path, port: int = 0) -> Iterator[Broker]:
    """The embedded broker, without the stack around it; at any free port if none is named."""
    from levain.stack import broker_binary

    port = port or free_port()
    url = f"tcp://127.0.0.1:{port}"
    run = [broker_binary(), "broker", "--storage-engine", "memory://levain/"]
    with _process(
        [*run, "--listener-url", url, "--advertised-listener-url", url], folder / "broker.log", port
    ) as broker:
        yield broker


def free_port() -> int:
    """A port of this machine that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def _process(command: list[str], log: Path, port: int) -> Iterator[Broker]:
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, cwd=log.parent)
    try:
        broker = Broker(f"127.0.0.1:{port}", process.pid)
        _wait_for(broker, process, log)
        yield broker
    finally:
        process.kill()
        process.wait()


def _wait_for(broker: Broker, process: subprocess.Popen[bytes], log: Path) -> None:
    import logging

    admin = AdminClient({"bootstrap.servers": broker.bootstrap, "logger": logging.Logger("quiet", logging.CRITICAL)})
    deadline = time.monotonic() + START_SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        try:
            if admin.list_topics(timeout=1).brokers:
                return
        except KafkaException:
            time.sleep(0.1)
    pytest.fail(f"The broker does not answer at {broker.bootstrap}:\n{log.read_text()[-2000:]}")


def _java() -> str:
    home = os.environ.get("JAVA_HOME")
    java = shutil.which("java", path=str(Path(home) / "bin") if home else None)
    if java is None:
        pytest.fail(
            "The tests against Apache Kafka need Java 17 or newer, by JAVA_HOME or on the PATH: "
            "`apt-get install openjdk-17-jre-headless`, `brew install openjdk`."
        )
    return java


def _jars() -> Path:
    """The broker's jars, fetched with Maven once and kept in `.cache/`."""
    if JARS.is_dir():
        return JARS
    maven = shutil.which("mvn")
    if maven is None:
        pytest.fail("Maven fetches Apache Kafka for the tests, once: `apt-get install maven`, `brew install maven`.")
    partial = JARS.with_name(f"{JARS.name}.{os.getpid()}")
    goal = ["dependency:copy-dependencies", f"-DoutputDirectory={partial}", "-DincludeScope=runtime"]
    fetched = subprocess.run([maven, "-B", "-q", "-f", POM, *goal], capture_output=True, text=True)
    if fetched.returncode:
        pytest.fail(f"Maven cannot fetch Apache Kafka:\n{fetched.stdout[-2000:]}")
    try:
        partial.rename(JARS)
    except OSError:  # another run of the tests was faster
        if not JARS.is_dir():
            raise
        shutil.rmtree(partial)
    return JARS
