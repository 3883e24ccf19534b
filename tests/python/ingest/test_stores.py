"""Bronze kept by PostgreSQL, by a REST catalog and in S3: real servers, the worker's own code, and what is refused.

`set_up` sets the environment as a user would; from there on the functions of other modules do here what they do on the
laptop's SQLite and files.
"""

from __future__ import annotations

import json
import os
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path

import commands
import duckdb
import pytest
from batches import P0, fetch, offsets
from exactness import holes
from kafka_broker import Broker
from lake import Lake
from pyarrow.fs import FileSelector
from pyiceberg.table import Table
from random_logs import a_log
from servers import Postgres, SeaweedFS, postgres, seaweedfs
from workers import (
    CHANGES,
    SALES,
    Worker,
    assert_exact,
    bronze,
    home,
    make_topics,
    producing,
    start,
    wait_until,
    wait_until_landed,
)

from ingest import catalog
from ingest.catalog import ensure_table, open_catalog, watermarks
from ingest.contracts import contract_for
from ingest.errors import LevainError
from ingest.lander import land
from ingest.maintenance import maintain, plan, reader
from ingest.patches import iceberg_rest
from ingest.settings import load_settings
from levain.local.maintain import run as maintain_all
from levain.warehouse.bronze import bronze_tables, prepare

__all__ = ["home", "start"]

KINDS = ("postgres", "postgres-and-s3", "rest-and-s3")
AWAY = "127.0.0.1:9"
"""Where nobody listens."""


@pytest.fixture(scope="module")
def database() -> Iterator[Postgres]:
    with postgres() as server:
        yield server


@pytest.fixture(scope="module")
def storage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SeaweedFS]:
    with seaweedfs(tmp_path_factory.mktemp("seaweedfs")) as server:
        yield server


class Stores:
    """Hands out empty places for Bronze, as the variables that name them."""

    def __init__(self, database: Postgres, storage: SeaweedFS) -> None:
        self.database, self.storage = database, storage
        self._warehouses = iter(storage.warehouses)
        self._made = 0

    def variables(self, kind: str) -> dict[str, str]:
        self._made += 1
        s3 = {
            "LEVAIN_S3_ENDPOINT": self.storage.endpoint,
            "LEVAIN_S3_ACCESS_KEY_ID": self.storage.key,
            "LEVAIN_S3_SECRET_ACCESS_KEY": self.storage.secret,
        }
        if kind == "rest-and-s3":
            return s3 | {
                "LEVAIN_CATALOG_TYPE": "rest",
                "LEVAIN_CATALOG_URI": self.storage.catalog,
                "LEVAIN_CATALOG_WAREHOUSE": f"s3://{next(self._warehouses)}",
                "LEVAIN_CATALOG_CREDENTIAL": f"{self.storage.key}:{self.storage.secret}",
            }
        uri = {"LEVAIN_CATALOG_URI": self.database.database()}
        if kind == "postgres":
            return uri
        return uri | s3 | {"LEVAIN_CATALOG_WAREHOUSE": f"s3://{self.storage.bucket}/{self._made}"}

    def poor(self, uri: str) -> str:
        """The same database for a user who may do nothing there."""
        name = f"poor_{self._made}"
        self.database.execute(f"create role {name} login password 'wr0ng-secret'")
        return self.database.uri(uri.rpartition("/")[2], name, "wr0ng-secret")

    @property
    def secrets(self) -> list[str]:
        """What no message, log or command may show."""
        return [self.database.password, self.storage.secret, self.storage.reader_secret]


@pytest.fixture(scope="module")
def stores(database: Postgres, storage: SeaweedFS) -> Stores:
    return Stores(database, storage)


@pytest.fixture
def set_up(stores: Stores, home: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., dict[str, str]]:
    """Sets the environment to a place for Bronze, with changes; returns its variables."""

    def set_up(kind: str, **changes: str) -> dict[str, str]:
        variables = stores.variables(kind) | changes
        for name, value in (variables | {"LEVAIN_HOME": str(home)}).items():
            monkeypatch.setenv(name, value)
        return variables

    return set_up


SetUp = Callable[..., dict[str, str]]


def open_table() -> Table:
    """The table of sales, opened as a process does that was just started."""
    return ensure_table(open_catalog(load_settings()), contract_for(SALES))


# The landing protocol


