"""Brokers for the tests, as processes of their own: Apache Kafka, and the embedded one."""

from __future__ import annotations

import base64
import logging
import os
import shutil
import socket
import subprocess
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import pytest
from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

ROOT = Path(__file__).resolve().parents[3]
POM = Path(__file__).parent / "kafka" / "pom.xml"
JARS = ROOT / ".cache" / "kafka" / "4.3.1"
START_SECONDS = 60

SHORT_LIVED = ("-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1")
"""Of a JVM that runs code a few times: the optimising compiler and the parallel collector take half of its CPU."""

_quiet = logging.Logger("quiet", logging.CRITICAL)


@dataclass(frozen=True)
class Broker:
    """A running broker; `pid` is its process."""

    bootstrap: str
    pid: int

    @property
    def port(self) -> int:
        return int(self.bootstrap.rpartition(":")[2])


class ApacheKafka:
    """An Apache Kafka broker that is a controller, too, and can be killed and started again on its log.

    Args:
        folder: for its settings and its log.
        listeners: security protocol -> port, beside the one in plain text.
        properties: server properties, beside or instead of those below.
        format: further arguments of the storage tool, such as users.
        node: its number in a cluster of several, see `ApacheKafkaCluster`.
        controllers: number -> port of every controller of the cluster.
        cluster_id: of the cluster; by default one of its own.
    """

    def __init__(
        self,
        folder: Path,
        *,
        listeners: Mapping[str, int] = MappingProxyType({}),
        properties: Mapping[str, object] = MappingProxyType({}),
        format: Sequence[str] = (),
        node: int = 1,
        controllers: Mapping[int, int] = MappingProxyType({}),
        cluster_id: str = "",
    ) -> None:
        self.folder, self.node = folder, node
        ports = {"PLAINTEXT": free_port(), **listeners}
        controllers = controllers or {node: free_port()}
        addresses = [f"{protocol}://127.0.0.1:{port}" for protocol, port in ports.items()]
        self.bootstrap = f"127.0.0.1:{ports['PLAINTEXT']}"
        settings = {
            "process.roles": "broker,controller",
            "node.id": node,
            "controller.quorum.voters": ",".join(f"{n}@127.0.0.1:{port}" for n, port in controllers.items()),
            "listeners": ",".join([*addresses, f"CONTROLLER://127.0.0.1:{controllers[node]}"]),
            "advertised.listeners": ",".join(addresses),
            "controller.listener.names": "CONTROLLER",
            "inter.broker.listener.name": "PLAINTEXT",
            "listener.security.protocol.map": ",".join(["CONTROLLER:PLAINTEXT", *(f"{p}:{p}" for p in ports)]),
            "log.dirs": folder / "log",
            "auto.create.topics.enable": "false",
            "group.initial.rebalance.delay.ms": 0,
            "offsets.topic.replication.factor": 1,
            "offsets.topic.num.partitions": 3,
            "transaction.state.log.replication.factor": 1,
            "transaction.state.log.min.isr": 1,
            "transaction.state.log.num.partitions": 3,
            "share.coordinator.state.topic.replication.factor": 1,
            "share.coordinator.state.topic.min.isr": 1,
            "share.coordinator.state.topic.num.partitions": 3,
            **properties,
        }
        self._properties = folder / "server.properties"
        self._properties.write_text("\n".join(f"{name}={value}" for name, value in settings.items()))
        heap = ["-Xms256m", "-Xmx512m", *SHORT_LIVED]
        self._run = [java(), *heap, "-cp", f"{_jars()}/*"]
        named = ["-t", cluster_id or new_cluster_id(), "-c", self._properties]
        formats = [*self._run, "kafka.tools.StorageTool", "format", *named, *format]
        subprocess.run(formats, check=True, capture_output=True)

    def start(self) -> Broker:
        """Start it and wait until it answers."""
        self.launch()
        return self.wait()

    def wait(self) -> Broker:
        """Wait until it answers."""
        broker = Broker(self.bootstrap, self._process.pid)
        try:
            _wait_for(broker, self._process, self.folder / "server.log")
        except BaseException:
            self.kill()
            raise
        return broker

    def launch(self) -> None:
        """Start its process, and do not wait: it does not answer before most controllers of its cluster run."""
        with (self.folder / "server.log").open("ab") as output:
            command = [*self._run, "kafka.Kafka", str(self._properties)]
            self._process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, cwd=self.folder)

    def kill(self) -> None:
        """End it at once; its log stays."""
        self._process.kill()
        self._process.wait()


class ApacheKafkaCluster:
    """Brokers that are controllers, too; topics of 3 replicas take messages as long as 2 of them are there."""

    def __init__(self, folder: Path, size: int = 3) -> None:
        controllers = {node: free_port() for node in range(1, size + 1)}
        names = ("offsets.topic", "transaction.state.log", "share.coordinator.state.topic")
        properties: dict[str, object] = {f"{name}.replication.factor": 3 for name in names}
        properties |= {"min.insync.replicas": 2, "transaction.state.log.min.isr": 2}
        cluster_id = new_cluster_id()
        self.brokers: dict[int, ApacheKafka] = {}
        for node in controllers:
            place = folder / f"broker-{node}"
            place.mkdir()
            self.brokers[node] = ApacheKafka(
                place, node=node, controllers=controllers, cluster_id=cluster_id, properties=properties
            )

    @property
    def bootstrap(self) -> str:
        return ",".join(broker.bootstrap for broker in self.brokers.values())

    def start(self) -> None:
        """Start all of them, and wait until each answers."""
        for broker in self.brokers.values():
            broker.launch()
        for broker in self.brokers.values():
            broker.wait()

    def leader(self, topic: str, partition: int) -> ApacheKafka:
        """The broker that leads a partition now."""
        admin = AdminClient({"bootstrap.servers": self.bootstrap, "logger": _quiet})
        return self.brokers[admin.list_topics(topic, timeout=10).topics[topic].partitions[partition].leader]

    def kill(self) -> None:
        """End all of them."""
        for broker in self.brokers.values():
            broker.kill()


def new_cluster_id() -> str:
    return "L" + base64.urlsafe_b64encode(uuid.uuid4().bytes).decode()[:21]  # a first "-" would be an option


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
    from levain.local.stack import broker_binary

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
    admin = AdminClient({"bootstrap.servers": broker.bootstrap, "logger": _quiet})
    deadline = time.monotonic() + START_SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        try:
            if admin.list_topics(timeout=1).brokers:
                return
        except KafkaException:
            time.sleep(0.1)
    pytest.fail(f"The broker does not answer at {broker.bootstrap}:\n{log.read_text()[-2000:]}")


def java() -> str:
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
