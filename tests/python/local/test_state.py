"""State that is lost, older than the rest, moved or shared: what the next command says, and the way back."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import duckdb
import pyiceberg.catalog
import pytest
from batches import fetch, offsets
from clocks import clock
from lake import Lake
from pyiceberg.table import Table
from typer.testing import CliRunner
from workers import Worker

from ingest.catalog import ensure_table, open_catalog, watermarks
from ingest.contracts import contract_for
from ingest.errors import LevainError
from ingest.lake import check
from ingest.lander import land
from ingest.maintenance import maintain
from ingest.patches import iceberg_times, iceberg_transaction
from ingest.patches.iceberg_times import in_order
from ingest.settings import Settings
from levain.local.stack import Stack
from levain.warehouse.bronze import load_extensions
from levain.warehouse.dbt import parse

pytestmark = pytest.mark.timeout(900)  # several builds each

SALES = contract_for("sales-events")
LATER = datetime.now(UTC) + timedelta(days=10)


@pytest.fixture
def table(settings: Settings) -> Table:
    return ensure_table(open_catalog(settings), SALES)


# Clocks


def times(table: Table) -> list[list[int]]:
    """Times of the snapshots' log, and of the metadata files' log with the table's own."""
    metadata = table.refresh().metadata
    return [
        [entry.timestamp_ms for entry in metadata.snapshot_log],
        [*(entry.timestamp_ms for entry in metadata.metadata_log), metadata.last_updated_ms],
    ]


def test_times_never_run_backwards_after_a_clock_that_was_fast(table: Table, settings: Settings) -> None:
    with clock(ahead=600):
        land(table, [fetch(0, 1)])
    land(table, [fetch(1, 2)])
    by_snapshots = [s.timestamp_ms for s in sorted(table.metadata.snapshots, key=lambda s: s.sequence_number or 0)]
    assert by_snapshots == sorted(set(by_snapshots))
    assert by_snapshots[0] > (time.time() + 500) * 1000
    for offset in range(2, 12):
        land(table, [fetch(offset, offset + 1)])
    maintain(table, settings)  # a compaction, which is a commit too
    with table.transaction() as transaction:  # only a property: the catalog's clock, not a snapshot's
        transaction.set_properties({"a": "b"})
    assert [log == sorted(log) for log in times(table)] == [True, True]
    assert in_order(table.metadata)
    assert offsets(table) == list(range(12))
    with duckdb.connect() as connection:
        load_extensions(connection)
        found = connection.execute("select count(*) from iceberg_scan(?)", [table.metadata_location]).fetchall()
    assert found == [(12,)]