@pytest.mark.parametrize("kind", KINDS)
def test_writers_that_race_land_each_offset_once(kind: str, set_up: SetUp) -> None:
    """Four of them, each with all offsets: every commit but one of each step is refused, and what it had is trimmed."""
    set_up(kind)
    tables = [open_table() for _ in range(4)]
    begin = threading.Barrier(len(tables))
    failures: list[BaseException] = []

    def run(table: Table) -> None:
        try:
            begin.wait()
            for start in range(0, 50, 10):
                land(table, [fetch(start, start + 10)])
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=run, args=[table]) for table in tables]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    table = open_table()
    assert offsets(table) == list(range(50))
    assert watermarks(table) == {P0: 50}
    assert not holes(table)


@pytest.mark.parametrize("kind", KINDS)
def test_a_lost_reply_is_found_in_the_table(kind: str, set_up: SetUp, monkeypatch: pytest.MonkeyPatch) -> None:
    set_up(kind)
    table = open_table()
    commit_table = table.catalog.commit_table
    lost = []

    def commit(*arguments: object) -> object:
        answer = commit_table(*arguments)  # type: ignore[arg-type]
        if not lost:
            lost.append(answer)
            raise TimeoutError("the reply is lost")
        return answer

    monkeypatch.setattr(table.catalog, "commit_table", commit)
    land(table, [fetch(0, 10)])
    land(table, [fetch(5, 20)])
    assert lost
    assert offsets(open_table()) == list(range(20))


@pytest.mark.parametrize("kind", ["postgres-and-s3", "rest-and-s3"])
def test_maintenance_leaves_the_rows_and_removes_the_orphans(kind: str, set_up: SetUp, storage: SeaweedFS) -> None:
    set_up(kind)
    table = open_table()
    for number in range(12):
        land(table, [fetch(number * 10, number * 10 + 10)])
    files, base = storage.files(), table.location().removeprefix("s3://")
    orphan = f"{base}/data/left-by-a-worker-that-was-killed-00000000-0000-4000-8000-000000000001.parquet"
    with files.open_output_stream(orphan) as stream:
        stream.write(b"PAR1")

    def listed() -> set[str]:
        return {info.path for info in files.get_file_info(FileSelector(base, recursive=True)) if info.is_file}

    now = datetime.now(UTC)
    (group,) = plan(table, 128 * 1024 * 1024, now, reader(table))
    offset = table.schema().find_field("offset").field_id
    assert [int.from_bytes(file.lower_bounds[offset], "little") for file in group] == list(range(0, 120, 10))
    maintain_all(load_settings(), dry_run=False)
    assert len(list(table.refresh().scan().plan_files())) == 1
    assert orphan in listed(), "it may be a file that is just being written"
    later = maintain(table, load_settings(), now=now + timedelta(days=30))
    assert orphan in later.orphans and orphan not in listed()
    assert set(later.orphans).isdisjoint(listed())
    fresh = open_table()
    assert offsets(fresh) == list(range(120))
    assert watermarks(fresh) == {P0: 120}
    land(fresh, [fetch(100, 130)])
    assert offsets(open_table()) == list(range(130))


# The worker


@pytest.mark.parametrize("kind", ["postgres-and-s3", pytest.param("rest-and-s3", marks=pytest.mark.full)])
def test_a_worker_killed_in_mid_stream(
    kind: str, set_up: SetUp, apache_kafka: Broker, home: Path, start: Callable[..., Worker], stores: Stores
) -> None:
    """Under load, and with PostgreSQL the database is killed, too: what Kafka holds is there once, byte for byte."""
    variables = set_up(kind)
    make_topics(apache_kafka, home)
    killed = start(apache_kafka, **variables)
    with producing(apache_kafka, SALES):
        wait_until(lambda: len(bronze(home, SALES).metadata.snapshots) > 2, killed)
        killed.kill()
        worker = start(apache_kafka, **variables)
        if kind == "postgres-and-s3":
            wait_until(lambda: "landed in" in worker.output, worker)
            stores.database.kill()
            time.sleep(2)
            stores.database.start()
    wait_until_landed(apache_kafka, home, worker, SALES, CHANGES)
    assert worker.stop() == 0, worker.output
    assert_exact(apache_kafka, home, SALES, CHANGES)
    if kind == "postgres-and-s3":
        assert "commit not confirmed" in worker.output, "the database was away in mid-stream"
    assert not [secret for secret in stores.secrets if secret in killed.output + worker.output]


# What reads it


