"""Maintenance on real tables: the rows stay as they are, and so does what a reader has pinned."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
import time
import uuid
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest
from batches import P0, P1, Message, away_three_times, fetch, offsets
from kafka_broker import Broker
from pyiceberg.exceptions import CommitFailedException
from pyiceberg.manifest import ManifestFile
from pyiceberg.table import Table
from typer.testing import CliRunner
from workers import Worker, make_topics, produce, settings_for

from ingest import lander, maintenance
from ingest.catalog import ensure_table, open_catalog, watermarks
from ingest.contracts import contract_for
from ingest.errors import LevainError
from ingest.lake import path_of
from ingest.lander import Fetch, covered_ranges, land
from ingest.maintenance import maintain
from ingest.settings import PROJECT_ROOT, Settings
from levain.warehouse.bronze import load_extensions

SALES = contract_for("sales-events")
NOW = datetime.now(UTC)
LATER = timedelta(days=5)


@pytest.fixture
def table(settings: Settings) -> Table:
    return ensure_table(open_catalog(settings), SALES)


def other(table: Table) -> Table:
    """The same table in other hands."""
    return table.catalog.load_table(table.name())


def land_mixture(table: Table, commits: int, seed: int = 1) -> None:
    """Small commits of two partitions: text, bytes that are not UTF-8, tombstones, headers."""
    chance = random.Random(seed)
    marks = watermarks(table)
    for _ in range(commits):
        fetches = []
        for partition in (P1, P0):
            start = marks.get(partition, 0)
            values = [None, b"\xff\xfe\x00", b"", b'{"a": 1}', chance.randbytes(300), "crème 🥐".encode()]
            headers = ((), (("a", b"1"), ("a", None), ("b", b"\xff")))
            messages = [
                Message(offset, chance.choice(values), chance.choice(values), headers=chance.choice(headers))
                for offset in range(start, start + chance.randint(1, 40))
            ]
            fetches.append(Fetch.of(partition, messages))
            marks[partition] = messages[-1].offset + 1
        land(table, fetches, topic_id="abc")


def rows(table: Table, snapshot_id: int | None = None) -> pa.Table:
    """Every column of every row, in one order."""
    order = [(name, "ascending") for name in ("kafka_cluster", "topic", "partition", "offset")]
    return table.scan(snapshot_id=snapshot_id).to_arrow().sort_by(order).combine_chunks()


def data_files(table: Table) -> list[Any]:
    return [task.file for task in table.scan().plan_files()]


def number(bound: bytes) -> int:
    return int.from_bytes(bound, "little")


def on_disk(table: Table) -> dict[str, int]:
    """Every file of the table -> its size."""
    root = Path(table.location().removeprefix("file://"))
    return {str(path): path.stat().st_size for path in root.rglob("*") if path.is_file()}


def pin(table: Table) -> tuple[duckdb.DuckDBPyConnection, list[tuple[Any, ...]]]:
    """A DuckDB view over the metadata file of now, and its rows."""
    connection = duckdb.connect()
    load_extensions(connection)
    connection.execute(f"create view pinned as select * from iceberg_scan('{table.metadata_location}')")
    return connection, read(connection)


def read(connection: duckdb.DuckDBPyConnection) -> list[tuple[Any, ...]]:
    return connection.execute('select * from pinned order by "partition", "offset"').fetchall()


# Compaction


def test_rows_watermarks_and_ids_stay_and_files_become_few(table: Table, settings: Settings) -> None:
    land_mixture(table, 30)
    before, files, properties = rows(table), data_files(table), dict(table.properties)
    done = maintain(table, settings)
    (file,) = data_files(table)
    assert (done.rewritten, done.written, done.files) == (30, 1, 1)
    assert done.rewritten_bytes == sum(f.file_size_in_bytes for f in files) > done.written_bytes > 0
    assert rows(table).equals(before)
    assert other(table).properties == properties and watermarks(other(table)) == watermarks(table)
    assert file.record_count == len(before) and file.partition == files[0].partition

    summary = table.current_snapshot().summary  # type: ignore[union-attr]
    assert summary is not None and summary.operation.value == "replace"
    assert summary["levain.batch-id"] is None and summary["levain.ranges"] is None
    assert summary["total-records"] == str(len(before)) and summary["total-data-files"] == "1"

    # In the file itself the rows are sorted, and its statistics prune as those of the landed files do.
    raw = duckdb.sql(f'select "partition", "offset" from read_parquet(\'{path_of(file.file_path)}\')').fetchall()
    assert raw == sorted(raw)
    for column in (3, 4, 11):
        assert number(file.lower_bounds[column]) == min(number(f.lower_bounds[column]) for f in files)
        assert number(file.upper_bounds[column]) == max(number(f.upper_bounds[column]) for f in files)
    land_mixture(table, 2, seed=2)
    assert covered_ranges(table)[-1].end == watermarks(table)[P1]
    assert len(rows(table)) == sum(watermarks(table).values())


def test_memory_is_bounded_by_chunks_that_are_each_sorted(
    table: Table, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(maintenance, "CHUNK_BYTES", 20_000)
    land_mixture(table, 20)
    before = rows(table)
    maintain(table, settings)
    (file,) = data_files(table)
    groups = duckdb.sql(f"select distinct row_group_id from parquet_metadata('{path_of(file.file_path)}')").fetchall()
    assert len(groups) > 3
    assert rows(table).equals(before)


def test_files_come_near_the_target_and_are_then_left_alone(table: Table, settings: Settings) -> None:
    land_mixture(table, 40)
    sizes = [f.file_size_in_bytes for f in data_files(table)]
    small = settings.model_copy(update={"maintain_file_bytes": sum(sizes) // 3})
    before = rows(table)
    done = maintain(table, small)
    assert done.written >= 3 and done.files <= 5
    assert all(f.file_size_in_bytes <= small.maintain_file_bytes for f in data_files(table))
    snapshots = len(table.metadata.snapshots)
    assert maintain(table, small).rewritten == 0
    assert len(table.metadata.snapshots) == snapshots
    assert rows(table).equals(before)


def test_a_large_file_waits_for_as_much_again_and_a_past_day_is_packed(table: Table, settings: Settings) -> None:
    for n in range(8):
        land(table, [Fetch.of(P0, [Message(n, os.urandom(30_000))])])
    maintain(table, settings)
    for n in range(8, 16):
        land(table, [fetch(n, n + 1)])
    assert maintain(table, settings).files == 2, "the eight become one; the large one is not written again for them"
    assert maintain(table, settings).rewritten == 0
    assert maintain(table, settings, now=NOW + timedelta(days=2), orphans=False).files == 1


def test_an_empty_table_and_a_quiet_one(table: Table, settings: Settings) -> None:
    assert maintain(table, settings, now=NOW + LATER).files == 0
    land(table, [fetch(0, 3)])
    before = on_disk(table)
    done = maintain(table, settings)
    assert (done.rewritten, done.expired, done.orphans) == (0, 0, [])
    assert on_disk(table) == before


# Beside writers


def test_a_worker_that_lands_meanwhile(table: Table, settings: Settings) -> None:
    """Compaction and expiry in a loop; every offset exactly once, with its own bytes."""
    own, quick = other(table), settings.model_copy(update={"maintain_keep_snapshots": 20})
    sent: dict[int, bytes] = {}
    chance, enough, ended = random.Random(1), threading.Event(), threading.Event()

    def worker() -> None:
        try:
            while not enough.wait(chance.uniform(0.1, 0.5)):
                new = {n: f'{{"n": {n}}}'.encode() for n in range(len(sent), len(sent) + 5)}
                land(own, [Fetch.of(P0, [Message(n, value) for n, value in new.items()])])
                sent.update(new)
        finally:
            ended.set()

    thread = threading.Thread(target=worker)
    thread.start()
    rewritten = expired = 0
    try:
        while rewritten <= 24 or expired <= 15:
            assert not ended.is_set() and len(sent) < 5000, (rewritten, expired)
            done = maintain(table.refresh(), quick)
            rewritten, expired = rewritten + done.rewritten, expired + done.expired
    finally:
        enough.set()
        thread.join()
    found = [(r["offset"], r["value"].encode()) for r in table.refresh().scan().to_arrow().to_pylist()]
    assert sorted(found) == sorted(sent.items())
    assert watermarks(table) == {P0: len(sent)}


def test_the_worker_maintains_its_tables(embedded_broker: Broker, tmp_path: Path) -> None:
    """By itself, after every ten of its commits, and goes on landing."""
    home = tmp_path / "home"
    make_topics(embedded_broker, home)
    worker = Worker(
        home,
        tmp_path / "worker.log",
        LEVAIN_KAFKA_BOOTSTRAP=embedded_broker.bootstrap,
        LEVAIN_KAFKA_CLUSTER="test",
        LEVAIN_COMMIT_EVERY_SECONDS="0.1",
        LEVAIN_MAINTAIN_EVERY_COMMITS="10",
    )
    table = ensure_table(open_catalog(settings_for(embedded_broker, home)), SALES)

    def kinds() -> list[str]:
        return [s.summary.operation.value for s in table.refresh().metadata.snapshots if s.summary is not None]

    sent, deadline = 0, time.monotonic() + 60
    try:
        while kinds().count("replace") < 2 or kinds()[-1] == "replace":
            assert worker.process.poll() is None and time.monotonic() < deadline, worker.output
            produce(embedded_broker, SALES.topic, 3, sent)
            sent += 3
            time.sleep(0.2)
        while sum(watermarks(table.refresh()).values()) < sent:
            assert worker.process.poll() is None and time.monotonic() < deadline, worker.output
            time.sleep(0.1)
        assert worker.stop() == 0, worker.output
    finally:
        worker.kill()
    ends = {place: end for place, end in watermarks(table.refresh()).items() if end}
    assert sum(ends.values()) == sent
    assert all(offsets(table, place) == list(range(end)) for place, end in ends.items())
    assert "not confirmed" not in worker.output, "one commit at a time, of landing or of maintenance"


@pytest.mark.parametrize("lost", [CommitFailedException("conflict"), TimeoutError("no reply")], ids=["refused", "lost"])
def test_a_commit_in_between(
    table: Table, settings: Settings, monkeypatch: pytest.MonkeyPatch, lost: Exception
) -> None:
    """Something lands after the plan; and the reply to our own commit gets lost, or it is refused once more."""
    land_mixture(table, 10)
    before, attempts = rows(table), []
    commit = table.catalog.commit_table

    def commit_table(*args: Any) -> Any:
        attempts.append(1)
        if len(attempts) == 1:
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(table.catalog, "commit_table", commit)
                land(other(table), [fetch(watermarks(table)[P0], watermarks(table)[P0] + 7)])
        answer = commit(*args) if len(attempts) != 2 or isinstance(lost, TimeoutError) else None
        if len(attempts) == 2:
            raise lost
        return answer

    monkeypatch.setattr(table.catalog, "commit_table", commit_table)
    done = maintain(table, settings)
    assert (done.rewritten, done.written) == (10, 1)
    assert len(attempts) == (2 if isinstance(lost, TimeoutError) else 3)
    after = rows(table.refresh())
    assert len(after) == len(before) + 7 and len(data_files(table)) == 2
    assert rows(table).filter(pa.compute.is_in(after["ingest_batch_id"], before["ingest_batch_id"])).equals(before)


def test_a_catalog_that_is_away_for_a_moment(table: Table, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """What has been rewritten by then is not for nothing."""
    land_mixture(table, 10)
    away = away_three_times(table, monkeypatch)
    assert maintain(table, settings, orphans=False).written == 1
    assert len(data_files(table)) == 1 and not away


def test_whoever_waits_for_the_turn_waits_for_no_manifest(
    table: Table, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only those of commits that came since are read while a lander is kept out."""
    land_mixture(table, 10)
    before, waiting, read = rows(table), threading.Lock(), []
    fetch_manifest_entry = ManifestFile.fetch_manifest_entry

    def fetch_entry(manifest: ManifestFile, *args: Any, **options: Any) -> Any:
        read.append(waiting.locked())
        return fetch_manifest_entry(manifest, *args, **options)

    def lock() -> Any:
        if not any(read):
            land(other(table), [fetch(watermarks(table)[P0], watermarks(table)[P0] + 7)])
        return waiting

    monkeypatch.setattr(ManifestFile, "fetch_manifest_entry", fetch_entry)
    assert maintain(table, settings, lock=lock, orphans=False).written == 1
    assert read.count(False) >= 10 and read.count(True) == 1
    assert len(rows(table)) == len(before) + 7


