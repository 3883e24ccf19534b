"""What a schema registry is asked, what of its answers is a property of a message, and what is none."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from authority import Authority
from confluent_kafka.schema_registry import Schema, SchemaReference, SchemaRegistryClient
from confluent_kafka.schema_registry.avro import AvroSerializer
from confluent_kafka.schema_registry.json_schema import JSONSerializer
from confluent_kafka.serialization import MessageField, SerializationContext
from schema_registry import SmallRegistry, apicurio, small_registry

from ingest import registry as ours
from ingest.errors import ConfigurationError, Unavailable
from ingest.registry import Registry, json_texts
from ingest.settings import Settings, load_settings

# confluent-kafka's client leaves its sockets to the garbage collector.
pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")

CONTEXT = SerializationContext("sales", MessageField.VALUE)
SALE = json.dumps({"type": "record", "name": "Sale", "fields": [{"name": "amount", "type": "int"}]})
LATER = json.dumps(
    {"type": "record", "name": "Sale", "fields": [{"name": "amount", "type": "int"},
                                                  {"name": "till", "type": ["null", "string"], "default": None}]}
)  # fmt: skip
JSON_SALE = '{"$schema": "http://json-schema.org/draft-07/schema#", "title": "Sale", "type": "object"}'
MONEY = Schema('{"type": "record", "name": "Money", "fields": [{"name": "cents", "type": "long"}]}', "AVRO")


@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch) -> Iterator[SmallRegistry]:
    monkeypatch.setattr(ours, "AGAIN_SECONDS", 0.0)
    with small_registry() as server:
        yield server


def client(url: str, **more: str) -> SchemaRegistryClient:
    return SchemaRegistryClient({"url": url, **more})


def encoded(url: str, schema: str, value: dict[str, Any]) -> bytes:
    """As a producer encodes it, whose serializer has registered the schema."""
    return AvroSerializer(client(url), schema)(value, CONTEXT)


def texts(url: str, *payloads: bytes | None, **settings: Any) -> list[str | None]:
    return Registry(Settings(schema_registry_url=url, **settings)).avro_texts(payloads)


def test_each_schema_is_asked_for_once(registry: SmallRegistry) -> None:
    first = encoded(registry.url, SALE, {"amount": 1})
    second = encoded(registry.url, LATER, {"amount": 2, "till": "T1"})
    reader = Registry(Settings(schema_registry_url=f"{registry.url}/"))
    registry.asked.clear()
    for _ in range(3):
        assert reader.avro_texts([first, None, second, first]) == [
            '{"amount": 1}', None, '{"amount": 2, "till": "T1"}', '{"amount": 1}',
        ]  # fmt: skip
    assert sorted(registry.asked) == ["/api/schemas/ids/1", "/api/schemas/ids/2"]


def test_what_cannot_be_decoded_has_no_text(registry: SmallRegistry, caplog: pytest.LogCaptureFixture) -> None:
    good = encoded(registry.url, SALE, {"amount": 300})
    JSONSerializer(JSON_SALE, client(registry.url))({}, CONTEXT)
    endless = {"type": "record", "name": "L", "fields": [{"name": "next", "type": ["null", "L"]}]}
    client(registry.url).register_schema("endless", Schema(json.dumps(endless), "AVRO"))
    wrong = {
        "no magic byte": b'{"amount": 1}',
        "empty": b"",
        "too short for an id": good[:4],
        "cut off": good[:-1],
        "too long": good + b"\0",
        "an id that no registry gives": b"\0\xff\xff\xff\xff" + good[5:],
        "an unknown id": b"\0\0\0\0\x63" + good[5:],
        "a JSON Schema": b"\0\0\0\0\x02" + good[5:],
        "a schema without end": b"\0\0\0\0\x03\2\0",
    }
    assert texts(registry.url, *wrong.values(), good) == [*[None] * len(wrong), '{"amount": 300}']
    said = "\n".join(record.getMessage() for record in caplog.records)
    for reason in ("schema 99 cannot be decoded: the registry has no", "its type is JSON", "its type L holds itself"):
        assert reason in said
    assert "4294967295" not in "".join(registry.asked)


def test_a_schema_that_a_replica_hears_of_late(registry: SmallRegistry, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is unknown is asked for twice, and again with the next batch: never is it unknown for good."""
    reader = Registry(Settings(schema_registry_url=registry.url))
    payload = b"\0\0\0\0\1\4"
    assert reader.avro_texts([payload]) == [None]
    assert registry.asked == ["/api/schemas/ids/1"] * 2
    monkeypatch.setattr("time.sleep", lambda seconds: encoded(registry.url, SALE, {"amount": 2}))
    assert reader.avro_texts([payload]) == ['{"amount": 2}']


@pytest.mark.parametrize("status", [401, 403, 404, 429, 500, 503])
def test_an_answer_that_is_no_property_of_the_message(registry: SmallRegistry, status: int) -> None:
    """A 404 without the API's own code comes from something else at that address, not from the registry."""
    payload = encoded(registry.url, SALE, {"amount": 1})
    registry.status = status
    with pytest.raises(Unavailable, match=f"it answers {status}"):
        texts(registry.url, payload)
    registry.status = None
    Registry(Settings(schema_registry_url=registry.url)).check()
    with pytest.raises(Unavailable, match="it answers 404") as error:
        Registry(Settings(schema_registry_url=registry.url.removesuffix("/api"))).check()
    assert "LEVAIN_SCHEMA_REGISTRY_URL is the address of its API" in error.value.hint
    registry.stop()
    with pytest.raises(Unavailable, match="does not answer"):
        texts(registry.url, payload)
    registry.start()
    assert texts(registry.url, payload) == ['{"amount": 1}']


