"""Which Kafka cluster, and how its clients connect: security, topics."""

from __future__ import annotations

import json
import logging
import os
import re
import ssl
import time
from collections import deque
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Any

import faust
from confluent_kafka import OFFSET_END, Consumer, KafkaError, KafkaException, TopicCollection, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from ingest.contracts import Contract
from ingest.errors import ConfigurationError, LevainError, StateError, Unavailable, first_line
from ingest.settings import Settings

#: How long a first contact with a broker may take, in seconds, before it counts as unreachable.
CONTACT_SECONDS = 10.0

_ALIAS = re.compile(r"[A-Za-z0-9._-]+")

# librdkafka writes its connection attempts to stderr by itself; what matters of them comes back as an error.
_silent = logging.Logger("librdkafka", level=logging.CRITICAL + 1)


@dataclass(frozen=True, slots=True)
class Cluster:
    """A Kafka cluster.

    Attributes:
        bootstrap: `host:port[,host:port]`.
        alias: its name in Bronze; with topic, partition and offset the identity of a message.
        pid: process of the embedded broker; None for any other. It keeps its log in memory, so when the
            process has gone the cluster is gone for good.
    """

    bootstrap: str
    alias: str
    pid: int | None = None

    @property
    def alive(self) -> bool:
        """False once the embedded broker's process has ended; always True for any other cluster."""
        return self.pid is None or _running(self.pid)


def cluster(settings: Settings) -> Cluster:
    """The cluster the settings name: `LEVAIN_KAFKA_BOOTSTRAP`, else the embedded broker that runs in the home.

    Raises:
        Unavailable: no embedded broker is running.
        ConfigurationError: the alias cannot be part of an identity.
    """
    if settings.kafka_bootstrap:
        return Cluster(settings.kafka_bootstrap, _checked_alias(settings.kafka_cluster or "kafka"))
    state = settings.run_dir / "broker.json"
    try:
        broker = json.loads(state.read_text())
        found = Cluster(f"127.0.0.1:{int(broker['port'])}", _checked_alias(broker["alias"]), int(broker["pid"]))
    except FileNotFoundError:
        found = None
    except (ValueError, KeyError, TypeError) as error:
        raise StateError(f"{state} cannot be read: {error!r}.", "Run `levain down`, then `levain up`.") from error
    if found is None or not found.alive:
        raise Unavailable(
            "No Kafka broker is running.",
            "Start the embedded one with `levain up`, or name a cluster in LEVAIN_KAFKA_BOOTSTRAP.",
        )
    return found


def client_config(settings: Settings) -> dict[str, Any]:
    """Configuration of a confluent-kafka client: bootstrap servers and security.

    Raises:
        ConfigurationError: a certificate or key cannot be read.
        Unavailable: see `cluster`.
    """
    config: dict[str, Any] = {
        "bootstrap.servers": cluster(settings).bootstrap,
        "security.protocol": settings.kafka_security_protocol,
        "logger": _silent,
    }
    if settings.kafka_security_protocol.startswith("SASL"):
        config["sasl.mechanisms"] = settings.kafka_sasl_mechanism
        config["sasl.username"] = settings.kafka_sasl_username
        config["sasl.password"] = settings.kafka_sasl_password.get_secret_value()
    if settings.kafka_security_protocol.endswith("SSL"):
        _check_files(settings)
        files = {
            "ssl.ca.location": settings.kafka_ssl_cafile,
            "ssl.certificate.location": settings.kafka_ssl_certfile,
            "ssl.key.location": settings.kafka_ssl_keyfile,
            "ssl.key.password": settings.kafka_ssl_key_password.get_secret_value(),
        }
        config |= {name: value for name, value in files.items() if value}
    return config


