"""Bronze against Kafka after chaos, and the proof that what compares them would see a difference."""

from __future__ import annotations

import copy
from pathlib import Path

import pyarrow as pa
import pytest
from chaos import Chaos
from exactness import Content, Place, differences, holes, rows
from lake import CLUSTER, Lake, Record
from pyiceberg.expressions import And, EqualTo
from pyiceberg.table import Table

from ingest.lander import Fetch, land

TOPIC = "sales-events"


def storm(folder: Path, rounds: int, seed: int) -> None:
    chaos = Chaos(folder, seed)
    try:
        assert chaos.run(rounds) == []
        assert chaos.sender.sent > 100 * rounds
    finally:
        chaos.close()


@pytest.mark.timeout(900)
def test_a_few_rounds(tmp_path: Path) -> None:
    storm(tmp_path, rounds=4, seed=11)


@pytest.mark.full
@pytest.mark.timeout(7200)
def test_two_hundred_rounds(tmp_path: Path) -> None:
    storm(tmp_path, rounds=200, seed=1)


class Landed:
    """A table of 90 messages in 3 partitions and 3 commits, and what was sent."""

    def __init__(self, home: Path) -> None:
        self.lake = Lake(home)
        self.sent: dict[Place, Content] = {}
        for commit in range(3):
            for partition in range(3):
                records = []
                for n in range(10):
                    offset = commit * 10 + n
                    value = None if n == 3 else b"\xff" if n == 4 else b'{"n": %d}' % offset
                    records.append(Record(offset, 1_700_000_000_000, b"key", value, [("h", b"1")]))
                    self.sent[partition, offset] = b"key", value, [("h", b"1")]
                self.lake.land(TOPIC, partition, records)

    @property
    def table(self) -> Table:
        return self.lake.tables[TOPIC].refresh()

    def differences(self) -> list[str]:
        return differences(self.sent, rows(self.table, CLUSTER))


@pytest.fixture
def landed(tmp_path: Path) -> Landed:
    return Landed(tmp_path)


def test_an_exact_table_has_no_differences(landed: Landed) -> None:
    assert landed.differences() == []
    assert holes(landed.table) == []
    assert len(rows(landed.table, CLUSTER)) == 90


def test_a_row_that_was_removed_is_named(landed: Landed) -> None:
    landed.table.delete(And(EqualTo("partition", 1), EqualTo("offset", 17)))
    assert landed.differences() == ["partition 1, offset 17 is missing"]


def test_a_row_that_is_there_twice_is_named(landed: Landed) -> None:
    landed.table.append(landed.table.scan(And(EqualTo("partition", 2), EqualTo("offset", 4))).to_arrow())
    assert landed.differences() == ["partition 2, offset 4 is there 2 times"]


@pytest.mark.parametrize("column", ["value", "key"])
def test_a_row_that_was_altered_is_named(landed: Landed, column: str) -> None:
    place = And(EqualTo("partition", 0), EqualTo("offset", 29))
    row = landed.table.scan(place).to_arrow()
    field = row.schema.field(column)
    altered = row.set_column(row.schema.get_field_index(column), field, pa.array(["altered"], field.type))
    landed.table.overwrite(altered, place)
    assert landed.differences() == ["partition 0, offset 29 is not what was sent"]


def test_a_row_nobody_sent_and_altered_headers_are_named(landed: Landed) -> None:
    sent = copy.copy(landed.sent)
    landed.sent.pop((0, 0))
    assert landed.differences() == ["partition 0, offset 0 was never sent"]
    landed.sent = sent | {(0, 0): (sent[0, 0][0], sent[0, 0][1], [("h", b"2")])}
    assert landed.differences() == ["partition 0, offset 0 is not what was sent"]


def test_a_hole_between_two_commits_is_named(landed: Landed) -> None:
    table = landed.table
    assert holes(table) == []
    middle = table.metadata.snapshots[4]  # of partition 1
    table.maintenance.expire_snapshots().by_id(middle.snapshot_id).commit()
    assert holes(table.refresh()) == [], "what has expired is not told"
    later = Record(40, 1_700_000_000_000, b"key", b"{}", [])  # 30 to 39 never landed
    land(table, [Fetch.of((CLUSTER, TOPIC, 1), [later])], accept_missing=True)
    (hole,) = holes(table.refresh())
    assert "'sales-events', 1), start=40, end=41) begins at 40, the one before ended at 30" in hole