@pytest.mark.slow
def test_duckdb_builds_from_postgres_and_s3(set_up: SetUp, home: Path, stores: Stores) -> None:
    """`levain build`, `ledger` and `query` as they are typed, on Bronze that is nowhere on this machine's disk."""
    variables = set_up("postgres-and-s3")
    lake, log = Lake(home), a_log(seed=3, events=600)
    for (topic, partition), records in log.items():
        lake.land(topic, partition, records)
    assert not (home / "lake").exists()
    assert all(location.startswith("s3://") for _, location in bronze_tables(load_settings()))

    environment = {"PATH": os.environ["PATH"], "HOME": os.environ["HOME"], "LEVAIN_HOME": str(home), **variables}
    environment["DBT_EXCLUDE_RESOURCE_TYPES"] = "test unit_test"  # which read the built tables, here as anywhere

    def levain(*arguments: str) -> str:
        done = commands.levain(*arguments, env=environment)
        said = done.stdout + done.stderr
        assert done.returncode == 0, said
        assert not [secret for secret in stores.secrets if secret in said]
        return done.stdout

    levain("build", "--target", "duckdb")
    ledger = json.loads(levain("ledger", "--format", "json"))
    assert ledger["adds_up"]
    assert sum(partition["messages"] for partition in ledger["partitions"]) == sum(map(len, log.values()))
    (counted,) = json.loads(levain("query", "select count(*) as n from bronze.sales_events", "--format", "json"))
    assert counted["n"] == sum(len(records) for (topic, _), records in log.items() if topic == SALES)
    for place in home.rglob("*"):
        if place.is_file():
            assert not [secret for secret in stores.secrets if secret.encode() in place.read_bytes()], place


# What is refused

Change = Callable[[Stores], dict[str, str]]