def credentials(settings: Settings) -> faust.SASLCredentials | faust.SSLCredentials | None:
    """The same security for Faust (and aiokafka below it); None for PLAINTEXT.

    Raises:
        ConfigurationError: a certificate or key cannot be read.
    """
    protocol = settings.kafka_security_protocol
    context: ssl.SSLContext | None = None
    if protocol.endswith("SSL"):
        _check_files(settings)
        try:
            context = ssl.create_default_context(cafile=settings.kafka_ssl_cafile or None)
            if settings.kafka_ssl_certfile:
                # A password that is empty is still one: without any, OpenSSL would ask for it on the terminal.
                password = settings.kafka_ssl_key_password.get_secret_value()
                context.load_cert_chain(settings.kafka_ssl_certfile, settings.kafka_ssl_keyfile or None, password)
        except OSError as error:
            raise _unusable(str(error)) from error
    if protocol.startswith("SASL"):
        return faust.SASLCredentials(
            username=settings.kafka_sasl_username,
            password=settings.kafka_sasl_password.get_secret_value(),
            mechanism=settings.kafka_sasl_mechanism,
            ssl_context=context,
        )
    return faust.SSLCredentials(context=context) if context else None


def topics(settings: Settings) -> dict[str, int]:
    """Topic -> number of partitions, as the broker answers; also the test whether it can be reached.

    Raises:
        Unavailable: the broker does not answer within `CONTACT_SECONDS`.
    """
    return Admin(settings).topics()


def end_offsets(settings: Settings, names: Collection[str]) -> dict[tuple[str, int], int]:
    """(topic, partition) -> the offset its next message will get. Topics that do not exist are left out.

    From the answers to fetches: asked for it outright, the embedded broker says where its last batch begins.
    After a transaction the last offset is a marker, which never lands.

    Raises:
        Unavailable: the broker does not answer within `CONTACT_SECONDS`.
    """
    partitions = {TopicPartition(n, p) for n, count in topics(settings).items() if n in names for p in range(count)}
    options = {"group.id": "levain-ends", "enable.auto.commit": False, "fetch.wait.max.ms": 10}
    consumer = Consumer({**client_config(settings), **options})
    found: dict[tuple[str, int], int] = {}
    deadline = time.monotonic() + CONTACT_SECONDS
    try:
        consumer.assign([TopicPartition(p.topic, p.partition, OFFSET_END) for p in partitions])
        while len(found) < len(partitions):
            consumer.poll(0.05)
            for p in partitions:
                _, end = consumer.get_watermark_offsets(p, cached=True)
                if end >= 0:
                    found[p.topic, p.partition] = end
            if time.monotonic() > deadline:
                raise _unreachable(settings, "some partitions cannot be read")
    finally:
        consumer.close()
    return found


def create_topics(settings: Settings, contracts: Iterable[Contract]) -> list[str]:
    """Create the contracts' topics that do not exist yet; existing ones stay as they are.

    Returns:
        The names of the topics that were created.

    Raises:
        Unavailable: the broker cannot be reached.
        ConfigurationError: it refuses a topic.
    """
    admin = Admin(settings)
    existing = admin.topics()
    missing = [
        NewTopic(c.topic, num_partitions=c.partitions, replication_factor=settings.kafka_replication_factor)
        for c in contracts
        if c.topic not in existing
    ]
    if not missing:
        return []
    for name, done in admin.client.create_topics(missing, operation_timeout=CONTACT_SECONDS).items():
        try:
            done.result(timeout=2 * CONTACT_SECONDS)
        except KafkaException as error:
            if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:  # someone was faster: the same end
                raise ConfigurationError(
                    f"Topic {name} cannot be created: {error.args[0].str()}.",
                    "Check the broker's log, and LEVAIN_KAFKA_REPLICATION_FACTOR against its number of brokers.",
                ) from error
    return [topic.topic for topic in missing]


