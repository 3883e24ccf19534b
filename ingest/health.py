"""Whether the worker lives and lands, and the HTTP server that says so: `/metrics`, `/healthz`, `/readyz`.

The server has a thread of its own, so that it can still tell when the worker's loops are blocked. There is no
heartbeat: a loop is asked on request, and lives if it answers.
"""

from __future__ import annotations

import asyncio
import errno
import json
import logging
import socket
import socketserver
import threading
import time
from collections.abc import Coroutine, Mapping
from concurrent.futures import ThreadPoolExecutor
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from typing import Any, Protocol, TypeVar

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder
from pyiceberg.catalog import Catalog

from ingest.catalog import Partition
from ingest.errors import ConfigurationError
from ingest.metrics import Reading

#: The port, unless `LEVAIN_METRICS_PORT` names one; if it is taken, as by another worker, any free one.
DEFAULT_PORT = 19100

#: How long a loop, or the catalog, may take to answer, in seconds, before it counts as stuck, or away.
ANSWER_SECONDS = 3.0

#: How long nothing may be asked of Kafka, in seconds, while there are partitions to read and no commit is failing; and
#: how much longer a commit may take than it is tried.
IDLE_SECONDS = 120.0

#: How old Kafka's last answer may be, in seconds, before it counts as away.
SILENT_SECONDS = 60.0

log = logging.getLogger(__name__)

_T = TypeVar("_T")


class Reader(Protocol):
    """What is asked of the consumer's thread."""

    thread_loop: asyncio.AbstractEventLoop

    @property
    def idle(self) -> float:
        """Seconds since something was asked of Kafka; 0 without partitions to read."""
        ...

    async def readings(self) -> Mapping[Partition, Reading | None]:
        """How each assigned partition is read; None for one that is not positioned yet."""
        ...


class Health:
    """What can be asked of the worker from another thread; its parts are set as the worker starts them."""

    loop: asyncio.AbstractEventLoop
    reader: Reader | None = None
    catalog: Catalog | None = None
    needs_catalog = True
    """False: a worker that lands nothing."""
    stopping = False

    def __init__(self, patience_seconds: float) -> None:
        self.patience_seconds = patience_seconds
        """How long Kafka or the catalog is asked."""
        self.failing: dict[str, str] = {}
        """Topic -> why its commit is being tried again."""
        self.under_way: dict[str, float] = {}
        """What is asked of catalog or storage now -> since when, by the monotonic clock."""
        self._readings: Mapping[Partition, Reading | None] = {}
        self._pool = ThreadPoolExecutor(1, "catalog-check")

    def readings(self) -> Mapping[Partition, Reading | None]:
        """How each assigned partition is read; the last answer if the consumer does not give one now."""
        if self.reader is not None:
            try:
                self._readings = _ask(self.reader.thread_loop, self.reader.readings())
            except (TimeoutError, RuntimeError) as error:
                log.warning("The consumer does not say how it reads: %r", error)
        return self._readings

    def stuck(self) -> str | None:
        """Why the process is not alive, None if it is."""
        if not _turns(self.loop):
            return f"The event loop has not turned for {ANSWER_SECONDS:.0f} s: something blocks it."
        if self.reader is None or self.stopping:
            return None
        if not _turns(self.reader.thread_loop):
            return f"The consumer's thread has not turned for {ANSWER_SECONDS:.0f} s: something blocks it."
        if self.reader.idle > IDLE_SECONDS and not self.failing:
            return f"Nothing has been asked of Kafka for {self.reader.idle:.0f} s."
        for what, began in self.under_way.copy().items():
            # Each asks Kafka first, and then the catalog.
            if (seconds := time.monotonic() - began) > 2 * self.patience_seconds + IDLE_SECONDS:
                return f"{what} has been under way for {seconds:.0f} s: something does not answer."
        return None

    def unready(self) -> str | None:
        """Why the worker does not land messages yet, or any more; None if it does."""
        if self.stopping:
            return "The worker is stopping."
        if stuck := self.stuck():
            return stuck
        for topic, failure in self.failing.copy().items():
            return f"{topic} does not land, and is tried again: {failure}"
        if self.reader is None or (self.needs_catalog and self.catalog is None):
            return "The worker is starting: it has not reached Kafka and the catalog yet."
        try:
            readings = _ask(self.reader.thread_loop, self.reader.readings())
        except (TimeoutError, RuntimeError) as error:
            return f"The consumer's thread does not answer: {error!r}."
        if not readings:
            return "No partition is assigned: the group has not formed yet, or other workers have them all."
        if unpositioned := sum(reading is None for reading in readings.values()):
            return f"{unpositioned} of {len(readings)} assigned partitions are not positioned at their watermarks yet."
        if silent := sum(bool(r and r.observed_at < time.time() - SILENT_SECONDS) for r in readings.values()):
            return f"Kafka has said nothing of {silent} partitions for more than {SILENT_SECONDS:.0f} s."
        if self.catalog is None:
            return None
        try:
            self._pool.submit(self.catalog.list_namespaces).result(ANSWER_SECONDS)
        except TimeoutError:
            return f"The catalog has not answered for {ANSWER_SECONDS:.0f} s."
        except Exception as error:  # each kind of catalog brings errors of its own library
            return f"The catalog does not answer: {(str(error) or repr(error)).splitlines()[0]}"
        return None


