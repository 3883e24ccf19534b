"""Kafka brokers that ask who is there: SASL, TLS, and certificates of clients; and what they refuse.

One broker has a listener of each kind. Certificates are made for each run; the broker's names 127.0.0.1 only.
"""

from __future__ import annotations

import os
import re
import secrets
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import commands
import pytest
from authority import Authority
from exactness import committed, differences, rows
from kafka_broker import ApacheKafka, free_port
from workers import Worker, bronze

from ingest import kafka
from ingest.catalog import watermarks
from ingest.errors import LevainError
from ingest.settings import Settings, load_settings

SALES = "sales-events"
USER = "levain"
KEY_PASSWORD = "secret-of-the-key"
MODULE = "org.apache.kafka.common.security"


@dataclass
class Secured:
    """The broker, and what a client needs at each of its doors, as `LEVAIN_*` variables."""

    plain: str
    doors: dict[str, dict[str, str]]
    password: str
    stranger: Path
    """An authority that nobody trusts."""

    @property
    def secrets(self) -> list[str]:
        return [self.password, KEY_PASSWORD, "wr0ng"]


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secured]:
    folder = tmp_path_factory.mktemp("secured")
    authority, stranger = Authority(folder, "authority"), Authority(folder, "stranger")
    certificate, key = authority.issue("broker")
    store = folder / "broker.pem"
    store.write_bytes(key.read_bytes() + certificate.read_bytes())
    client_certificate, client_key = authority.issue("client", KEY_PASSWORD)
    password = secrets.token_hex(16)
    ports = {protocol: free_port() for protocol in ("SASL_PLAINTEXT", "SASL_SSL", "SSL")}
    plain = f'{MODULE}.plain.PlainLoginModule required user_{USER}="{password}";'
    broker = ApacheKafka(
        folder,
        listeners=ports,
        properties={
            "ssl.keystore.type": "PEM",
            "ssl.keystore.location": store,
            "ssl.truststore.type": "PEM",
            "ssl.truststore.location": authority.file,
            "listener.name.ssl.ssl.client.auth": "required",
            "listener.name.sasl_plaintext.sasl.enabled.mechanisms": "PLAIN,SCRAM-SHA-256",
            "listener.name.sasl_plaintext.plain.sasl.jaas.config": plain,
            "listener.name.sasl_plaintext.scram-sha-256.sasl.jaas.config": f"{MODULE}.scram.ScramLoginModule required;",
            "listener.name.sasl_ssl.sasl.enabled.mechanisms": "SCRAM-SHA-512",
            "listener.name.sasl_ssl.scram-sha-512.sasl.jaas.config": f"{MODULE}.scram.ScramLoginModule required;",
        },
        format=[
            argument
            for mechanism in ("SCRAM-SHA-256", "SCRAM-SHA-512")
            for argument in ("--add-scram", f'{mechanism}=[name="{USER}",password="{password}"]')
        ],
    )
    user = {"LEVAIN_KAFKA_SASL_USERNAME": USER, "LEVAIN_KAFKA_SASL_PASSWORD": password}
    ca = {"LEVAIN_KAFKA_SSL_CAFILE": str(authority.file)}

    def door(protocol: str, **more: str) -> dict[str, str]:
        address = {"LEVAIN_KAFKA_BOOTSTRAP": f"127.0.0.1:{ports[protocol]}", "LEVAIN_KAFKA_CLUSTER": "test"}
        return {**address, "LEVAIN_KAFKA_SECURITY_PROTOCOL": protocol, **more}

    doors = {
        "sasl, plain": door("SASL_PLAINTEXT", **user, LEVAIN_KAFKA_SASL_MECHANISM="PLAIN"),
        "sasl, scram 256": door("SASL_PLAINTEXT", **user, LEVAIN_KAFKA_SASL_MECHANISM="SCRAM-SHA-256"),
        "sasl over tls": door("SASL_SSL", **user, **ca, LEVAIN_KAFKA_SASL_MECHANISM="SCRAM-SHA-512"),
        "mutual tls": door(
            "SSL",
            **ca,
            LEVAIN_KAFKA_SSL_CERTFILE=str(client_certificate),
            LEVAIN_KAFKA_SSL_KEYFILE=str(client_key),
            LEVAIN_KAFKA_SSL_KEY_PASSWORD=KEY_PASSWORD,
        ),
    }
    try:
        broker.start()
        yield Secured(broker.bootstrap, doors, password, stranger.file)
    finally:
        broker.kill()


