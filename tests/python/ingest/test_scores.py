"""The worker that scores purchases, as a process: each purchase is scored, and what is sent twice is the same."""

from __future__ import annotations

import asyncio
import json
import random
import re
import signal
import time
import urllib.request
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from kafka_broker import Broker
from scored import values, write_model
from workers import Worker, make_topics, settings_for

from ingest import fraud
from ingest.errors import StateError
from ingest.fraud import Model
from ingest.kafka import cluster, end_offsets
from ingest.scores import PURCHASES, SCORES, App, read_settings
from ingest.settings import Settings

GARBAGE = (b"no purchase", b"\xff\xfe", None, b'{"event_id": 7}')
RECEIVED = "2026-06-01T12:00:00Z"
TIMESTAMP = 1_780_000_000_000


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


@pytest.fixture
def model(home: Path) -> Model:
    return write_model(Settings(home=home).models_dir)


@pytest.fixture
def start(tmp_path: Path, home: Path) -> Iterator[Callable[..., Worker]]:
    """Starts workers of one group; ends those that still run after the test."""
    started: list[Worker] = []
    group = f"test-{uuid.uuid4()}"

    def start(broker: Broker, **environment: str) -> Worker:
        fixed = {"LEVAIN_KAFKA_BOOTSTRAP": broker.bootstrap, "LEVAIN_KAFKA_CLUSTER": "test"}
        own = {"LEVAIN_SCORES_GROUP": group, "LEVAIN_COMMIT_EVERY_SECONDS": "0.3"}
        log = tmp_path / f"scores-{len(started)}.log"
        started.append(Worker(home, log, "ingest.scores", **(fixed | own | environment)))
        return started[-1]

    yield start
    for worker in started:
        worker.kill()


def send(broker: Broker, payloads: list[bytes | None], first: int = 0) -> None:
    producer = Producer({"bootstrap.servers": broker.bootstrap, "linger.ms": 5})
    for number, payload in enumerate(payloads, first):
        headers = [("received-at", RECEIVED.encode()), ("other", b"x")]
        producer.produce(PURCHASES, payload, f"C{number % 7}", timestamp=TIMESTAMP + number, headers=headers)
        producer.poll(0)
    assert producer.flush(30) == 0


def scores(broker: Broker, home: Path) -> list[tuple[str, str, int, list[tuple[str, bytes]]]]:
    """Key, value, timestamp and headers of all scores that there are."""
    ends = end_offsets(settings_for(broker, home), [SCORES])
    consumer = Consumer({"bootstrap.servers": broker.bootstrap, "group.id": "reads", "enable.auto.commit": False})
    found = []
    try:
        consumer.assign([TopicPartition(topic, partition, 0) for topic, partition in ends])
        deadline = time.monotonic() + 30
        while len(found) < sum(ends.values()) and time.monotonic() < deadline:
            for message in consumer.consume(500, 0.2):
                assert message.error() is None
                key, value, headers = message.key(), message.value(), message.headers()
                assert key and value
                found.append((key.decode(), value.decode(), message.timestamp()[1], list(headers or [])))
    finally:
        consumer.close()
    return found


def committed(broker: Broker, worker: Worker) -> dict[tuple[str, int], int]:
    """The offsets of the worker's group."""
    group = re.search(r"\| id +\| (\S+) ", worker.output)
    assert group
    consumer = Consumer({"bootstrap.servers": broker.bootstrap, "group.id": group[1]})
    try:
        found = consumer.committed([TopicPartition(PURCHASES, partition) for partition in range(3)], 10)
        return {(each.topic, each.partition): max(each.offset, 0) for each in found}
    finally:
        consumer.close()


def wait_until(true: Callable[[], bool], worker: Worker, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert worker.process.poll() is None, worker.output[-3000:]
        assert time.monotonic() < deadline, worker.output[-3000:]
        time.sleep(0.1)


def metrics(worker: Worker) -> dict[str, float]:
    """Series -> value."""
    url = re.search(r"Metrics are at (\S+),", worker.output)
    assert url
    with urllib.request.urlopen(url[1], timeout=10) as answer:
        lines = answer.read().decode().splitlines()
    return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines if line[0] != "#")}


def total(worker: Worker, name: str) -> float:
    return sum(value for series, value in metrics(worker).items() if series.partition("{")[0] == name)


