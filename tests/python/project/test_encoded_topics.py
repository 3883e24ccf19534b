"""Two topics whose values a schema registry describes, each added by its contract: landed by a worker, and judged.

One contract is the documentation's own. Producers encode with confluent-kafka's serializers.
"""

from __future__ import annotations

import json
import shutil
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Producer
from confluent_kafka.schema_registry import SchemaRegistryClient
from confluent_kafka.schema_registry.avro import AvroSerializer
from confluent_kafka.schema_registry.json_schema import JSONSerializer
from confluent_kafka.serialization import MessageField, SerializationContext
from documents import documented
from exactness import holes
from kafka_broker import Broker, embedded
from lake import WITHOUT_TESTS, connect
from schema_registry import SmallRegistry, small_registry
from spark_session import stop_spark
from workers import SALES, Worker, wait_for, wait_until

from ingest import kafka
from ingest.catalog import ensure_table, open_catalog, watermarks
from ingest.contracts import CONTRACTS_DIR, Contract, load_contracts
from ingest.errors import BadInput
from ingest.jsontext import json_timestamp
from ingest.settings import PROJECT_ROOT, Settings
from ingest.sources.replay import replay
from levain.read import ledger
from levain.samples.producer import generate
from levain.warehouse import dbt as warehouse
from levain.warehouse.generate import render

# Clients of the registry, and pyspark, leave their sockets to the garbage collector.
pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")

AVRO, TEXT = "card-payments", "card-refunds"
VERDICTS = {AVRO: "int_card_payments__verdicts", TEXT: "int_card_refunds__verdicts"}
PARTS = ("ingest", "macros", "profiles", "dbt_project.yml", "models/_groups.yml", "models/docs.md", "seeds")
PAID_AT = datetime.now(UTC).replace(microsecond=123000)

FIELDS: list[dict[str, Any]] = [
    {"name": "payment_id", "type": {"type": "string", "logicalType": "uuid"}},
    {"name": "paid_at", "type": {"type": "long", "logicalType": "timestamp-millis"}},
    {"name": "terminal_id", "type": "string"},
    {"name": "amount", "type": {"type": "bytes", "logicalType": "decimal", "precision": 10, "scale": 2}},
    {"name": "scheme", "type": {"type": "enum", "name": "Scheme", "symbols": ["visa", "mastercard", "cb", "amex"]}},
]
LATER = [
    *FIELDS,
    {"name": "settles_on", "type": ["null", {"type": "int", "logicalType": "date"}], "default": None},
    {"name": "receipt", "type": ["null", "bytes", "string"], "default": None},
]
JSON_SCHEMA = json.dumps({"title": "Refund", "type": "object", "properties": {"amount": {"type": "number"}}})


def schema(fields: list[dict[str, Any]]) -> str:
    return json.dumps({"type": "record", "name": "levain.CardPayment", "fields": fields})


def payment(number: int, **changes: object) -> dict[str, Any]:
    return {
        "payment_id": f"00000000-0000-4000-8000-{number:012d}",
        "paid_at": PAID_AT,
        "terminal_id": "T1",
        "amount": Decimal("12.50"),
        "scheme": "visa",
        **changes,
    }


@dataclass
class Sender:
    """Producers of the topics, and what they have sent, in order."""

    broker: Broker
    registry: SmallRegistry

    def __post_init__(self) -> None:
        self.client = SchemaRegistryClient({"url": self.registry.url})
        self.sent: dict[str, list[bytes | None]] = {AVRO: [], TEXT: [], SALES: []}
        self._producer = Producer({"bootstrap.servers": self.broker.bootstrap})

    def avro(self, value: dict[str, Any], fields: list[dict[str, Any]] = FIELDS) -> bytes:
        serialize = AvroSerializer(self.client, schema(fields))
        found = serialize(value, SerializationContext(AVRO, MessageField.VALUE))
        assert isinstance(found, bytes)
        return found

    def text(self, value: dict[str, Any]) -> bytes:
        serialize = JSONSerializer(JSON_SCHEMA, self.client)
        value = value | {"paid_at": json_timestamp(value["paid_at"]), "amount": float(value["amount"])}
        found = serialize(value, SerializationContext(TEXT, MessageField.VALUE))
        assert isinstance(found, bytes)
        return found

    def send(self, topic: str, *payloads: bytes | None) -> None:
        for payload in payloads:
            self._producer.produce(topic, payload, key="T1")
        assert self._producer.flush(30) == 0
        self.sent[topic] += payloads


