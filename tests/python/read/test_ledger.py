"""The ledger adds up where every message is accounted for, and only there."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator

import pyarrow as pa
import pytest
from lake import CLUSTER, Lake, Record, own_environment
from pyiceberg.io.pyarrow import schema_to_pyarrow

from ingest.catalog import BRONZE_SCHEMA, next_offset_property
from levain.read import ledger
from levain.samples import generate

TOPIC = "sales-events"
MESSAGES = 60
DAYS = "quality.int_messages__daily"


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Lake:
    """A lake with sample messages in two partitions, some of them faulty, built once."""
    with own_environment():
        lake = Lake(tmp_path_factory.mktemp("ledger") / "home")
        for number, message in enumerate(generate([TOPIC], MESSAGES, faults="all")):
            place = Record(number // 2, number, message.key, message.value, list(message.headers))
            lake.land(TOPIC, number % 2, [place])
        lake.build()
    return lake


@pytest.fixture
def lake(built: Lake) -> Iterator[Lake]:
    """The built lake; what a test does to its tables is undone."""
    file, kept = built.settings.duckdb_file, built.settings.root / "kept.duckdb"
    shutil.copy(file, kept)
    yield built
    shutil.copy(kept, file)


def test_it_adds_up(lake: Lake) -> None:
    taken = ledger.take(lake.settings)
    assert taken.faults == []
    lines = [line for line in taken.lines if line.topic == TOPIC]
    assert [(line.kafka_cluster, line.partition, line.first, line.next) for line in lines] == [
        (CLUSTER, 0, 0, MESSAGES // 2),
        (CLUSTER, 1, 0, MESSAGES // 2),
    ]
    assert sum(line.rows for line in lines) == sum(line.messages for line in lines) == MESSAGES
    assert all(line.not_built == 0 for line in lines)
    assert sum(taken.rules[TOPIC].values()) > 0


def test_rules_are_counted_one_by_one(lake: Lake) -> None:
    failed = lake.read(f"select failed_rules from quality.quality_rejects where topic = '{TOPIC}'")
    names = [rule for (rules,) in failed if rules for rule in rules.split(",")]
    assert ledger.take(lake.settings).rules[TOPIC] == {name: names.count(name) for name in sorted(set(names))}


@pytest.mark.parametrize(
    ("damage", "fault"),
    [
        (
            "delete from silver.int_sales_events__verdicts where partition = 1 and kafka_offset = 3",
            "partition 1: Bronze has 30 rows below the built offset, the models 29 messages",
        ),
        (
            "insert into silver.int_sales_events__verdicts select * from silver.int_sales_events__verdicts "
            "where partition = 0 and kafka_offset = 5",
            "partition 0: Bronze has 30 rows below the built offset, the models 31 messages",
        ),
        (
            "update silver.int_sales_events__verdicts set verdict = 'lost' where partition = 0 and kafka_offset = 5",
            "partition 0: 30 messages are not",
        ),
        (
            "update meta.watermarks set next_offset = 12 where partition = 1",
            "partition 1: Bronze has 12 rows below the built offset, the models 30 messages",
        ),
        (
            f"update {DAYS} set accepted = accepted - 1, held = held + 1 where partition = 0 "
            f"and event_day = (select min(event_day) from {DAYS} where partition = 0)",
            "partition 0: 23 accepted + 1 duplicate + 1 conflict + 4 rejected + 1 held, "
            "but quality_messages has 22 accepted + 1 duplicate + 1 conflict + 4 rejected + 2 held",
        ),
        (
            f"update {DAYS} set messages = messages + 1 where partition = 0 "
            f"and event_day = (select min(event_day) from {DAYS} where partition = 0)",
            "partition 0: 23 accepted + 1 duplicate + 1 conflict + 4 rejected + 1 held, "
            "but quality_messages has 23 accepted + 1 duplicate + 1 conflict + 4 rejected + 1 held of 31 messages",
        ),
    ],
)
def test_what_the_models_lose_or_double_is_found(
    lake: Lake, capsys: pytest.CaptureFixture[str], damage: str, fault: str
) -> None:
    lake.write(damage)
    assert not ledger.print_ledger(lake.settings, format="json")
    document = json.loads(capsys.readouterr().out)
    assert not document["adds_up"]
    assert len(document["faults"]) == 1
    assert document["faults"][0].startswith(f"{CLUSTER}, {TOPIC}, {fault}")
    assert not ledger.print_ledger(lake.settings, format="table")
    assert f"Does not add up: {CLUSTER}, {TOPIC}, {fault}" in capsys.readouterr().err


def test_what_has_landed_since_is_not_built_and_no_error(lake: Lake) -> None:
    start = MESSAGES // 2
    lake.land(TOPIC, 1, [Record(start + number, 0, None, b"{}") for number in range(4)])
    try:
        taken = ledger.take(lake.settings)
        assert taken.faults == []
        assert [line.not_built for line in taken.lines if line.topic == TOPIC] == [0, 4]
    finally:
        lake.tables[TOPIC].delete(f"partition = 1 and offset >= {start}")
        with lake.tables[TOPIC].transaction() as transaction:
            transaction.set_properties({next_offset_property((CLUSTER, TOPIC, 1)): str(start)})


def test_an_offset_that_is_twice_in_bronze_is_found(lake: Lake) -> None:
    table = lake.tables[TOPIC]
    twice = table.scan(row_filter="partition = 0 and offset = 7").to_arrow()
    table.append(
        pa.Table.from_pylist(twice.to_pylist(), schema=schema_to_pyarrow(BRONZE_SCHEMA, include_field_ids=False))
    )
    assert "partition 0: Bronze has 31 rows for 30 offsets" in " ".join(ledger.take(lake.settings).faults)
    table.delete("partition = 0 and offset = 7")
    assert "Bronze has 29 rows below the built offset, the models 30 messages" in " ".join(
        ledger.take(lake.settings).faults
    )
