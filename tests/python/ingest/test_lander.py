"""The landing protocol, without Kafka: what lands, what is trimmed, and what happens when a commit goes wrong."""

from __future__ import annotations

import os
import resource
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from batches import P0, P1, SALES, Message, away_three_times, fetch, offsets
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from pyiceberg.exceptions import CommitFailedException, CommitStateUnknownException
from pyiceberg.table import Table

from ingest import lander
from ingest.catalog import ensure_table, open_catalog, topic_id, watermarks
from ingest.errors import LevainError
from ingest.lander import Fetch, Range, covered_ranges, land
from ingest.settings import Settings


class Clock:
    """In place of the lander's `time`: nobody waits, the clock goes on as if they did."""

    now = 100.0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def table(settings: Settings) -> Table:
    return ensure_table(open_catalog(settings), SALES)


@pytest.fixture
def stale(settings: Settings, table: Table) -> Table:
    """The same table in the hands of another writer, which does not see the first one's commits."""
    return ensure_table(open_catalog(settings), SALES)


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lander, "time", Clock())


# What lands


def test_every_byte_comes_back(table: Table) -> None:
    invalid = (b"\xff\xfe", b"\xc0\x80", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"abc\xe2\x82")
    valid = (b"{}", b"", "Crème « brûlée » 🥐".encode(), b"a\x00b", "\uffff".encode())
    headers = (("received-at", b"2026-01-05T07:00:00Z"), ("a", b"1"), ("a", None), ("b", b"\xff"), ("", b""))
    sent = [Message(n, value=value, key=value) for n, value in enumerate((*invalid, *valid, None))]
    sent += [Message(20, headers=headers), Message(21, timestamp=-1), Message(22, timestamp=2**62)]
    land(table, [Fetch.of(P0, sent)])

    rows = sorted(table.scan().to_arrow().to_pylist(), key=lambda row: row["offset"])
    assert [_bytes(row, "value") for row in rows] == [message.value for message in sent]
    assert [_bytes(row, "key") for row in rows] == [message.key for message in sent]
    assert [[(h["key"], _bytes(h, "value")) for h in row["headers"]] for row in rows] == [
        list(message.headers) for message in sent
    ]
    assert all(row["value"] is None for row in rows[: len(invalid)])
    assert all(row["value_bytes"] is None for row in rows[len(invalid) :])
    moment = datetime.fromtimestamp(1_700_000_000.123, UTC)
    assert [row["kafka_timestamp"] for row in rows] == [moment] * (len(sent) - 2) + [None, None]
    assert len({row["ingest_batch_id"] for row in rows}) == 1


@hypothesis_settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(values=st.lists(st.none() | st.binary(max_size=12) | st.text(max_size=6).map(str.encode), min_size=1))
def test_any_bytes_make_the_same_bytes(values: list[bytes | None]) -> None:
    messages = [Message(n, value=v, key=v, headers=(("h", v),)) for n, v in enumerate(values)]
    rows = lander.to_arrow([Fetch.of(P0, messages)], datetime.now(UTC), "batch").to_pylist()
    assert [_bytes(row, "value") for row in rows] == values
    assert [_bytes(row, "key") for row in rows] == values
    assert [_bytes(row["headers"][0], "value") for row in rows] == values


def test_one_commit_carries_rows_ranges_watermarks_and_properties(table: Table) -> None:
    gap = Fetch.of(P0, [Message(2), Message(9)], 0, 10)  # 0, 1 and 3 to 8 are aborted messages and markers
    landed = land(table, [gap, fetch(5, 8, P1), fetch(10, 12)], topic_id="abc")
    assert landed.rows == 7
    assert landed.ranges == [Range(P0, 0, 12), Range(P1, 5, 8)]
    assert len(table.metadata.snapshots) == 1
    assert covered_ranges(table) == landed.ranges
    assert watermarks(table) == {P0: 12, P1: 8}
    assert topic_id(table, "test", "sales-events") == "abc"
    assert offsets(table) == [2, 9, 10, 11]