@dataclass
class Project:
    """A copy of the project with the two contracts and one of plain JSON, without the models above them; and a home."""

    folder: Path
    settings: Settings
    contracts: dict[str, Contract]

    def worker(self, name: str, registry: SmallRegistry, **environment: str) -> Worker:
        fixed = {"LEVAIN_SCHEMA_REGISTRY_URL": registry.url, "LEVAIN_METRICS_PORT": "0"}
        quick = {"LEVAIN_COMMIT_EVERY_SECONDS": "0.3"}
        log = self.folder / f"{name}.log"
        return Worker(self.settings.root, log, project=self.folder, **fixed, **quick, **environment)

    def landed(self, topic: str) -> list[tuple[str | None, bytes | None]]:
        """(value, value_bytes) of the only partition that has messages, by offset."""
        table = ensure_table(open_catalog(self.settings), self.contracts[topic])
        assert not holes(table)
        rows = table.scan().to_arrow().sort_by("offset").to_pylist()
        assert [row["offset"] for row in rows] == list(range(sum(watermarks(table).values())))
        return [(row["value"], row["value_bytes"]) for row in rows]

    def build(self, target: str, *arguments: str) -> None:
        warehouse.run_dbt(self.settings, ["build", "--target", target, *WITHOUT_TESTS, *arguments], "")


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    folder = tmp_path_factory.mktemp("encoded")
    (folder / "models").mkdir()
    for part in PARTS:
        source, target = PROJECT_ROOT / part, folder / part
        if source.is_dir():
            shutil.copytree(source, target, ignore=shutil.ignore_patterns("contracts", "__pycache__"))
        else:
            shutil.copy(source, target)
    avro = documented()[-1]
    text = avro.replace(AVRO, TEXT).replace("card_payments", "card_refunds").replace("-avro", "-json-schema")
    contracts = folder / "ingest" / "contracts"
    contracts.mkdir()
    shutil.copy(CONTRACTS_DIR / f"{SALES}.odcs.yaml", contracts)
    for topic, content in {AVRO: avro, TEXT: text}.items():
        (contracts / f"{topic}.odcs.yaml").write_text(content, encoding="utf-8")
    loaded = load_contracts(contracts)
    for path, content in render(list(loaded.values())).items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(content, encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(warehouse, "PROJECT_ROOT", folder)
        for reader in ("ingest.contracts", "levain.samples.producer"):
            patch.setattr(f"{reader}.load_contracts", lambda folder=contracts: loaded)
        yield Project(folder, Settings(home=folder / "home"), loaded)


@pytest.fixture(scope="module")
def registry() -> Iterator[SmallRegistry]:
    with small_registry() as server:
        yield server


@pytest.fixture(scope="module")
def sender(project: Project, registry: SmallRegistry) -> Iterator[Sender]:
    """The embedded broker, as `levain up` would have started it, with the topics."""
    with embedded(project.folder) as broker:
        project.settings.run_dir.mkdir(parents=True)
        state = {"port": broker.port, "alias": "embedded-1", "pid": broker.pid}
        (project.settings.run_dir / "broker.json").write_text(json.dumps(state))
        kafka.create_topics(project.settings, project.contracts.values())
        yield Sender(broker, registry)


def readiness(worker: Worker) -> str:
    """Why the worker is not ready; empty if it is."""
    address = worker.output.partition("Metrics are at ")[2].partition("/metrics")[0]
    try:
        urllib.request.urlopen(f"{address}/readyz", timeout=10).close()
    except urllib.error.HTTPError as error:
        with error:
            return str(json.load(error)["reason"])
    return ""


def wait_until_all_landed(project: Project, sender: Sender, worker: Worker, *topics: str) -> None:
    for topic in topics:
        wait_until(lambda topic=topic: len(project.landed(topic)) == len(sender.sent[topic]), worker)  # type: ignore[misc]


@pytest.fixture(scope="module")
def worker(project: Project, registry: SmallRegistry) -> Iterator[Worker]:
    """A worker that finds the registry there, but not well."""
    registry.status = 503
    worker = project.worker("first", registry)
    yield worker
    worker.kill()
    assert "Traceback" not in worker.output


def test_a_registry_that_is_away_costs_time_and_nothing_else(
    project: Project, sender: Sender, registry: SmallRegistry, worker: Worker
) -> None:
    """It answers 503, then refuses connections: meanwhile its topic waits, others land, and the worker says so."""
    registry.status = None
    early, soon = sender.avro(payment(1)), sender.avro(payment(2))
    late = sender.avro(payment(3, settles_on=date(2026, 2, 1)), LATER)
    texts = [sender.text(payment(number)) for number in (1, 2)]
    registry.status = 503
    sender.send(AVRO, early)
    sender.send(TEXT, texts[0])
    wait_for(worker, "does not say what it has at /schemas/ids/1: it answers 503")
    sender.send(SALES, b"{}")
    sender.send(TEXT, texts[1])
    wait_until_all_landed(project, sender, worker, SALES, TEXT)
    wait_until(lambda: readiness(worker).startswith("card-payments does not land, and is tried again: "), worker)
    assert project.landed(AVRO) == []
    registry.status = None
    wait_until_all_landed(project, sender, worker, AVRO)
    registry.stop()  # the worker has the schema of the next message, and not of the one after it
    sender.send(AVRO, soon)
    wait_until_all_landed(project, sender, worker, AVRO)
    sender.send(AVRO, late)
    wait_for(worker, "does not answer")
    time.sleep(0.5)
    assert len(project.landed(AVRO)) == 2
    registry.start()
    wait_until_all_landed(project, sender, worker, AVRO)
    wait_until(lambda: readiness(worker) == "", worker)
    assert all(text is not None for topic in (AVRO, TEXT) for text, _ in project.landed(topic))


def some_messages(sender: Sender) -> dict[str, list[tuple[bytes | None, str]]]:
    """Per topic: a message, and the rules that it fails; an accepted one fails none."""
    good, text = sender.avro(payment(5)), sender.text(payment(5))
    return {
        AVRO: [
            (good, ""),
            (sender.avro(payment(6, settles_on=date(2026, 2, 1), receipt=b"\xff\0"), LATER), ""),
            (json.dumps({"payment_id": 1}).encode(), "message_without_schema_id"),
            (b"", "message_without_schema_id"),
            (b"\0\0\0\0", "message_without_schema_id"),
            (b"\xff\xfe{", "message_without_schema_id"),
            (b"\0\0\0\0\x63" + good[5:], "message_undecodable"),
            (b"\0\0\0\0\x63" + b"plain text", "message_undecodable"),
            (good[:-1], "message_undecodable"),
            (good + b"\0", "message_undecodable"),
            (good[:5], "message_undecodable"),
            (text, "message_undecodable"),
            (None, "message_tombstone"),
            (sender.avro(payment(8, receipt="text"), LATER), ""),
            (sender.avro(payment(7, amount=Decimal("100000.01"))), "amount_out_of_range"),
            (sender.avro(payment(9, scheme="amex")), "scheme_not_allowed"),
            (good, ""),
        ],
        TEXT: [
            (text, ""),
            (text[5:], "message_without_schema_id"),
            (b"\0\0\0\0\7\xff", "message_not_utf8"),
            (b"\0\0\0\0\7", "message_malformed"),
            (b"\0\0\0\0\7nothing", "message_malformed"),
            (None, "message_tombstone"),
            (sender.text(payment(7, amount=Decimal("-1"))), "amount_out_of_range"),
        ],
    }


def test_each_message_has_its_verdict(
    project: Project, sender: Sender, registry: SmallRegistry, worker: Worker
) -> None:
    """Two schemas in one topic, and each kind of message that cannot be decoded; Bronze has every byte of all."""
    registry.status = None
    messages = some_messages(sender)
    for topic, pairs in messages.items():
        sender.send(topic, *(payload for payload, _ in pairs))
    wait_until_all_landed(project, sender, worker, AVRO, TEXT)
    assert worker.stop() == 0, worker.output
    landed = {topic: project.landed(topic) for topic in messages}
    for topic, rows in landed.items():
        assert [payload for _, payload in rows] == sender.sent[topic]
    first, second = [text for text, _ in landed[AVRO][-len(messages[AVRO]) :]][:2]
    same = f'"paid_at": "{json_timestamp(PAID_AT)}", "terminal_id": "T1", "amount": 12.50, "scheme": "visa"'
    assert first == f'{{"payment_id": "{payment(5)["payment_id"]}", {same}}}'
    assert second == (
        f'{{"payment_id": "{payment(6)["payment_id"]}", {same}, "settles_on": "2026-02-01", "receipt": "/wA="}}'
    )
    assert landed[TEXT][-len(messages[TEXT])][0] == (messages[TEXT][0][0] or b"")[5:].decode()

    project.build("duckdb", "--select", *(f"+{model}" for model in VERDICTS.values()))
    with connect(project.settings.duckdb_file) as connection:
        for topic, model in VERDICTS.items():
            judged = connection.execute(
                f"select failed_rules, verdict from silver.{model} order by kafka_offset"
            ).fetchall()
            before = len(judged) - len(messages[topic])
            assert [rules for rules, _ in judged] == [*[""] * before, *(rules for _, rules in messages[topic])]
            assert all((verdict == "rejected") == bool(rules) for rules, verdict in judged)
        columns = "payment_id, amount, settles_on, scheme, payload, payload_bytes"
        accepted = f"select {columns} from silver.{VERDICTS[AVRO]} where verdict = 'accepted' order by kafka_offset"
        rows = connection.execute(accepted).fetchall()
    assert rows[-3:-1] == [
        (payment(5)["payment_id"], Decimal("12.50"), None, "visa", None, None),
        (payment(6)["payment_id"], Decimal("12.50"), date(2026, 2, 1), "visa", None, None),
    ]
    taken = ledger.take(project.settings)
    assert taken.faults == []
    assert sum(line.messages for line in taken.lines if line.topic == AVRO) == len(sender.sent[AVRO])


def test_a_registry_that_stays_away_ends_the_worker(project: Project, sender: Sender, registry: SmallRegistry) -> None:
    before = project.landed(AVRO)
    sender.send(AVRO, sender.avro(payment(10)))
    registry.status = 500
    worker = project.worker("second", registry, LEVAIN_COMMIT_PATIENCE_SECONDS="0.2")
    try:
        assert worker.wait() == 1
    finally:
        worker.kill()
        registry.status = None
    assert "does not say what it has at /schemas/ids/1: it answers 500" in worker.output
    assert "Traceback" not in worker.output
    assert project.landed(AVRO) == before


def test_plain_json_is_not_sent_into_these_topics(project: Project, tmp_path: Path) -> None:
    assert {message.topic for message in generate(None, 50)} == {SALES}
    with pytest.raises(BadInput, match="There are no sample events for card-payments"):
        generate([AVRO], 50)
    with pytest.raises(BadInput, match=r"The values of card-refunds are encoded \(confluent-json-schema\)"):
        replay(project.settings, TEXT, tmp_path / "refunds.sql")


@pytest.mark.full
def test_both_engines_judge_alike(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the test before built on DuckDB, on Spark."""
    from levain.dev.parity import compare
    from levain.warehouse.spark import prepare

    monkeypatch.setenv("LEVAIN_SPARK_JARS", str(PROJECT_ROOT / ".cache" / "spark-jars"))
    monkeypatch.setenv("LEVAIN_HOME", str(project.settings.root))
    prepare()
    try:
        for target in ("duckdb", "spark"):
            project.build(target)
        comparisons = compare(project.settings, False)
    finally:
        stop_spark()
    assert {each.relation: each.remarks for each in comparisons if not each.equal} == {}
    rows = {each.relation: each.rows[0] for each in comparisons}
    for topic, model in VERDICTS.items():
        assert rows[f"silver.{model}"] == len(project.landed(topic)) > 0