def test_references(registry: SmallRegistry) -> None:
    """Followed to their end; one that the registry lost is a message that cannot be decoded, and not remembered."""
    api = client(registry.url)
    api.register_schema("money", MONEY)
    money = SchemaReference("Money", "money", 1)
    line = {"type": "record", "name": "Line", "fields": [{"name": "price", "type": "Money"}]}
    api.register_schema("line", Schema(json.dumps(line), "AVRO", [money]))
    sale = {"type": "record", "name": "Sale", "fields": [{"name": "lines", "type": {"type": "array", "items": "Line"}},
                                                         {"name": "paid", "type": ["null", "Money"]}]}  # fmt: skip
    schema = Schema(json.dumps(sale), "AVRO", [SchemaReference("Line", "line", 1), money])
    value = {"lines": [{"price": {"cents": 5}}], "paid": None}
    payload = AvroSerializer(api, schema)(value, CONTEXT)
    assert texts(registry.url, payload) == ['{"lines": [{"price": {"cents": 5}}], "paid": null}']
    registry.forget("money")
    reader = Registry(Settings(schema_registry_url=registry.url))
    assert reader.avro_texts([payload]) == [None]
    client(registry.url).register_schema("money", MONEY)
    assert reader.avro_texts([payload]) != [None]


def test_a_registry_that_asks_who_is_there(tmp_path: Path, registry: SmallRegistry) -> None:
    authority, stranger = Authority(tmp_path, "authority"), Authority(tmp_path, "stranger")
    user = {"schema_registry_username": "levain", "schema_registry_password": "s3cret"}
    with small_registry(authority.issue("registry")) as server:
        payload = AvroSerializer(client(server.url, **{"ssl.ca.location": str(authority.file)}), SALE)(
            {"amount": 1}, CONTEXT
        )
        server.needs = ("levain", "s3cret")
        trusted = {"schema_registry_ssl_cafile": str(authority.file)}
        assert texts(server.url, payload, **user, **trusted) == ['{"amount": 1}']
        with pytest.raises(Unavailable, match="it answers 401"):
            texts(server.url, payload, **trusted)
        for others in ({}, {"schema_registry_ssl_cafile": str(stranger.file)}):
            with pytest.raises(Unavailable, match="does not answer") as error:
                texts(server.url, payload, **user, **others)
            assert "s3cret" not in str(error.value)


def test_settings_that_cannot_be_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigurationError, match="no schema registry is set"):
        Registry(Settings())
    (tmp_path / "ca.pem").write_text("no certificate")
    for path in (tmp_path / "ca.pem", tmp_path / "absent.pem"):
        with pytest.raises(ConfigurationError, match="LEVAIN_SCHEMA_REGISTRY_SSL_CAFILE"):
            Registry(Settings(schema_registry_url="https://registry:8081", schema_registry_ssl_cafile=str(path)))
    for url in (
        "registry:8081",
        "ftp://registry",
        "http://",
        "http://levain:s3cret@registry:8081",
        "http://registry/?x=1",
    ):
        monkeypatch.setenv("LEVAIN_SCHEMA_REGISTRY_URL", url)
        with pytest.raises(ConfigurationError, match="LEVAIN_SCHEMA_REGISTRY_URL") as error:
            load_settings()
        assert "s3cret" not in str(error.value)


def test_json_needs_no_registry() -> None:
    payload = b"\0\0\0\0\x07" + b'{"amount": 1, "till": "\xc3\xa9"}'
    assert json_texts([payload, None, payload[5:], b"", b"\0\0\0\0\7", b"\0\0\0\0\7\xff", payload[:4]]) == [
        '{"amount": 1, "till": "é"}', None, None, None, "", None, None,
    ]  # fmt: skip


@pytest.mark.full
def test_apicurio_registry(tmp_path: Path) -> None:
    """A registry that others have made: schemas that evolve and refer, ids it does not have, and another path."""
    with apicurio(tmp_path) as url:
        api = client(url)
        api.register_schema("money", MONEY)
        sale = {"type": "record", "name": "Paid", "fields": [{"name": "price", "type": "Money"}]}
        referring = Schema(json.dumps(sale), "AVRO", [SchemaReference("Money", "money", 1)])
        payloads = [
            encoded(url, SALE, {"amount": 1}),
            encoded(url, LATER, {"amount": 2, "till": "T1"}),
            AvroSerializer(api, referring)({"price": {"cents": 5}}, SerializationContext("paid", MessageField.VALUE)),
            b"\0\0\0\x27\x0f\2",
        ]
        assert len({payload[:5] for payload in payloads}) == 4
        assert texts(url, *payloads) == [
            '{"amount": 1}',
            '{"amount": 2, "till": "T1"}',
            '{"price": {"cents": 5}}',
            None,
        ]
        written = JSONSerializer(JSON_SALE, api)({"a": 1}, SerializationContext("j", MessageField.VALUE))
        assert [json.loads(text or "") for text in json_texts([written])] == [{"a": 1}]
        assert texts(url, written) == [None]
        Registry(Settings(schema_registry_url=url)).check()
        with pytest.raises(Unavailable, match="it answers 404"):
            texts(url.removesuffix("/apis/ccompat/v7"), payloads[0])