def test_aliases_are_different_messages(table: Table) -> None:
    other = ("embedded-2", "sales-events", 0)
    land(table, [fetch(0, 3)])
    land(table, [fetch(0, 2, other)])
    assert watermarks(table) == {P0: 3, other: 2}
    assert offsets(table, other) == [0, 1]


def test_a_record_outside_the_range_of_its_fetch_is_refused() -> None:
    with pytest.raises(ValueError, match=r"7 to 9 are not in \[8, 10\)"):
        Fetch.of(P0, [Message(7), Message(9)], 8)


# What is trimmed


def test_what_has_landed_does_not_land_again(table: Table) -> None:
    land(table, [fetch(0, 10)])
    snapshots = len(table.metadata.snapshots)
    assert land(table, [fetch(0, 10), fetch(3, 7)]).rows == 0
    assert len(table.refresh().metadata.snapshots) == snapshots
    assert land(table, [fetch(5, 15)]).ranges == [Range(P0, 10, 15)]
    assert offsets(table) == list(range(15))


def test_copies_within_a_batch_land_once(table: Table) -> None:
    land(table, [fetch(0, 5), fetch(3, 8), fetch(0, 4), fetch(8, 9)])
    assert offsets(table) == list(range(9))


def test_a_watermark_within_a_gap_is_kept(table: Table) -> None:
    land(table, [Fetch.of(P0, [Message(1)], 0, 10)])
    land(table, [Fetch.of(P0, [Message(1), Message(15)], 0, 20)])
    assert covered_ranges(table) == [Range(P0, 0, 10), Range(P0, 10, 20)]
    assert offsets(table) == [1, 15]


def test_missing_offsets_stop_with_their_exact_range(table: Table) -> None:
    land(table, [fetch(0, 10)])
    with pytest.raises(LevainError, match=r"Offsets 10 to 24 of sales-events, partition 0, cluster test") as caught:
        land(table, [fetch(25, 30)])
    assert "LEVAIN_ACCEPT_MISSING" in caught.value.hint
    assert offsets(table) == list(range(10))
    assert land(table, [fetch(25, 30)], accept_missing=True).ranges == [Range(P0, 25, 30)]
    assert covered_ranges(table) == [Range(P0, 0, 10), Range(P0, 25, 30)]


def test_a_new_partition_may_start_anywhere(table: Table) -> None:
    assert land(table, [fetch(700, 710)], beginnings={P0: 700}).ranges == [Range(P0, 700, 710)]
    assert land(table, [fetch(5, 8, P1)]).ranges == [Range(P1, 5, 8)]


def test_a_new_partition_starts_where_it_was_to_be_read_from(table: Table) -> None:
    with pytest.raises(LevainError, match="Offsets 0 to 9 of sales-events, partition 0"):
        land(table, [fetch(10, 20)], beginnings={P0: 0})
    land(table, [fetch(0, 20)], beginnings={P0: 0})
    land(table, [fetch(20, 30)], beginnings={P0: 0})
    assert offsets(table) == list(range(30))


# What happens when a commit goes wrong


def test_a_stale_writer_lands_only_what_is_new(table: Table, stale: Table) -> None:
    land(table, [fetch(0, 101)])
    assert land(stale, [fetch(0, 101)]).rows == 0
    assert offsets(table) == list(range(101))
    land(table, [fetch(101, 110)])
    assert land(stale, [fetch(90, 120), fetch(0, 3, P1)]).ranges == [Range(P0, 110, 120), Range(P1, 0, 3)]
    assert offsets(table) == list(range(120))


def test_a_stale_writer_to_a_table_that_levain_has_not_made(table: Table, stale: Table) -> None:
    """Without our property PyIceberg would try again by itself, and land 202 rows."""
    with table.transaction() as transaction:
        transaction.remove_properties("commit.retry.num-retries")
    stale.refresh()
    land(table, [fetch(0, 101)])
    assert land(stale, [fetch(0, 101)]).rows == 0
    assert offsets(table) == list(range(101))


def test_a_topic_recreated_that_lands_before_the_old_one(table: Table, stale: Table) -> None:
    """What was read of the old one still waits for the catalog, and no id is in the table that could tell."""
    land(table, [fetch(0, 50)], topic_id="new")
    with pytest.raises(LevainError, match=r"Topic sales-events of cluster test is not the one .* \(id new\)"):
        land(stale, [fetch(0, 100)], topic_id="old")
    assert offsets(table) == list(range(50))
    assert (watermarks(table), topic_id(table, "test", "sales-events")) == ({P0: 50}, "new")