def test_a_crash_between_publishing_and_committing_gives_duplicates_only(
    embedded_broker: Broker, home: Path, model: Model, start: Callable[..., Worker]
) -> None:
    """And messages that are no purchases have no score, and stop nothing."""
    make_topics(embedded_broker, home)
    payloads: list[bytes | None] = [value.encode() for value in values()[:60]]
    payloads[30:30] = GARBAGE
    expected = Counter(model.event(fraud.read_purchase(value))[0] for value in values()[:60])
    worker = start(embedded_broker, LEVAIN_COMMIT_EVERY_SECONDS="3600")
    send(embedded_broker, payloads)
    wait_until(lambda: "Worker ready" in worker.output and total(worker, "levain_scored_purchases_total") == 60, worker)
    found = scores(embedded_broker, home)
    assert Counter(value for _, value, *_ in found) == expected
    for key, value, timestamp, headers in found:
        purchase = next(v for v in values() if json.loads(v)["event_id"] == json.loads(value)["purchase_event_id"])
        place = payloads.index(purchase.encode())
        assert (key, timestamp) == (json.loads(purchase)["customer_id"], TIMESTAMP + place)
        assert headers == [("received-at", RECEIVED.encode())]
    wait_until(lambda: total(worker, "levain_unscored_messages_total") == len(GARBAGE), worker)
    series = metrics(worker)
    assert {name.split('"')[1]: value for name, value in series.items() if name.startswith("levain_unscored")} == (
        dict.fromkeys(("not_json", "not_utf8", "empty", "event_id"), 1.0)
    )
    suspicious = sum(json.loads(value)["is_suspicious"] for _, value, *_ in found)
    assert series["levain_suspicious_purchases_total"] == suspicious
    assert series["levain_score_latency_seconds_count"] == 60
    wait_until(lambda: total(worker, "levain_scores_lag_messages") == 0, worker)
    assert f'version="{model.version}"' in next(name for name in series if name.startswith("levain_score_model_info"))
    assert "not scored, by not_utf8: 1" in worker.output

    worker.kill()
    again = start(embedded_broker)
    wait_until(lambda: "Worker ready" in again.output and total(again, "levain_scored_purchases_total") == 60, again)
    assert Counter(value for _, value, *_ in scores(embedded_broker, home)) == expected + expected
    assert again.stop() == 0

    assert committed(embedded_broker, again) == end_offsets(settings_for(embedded_broker, home), [PURCHASES])


def test_without_a_model_the_worker_says_how_to_train_one(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LEVAIN_HOME", str(home))
    with pytest.raises(SystemExit, match=r"There is no model of purchases in .*\n.*levain train-scores"):
        read_settings(App("test", broker="bronze://"))


def test_without_its_topics_the_worker_says_how_to_create_them(
    embedded_broker: Broker, home: Path, model: Model
) -> None:
    app = App("test", broker="bronze://")
    app.prepare(settings_for(embedded_broker, home))
    app.cluster = cluster(app.settings)
    with pytest.raises(StateError, match=r"Kafka has no topic purchases, purchase-scores[.]\n.*levain init"):
        asyncio.run(app.open())


def test_where_kafka_has_lost_offsets_scoring_goes_on(
    home: Path, model: Model, caplog: pytest.LogCaptureFixture
) -> None:
    app = App("test", broker="bronze://")
    app.prepare(Settings(home=home))
    app.lost(("test", PURCHASES, 2), 70, 12)
    assert "purchases, partition 2: Kafka does not have offset 70" in caplog.text and "its first one, 12" in caplog.text


@pytest.mark.full
@pytest.mark.timeout(900)
def test_kills_and_pauses_leave_no_purchase_without_its_score(
    apache_kafka: Broker, home: Path, model: Model, start: Callable[..., Worker]
) -> None:
    """Two workers, of which one is killed, frozen or stopped again and again while purchases come."""
    make_topics(apache_kafka, home)
    before = Counter(value for _, value, *_ in scores(apache_kafka, home))
    rng = random.Random(5)
    workers = [start(apache_kafka), start(apache_kafka)]
    rounds, each = 12, 40
    for number in range(rounds):
        send(apache_kafka, [value.encode() for value in values()[number * each : (number + 1) * each]], number * each)
        victim = rng.randrange(2)
        match rng.choice(("kill", "freeze", "stop")):
            case "kill":
                workers[victim].kill()
            case "stop":
                workers[victim].stop()
            case "freeze":
                workers[victim].process.send_signal(signal.SIGSTOP)
                time.sleep(8)
                workers[victim].process.send_signal(signal.SIGCONT)
                continue
        workers[victim] = start(apache_kafka)
        time.sleep(rng.uniform(0, 4))
    expected = {model.event(fraud.read_purchase(value))[0] for value in values()[: rounds * each]}
    deadline = time.monotonic() + 120
    while (found := Counter(value for _, value, *_ in scores(apache_kafka, home)) - before).keys() != expected:
        assert time.monotonic() < deadline, (len(expected - found.keys()), len(found.keys() - expected))
        time.sleep(1)
    assert sum(found.values()) >= len(expected)