def serve(health: Health, registry: CollectorRegistry, host: str, port: int | None) -> str:
    """Serve the endpoints until the process ends, from a thread of its own.

    Args:
        health: what is asked.
        registry: of the metrics.
        host: address to listen on.
        port: 0: any free one; None: `DEFAULT_PORT`, or any free one if that is taken.

    Returns:
        The URL, `http://host:port`.

    Raises:
        ConfigurationError: the address cannot be listened on.
    """
    try:
        try:
            server = _Server(host, DEFAULT_PORT if port is None else port, health, registry)
        except OSError as error:
            if port is not None or error.errno != errno.EADDRINUSE:
                raise
            server = _Server(host, 0, health, registry)
    except OSError as error:
        raise ConfigurationError(
            f"Metrics cannot be served at {host}, port {port}: {error.strerror or error}.",
            "Set LEVAIN_METRICS_PORT to a free port, or to 0 for any, and LEVAIN_METRICS_HOST to an address of ours.",
        ) from error
    threading.Thread(target=server.serve_forever, name="metrics", daemon=True).start()
    return f"http://{f'[{host}]' if ':' in host else host}:{server.server_address[1]}"


class _Server(socketserver.ThreadingTCPServer):
    """Not `http.server`'s own, which asks the DNS for a name of the host."""

    allow_reuse_address = True  # what is left of a worker that has ended does not count; one that listens does
    daemon_threads = True

    def __init__(self, host: str, port: int, health: Health, registry: CollectorRegistry) -> None:
        self.address_family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        self.health = health
        self.registry = registry
        super().__init__((host, port), _Handler)

    def handle_error(self, request: Any, client_address: Any) -> None:
        log.warning("An answer to %s failed", client_address, exc_info=True)


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    server_version, sys_version = "Levain", ""
    timeout = 10  # seconds: a client that says nothing must not keep its thread

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        if path == "/metrics":
            encode, kind = choose_encoder(self.headers.get("Accept", ""))
            self._answer(HTTPStatus.OK, kind, encode(self.server.registry))
        elif path == "/healthz":
            self._state(self.server.health.stuck())
        elif path == "/readyz":
            self._state(self.server.health.unready())
        else:
            self._answer(HTTPStatus.NOT_FOUND, "text/plain", b"/metrics, /healthz, /readyz\n")

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: a probe every few seconds is no news."""

    def _state(self, reason: str | None) -> None:
        status = HTTPStatus.OK if reason is None else HTTPStatus.SERVICE_UNAVAILABLE
        body = {"status": "ok"} if reason is None else {"status": "unavailable", "reason": reason}
        self._answer(status, "application/json", json.dumps(body).encode())

    def _answer(self, status: HTTPStatus, kind: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def _turns(loop: asyncio.AbstractEventLoop) -> bool:
    turned = threading.Event()
    try:
        loop.call_soon_threadsafe(turned.set)
    except RuntimeError:  # it is closed
        return False
    return turned.wait(ANSWER_SECONDS)


def _ask(loop: asyncio.AbstractEventLoop, question: Coroutine[Any, Any, _T]) -> _T:
    """What a coroutine answers in the loop of another thread.

    Raises:
        TimeoutError: it does not within `ANSWER_SECONDS`.
        RuntimeError: the loop is closed.
    """
    try:
        answer = asyncio.run_coroutine_threadsafe(question, loop)
    except RuntimeError:
        question.close()
        raise
    try:
        return answer.result(ANSWER_SECONDS)
    except TimeoutError:
        answer.cancel()  # else one more would wait with each that is asked
        raise
