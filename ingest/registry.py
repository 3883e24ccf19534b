"""Messages in Confluent's wire format, and the schema registry that says how to read them.

A payload is a magic byte 0, the id of a schema in 4 bytes, and what was encoded by that schema
(https://docs.confluent.io/platform/current/schema-registry/fundamentals/serdes-develop/index.html#wire-format).

What a registry says of an id is a property of the message: a schema, or that there is none. That it is away, answers
with an error or does not let us in is none, and no message is judged by it: it is `Unavailable`.
"""

from __future__ import annotations

import logging
import ssl
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from http import HTTPStatus
from io import BytesIO
from typing import Any
from urllib.parse import quote

import requests

from ingest import avrotext
from ingest.errors import ConfigurationError, Unavailable, first_line
from ingest.settings import Settings

MAGIC = b"\0"
HEADER_BYTES = 5
LARGEST_ID = 2**31 - 1

#: How long the registry may take to take a connection, and to answer, in seconds.
TIMEOUT = (3.05, 10.0)

#: How long after a registry did not know a schema it is asked once more: of several, one may hear of a schema a moment
#: after the producer has.
AGAIN_SECONDS = 1.0

#: Error codes of the API for what a registry does not have: a subject, a version, a schema.
NOT_FOUND = (40401, 40402, 40403)

log = logging.getLogger(__name__)

_ACCEPT = {"Accept": "application/vnd.schemaregistry.v1+json, application/json"}

_Decode = Callable[[BytesIO], str]


def schema_id(payload: bytes) -> int | None:
    """The id of the schema that a payload names; None where it does not begin as the wire format does."""
    if len(payload) < HEADER_BYTES or payload[:1] != MAGIC:
        return None
    return int.from_bytes(payload[1:HEADER_BYTES], "big")


def json_texts(payloads: Sequence[bytes | None]) -> list[str | None]:
    """Of each payload whose schema is a JSON Schema the text; None where there is none that is UTF-8.

    The text can be read without its schema, so no registry is asked, and none needs to be there.
    """
    return [None if payload is None else _json_text(payload) for payload in payloads]


def _json_text(payload: bytes) -> str | None:
    try:
        return None if schema_id(payload) is None else payload[HEADER_BYTES:].decode()
    except UnicodeDecodeError:
        return None


class _NotFound(Exception):
    """The registry does not have a schema, or one that it refers to."""


