"""State that is lost, older than the rest, moved or shared: what the next command says, and the way back."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace

import duckdb
import pyiceberg.catalog
import pytest
from pyiceberg.table import Table, snapshots
from test_lander import fetch, offsets

from ingest import commits
from ingest.catalog import ensure_table, open_catalog
from ingest.contracts import contract_for
from ingest.lander import land
from ingest.maintenance import maintain
from ingest.settings import Settings
from levain.bronze import load_extensions

SALES = contract_for("sales-events")


@pytest.fixture
def table(settings: Settings) -> Table:
    return ensure_table(open_catalog(settings), SALES)


# Clocks


@contextmanager
def clock(ahead: float) -> Iterator[None]:
    """A machine whose clock is so many seconds ahead, as snapshots take it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(snapshots, "time", SimpleNamespace(time=lambda: time.time() + ahead))
        yield


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
    assert commits.in_order(table.metadata)
    assert offsets(table) == list(range(12))
    with duckdb.connect() as connection:
        load_extensions(connection)
        found = connection.execute("select count(*) from iceberg_scan(?)", [table.metadata_location]).fetchall()
    assert found == [(12,)]


def test_a_table_whose_times_ran_backwards_is_put_in_order_by_the_next_commit(
    table: Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(pyiceberg.catalog, "update_table_metadata", commits._update_table_metadata)
        patch.setattr(commits, "_not_before", lambda update, earliest: update)
        with clock(ahead=600):
            land(table, [fetch(0, 1)])
        land(table, [fetch(1, 2)])
        land(table, [fetch(2, 3)])
    assert not commits.in_order(table.refresh().metadata)
    land(table, [fetch(3, 4)])
    assert commits.in_order(table.refresh().metadata)
    assert offsets(table) == [0, 1, 2, 3]