def test_a_table_whose_times_ran_backwards_is_put_in_order_by_the_next_commit(
    table: Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(pyiceberg.catalog, "update_table_metadata", iceberg_times.update_table_metadata)
        patch.setattr(iceberg_transaction, "_not_before", lambda update, earliest: update)
        with clock(ahead=600):
            land(table, [fetch(0, 1)])
        land(table, [fetch(1, 2)])
        land(table, [fetch(2, 3)])
    assert not in_order(table.refresh().metadata)
    land(table, [fetch(3, 4)])
    assert in_order(table.refresh().metadata)
    assert offsets(table) == [0, 1, 2, 3]


@dataclass
class Said:
    """What a command has printed, and how it ended."""

    exit_code: int
    output: str


def run(home: Path, *arguments: str, **variables: str) -> Said:
    """Run a command in this process."""
    from levain.cli import app

    result = CliRunner().invoke(app, arguments, env={"LEVAIN_HOME": str(home), "COLUMNS": "300", **variables})
    error = result.exception
    if error is not None and not isinstance(error, (SystemExit, LevainError)):
        raise error
    return Said(result.exit_code, f"{result.output}{error if isinstance(error, LevainError) else ''}")


def worker(home: Path) -> str:
    """What a worker says that ends before it reads anything; there is no Kafka."""
    started = Worker(home, home.with_name("worker.log"), LEVAIN_KAFKA_BOOTSTRAP="127.0.0.1:9")
    assert started.wait(60) == 1
    return started.output


# Two homes


def age(place: Path) -> None:
    """Make every file below a folder eleven days old."""
    for path in place.rglob("*"):
        if path.is_file():
            os.utime(path, (time.time() - 11 * 86_400,) * 2)


def on_disk(place: Path) -> set[Path]:
    return {path for path in place.rglob("*") if path.is_file()}


def sharing(tmp_path: Path, name: str) -> Settings:
    """A home of its own that has its tables where others have theirs."""
    return Settings(home=tmp_path / name, catalog_warehouse=f"file://{tmp_path / 'shared'}")


def test_two_catalogs_of_one_warehouse_share_no_folder(tmp_path: Path) -> None:
    homes = [sharing(tmp_path, name) for name in ("one", "two")]
    tables = [ensure_table(open_catalog(home), SALES) for home in homes]
    assert check(open_catalog(homes[1]), homes[1]) == []  # tables that hold nothing are nobody's loss
    for table in tables:
        land(table, [fetch(0, 3)])
    age(tmp_path / "shared")
    before = on_disk(tmp_path / "shared")
    done = maintain(tables[0], homes[0], now=LATER)
    assert done.orphans == [] and on_disk(tmp_path / "shared") == before
    (remark,) = check(open_catalog(homes[0]), homes[0])
    assert "Another catalog's table lies in" in remark and tables[1].location() in remark
    assert offsets(tables[1]) == [0, 1, 2]


def test_a_place_that_holds_another_catalogs_data_is_refused(tmp_path: Path) -> None:
    one, two = sharing(tmp_path, "one"), sharing(tmp_path, "two")
    land(ensure_table(open_catalog(one), SALES), [fetch(0, 3)])
    for catalog in (open_catalog(two), open_catalog(two)):
        with pytest.raises(
            LevainError, match=r"that the catalog does not know: bronze.sales_events \(3 rows"
        ) as caught:
            check(catalog, two)
        assert "LEVAIN_CATALOG_WAREHOUSE" in caught.value.hint and "levain recover" in caught.value.hint
        ensure_table(catalog, SALES)  # as an older version did, and the next start finds an empty table


def at(table: Table, location: str) -> Table:
    """The same kind of table at a folder that others may have, as versions before this one made it."""
    return table.catalog.create_table(
        "bronze.old", table.schema(), location, table.spec(), properties={"commit.retry.num-retries": "0"}
    )


def test_a_folder_that_two_tables_share_loses_nothing(tmp_path: Path) -> None:
    """One folder for two tables, as homes of before have it that share a warehouse; both are maintained."""
    tables = []
    for name in ("one", "two"):
        settings = sharing(tmp_path, name)
        table = at(ensure_table(open_catalog(settings), SALES), f"file://{tmp_path / 'shared' / 'bronze' / 'old'}")
        tables.append((table, settings))
    for table, _ in tables:
        for offset in range(4):
            land(table, [fetch(offset, offset + 1)])
    age(tmp_path / "shared")
    before = on_disk(tmp_path / "shared")
    for (table, settings), (other, _) in (tables, tables[::-1]):
        with pytest.raises(LevainError, match="holds another table's data too") as caught:
            maintain(table, settings, now=LATER)
        assert str(other.metadata.table_uuid) in caught.value.message
        assert on_disk(tmp_path / "shared") >= before
    assert [offsets(table) for table, _ in tables] == [[0, 1, 2, 3], [0, 1, 2, 3]]


def test_one_table_in_two_catalogs_loses_nothing(tmp_path: Path) -> None:
    """A copy of a home, whose catalog leads to the same tables: both land, neither removes what the other has."""
    one = sharing(tmp_path, "one")
    land(ensure_table(open_catalog(one), SALES), [fetch(0, 3)])
    shutil.copytree(one.root, tmp_path / "two")
    two = sharing(tmp_path, "two")
    tables = [ensure_table(open_catalog(home), SALES) for home in (one, two)]
    for table in tables:
        for offset in range(3, 6):
            land(table, [fetch(offset, offset + 1)])
    age(tmp_path / "shared")
    before = on_disk(tmp_path / "shared")
    for table, home in zip(tables, (one, two), strict=True):
        with pytest.raises(LevainError, match=r"versions of bronze.sales_events that this catalog does not know"):
            maintain(table, home, now=LATER)
        assert on_disk(tmp_path / "shared") >= before
    for _ in range(2):
        land(tables[0], [fetch(6, 7), fetch(7, 8)])
        land(tables[0], [fetch(8, 9)])
    with pytest.raises(LevainError, match="another catalog writes to this table too"):
        check(open_catalog(two), two)
    for _ in range(2):  # with its catalog, and without any
        said = run(two.root, "recover", LEVAIN_CATALOG_WAREHOUSE=two.lake)
        assert said.exit_code == 1 and "has two histories, of two catalogs" in said.output, said.output
        two.catalog_file.unlink()


def test_a_copied_home_is_refused(tmp_path: Path) -> None:
    home = Settings(home=tmp_path / "one")
    land(ensure_table(open_catalog(home), SALES), [fetch(0, 3)])
    shutil.copytree(home.root, tmp_path / "two")
    copy = Settings(home=tmp_path / "two")
    with pytest.raises(LevainError, match=f"the home {copy.root} was copied or moved"):
        check(open_catalog(copy), copy)
    assert check(open_catalog(home), home) == []


def test_a_moved_home_works_through_a_link_at_its_old_place(tmp_path: Path) -> None:
    home = Settings(home=tmp_path / "one")
    land(ensure_table(open_catalog(home), SALES), [fetch(0, 3)])
    home.root.rename(tmp_path / "two")
    moved = Settings(home=tmp_path / "two")
    with pytest.raises(LevainError, match=r"bronze.sales_events cannot be read") as caught:
        check(open_catalog(moved), moved)
    assert "symbolic link" in caught.value.hint
    (tmp_path / "one").symlink_to(tmp_path / "two")
    assert check(open_catalog(moved), moved) == []
    table = ensure_table(open_catalog(moved), SALES)
    land(table, [fetch(3, 5)])
    assert offsets(table) == [0, 1, 2, 3, 4] and maintain(table, moved).files == 2


# A part that is lost, or older than the others

START = datetime(2026, 3, 2, 8, tzinfo=UTC)


def sale(number: int, product: str = "P001", quantity: int = 1) -> bytes:
    return json.dumps(
        {
            "event_id": f"00000000-0000-4000-8000-{number:012}",
            "event_time": f"{START + timedelta(minutes=number):%Y-%m-%dT%H:%M:%SZ}",
            "receipt_id": f"R{number}",
            "line_number": 1,
            "store_id": "S001",
            "product_id": product,
            "quantity": quantity,
            "unit_price": 1.2,
            "discount_amount": 0.0,
            "payment_method": "card",
        }
    ).encode()


def send(lake: Lake, numbers: Iterable[int], partition: int = 0) -> None:
    """Land sales, each in a commit of its own."""
    for number in numbers:
        lake.send("sales-events", [sale(number)], partition, int(START.timestamp() * 1000) + number)


@pytest.fixture(scope="module")
def built_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with two builds, which each test puts back; the project was read for it."""
    lake = Lake(tmp_path_factory.mktemp("built"))
    send(lake, range(6))
    lake.build_what_is_new()
    send(lake, range(6, 9), partition=1)
    lake.build_what_is_new()
    parse(lake.settings)
    return lake.settings.root


@pytest.fixture
def home(built_once: Path) -> Iterator[Path]:
    """The built home, at its place, as it was before the test when that ends."""
    saved = built_once.with_name("saved")
    shutil.copytree(built_once, saved)
    yield built_once
    shutil.rmtree(built_once)
    saved.rename(built_once)


@pytest.fixture
def built(home: Path) -> Lake:
    """The built home as a lake to land in and to read."""
    return Lake(home)


def assert_adds_up(home: Path) -> None:
    ledger = run(home, "ledger")
    assert ledger.exit_code == 0 and "adds up" in ledger.output, ledger.output


def test_a_lost_catalog_is_noticed_and_recovered_from_the_lake(home: Path, built: Lake) -> None:
    before = built.contents()
    (home / "catalog.db").unlink()
    for command in (["doctor"], ["init"], ["up"], ["build"], ["show"], ["ledger"], ["maintain"]):
        said = run(home, *command)
        assert said.exit_code == 1, command
        assert "bronze.sales_events (9 rows" in said.output and "levain recover" in said.output, (command, said.output)
    assert "levain recover" in worker(home)
    assert not (home / "run" / "broker.json").exists()
    planned = run(home, "recover", "--dry-run")
    assert planned.exit_code == 0 and "bronze.sales_events" in planned.output and "registered" in planned.output
    assert run(home, "recover", "--dry-run").output == planned.output
    done = run(home, "recover")
    assert done.exit_code == 0, done.output
    table = open_catalog(built.settings).load_table("bronze.sales_events")
    assert watermarks(table) == {("test", "sales-events", 0): 6, ("test", "sales-events", 1): 3}
    assert "is known" in run(home, "recover").output
    again = Lake(home)  # makes the tables that nothing had landed in
    assert_adds_up(home)
    again.build_what_is_new()
    assert again.contents() == before
    send(again, range(9, 11))
    again.build_what_is_new()
    assert again.read("select count(*) from gold.fct_sales") == [(11,)]
    assert_adds_up(home)


def test_a_damaged_catalog_is_recovered_the_same_way(home: Path, built: Lake) -> None:
    (home / "catalog.db").write_bytes(b"not a database, and longer than the header of one" * 100)
    for command in (["doctor"], ["init"], ["build"]):
        said = run(home, *command)
        assert said.exit_code == 1 and "move it away" in said.output and "levain recover" in said.output, said.output
        assert "LEVAIN_CATALOG_URI" not in said.output
    (home / "catalog.db").rename(home / "catalog.damaged")
    assert run(home, "recover").exit_code == 0
    Lake(home)  # makes the tables that nothing had landed in, as `levain init` does
    assert_adds_up(home)


@pytest.mark.slow
def test_a_catalog_that_is_older_than_the_lake(home: Path, built: Lake) -> None:
    backup = (home / "catalog.db").read_bytes()
    send(built, range(20, 23))
    built.build_what_is_new()
    before = built.contents()
    (home / "catalog.db").write_bytes(backup)
    for command in (["init"], ["up"], ["doctor"]):
        said = run(home, *command)
        assert said.exit_code == 1 and "The catalog points to version 9 of bronze.sales_events" in said.output
        assert "has version 12" in said.output and "levain recover" in said.output
    assert "The catalog points to version 9" in worker(home)
    refused = run(home, "build")
    assert refused.exit_code == 1
    assert "Bronze is older than the built tables" in refused.output
    assert "sales-events, partition 0, cluster test: offsets 6 to 8" in refused.output
    ledger = run(home, "ledger")
    assert ledger.exit_code == 1 and "offsets 6 to 8 were built and are not in Bronze" in ledger.output
    assert "pointed to, instead of version 9" in run(home, "recover").output
    again = Lake(home)
    again.build_what_is_new()
    assert_adds_up(home)
    assert again.contents() == before


@pytest.mark.full
def test_one_commit_behind_is_landed_again(home: Path, built: Lake) -> None:
    """A catalog one version older looks like a commit that was cut short; Kafka still has its messages."""
    backup = (home / "catalog.db").read_bytes()
    send(built, [20])
    built.build_what_is_new()
    before = built.contents()
    (home / "catalog.db").write_bytes(backup)
    said = run(home, "doctor")
    assert "Bronze is older than" in said.output and "partition 0, cluster test: offsets 6 to 6" in said.output
    assert "Bronze is older than the built tables" in run(home, "build").output
    again = Lake(home)
    send(again, [20])
    assert_adds_up(home)
    again.build_what_is_new()
    assert {name: len(rows) for name, rows in again.contents().items()} == {
        name: len(rows) for name, rows in before.items()
    }


@pytest.mark.slow
def test_a_lake_that_is_older_than_the_catalog(home: Path, built: Lake) -> None:
    shutil.copytree(home / "lake", home / "backup")
    send(built, range(20, 23))
    built.build_what_is_new()
    before = built.contents()
    shutil.rmtree(home / "lake")
    (home / "backup").rename(home / "lake")
    said = run(home, "init")
    assert said.exit_code == 1 and "bronze.sales_events cannot be read" in said.output
    assert "registered, instead of a version that is not there" in run(home, "recover").output
    assert "Bronze is older than the built tables" in run(home, "build").output
    again = Lake(home)
    send(again, range(20, 23))  # Kafka still has them
    assert_adds_up(home)
    again.build_what_is_new()
    assert {name: len(rows) for name, rows in again.contents().items()} == {
        name: len(rows) for name, rows in before.items()
    }


def test_a_lost_lake(home: Path, built: Lake) -> None:
    (home / "lake").rename(home / "elsewhere")
    for command in (["init"], ["up"], ["build"], ["doctor"], ["show"], ["ledger"], ["maintain"]):
        said = run(home, *command)
        assert said.exit_code == 1 and "The table bronze." in said.output and "cannot be read" in said.output, command
        assert "restore it from a backup" in said.output
    assert not (home / "lake").exists(), "nothing was made in its place"
    (home / "elsewhere").rename(home / "lake")
    assert_adds_up(home)
    shutil.rmtree(home / "lake")
    assert run(home, "clean", "--yes").exit_code == 0
    assert watermarks(Lake(home).tables["sales-events"]) == {}


def test_lost_built_tables_are_rebuilt(home: Path, built: Lake) -> None:
    before = built.contents()
    (home / "levain.duckdb").unlink()
    said = run(home, "ledger")
    assert said.exit_code == 1 and "Nothing was built yet" in said.output and "levain build" in said.output
    (home / "levain.duckdb").write_bytes(b"damaged" * 1000)
    for command in (["doctor"], ["ledger"]):
        said = run(home, *command)
        assert said.exit_code == (command != ["doctor"]) and "levain.duckdb cannot be read" in said.output, command
    (home / "levain.duckdb").unlink()
    (home / "catalog.db").unlink()  # and with the catalog
    assert "levain recover" in run(home, "build").output
    assert run(home, "recover").exit_code == 0
    again = Lake(home)
    again.build_what_is_new()
    assert again.contents() == before


@pytest.mark.slow
@pytest.mark.parametrize(
    ("part", "damage"),
    [
        ("manifest list", "missing"),
        ("manifest", "cut short"),
        *(
            pytest.param(part, damage, marks=pytest.mark.full)
            for part, damage in (
                *(("manifest list", "cut short"), ("manifest list", "garbage")),
                *(("manifest", "missing"), ("manifest", "garbage")),
            )
        ),
    ],
)
def test_a_damaged_manifest_is_named(home: Path, built: Lake, part: str, damage: str) -> None:
    table = built.tables["sales-events"].refresh()
    snapshot = table.current_snapshot()
    assert snapshot is not None
    location = snapshot.manifest_list if part == "manifest list" else snapshot.manifests(table.io)[0].manifest_path
    path = Path(location.removeprefix("file://"))
    content = path.read_bytes()
    before = built.contents()
    path.unlink()
    if damage != "missing":
        path.write_bytes(content[:-100] if damage == "cut short" else content[:300] + bytes(len(content) - 300))
    for command in (["ledger"], ["build", "--audit"], ["maintain", "--dry-run"], ["doctor"]):
        said = run(home, *command)
        assert said.exit_code == 1 and f"{path}, a file of bronze.sales_events, cannot be read" in said.output, command
    path.write_bytes(content)
    built.build_what_is_new()
    assert built.contents() == before
    assert_adds_up(home)


def test_a_data_file_that_is_gone_is_found_by_doctor(home: Path, built: Lake) -> None:
    path = Path(next(iter(built.tables["sales-events"].refresh().scan().plan_files())).file.file_path)
    path.unlink()
    said = run(home, "doctor")
    assert said.exit_code == 1 and f"lacks 1 of 9 data files, the first is {path}" in said.output


@pytest.mark.slow
@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"", id="empty", marks=pytest.mark.full),
        pytest.param(b'{"format-version": 2}', id="partial", marks=pytest.mark.full),
        pytest.param(b"\xff\x00" * 100, id="bytes"),
    ],
)
def test_from_a_damaged_metadata_file_the_version_before_it_is_the_way_back(
    home: Path, built: Lake, content: bytes
) -> None:
    before = kept(built)
    newest = Path(built.tables["sales-events"].refresh().metadata_location.removeprefix("file://"))
    newest.write_bytes(content)
    for command in (["show"], ["doctor"], ["build", "--audit"], ["init"]):
        said = run(home, *command)
        assert said.exit_code == 1 and f"bronze.sales_events is damaged: {newest}" in said.output, command
    assert "is damaged" in worker(home)
    said = run(home, "recover")
    assert said.exit_code == 0 and "instead of a version that is not there" in said.output
    again = Lake(home)
    assert "Bronze is older than" in run(home, "build").output
    send(again, [8], partition=1)  # the worker lands the last commit again
    again.build_what_is_new()
    assert kept(again) == before


def test_of_a_table_without_a_readable_version_recover_says_so(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path)
    table = ensure_table(open_catalog(settings), SALES)
    land(table, [fetch(0, 3)])
    newest = Path(table.metadata_location.removeprefix("file://"))
    newest.write_bytes(b"")
    said = run(tmp_path, "recover")
    assert said.exit_code == 1 and str(newest) in said.output and "no other version of it" in said.output


@pytest.mark.slow
def test_built_tables_that_are_older_than_bronze_catch_up(home: Path, built: Lake) -> None:
    backup = (home / "levain.duckdb").read_bytes()
    send(built, range(20, 23))
    built.build_what_is_new()
    before = built.contents()
    (home / "levain.duckdb").write_bytes(backup)
    built.build_what_is_new()
    assert built.contents() == before
    assert_adds_up(home)


def test_built_tables_of_another_lake_are_refused(home: Path, built: Lake, tmp_path: Path) -> None:
    other = Lake(tmp_path / "other")
    send(other, range(6))
    shutil.copy(home / "levain.duckdb", other.settings.duckdb_file)
    for command in (["init"], ["up"], ["doctor"]):
        said = run(tmp_path / "other", *command)
        assert said.exit_code == 1 and "was built from Bronze tables that the catalog does not have" in said.output
    assert "were built from other Bronze tables" in run(tmp_path / "other", "build").output
    assert "were built from other Bronze tables" in run(tmp_path / "other", "build", "--full-refresh").output
    for name in ("catalog.db", "lake"):  # of the first home: catalog and lake lost together
        path = home / name
        path.rename(home / f"{name}.lost")
    said = run(home, "init")
    assert said.exit_code == 1 and "was built from Bronze tables that the catalog does not have" in said.output
    assert not (home / "lake").exists()
    (home / "levain.duckdb").rename(home / "levain.duckdb.lost")
    fresh = Lake(home)
    assert check(fresh.catalog, fresh.settings) == []


def test_an_alias_is_above_all_that_any_part_knows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lake.CLUSTER", "embedded-7")
    lake = Lake(tmp_path)
    stack = Stack(lake.settings)
    lake.send("sales-events", [sale(1)])
    (tmp_path / "embedded").write_text("3")  # from a backup
    assert stack._next_alias() == "embedded-8"
    lake.build("--select", "+int_sales_events__verdicts")
    for name in ("embedded", "catalog.db"):
        (tmp_path / name).unlink()
    shutil.rmtree(tmp_path / "lake")
    assert stack._next_alias() == "embedded-8", "the built tables still know"
    assert stack._next_alias() == "embedded-9"


# What Bronze no longer has


def kept(lake: Lake) -> dict[str, list[str]]:
    """What was built, without the views over Bronze."""
    return {name: rows for name, rows in lake.contents().items() if not name.endswith("__checked")}


@pytest.mark.slow
def test_a_full_refresh_never_loses_messages(home: Path, built: Lake) -> None:
    before = kept(built)
    built.tables["sales-events"].refresh().delete("partition = 0 and offset < 4")
    refusal = "4 messages of sales-events, partition 0, cluster test (offsets 0 to 3)"
    for arguments in ([], ["--select", "int_sales_events__verdicts"], ["--select", "+mart_top_products"]):
        said = run(home, "build", "--full-refresh", *arguments)
        assert said.exit_code == 1 and refusal in said.output, said.output
        assert kept(built) == before
    for wanted in (["--full-refresh", "--select", "fct_sales"], []):
        built.build(*wanted)
        assert kept(built) == before


# What is removed


def test_clean_removes_nothing_that_another_home_has_in_the_lake(tmp_path: Path) -> None:
    mine, theirs = (
        Settings(home=tmp_path / "mine"),
        Settings(home=tmp_path / "theirs", catalog_warehouse=f"file://{tmp_path / 'mine' / 'lake'}"),
    )
    land(ensure_table(open_catalog(mine), SALES), [fetch(0, 3)])
    table = ensure_table(open_catalog(theirs), SALES)
    land(table, [fetch(0, 3)])
    said = run(mine.root, "clean", "--yes")
    assert said.exit_code == 1 and table.location().removeprefix("file://") in said.output
    assert offsets(table) == [0, 1, 2]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LEVAIN_CATALOG_WAREHOUSE", theirs.lake)
        theirs.run_dir.mkdir()
        assert "were not touched" in run(theirs.root, "clean", "--yes").output
    assert theirs.catalog_file.exists() and offsets(table) == [0, 1, 2]


def test_of_two_tables_with_one_name_the_operator_names_one(tmp_path: Path) -> None:
    homes = [sharing(tmp_path, name) for name in ("one", "two")]
    tables = [ensure_table(open_catalog(home), SALES) for home in homes]
    for count, table in enumerate(tables, start=2):
        land(table, [fetch(0, count)])
    homes[0].catalog_file.unlink()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LEVAIN_CATALOG_WAREHOUSE", homes[0].lake)
        said = run(homes[0].root, "recover")
        assert said.exit_code == 1 and "The lake has 2 tables bronze.sales_events" in said.output
        assert all(table.location() in said.output for table in tables)
        assert run(homes[0].root, "recover", "file:///nowhere").exit_code == 1
        assert run(homes[0].root, "recover", tables[0].location() + "/").exit_code == 0
    assert offsets(ensure_table(open_catalog(homes[0]), SALES)) == [0, 1]


def test_a_table_whose_files_are_gone_is_not_registered(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path)
    table = ensure_table(open_catalog(settings), SALES)
    for offset in range(3):
        land(table, [fetch(offset, offset + 1)])
    lost = Path(next(iter(table.scan().plan_files())).file.file_path.removeprefix("file://"))
    settings.catalog_file.unlink()
    lost.rename(tmp_path / "aside")
    said = run(tmp_path, "recover")
    assert said.exit_code == 1 and f"lacks 1 of 3 data files, the first is {lost}" in said.output
    (tmp_path / "aside").rename(lost)
    newest = Path(table.metadata_location.removeprefix("file://"))
    newest.write_bytes(newest.read_bytes()[:100])  # cut short by a crash: the version before it counts
    assert run(tmp_path, "recover").exit_code == 0
    assert offsets(ensure_table(open_catalog(settings), SALES)) == [0, 1]