class Admin:
    """A client for what topics there are, which knows why it does not get through.

    The call that fails only says that it took too long; the reason is given to `error_cb`. It connects when it is first
    asked, and may be asked again and again.

    Raises:
        ConfigurationError: a setting, a certificate or a key cannot be used.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._reasons: deque[KafkaError] = deque(maxlen=50)
        self.client = self._connected()

    def _connected(self) -> AdminClient:
        config = client_config(self._settings)
        config["error_cb"] = self._reasons.append
        try:
            return AdminClient(config)
        except KafkaException as error:
            raise _unusable(error.args[0].str()) from error

    def topics(self) -> dict[str, int]:
        """Topic -> number of partitions.

        Raises:
            Unavailable: the broker does not answer within `CONTACT_SECONDS`.
        """
        self._reasons.clear()
        try:
            found = self.client.list_topics(timeout=CONTACT_SECONDS)
        except KafkaException as error:
            raise self._unreachable(error, CONTACT_SECONDS) from error
        return {name: len(topic.partitions) for name, topic in found.topics.items()}

    def topic_ids(self, names: Iterable[str], seconds: float = CONTACT_SECONDS) -> dict[str, str | None]:
        """Topic -> the id the broker gave it when it was made, None where there is no such topic.

        A topic that is deleted and recreated keeps its name and starts at offset 0 again, but gets another id.

        Raises:
            Unavailable: the broker does not answer within so many seconds, or refuses to.
        """
        self._reasons.clear()
        found: dict[str, str | None] = {}
        client = self.client  # until it has answered: another thread may put a new one in its place, see below
        described = client.describe_topics(TopicCollection(list(names)), request_timeout=seconds)
        for name, answer in described.items():
            try:
                found[name] = str(answer.result().topic_id)
            except KafkaException as error:
                if error.args[0].code() != KafkaError.UNKNOWN_TOPIC_OR_PART:
                    unreachable = self._unreachable(error, seconds)
                    # This client goes on asking the controller that it knows, also when another broker is that now.
                    self.client = self._connected()
                    raise unreachable from error
                found[name] = None
        return found

    def _unreachable(self, error: KafkaException, seconds: float) -> LevainError:
        self.client.poll(0)
        return _unreachable(self._settings, self._reason(error.args[0]), seconds)

    def _reason(self, outcome: KafkaError) -> str:
        """The first refusal, else the first thing that went wrong, else how the call ended."""
        refused = [r for r in self._reasons if r.code() in (KafkaError._AUTHENTICATION, KafkaError._SSL)]
        known = [r for r in (*refused, *self._reasons) if r.code() != KafkaError._ALL_BROKERS_DOWN]
        if self._reasons and not known:  # librdkafka does not report a broker that just hangs up
            return "it ends every connection at once, as a port does that expects TLS"
        return str([*known, outcome][0].str())


def _unreachable(settings: Settings, reason: str, seconds: float = CONTACT_SECONDS) -> Unavailable:
    return Unavailable(
        f"Kafka at {cluster(settings).bootstrap} does not answer within {seconds:.0f} s: {reason.rstrip('.')}.",
        "Check that the broker runs, LEVAIN_KAFKA_BOOTSTRAP, and the LEVAIN_KAFKA_SECURITY_PROTOCOL, _SASL_* and "
        "_SSL_* settings.",
    )


def _check_files(settings: Settings) -> None:
    """Name a TLS file that is not there: neither OpenSSL nor librdkafka does."""
    for name in ("kafka_ssl_cafile", "kafka_ssl_certfile", "kafka_ssl_keyfile"):
        file = getattr(settings, name)
        if file and not os.access(file, os.R_OK):
            raise _unusable(f"{file} cannot be read (LEVAIN_{name.upper()})")


def _unusable(reason: str) -> ConfigurationError:
    return ConfigurationError(
        f"The security settings for Kafka cannot be used: {first_line(reason).rstrip('.')}.",
        "Check the LEVAIN_KAFKA_SASL_* and LEVAIN_KAFKA_SSL_* settings, and that the files can be read.",
    )


def _checked_alias(alias: str) -> str:
    if not _ALIAS.fullmatch(alias):
        raise ConfigurationError(
            f"The alias of a Kafka cluster may hold letters, digits, '.', '_' and '-', not {alias!r}.",
            "Correct LEVAIN_KAFKA_CLUSTER.",
        )
    return alias


def _running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
