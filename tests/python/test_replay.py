"""Replaying files: how rows become events, and what a user is told when they cannot. None of this needs a broker."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path
from uuid import UUID

import duckdb
import pytest

from ingest.contracts import contract_for
from ingest.errors import LevainError
from ingest.publish import Headers
from ingest.replay import encode, read_rows, replay
from ingest.settings import Settings

SALES = contract_for("sales-events")
COLUMNS = "'S001' as store_id, timestamp '2026-01-05 07:00:00.5' as event_time"


def events(folder: Path, sql: str, topic: str = "sales-events") -> list[tuple[bytes | None, bytes, Headers]]:
    """Key, value and headers of each row of a query in a file of that folder."""
    file = folder / "rows.sql"
    file.write_text(sql, encoding="utf-8")
    contract = contract_for(topic)
    with duckdb.connect() as connection:
        return [encode(contract, row, number) for number, row in enumerate(read_rows(connection, contract, file), 1)]


def test_rows_become_json_objects_with_key_and_time(tmp_path: Path) -> None:
    [(key, value, headers)] = events(
        tmp_path,
        f"select uuid '0b8e7e5e-9b1f-4a4f-8d0a-111111111111' as event_id, {COLUMNS}, 3::bigint as quantity, "
        "1.10::decimal(12,2) as unit_price, null::varchar as customer_id, date '2026-01-31' as day, true as paid, "
        "'Crème « brûlée »' as note",
    )
    assert key == b"S001"
    assert headers == [("received-at", b"2026-01-05T07:00:00.500000Z")]
    assert value.decode() == (
        '{"event_id": "0b8e7e5e-9b1f-4a4f-8d0a-111111111111", "store_id": "S001", '
        '"event_time": "2026-01-05T07:00:00.500000Z", "quantity": 3, "unit_price": 1.10, "customer_id": null, '
        '"day": "2026-01-31", "paid": true, "note": "Crème « brûlée »"}'
    )


@pytest.mark.parametrize(
    ("expression", "text"),
    [
        ("timestamptz '2026-01-05 07:00:00+02'", '"2026-01-05T05:00:00Z"'),
        ("timestamp_ns '2026-01-05 07:00:00.123456789'", '"2026-01-05T07:00:00.123456Z"'),
        ("time '07:30'", '"07:30:00"'),
        ("12345678901234567890123456789012345678::hugeint", "12345678901234567890123456789012345678"),
        ("0.10::decimal(38,20)", "0.10000000000000000000"),
        ("'nan'::double", "NaN"),
        ("[1, null]", "[1, null]"),
        ("{'a': timestamp '2026-01-05', 'b': 1.50}", '{"a": "2026-01-05T00:00:00Z", "b": 1.50}'),
        ("""'{"a":  1.0}'::json""", '{"a":  1.0}'),
    ],
)
def test_each_type_has_one_form(tmp_path: Path, expression: str, text: str) -> None:
    [(_, value, _)] = events(tmp_path, f"select 'x' as event_id, {expression} as v")
    assert value.decode() == f'{{"event_id": "x", "v": {text}}}'


def test_reads_csv_parquet_and_json_beside_the_sql_file(tmp_path: Path) -> None:
    (tmp_path / "sales.csv").write_text("store,at,price\nS001,2026-01-05 07:00:00,1.10\nS002,2026-01-05 08:00:00,\n")
    (tmp_path / "sales.json").write_text('[{"store": "S003", "at": "2026-01-05T09:00:00", "price": 2.5}]')
    duckdb.execute(
        f"copy (select 'S004' as store, timestamp '2026-01-05 10:00' as \"at\", 3.25::decimal(9,2) as price) "
        f"to '{tmp_path / 'sales.parquet'}'"
    )
    sql = "select store as store_id, \"at\"::timestamp as event_time, price::decimal(12,2) as unit_price from '{}'"
    found = [each for kind in ("csv", "json", "parquet") for each in events(tmp_path, sql.format(f"sales.{kind}"))]
    assert [key for key, _, _ in found] == [b"S001", b"S002", b"S003", b"S004"]
    prices = [json.loads(value, parse_float=Decimal)["unit_price"] for _, value, _ in found]
    assert prices == [Decimal("1.10"), None, Decimal("2.50"), Decimal("3.25")]
    assert [dict(headers)["received-at"][11:13] for _, _, headers in found] == [b"07", b"08", b"09", b"10"]


def test_made_up_identities_are_the_same_each_time_and_tell_equal_rows_apart(tmp_path: Path) -> None:
    sql = f"select {COLUMNS} from range(3)"
    once, again = events(tmp_path, sql), events(tmp_path, sql)
    assert once == again
    identities = [json.loads(value)["event_id"] for _, value, _ in once]
    assert len(set(identities)) == 3
    assert all(UUID(identity).version == 5 for identity in identities)
    other = json.loads(events(tmp_path, f"select {COLUMNS}, 1 as quantity")[0][1])["event_id"]
    assert other not in identities


def test_rows_keep_their_order(tmp_path: Path) -> None:
    found = events(tmp_path, "select range::varchar as store_id from range(5000)")
    assert [key for key, _, _ in found] == [str(number).encode() for number in range(5000)]


def test_rows_without_key_or_time_are_published_all_the_same(tmp_path: Path) -> None:
    found = events(
        tmp_path, "select null as store_id, 'yesterday' as event_time union all by name select 1 as quantity"
    )
    assert [(key, headers) for key, _, headers in found] == [(None, []), (None, [])]


@pytest.mark.parametrize(
    ("value", "received"),
    [
        ("'2026-01-05T07:00:00+02:00'", b"2026-01-05T05:00:00Z"),
        ("'2026-01-05 07:00:00'", b"2026-01-05T07:00:00Z"),
        ("date '2026-01-05'", b"2026-01-05T00:00:00Z"),
    ],
)
def test_time_of_receipt_is_the_events_time_in_utc(tmp_path: Path, value: str, received: bytes) -> None:
    [(_, _, headers)] = events(tmp_path, f"select {value} as event_time")
    assert dict(headers) == {"received-at": received}


def test_other_statements_may_come_first(tmp_path: Path) -> None:
    sql = "create temp macro shop(n) as format('S{:03d}', n);\nselect shop(7) as store_id; -- the rows"
    assert [key for key, _, _ in events(tmp_path, sql)] == [b"S007"]


@pytest.mark.parametrize(
    ("sql", "says"),
    [
        ("selec 1", r"rows\.sql failed: Parser Error: syntax error .*\(line 1\)"),
        ("select 1 as a,\n  nope as b from range(3)", r"Binder Error: .*\"nope\""),
        ("select * from 'nope.csv'", r'No files found that match the pattern "nope.csv"'),
        ("", r"does not end in a SELECT"),
        ("set threads = 1", r"does not end in a SELECT"),
        ("select 1 as a, 2 as a", r"two columns a"),
        ("select case when range < 2500 then 1 else error('row is bad') end as a from range(3000)", r"row is bad"),
    ],
)
def test_a_query_that_cannot_be_used_is_said_in_one_line(tmp_path: Path, sql: str, says: str) -> None:
    with pytest.raises(LevainError, match=says) as caught:
        events(tmp_path, sql)
    assert "rows.sql" in caught.value.message
    assert "\n" not in caught.value.message
    assert caught.value.hint


def test_a_file_that_is_not_what_it_says_is_named(tmp_path: Path) -> None:
    (tmp_path / "broken.parquet").write_bytes(b"not a parquet file")
    with pytest.raises(LevainError, match=r"broken\.parquet"):
        events(tmp_path, "select * from 'broken.parquet'")


def test_an_identity_that_is_no_text_cannot_be_made_up(tmp_path: Path) -> None:
    with pytest.raises(LevainError, match="no column vente_id"):
        events(tmp_path, "select 1 as client_id", topic="ventes_stream")


def test_missing_and_unreadable_sql_files(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path)
    with pytest.raises(LevainError, match=r"gone\.sql cannot be read: No such file"):
        replay(settings, "sales-events", tmp_path / "gone.sql")
    (tmp_path / "latin.sql").write_bytes("select 'é'".encode("latin-1"))
    with pytest.raises(LevainError, match="not UTF-8"):
        replay(settings, "sales-events", tmp_path / "latin.sql")


def test_topic_without_contract_names_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(LevainError, match="'sales'") as caught:
        replay(Settings(home=tmp_path), "sales", tmp_path / "rows.sql")
    assert "sales-events" in caught.value.hint


def test_a_broken_query_is_said_before_a_broker_is_asked(tmp_path: Path) -> None:
    (tmp_path / "rows.sql").write_text("select nope")
    with pytest.raises(LevainError, match="nope"):
        replay(Settings(home=tmp_path), "sales-events", tmp_path / "rows.sql")


def test_no_rows_is_no_error(tmp_path: Path) -> None:
    (tmp_path / "rows.sql").write_text("select 1 as a where false")
    assert replay(Settings(home=tmp_path), "sales-events", tmp_path / "rows.sql") == 0