def levain(home: Path, variables: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    env = {"PATH": os.environ["PATH"], "HOME": str(home), "LEVAIN_HOME": str(home), **variables}
    return commands.levain(*arguments, env=env, timeout=60)


# Who is let in


@pytest.mark.parametrize("door", [pytest.param("sasl, plain", marks=pytest.mark.full), "sasl over tls", "mutual tls"])
def test_every_part_of_levain_comes_in(door: str, secured: Secured, tmp_path: Path) -> None:
    """Topics, sample events, the worker and the doctor by one set of variables; then Bronze against Kafka."""
    home, variables = tmp_path / "home", secured.doors[door]
    made = levain(home, variables, "init")
    sent = levain(home, variables, "produce", "--events", "300", "--topic", SALES)
    doctor = levain(home, variables, "doctor")
    worker = Worker(home, tmp_path / "worker.log", **variables, LEVAIN_COMMIT_EVERY_SECONDS="0.3")
    try:
        messages = committed(secured.plain, SALES)
        deadline = time.monotonic() + 60
        while sum(watermarks(bronze(home, SALES)).values()) < len(messages):
            assert worker.process.poll() is None and time.monotonic() < deadline, worker.output[-3000:]
            time.sleep(0.2)
        assert worker.stop() == 0, worker.output
    finally:
        worker.kill()
    assert len(messages) >= 300
    assert not differences(messages, rows(bronze(home, SALES), "test"))
    assert "ok   Kafka at" in doctor.stdout
    outputs = [done.stdout + done.stderr for done in (made, sent, doctor)] + [worker.output]
    assert [done.returncode for done in (made, sent)] == [0, 0], outputs
    for output in outputs:
        assert not [secret for secret in secured.secrets if secret in output]


def test_scram_256_comes_in(secured: Secured, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in secured.doors["sasl, scram 256"].items():
        monkeypatch.setenv(name, value)
    assert isinstance(kafka.topics(load_settings()), dict)


# Who is not

Change = Callable[[Secured, dict[str, str]], dict[str, str]]

REFUSED: dict[str, tuple[str, Change, str]] = {
    # name: the door, what is wrong, what is said of it
    "wrong password": (
        "sasl, plain",
        lambda s, v: {"LEVAIN_KAFKA_SASL_PASSWORD": "wr0ng"},
        "SASL authentication error: Authentication failed",
    ),
    "wrong password, scram": (
        "sasl over tls",
        lambda s, v: {"LEVAIN_KAFKA_SASL_PASSWORD": "wr0ng"},
        "SASL authentication error: Authentication failed",
    ),
    "mechanism not offered": (
        "sasl over tls",
        lambda s, v: {"LEVAIN_KAFKA_SASL_MECHANISM": "PLAIN"},
        "Unsupported SASL mechanism",
    ),
    "no authority": (
        "sasl over tls",
        lambda s, v: {"LEVAIN_KAFKA_SSL_CAFILE": ""},
        "SSL handshake failed: .*certificate verify failed",
    ),
    "wrong authority": (
        "mutual tls",
        lambda s, v: {"LEVAIN_KAFKA_SSL_CAFILE": str(s.stranger)},
        "SSL handshake failed: .*certificate verify failed",
    ),
    "no certificate of its own": (
        "mutual tls",
        lambda s, v: dict.fromkeys(("LEVAIN_KAFKA_SSL_CERTFILE", "LEVAIN_KAFKA_SSL_KEYFILE"), ""),
        "certificate required|bad certificate",
    ),
    "another host name": (
        "sasl over tls",
        lambda s, v: {"LEVAIN_KAFKA_BOOTSTRAP": v["LEVAIN_KAFKA_BOOTSTRAP"].replace("127.0.0.1", "localhost")},
        "SSL handshake failed: .*certificate verify failed",
    ),
    "plain text at a tls port": (
        "mutual tls",
        lambda s, v: {"LEVAIN_KAFKA_SECURITY_PROTOCOL": "PLAINTEXT"},
        "as a port does that expects TLS|connecting to a SSL listener",
    ),
    "tls at a plain port": (
        "sasl, plain",
        lambda s, v: {"LEVAIN_KAFKA_SECURITY_PROTOCOL": "SASL_SSL"},
        "connecting to a PLAINTEXT broker listener",
    ),
    "no such file": (
        "mutual tls",
        lambda s, v: {"LEVAIN_KAFKA_SSL_CAFILE": "/no/such/file.pem"},
        "cannot be used: /no/such/file.pem cannot be read",
    ),
    "wrong password of the key": (
        "mutual tls",
        lambda s, v: {"LEVAIN_KAFKA_SSL_KEY_PASSWORD": "wr0ng"},
        "cannot be used: .*ssl.key.location",
    ),
}


@pytest.mark.parametrize("wrong", REFUSED)
def test_who_is_refused_is_told_why_and_in_time(
    wrong: str, secured: Secured, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    door, change, said = REFUSED[wrong]
    variables = secured.doors[door] | change(secured, secured.doors[door])
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(kafka, "CONTACT_SECONDS", 2.0)
    settings = Settings(home=tmp_path)
    began = time.monotonic()
    with pytest.raises(LevainError) as caught:
        kafka.topics(settings)
    assert time.monotonic() - began < 5
    text = str(caught.value)
    assert re.search(said, text.splitlines()[0])
    assert "LEVAIN_KAFKA_" in text.splitlines()[1]
    assert text.count("\n") == 1
    assert not [secret for secret in secured.secrets if secret in text]


@pytest.mark.parametrize("wrong", ["wrong password, scram", "no certificate of its own", "wrong password of the key"])
def test_a_worker_that_is_refused_ends(wrong: str, secured: Secured, tmp_path: Path) -> None:
    door, change, said = REFUSED[wrong]
    variables = secured.doors[door] | change(secured, secured.doors[door])
    began = time.monotonic()
    worker = Worker(tmp_path / "home", tmp_path / "worker.log", **variables)
    doctor = levain(tmp_path / "home", variables, "doctor")
    assert worker.wait() == 1
    assert time.monotonic() - began < 45
    for output in (worker.output, doctor.stdout + doctor.stderr):
        assert "Traceback" not in output
        assert not [secret for secret in secured.secrets if secret in output]
    assert re.search(said if wrong != "wrong password of the key" else "cannot be used", worker.output)
    assert re.search(f"fail .*{said}", doctor.stdout)