def test_writers_at_once_land_each_offset_once(settings: Settings, table: Table) -> None:
    """Four believe that they own both partitions, and land them in fetches of different sizes."""

    def writer(step: int) -> None:
        own = ensure_table(open_catalog(settings), SALES)
        for start in range(0, 60, step):
            end = min(start + step, 60)
            land(own, [fetch(start, end), fetch(start, end, P1)])

    threads = [threading.Thread(target=writer, args=(step,)) for step in (7, 10, 13, 20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert offsets(table) == offsets(table, P1) == list(range(60))
    by_partition: dict[tuple[str, str, int], list[Range]] = {P0: [], P1: []}
    for found in covered_ranges(table):
        by_partition[found.partition].append(found)
    for ranges in by_partition.values():
        assert [r.start for r in ranges] == [0, *(r.end for r in ranges)][:-1], "ranges are contiguous"


class Faulty:
    """A catalog whose first commits go wrong, before or after they are made."""

    def __init__(self, table: Table, faults: Sequence[tuple[str, Exception]]) -> None:
        self.faults = list(faults)
        self.attempts = 0
        self._commit = table.catalog.commit_table

    def commit_table(self, *args: Any) -> Any:
        self.attempts += 1
        when, fault = self.faults.pop(0) if self.faults else ("never", None)
        if when == "before":
            raise fault
        answer = self._commit(*args)
        if when == "after":
            raise fault
        return answer


@pytest.fixture
def break_commits(table: Table, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Faulty]:
    def install(*faults: tuple[str, Exception]) -> Faulty:
        faulty = Faulty(table, faults)
        monkeypatch.setattr(table.catalog, "commit_table", faulty.commit_table)
        return faulty

    return install


LOST = [TimeoutError("no reply"), CommitStateUnknownException("500"), ConnectionResetError("reset"), OSError("gone")]


@pytest.mark.parametrize("fault", [*LOST, CommitFailedException("stale")], ids=lambda fault: type(fault).__name__)
def test_a_lost_reply_does_not_land_twice(table: Table, break_commits: Callable[..., Faulty], fault: Exception) -> None:
    """Refused: the client of the catalog has sent the request once more by itself."""
    faulty = break_commits(("after", fault))
    landed = land(table, [fetch(0, 10)])
    assert faulty.attempts == 1, "the batch is found, not sent again"
    assert (landed.rows, landed.ranges) == (10, [Range(P0, 0, 10)])
    assert lander.has_landed(table, landed.batch_id)
    assert offsets(table) == list(range(10))


@pytest.mark.parametrize("fault", LOST, ids=lambda fault: type(fault).__name__)
def test_a_lost_request_is_sent_again(table: Table, break_commits: Callable[..., Faulty], fault: Exception) -> None:
    faulty = break_commits(("before", fault), ("before", CommitFailedException("conflict")), ("after", fault))
    assert land(table, [fetch(0, 10)]).rows == 10
    assert faulty.attempts == 3
    assert offsets(table) == list(range(10))


def test_a_further_try_of_the_same_rows_writes_no_further_file(
    table: Table, break_commits: Callable[..., Faulty]
) -> None:
    break_commits(*[("before", CommitFailedException("conflict"))] * 3)
    assert land(table, [fetch(0, 10)]).rows == 10
    assert len(list(Path(table.location().removeprefix("file://")).rglob("*.parquet"))) == 1


def test_a_lost_reply_followed_by_another_writers_commit(
    table: Table, stale: Table, break_commits: Callable[..., Faulty], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Our commit was made, its reply lost, and someone else went on from it before we looked."""
    break_commits(("after", TimeoutError("no reply")))
    waits = SimpleNamespace(sleep=lambda seconds: land(stale.refresh(), [fetch(10, 20)]), monotonic=time.monotonic)
    monkeypatch.setattr(lander, "time", waits)  # not time.sleep itself: other threads call that too
    assert land(table, [fetch(0, 10)]).ranges == [Range(P0, 0, 10)]
    assert offsets(table) == list(range(20))


def test_a_catalog_that_is_away_for_a_while(
    table: Table, break_commits: Callable[..., Faulty], monkeypatch: pytest.MonkeyPatch
) -> None:
    break_commits(("after", TimeoutError("no reply")))
    away_three_times(table, monkeypatch)
    assert land(table, [fetch(0, 10)]).rows == 10
    assert offsets(table) == list(range(10))


def test_a_catalog_that_stays_away_ends_it(table: Table, break_commits: Callable[..., Faulty]) -> None:
    break_commits(*[("before", TimeoutError("no reply"))] * 4)
    asked: list[tuple[Exception, float]] = []

    def try_again(failure: Exception, seconds: float) -> bool:
        asked.append((failure, seconds))
        return len(asked) < 4

    with pytest.raises(LevainError, match=r"bronze.sales_events does not take a commit: tried 4 times in .* no reply"):
        land(table, [fetch(0, 10)], try_again=try_again)
    assert offsets(table) == []
    assert [str(failure) for failure, _ in asked] == ["no reply"] * 4
    seconds = [seconds for _, seconds in asked]
    assert seconds[0] < 0.1 and seconds == sorted(seconds) and seconds[-1] > 0.5, "since the first failure"


@contextmanager
def full_disk() -> Iterator[None]:
    """The system refuses to let a file grow beyond 50 KB, as it refuses any growth on a full disk."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def test_a_full_disk_is_named_and_no_piece_of_a_file_is_left(table: Table) -> None:
    noise = Fetch.of(P0, [Message(0, value=os.urandom(200_000))])
    with (
        full_disk(),
        pytest.raises(LevainError, match=r"bronze.sales_events cannot be written at .*File too large"),
    ):
        land(table, [noise], try_again=lambda failure, seconds: False)
    assert offsets(table) == []
    assert not list(Path(table.location().removeprefix("file://")).rglob("*.parquet"))
    assert land(table, [noise]).rows == 1


def test_a_disk_that_is_full_for_a_while(table: Table) -> None:
    noise, limits = Fetch.of(P0, [Message(0, value=os.urandom(200_000))]), resource.getrlimit(resource.RLIMIT_FSIZE)

    def make_room(failure: Exception, seconds: float) -> bool:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        return "File too large" in str(failure)

    with full_disk():
        assert land(table, [noise], try_again=make_room).rows == 1
    assert offsets(table) == [0]


def test_pyicebergs_own_retry_is_off(table: Table) -> None:
    """It appends again without looking at what has landed meanwhile."""
    assert table.properties["commit.retry.num-retries"] == "0"


# Any history at all


@hypothesis_settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    steps=st.lists(
        st.tuples(
            st.integers(0, 2),  # which writer
            st.integers(0, 6),  # how far back it starts, as after a rebalance to an older hint
            st.integers(1, 9),  # how many offsets it has buffered
            st.sampled_from(["never", "before", "after"]),  # what becomes of its commit
        ),
        max_size=8,
    )
)
def test_any_sequence_of_writers_and_faults(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[int, int, int, str]]
) -> None:
    settings = Settings(home=tmp_path_factory.mktemp("history"))
    tables = [ensure_table(open_catalog(settings), SALES) for _ in range(3)]
    reached = 0
    for who, back, count, when in steps:
        table = tables[who]
        start = max(0, watermarks(table).get(P0, 0) - back)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(table.catalog, "commit_table", Faulty(table, [(when, TimeoutError())]).commit_table)
            land(table, [fetch(start, start + count)])
        reached = max(reached, start + count)
    assert Counter(offsets(tables[0])) == Counter(range(reached))
    assert [r.start for r in covered_ranges(tables[0])] == [0, *(r.end for r in covered_ranges(tables[0]))][:-1]


def _bytes(row: dict[str, Any], column: str) -> bytes | None:
    """The bytes that were sent, from the text column or the one beside it; never both."""
    text, raw = row[column], row[f"{column}_bytes"]
    assert text is None or raw is None
    return text.encode() if text is not None else raw