def test_files_that_someone_else_has_replaced_are_planned_again(
    table: Table, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    land_mixture(table, 10)
    before, rewrite = rows(table), maintenance._rewrite

    def meanwhile(*args: Any) -> Any:
        new = rewrite(*args)
        monkeypatch.setattr(maintenance, "_rewrite", rewrite)
        assert maintain(other(table), settings).written == 1
        return new

    monkeypatch.setattr(maintenance, "_rewrite", meanwhile)
    assert maintain(table, settings).written == 0
    assert len(data_files(table.refresh())) == 1
    assert rows(table).equals(before)
    assert len([path for path in on_disk(table) if "compacted-" in path]) == 2
    assert any("compacted-" in path for path in maintain(table, settings, now=NOW + LATER).orphans)
    assert rows(table).equals(before)


def test_a_file_that_cannot_be_read_stops_it_by_name(table: Table, settings: Settings) -> None:
    land_mixture(table, 10)
    path = Path(path_of(data_files(table)[3].file_path))
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(LevainError, match=f"bronze.sales_events has a file that cannot be read, .*{path.name}"):
        maintain(table, settings)
    assert len(data_files(table.refresh())) == 10


def test_kill_9_in_mid_compaction(table: Table, settings: Settings) -> None:
    """Killed when the new file is written and not yet committed: the table is as it was, the file is removed later."""
    land_mixture(table, 10)
    before = rows(table)
    code = """
import os, signal
from ingest import maintenance
from ingest.catalog import load_bronze, open_catalog
from ingest.settings import load_settings
maintenance._replace = lambda *args: os.kill(os.getpid(), signal.SIGKILL)
maintenance.maintain(load_bronze(open_catalog(load_settings()), "sales_events"), load_settings())
"""
    environment = {**os.environ, "LEVAIN_HOME": str(settings.root)}
    killed = subprocess.run([sys.executable, "-c", code], cwd=PROJECT_ROOT, env=environment, check=False)
    assert killed.returncode == -signal.SIGKILL
    (orphan,) = [path for path in on_disk(table) if "compacted-" in path]
    assert rows(table.refresh()).equals(before) and len(data_files(table)) == 10

    assert maintain(table, settings).orphans == [], "a file of today may be of a writer at work"
    assert orphan in on_disk(table)
    assert orphan in maintain(table, settings, now=NOW + LATER).orphans
    assert orphan not in on_disk(table)
    assert rows(table).equals(before)


# Snapshots


def test_expiry_keeps_the_newest_the_pinned_and_the_watermarks(table: Table, settings: Settings) -> None:
    for start in range(30):
        land(table, [fetch(start, start + 1)])
    ids = [s.snapshot_id for s in table.metadata.snapshots]
    table.manage_snapshots().create_tag(ids[3], "release-1").create_branch(ids[5], "audit").commit()
    tagged, before = rows(table, ids[3]), rows(table)
    marks = watermarks(table)
    few = settings.model_copy(update={"maintain_keep_snapshots": 20, "maintain_file_bytes": 1})
    done = maintain(table, few, now=NOW + LATER)
    kept = [s.snapshot_id for s in table.metadata.snapshots]
    assert kept == [ids[3], ids[5], *ids[10:]] and done.expired == 8
    assert watermarks(other(table)) == marks == {P0: 30}
    assert rows(table).equals(before) and rows(table, ids[3]).equals(tagged)
    assert land(table, [fetch(25, 35)]).ranges[0].start == 30, "landing goes on where it was"


def test_one_snapshot_an_hour_for_as_long_as_files_are_kept(table: Table, settings: Settings) -> None:
    """Six snapshots an hour for a hundred hours."""
    for start in range(2):
        land(table, [fetch(start, start + 1)])
    first = table.metadata.snapshots[0]
    begin = int(NOW.timestamp()) // 3600 * 3600 - 100 * 3600
    history = [
        first.model_copy(
            update={"snapshot_id": n, "sequence_number": n, "timestamp_ms": (begin + (n - 1) * 600) * 1000}
        )
        for n in range(1, 601)
    ]
    metadata = table.metadata.model_copy(update={"snapshots": history, "refs": {}})
    at = datetime.fromtimestamp(begin + 100 * 3600, UTC)
    gone = set(maintenance.expirable(metadata, settings, at))
    kept = [n for n in range(1, 601) if n not in gone]
    assert kept[-100:] == list(range(501, 601))
    hourly = kept[:-100]
    assert all(n % 6 == 0 for n in hourly), "the last one of each hour"
    assert hourly == list(range(hourly[0], 501, 6))
    # 73 hours before the end is between snapshots 162 and 163: what was current then and later is kept.
    assert hourly[0] == 162


def test_a_lost_reply_whose_snapshot_has_expired_lands_nothing_twice(
    table: Table, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The lander looks for its batch, which others' commits and an expiry have hidden: the watermark still tells."""
    commit = table.catalog.commit_table

    def lose_the_reply(*args: Any) -> Any:
        commit(*args)
        monkeypatch.setattr(table.catalog, "commit_table", commit)
        theirs = other(table)
        for start in range(10, 35):
            land(theirs, [fetch(start, start + 1)])
        assert maintain(theirs, settings.model_copy(update={"maintain_keep_snapshots": 20})).expired > 0
        raise TimeoutError("no reply")

    monkeypatch.setattr(table.catalog, "commit_table", lose_the_reply)
    landed = land(table, [fetch(0, 10)])
    assert not lander.has_landed(table, landed.batch_id), "otherwise this test shows nothing"
    assert offsets(table) == list(range(35))


def test_a_rollback_meanwhile_keeps_every_snapshot(
    table: Table, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    for start in range(30):
        land(table, [fetch(start, start + 1)])
    old, commit = table.metadata.snapshots[2].snapshot_id, table.catalog.commit_table

    def roll_back_first(*args: Any) -> Any:
        monkeypatch.setattr(table.catalog, "commit_table", commit)
        other(table).manage_snapshots().rollback_to_snapshot(old).commit()
        return commit(*args)

    monkeypatch.setattr(table.catalog, "commit_table", roll_back_first)
    few = settings.model_copy(update={"maintain_keep_snapshots": 20, "maintain_file_bytes": 1})
    maintain(table, few, orphans=False)
    assert other(table).current_snapshot().snapshot_id == old  # type: ignore[union-attr]
    assert offsets(table) == [0, 1, 2]


# Orphans and pinned readers


def test_a_pinned_reader_reads_the_same_for_as_long_as_was_promised(table: Table, settings: Settings) -> None:
    land_mixture(table, 30)
    connection, before = pin(table)
    few = settings.model_copy(update={"maintain_keep_snapshots": 20})
    assert maintain(table, few).rewritten == 30
    assert read(connection) == before, "after compaction"
    land_mixture(table, 25, seed=2)
    done = maintain(table, few, now=NOW + timedelta(hours=71))
    assert done.expired > 20
    assert read(connection) == before, "after expiry, within the time"
    newer, then = pin(table)
    done = maintain(table, few, now=NOW + LATER)
    assert len(done.orphans) > 60 and done.orphan_bytes > 0
    with pytest.raises(duckdb.Error):
        read(connection)
    assert read(newer) == then, "the newest is never removed"
    assert len(rows(other(table))) == sum(watermarks(table).values())


def test_a_reader_of_a_table_that_was_quiet_for_weeks(table: Table, settings: Settings) -> None:
    """Its files are old; they were replaced a moment ago, and the time to keep them begins with that."""
    # Or the list of the newest versions in the metadata would hold it anyway.
    table.transaction().set_properties({"write.metadata.previous-versions-max": "2"}).commit_transaction()
    land_mixture(table, 10)
    for path in on_disk(table):
        os.utime(path, (NOW.timestamp() - 30 * 86_400,) * 2)
    connection, before = pin(table)
    done = maintain(table, settings)
    assert done.rewritten == 10
    land_mixture(table, 3, seed=2)
    maintain(table, settings)
    assert read(connection) == before


def test_files_in_flight_are_left_alone(table: Table, settings: Settings) -> None:
    """A commit that is written but not made yet, while maintenance looks for orphans."""
    land(table, [fetch(0, 5)])
    todo = [fetch(5, 9)]
    at_work, new = other(table), lander.to_arrow(todo, NOW, "batch")
    landed = lander._landed("batch", new, lander._ranges(todo))
    staged = lander._stage(at_work, lander._write(at_work, new, NOW), landed, {})
    maintain(table, settings, now=NOW + timedelta(hours=settings.maintain_keep_hours))
    staged.commit_transaction()
    assert offsets(table) == list(range(9))


def test_a_table_whose_files_are_elsewhere_loses_none(table: Table, settings: Settings) -> None:
    """Where listing and metadata do not speak of the same files, every file would look like an orphan."""
    land_mixture(table, 3)
    path = Path(path_of(data_files(table)[0].file_path))
    path.rename(path.with_suffix(".moved"))
    before = on_disk(table)
    with pytest.raises(LevainError, match="refers to 1 files that are not at"):
        maintain(table, settings.model_copy(update={"maintain_file_bytes": 1}), now=NOW + LATER)
    assert on_disk(table) == before


def test_a_dry_run_changes_nothing_and_says_what_it_would(table: Table, settings: Settings) -> None:
    land_mixture(table, 30)
    few = settings.model_copy(update={"maintain_keep_snapshots": 20})
    folder = Path(path_of(data_files(table)[0].file_path)).parent
    stray, theirs = folder / f"00000-0-{uuid.uuid4()}.parquet", folder / "export.parquet"  # that one is not Iceberg's
    for path in (stray, theirs):
        path.write_bytes(b"x" * 10)
        os.utime(path, (NOW.timestamp() - 10 * 86_400,) * 2)
    files, location = on_disk(table), table.metadata_location
    said = maintain(table, few, dry_run=True)
    assert (said.rewritten, said.expired, said.orphans, said.orphan_bytes) == (30, 10, [str(stray)], 10)
    assert on_disk(table) == files and other(table).metadata_location == location
    done = maintain(table, few)
    assert (done.rewritten, done.expired, done.orphans) == (30, 11, [str(stray)])
    assert not stray.exists() and theirs.exists()


def test_the_command(table: Table, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    from levain.cli import app

    monkeypatch.setenv("LEVAIN_HOME", str(settings.root))
    land_mixture(table, 12)
    table.catalog.create_table("bronze.another", table.schema().select("topic", "offset"))
    dry = CliRunner().invoke(app, ["maintain", "--dry-run"])
    assert dry.exit_code == 0 and "What would be done" in dry.output and len(data_files(table.refresh())) == 12
    ran = CliRunner().invoke(app, ["maintain"])
    assert ran.exit_code == 0 and len(data_files(table.refresh())) == 1, ran.output
    assert "bronze.another does not have the columns of a Bronze table: it is left alone" in ran.output
    (line,) = [line.split() for line in ran.output.splitlines() if "sales_events" in line]
    assert line[:3] == ["bronze.sales_events", "1", "12"] and line[4] == "1"


# Commits stay as quick


def test_what_a_commit_reads_and_writes_stays_bounded(table: Table, settings: Settings) -> None:
    """Latency follows these two; the benchmark of 2,000 commits measures it itself."""
    quick = settings.model_copy(update={"maintain_keep_snapshots": 20})
    for start in range(90):
        land(table, [fetch(start, start + 1)])
        if start % 15 == 14:
            maintain(table, quick, orphans=False)
        assert len(table.metadata.snapshots) <= 20 + 15 + 2
        assert len(data_files(table)) <= 15 + 8