REFUSED: dict[str, tuple[str, Change, str, str]] = {
    # name: kind, what is wrong, what is said of it, and what to do
    "wrong password": (
        "postgres",
        lambda s: {"LEVAIN_CATALOG_URI": s.database.uri("postgres", password="wr0ng-secret")},
        r"The catalog at postgresql://levain:\*\*\*@\S+/postgres cannot be opened: .*password authentication failed",
        "LEVAIN_CATALOG_URI",
    ),
    "no such database": (
        "postgres",
        lambda s: {"LEVAIN_CATALOG_URI": s.database.uri("nothing")},
        'database "nothing" does not exist',
        "LEVAIN_CATALOG_URI",
    ),
    "no rights": (
        "postgres",
        lambda s: {"LEVAIN_CATALOG_URI": s.poor(s.database.database())},
        "cannot be opened: .*permission denied for schema public",
        "LEVAIN_CATALOG_URI",
    ),
    "database away": (
        "postgres",
        lambda s: {"LEVAIN_CATALOG_URI": f"postgresql://levain:wr0ng-secret@{AWAY}/lake"},
        f"The catalog at postgresql://levain:\\*\\*\\*@{AWAY}/lake cannot be opened: .*Connection refused",
        "that the catalog is running",
    ),
    "password with an at sign": (
        "postgres",
        lambda s: {"LEVAIN_CATALOG_URI": f"postgresql://levain:wr0ng-@:/secret@{AWAY}/lake"},
        f"The catalog at postgresql://levain:\\*\\*\\*@{AWAY}/lake cannot be opened: this is not a valid URI",
        "%40",
    ),
    "password in the query": (
        "postgres",
        lambda s: {"LEVAIN_CATALOG_URI": f"postgresql://levain@{AWAY}/lake?password=wr0ng-secret"},
        f"The catalog at postgresql://levain@{AWAY}/lake cannot be opened",
        "LEVAIN_CATALOG_URI",
    ),
    "driver not installed": (
        "postgres",
        lambda s: {"LEVAIN_CATALOG_URI": f"mysql+pymysql://levain:wr0ng-secret@{AWAY}/lake"},
        f"The catalog at mysql\\+pymysql://levain:\\*\\*\\*@{AWAY}/lake cannot be opened: No module named 'pymysql'",
        "uv pip install",
    ),
    "glue not installed": (
        "postgres",
        lambda s: {"LEVAIN_CATALOG_TYPE": "glue", "LEVAIN_CATALOG_URI": ""},
        "The catalog glue cannot be opened: No module named 'boto",
        "Install boto3 for Glue",
    ),
    "no such bucket": (
        "postgres-and-s3",
        lambda s: {"LEVAIN_CATALOG_WAREHOUSE": "s3://no-such-bucket/lake"},
        "cannot be read or written below s3://no-such-bucket/lake: .*The specified bucket does not exist",
        "LEVAIN_S3_",
    ),
    "wrong secret": (
        "postgres-and-s3",
        lambda s: {"LEVAIN_S3_SECRET_ACCESS_KEY": "wr0ng-secret"},
        "cannot be (listed: .*SIGNATURE_DOES_NOT_MATCH|read or written below s3://.*ACCESS_DENIED)",
        "LEVAIN_S3_",
    ),
    "may only read": (
        "postgres-and-s3",
        lambda s: {
            "LEVAIN_S3_ACCESS_KEY_ID": s.storage.reader_key,
            "LEVAIN_S3_SECRET_ACCESS_KEY": s.storage.reader_secret,
        },
        "cannot be read or written below s3://.*ACCESS_DENIED",
        "LEVAIN_S3_",
    ),
    "storage away": (
        "postgres-and-s3",
        lambda s: {"LEVAIN_S3_ENDPOINT": f"http://{AWAY}"},
        "cannot be read or written below s3://.*Could not connect to server",
        "LEVAIN_S3_",
    ),
    "half a key": (
        "postgres-and-s3",
        lambda s: {"LEVAIN_S3_ACCESS_KEY_ID": ""},
        "LEVAIN_S3_SECRET_ACCESS_KEY: .*set it together with LEVAIN_S3_ACCESS_KEY_ID",
        "Correct or unset",
    ),
    "no credential": (
        "rest-and-s3",
        lambda s: {"LEVAIN_CATALOG_CREDENTIAL": ""},
        "The catalog at http://\\S+ cannot be opened: NotAuthorized",
        "its credentials",
    ),
    "wrong credential": (
        "rest-and-s3",
        lambda s: {"LEVAIN_CATALOG_CREDENTIAL": f"{s.storage.key}:wr0ng-secret"},
        "The catalog at http://\\S+ cannot be opened: invalid_client",
        "its credentials",
    ),
    "wrong token": (
        "rest-and-s3",
        lambda s: {"LEVAIN_CATALOG_CREDENTIAL": "", "LEVAIN_CATALOG_TOKEN": "wr0ng-secret"},
        "The catalog at http://\\S+ cannot be opened: NotAuthorized",
        "its credentials",
    ),
    "expired token": (
        "rest-and-s3",
        lambda s: {"LEVAIN_CATALOG_CREDENTIAL": "", "LEVAIN_CATALOG_TOKEN": s.storage.token(-5)},
        "The catalog at http://\\S+ cannot be opened: NotAuthorized.*expired",
        "its credentials",
    ),
    "catalog away": (
        "rest-and-s3",
        lambda s: {"LEVAIN_CATALOG_URI": f"http://{AWAY}"},
        f"The catalog at http://{AWAY} cannot be opened: .*Connection refused",
        "that the catalog is running",
    ),
}


@pytest.mark.parametrize("wrong", REFUSED)
def test_what_is_wrong_is_said_in_two_lines_and_in_time(wrong: str, set_up: SetUp, stores: Stores) -> None:
    kind, change, said, to_do = REFUSED[wrong]
    variables = set_up(kind, **change(stores))
    began = time.monotonic()
    with pytest.raises(LevainError) as caught:
        open_table()
    assert time.monotonic() - began < 15
    text = str(caught.value)
    assert re.search(said, text.splitlines()[0])
    assert to_do in text.splitlines()[1]
    assert text.count("\n") == 1
    for secret in (*stores.secrets, "wr0ng", variables.get("LEVAIN_CATALOG_TOKEN") or "wr0ng"):
        assert secret not in text


@pytest.mark.parametrize("wrong", ["wrong password", "wrong secret", "wrong credential"])
def test_no_command_and_no_log_shows_a_secret(
    wrong: str, set_up: SetUp, stores: Stores, home: Path, apache_kafka: Broker, start: Callable[..., Worker]
) -> None:
    """A worker and `levain doctor`, as processes with all that their libraries write by themselves."""
    kind, change, said, _ = REFUSED[wrong]
    variables = set_up(kind, **change(stores))
    make_topics(apache_kafka, home)
    worker = start(apache_kafka, **variables)
    environment = {"PATH": os.environ["PATH"], "HOME": str(home), "LEVAIN_HOME": str(home), **variables}
    doctor = commands.levain("doctor", env=environment)
    assert worker.wait() == 1
    for output in (worker.output, doctor.stdout + doctor.stderr):
        assert not [secret for secret in (*stores.secrets, "wr0ng-secret") if secret in output]
        assert "Traceback" not in output
    assert re.search(said, worker.output), worker.output
    if wrong != "wrong secret":  # an empty catalog has no table that would have to be read
        assert re.search(f"fail .*{said}", doctor.stdout)


