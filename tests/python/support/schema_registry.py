"""Schema registries for the tests: a small server that speaks the API, and Apicurio Registry.

Producers of the tests register and encode with confluent-kafka's serializers, which share no code with Levain.
"""

from __future__ import annotations

import base64
import json
import os
import re
import shutil
import socket
import ssl
import subprocess
import tarfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import requests
from kafka_broker import ROOT, SHORT_LIVED, free_port, java

APICURIO = "2.6.13.Final"
APICURIO_FOLDER = ROOT / ".cache" / "apicurio" / APICURIO
START_SECONDS = 120


class SmallRegistry:
    """A server that registers schemas and tells them, by Confluent's API, as far as clients use it here.

    Attributes:
        status: answers every request with it, if it is set: 503 for a registry that is not well.
        asked: the paths of all GET requests, in order.
        needs: (user, password) that a request must bring.
    """

    def __init__(self, port: int = 0, certificate: tuple[Path, Path] | None = None) -> None:
        self.status: int | None = None
        self.asked: list[str] = []
        self.needs: tuple[str, str] | None = None
        self._schemas: list[dict[str, Any]] = []  # the id is the place, from 1
        self._subjects: dict[str, list[int]] = {}
        self._connections: list[socket.socket] = []
        self._certificate = certificate
        self.port = port or free_port()
        self.start()

    @property
    def url(self) -> str:
        return f"http{'s' if self._certificate else ''}://127.0.0.1:{self.port}/api"

    def start(self) -> None:
        """Listen; what was registered before is still there."""
        registry = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def setup(self) -> None:
                super().setup()
                registry._connections.append(self.connection)

            def do_GET(self) -> None:
                registry.asked.append(self.path)
                self._answer(None)

            def do_POST(self) -> None:
                self._answer(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))

            def log_message(self, format: str, *args: Any) -> None:
                """Nothing."""

            def _answer(self, body: Any) -> None:
                status, answer = registry._answer(self.path, self.headers.get("Authorization", ""), body)
                content = json.dumps(answer).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/vnd.schemaregistry.v1+json")
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

        self._server = ThreadingHTTPServer(("127.0.0.1", self.port), Handler)
        if self._certificate:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*self._certificate)
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def stop(self) -> None:
        """End connections, and refuse new ones from now on."""
        self._server.shutdown()
        self._server.server_close()
        for connection in self._connections:
            with suppress(OSError):  # it has ended
                connection.shutdown(socket.SHUT_RDWR)
        self._connections.clear()

    def forget(self, subject: str) -> None:
        """Lose a subject; its schemas' ids stay."""
        del self._subjects[subject]

    def _answer(self, path: str, authorization: str, body: Any) -> tuple[int, Any]:
        if self.status is not None:
            return self.status, {"error_code": self.status, "message": "not well"}
        if self.needs and authorization != f"Basic {base64.b64encode(':'.join(self.needs).encode()).decode()}":
            return 401, {"error_code": 401, "message": "Unauthorized"}
        path = path.partition("?")[0]
        if found := re.fullmatch(r"/api/schemas/ids/(\d+)", path):
            number = int(found[1])
            if not 1 <= number <= len(self._schemas):
                return 404, {"error_code": 40403, "message": f"Schema {number} not found"}
            return 200, self._schemas[number - 1]
        if found := re.fullmatch(r"/api/subjects/([^/]+)/versions(?:/(\d+))?", path):
            subject = requests.utils.unquote(found[1])
            ids = self._subjects.setdefault(subject, [])
            if body is not None:
                return 200, {"id": self._registered(ids, body)}
            if not found[2] or not 1 <= int(found[2]) <= len(ids):
                return 404, {"error_code": 40402, "message": "Version not found"}
            number = ids[int(found[2]) - 1]
            return 200, {"subject": subject, "version": int(found[2]), "id": number, **self._schemas[number - 1]}
        return 404, {"error_code": 404, "message": "HTTP 404 Not Found"}

    def _registered(self, ids: list[int], body: dict[str, Any]) -> int:
        kept = {name: body[name] for name in ("schema", "references") if body.get(name)}
        if body.get("schemaType", "AVRO") != "AVRO":  # as Confluent's does, Avro is what is not said
            kept["schemaType"] = body["schemaType"]
        if kept not in self._schemas:
            self._schemas.append(kept)
        number = self._schemas.index(kept) + 1
        if number not in ids:
            ids.append(number)
        return number


@contextmanager
def small_registry(certificate: tuple[Path, Path] | None = None) -> Iterator[SmallRegistry]:
    """The small server for as long as the block runs."""
    registry = SmallRegistry(certificate=certificate)
    try:
        yield registry
    finally:
        registry.stop()


@contextmanager
def apicurio(folder: Path) -> Iterator[str]:
    """Apicurio Registry, its schemas in memory, for as long as the block runs; the address of its API."""
    port = free_port()
    url = f"http://127.0.0.1:{port}/apis/ccompat/v7"
    command = [java(), "-Xmx512m", *SHORT_LIVED, "-jar", str(_apicurio_jar())]
    settings = {"QUARKUS_HTTP_PORT": str(port), "QUARKUS_HTTP_HOST": "127.0.0.1"}
    log = folder / "apicurio.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, cwd=folder, env=os.environ | settings, stdout=output, stderr=subprocess.STDOUT
        )
    try:
        deadline = time.monotonic() + START_SECONDS
        while not _answers(f"{url}/subjects"):
            if process.poll() is not None or time.monotonic() > deadline:
                pytest.fail(f"Apicurio Registry does not answer at {url}:\n{log.read_text()[-2000:]}")
            time.sleep(0.2)
        yield url
    finally:
        process.kill()
        process.wait()


def _answers(url: str) -> bool:
    try:
        return requests.get(url, timeout=2).ok
    except requests.RequestException:
        return False


def _apicurio_jar() -> Path:
    """Apicurio Registry, fetched with Maven once and kept in `.cache/`."""
    jar = APICURIO_FOLDER / f"apicurio-registry-app-{APICURIO}-runner.jar"
    if jar.exists():
        return jar
    maven = shutil.which("mvn")
    if maven is None:
        pytest.fail("Maven fetches Apicurio Registry for the tests, once: `apt-get install maven`.")
    partial = APICURIO_FOLDER.with_name(f"{APICURIO}.{os.getpid()}")
    artifact = f"io.apicurio:apicurio-registry-app:{APICURIO}:tar.gz:all"
    goal = ["dependency:copy", f"-Dartifact={artifact}", f"-DoutputDirectory={partial}"]
    fetched = subprocess.run([maven, "-B", "-q", *goal], capture_output=True, text=True)
    if fetched.returncode:
        pytest.fail(f"Maven cannot fetch Apicurio Registry:\n{fetched.stdout[-2000:]}")
    (archive,) = partial.glob("*.tar.gz")
    with tarfile.open(archive) as content:
        content.extractall(partial, filter="data")
    archive.unlink()
    try:
        partial.rename(APICURIO_FOLDER)
    except OSError:  # another run of the tests was faster
        shutil.rmtree(partial)
    return jar