class Registry:
    """A schema registry with Confluent's API: Confluent's own, Apicurio, Karapace, Redpanda.

    Raises:
        ConfigurationError: no address is set, or the certificates cannot be read.
    """

    def __init__(self, settings: Settings) -> None:
        self._url = settings.schema_registry_url.rstrip("/")
        if not self._url:
            raise ConfigurationError(
                "A contract says `encoding: confluent-avro`, and no schema registry is set.",
                "Set LEVAIN_SCHEMA_REGISTRY_URL to the address of its API.",
            )
        self._session = requests.Session()
        if settings.schema_registry_username:
            password = settings.schema_registry_password.get_secret_value()
            self._session.auth = (settings.schema_registry_username, password)
        if cafile := settings.schema_registry_ssl_cafile:
            try:
                ssl.create_default_context(cafile=cafile)
            except OSError as error:
                raise ConfigurationError(
                    f"The certificates of LEVAIN_SCHEMA_REGISTRY_SSL_CAFILE, {cafile}, cannot be read: {error}.",
                    "Name a file of CA certificates in PEM format.",
                ) from error
        self._verify: str | bool = cafile or True
        self._decoders: dict[int, _Decode | None] = {}
        """By schema id, for good, since no schema changes; None: payloads cannot be read by it."""
        self._lock = threading.Lock()

    def avro_texts(self, payloads: Sequence[bytes | None]) -> list[str | None]:
        """Of each payload in Avro the JSON text, see `avrotext`; None where it cannot be decoded.

        Raises:
            Unavailable: the registry does not say what a schema is.
        """
        ids = [None if payload is None else schema_id(payload) for payload in payloads]
        with self._lock:
            self._learn({id for id in ids if id is not None and id <= LARGEST_ID} - self._decoders.keys())
        texts: list[str | None] = []
        for id, payload in zip(ids, payloads, strict=True):
            decode = self._decoders.get(id) if id is not None else None
            texts.append(None if decode is None or payload is None else _avro_text(decode, payload))
        return texts

    def check(self) -> None:
        """See whether it answers.

        Raises:
            Unavailable: it does not, or is no such registry.
        """
        with suppress(_NotFound):  # no schema has this id
            self._ask("/schemas/ids/0")

    def _learn(self, ids: set[int]) -> None:
        if lost := {id: reason for id in ids if (reason := self._fetch(id))}:
            time.sleep(AGAIN_SECONDS)
            lost = {id: reason for id in lost if (reason := self._fetch(id))}
        if lost:
            shown, others = min(lost), len(lost) - 1
            more = f", nor those that name {others} others" if others else ""
            log.warning("Messages that name schema %d cannot be decoded%s: %s", shown, more, lost[shown])

    def _fetch(self, id: int) -> str | None:
        """Know a schema from now on, or say why the registry does not have it."""
        try:
            answer = self._ask(f"/schemas/ids/{id}")
            if (kind := answer.get("schemaType") or "AVRO") != "AVRO":
                raise avrotext.UnusableSchema(f"its type is {kind}, not AVRO")
            references: dict[str, str] = {}
            self._add_references(answer, references)
            self._decoders[id] = avrotext.decoder(answer["schema"], references.values())
        except _NotFound as error:
            return str(error)
        except avrotext.UnusableSchema as error:
            log.warning("Messages that name schema %d of the registry cannot be decoded: %s", id, error)
            self._decoders[id] = None
        return None

    def _add_references(self, answer: dict[str, Any], found: dict[str, str]) -> None:
        """Add the schemas that one refers to, each after those that it refers to itself: path -> text."""
        for each in answer.get("references") or ():
            path = f"/subjects/{quote(each['subject'], safe='')}/versions/{each['version']}"
            if path not in found:
                referred = self._ask(path)
                self._add_references(referred, found)
                found[path] = referred["schema"]

    def _ask(self, path: str) -> dict[str, Any]:
        """What the registry answers.

        Raises:
            _NotFound: it has no such schema.
            Unavailable: it does not answer, or not that.
        """
        try:
            # `verify` is given here: of a session's, an environment variable would be the stronger.
            response = self._session.get(self._url + path, headers=_ACCEPT, timeout=TIMEOUT, verify=self._verify)
        except requests.RequestException as error:
            raise Unavailable(
                f"The schema registry at {self._url} does not answer: {first_line(error)}",
                "Check that it runs, LEVAIN_SCHEMA_REGISTRY_URL and its certificates.",
            ) from error
        try:
            answer = response.json()
        except ValueError:
            answer = None
        if isinstance(answer, dict):
            if response.ok and isinstance(answer.get("schema"), str):
                return answer
            if response.status_code == HTTPStatus.NOT_FOUND and answer.get("error_code") in NOT_FOUND:
                raise _NotFound(f"the registry has no {path}: {first_line(answer.get('message', 'not found'))}")
        if response.status_code in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
            advice = "Check LEVAIN_SCHEMA_REGISTRY_USERNAME and _PASSWORD, and that user's rights."
        elif response.status_code < HTTPStatus.INTERNAL_SERVER_ERROR:
            advice = "Check that LEVAIN_SCHEMA_REGISTRY_URL is the address of its API, such as .../apis/ccompat/v7."
        else:
            advice = "Check the registry."
        raise Unavailable(
            f"The schema registry at {self._url} does not say what it has at {path}: it answers {response.status_code} "
            f"{response.reason}.",
            advice,
        )


def _avro_text(decode: _Decode, payload: bytes) -> str | None:
    stream = BytesIO(payload)
    stream.seek(HEADER_BYTES)
    try:
        return decode(stream)
    except avrotext.UNREADABLE:
        return None