def test_a_rest_catalog_that_never_answers(set_up: SetUp, storage: SeaweedFS, monkeypatch: pytest.MonkeyPatch) -> None:
    """It takes the request, and that is all: a start fails with a message, a lander retries until it is back."""
    set_up("rest-and-s3")
    monkeypatch.setattr(iceberg_rest, "REST_SECONDS", (2.0, 2.0))
    table = open_table()
    land(table, [fetch(0, 10)])
    commit_table = table.catalog.commit_table
    stopped = ExitStack()

    def commit(*arguments: object) -> object:
        if not stops:
            stops.append(time.monotonic())
            stopped.enter_context(storage.stopped())
            with pytest.raises(LevainError, match=r"cannot be opened: .*Read timed out"):
                open_table()
            threading.Timer(3, stopped.close).start()
        return commit_table(*arguments)  # type: ignore[arg-type]

    stops: list[float] = []
    monkeypatch.setattr(table.catalog, "commit_table", commit)
    with stopped:
        land(table, [fetch(5, 20)])
    assert offsets(open_table()) == list(range(20))


def test_a_database_that_went_and_came_back(set_up: SetUp, database: Postgres, stores: Stores) -> None:
    """A command meanwhile fails in two lines; afterwards the same catalog goes on, by new connections."""
    set_up("postgres")
    table = open_table()
    land(table, [fetch(0, 10)])
    database.kill()
    try:
        with pytest.raises(LevainError, match=r"The catalog does not give bronze\.sales_events: ") as caught:
            catalog.refresh(table)
    finally:
        database.start()
    assert str(caught.value).count("\n") == 1
    assert not [secret for secret in stores.secrets if secret in str(caught.value)]
    catalog.refresh(table)
    land(table, [fetch(5, 20)])
    assert offsets(open_table()) == list(range(20))


# Tokens


def test_a_token_is_enough(set_up: SetUp, storage: SeaweedFS) -> None:
    """The control of the one that has expired: made the same way, it opens the catalog while it is valid."""
    set_up("rest-and-s3", LEVAIN_CATALOG_CREDENTIAL="", LEVAIN_CATALOG_TOKEN=storage.token(60))
    table = open_table()
    land(table, [fetch(0, 10)])
    assert offsets(table) == list(range(10))


def test_a_credential_outlives_its_tokens(set_up: SetUp, storage: SeaweedFS) -> None:
    """A token lives for an hour, a worker for months: when one has expired, the next is asked for."""
    set_up("rest-and-s3")
    table = open_table()
    land(table, [fetch(0, 10)])
    table.catalog._auth_manager._token = storage.token(-5)  # type: ignore[attr-defined]
    land(table, [fetch(0, 20)])
    assert offsets(table) == list(range(20))


def test_any_property_of_pyiceberg_can_be_set(set_up: SetUp, stores: Stores) -> None:
    """What has no variable of its own goes by `LEVAIN_CATALOG_PROPERTIES`: here all of S3."""
    properties = {
        "s3.endpoint": stores.storage.endpoint,
        "s3.region": "us-east-1",
        "s3.access-key-id": stores.storage.key,
        "s3.secret-access-key": stores.storage.secret,
    }
    nothing = dict.fromkeys(("LEVAIN_S3_ENDPOINT", "LEVAIN_S3_ACCESS_KEY_ID", "LEVAIN_S3_SECRET_ACCESS_KEY"), "")
    set_up("postgres-and-s3", **nothing, LEVAIN_CATALOG_PROPERTIES=json.dumps(properties))
    settings = load_settings()
    assert stores.storage.secret not in repr(settings)
    table = open_table()
    land(table, [fetch(0, 10)])
    with duckdb.connect() as connection:
        prepare(connection, settings)
        counted = connection.execute("select count(*) from iceberg_scan(?)", [table.metadata_location]).fetchall()
        assert counted == [(10,)]
        shown = connection.execute("select secret_string from duckdb_secrets()").fetchall()
    assert stores.storage.secret not in str(shown)
