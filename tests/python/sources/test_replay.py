"""Replaying files: how rows become events, and the errors when they cannot. None of this needs a broker."""

from __future__ import annotations

import json
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from uuid import UUID

import duckdb
import pytest

from ingest.contracts import contract_for
from ingest.errors import LevainError
from ingest.settings import Settings
from ingest.sources.publish import Headers
from ingest.sources.replay import encode, read_rows, replay

SALES = contract_for("sales-events")
COLUMNS = "'S001' as store_id, timestamp '2026-01-05 07:00:00.5' as event_time"


def events(folder: Path, sql: str, topic: str = "sales-events") -> list[tuple[bytes | None, bytes, Headers]]:
    """Key, value and headers of each row of a query in a file of that folder."""
    file = folder / "rows.sql"
    file.write_text(sql, encoding="utf-8")
    contract = contract_for(topic)
    with duckdb.connect() as connection:
        _, rows = read_rows(connection, file)
        return [encode(contract, row, number) for number, row in enumerate(rows, 1)]


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
        ("'nan'::double", "null"),
        ("['nan'::float, 0.5]", "[null, 0.5]"),
        ("{'a': ['nan'::double]}", '{"a": [null]}'),
        ("timestamptz '9999-12-31 23:59:59.999999+00'", '"9999-12-31T23:59:59.999999Z"'),
        ("date '9999-12-31'", '"9999-12-31"'),
        ("timestamp_s '1899-12-30 00:00:00'", '"1899-12-30T00:00:00Z"'),
        ("interval '1 month'", '"1 month"'),
        ("[time '07:30']", '["07:30:00"]'),
        ("map {7: date '2026-01-31'}", '{"7": "2026-01-31"}'),
        ("['abc'::blob]", '["abc"]'),
        ("null::json", "null"),
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


def test_a_made_up_identity_is_the_key_where_the_contract_says_so() -> None:
    """Copies of an event keep to one partition."""
    contract = replace(contract_for("sales-events"), key="event_id")
    key, value, _ = encode(contract, {"store_id": "S001"}, 1)
    assert key == json.loads(value)["event_id"].encode()


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
        ("from sql", r"Table with name sql does not exist"),  # a variable of the program itself
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


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("'infinity'::double", "infinity"),
        ("'-infinity'::float", "-infinity"),
        ("[1.0, 'infinity'::double]", "infinity"),
        ("{'a': 'infinity'::double}", "infinity"),
        ("'infinity'::timestamp", "infinity"),
        ("'-infinity'::timestamptz", "-infinity"),
        ("['infinity'::date]", "infinity"),
        ("timestamp '10000-01-01 00:00:00'", "10000-01-01 00:00:00"),
        ("date '0044-03-15 (BC)'", r"0044-03-15 \(BC\)"),
    ],
)
def test_a_value_without_a_json_form_is_named_with_row_and_column(tmp_path: Path, expression: str, value: str) -> None:
    sql = f"select case when range = 1500 then {expression} end as price from range(2000)"
    with pytest.raises(LevainError, match=f"Row 1501 .*rows.sql has in price what has no JSON form: {value}"):
        events(tmp_path, sql)


@pytest.mark.parametrize(
    "statement",
    [
        "copy (select 1) to '{}/x.csv'",
        "explain analyze copy (select 1) to '{}/x.csv'",
        "export database '{}/x'",
        "attach '{}/x.duckdb'",
        "install json",
        "prepare p as copy (select 1) to '{}/x.csv'; execute p",
        "create persistent secret s (type s3, key_id 'a', secret 'b')",
        "call enable_logging()",
        "pragma enable_profiling",
    ],
)
def test_replaying_only_reads(tmp_path: Path, statement: str) -> None:
    for sql in (f"{statement}; select 1 as quantity", f"create table t as select 1; {statement}"):
        with pytest.raises(LevainError, match=r"does not run|does not end|failed: "):
            events(tmp_path, sql.format(tmp_path))
        assert [path.name for path in tmp_path.iterdir()] == ["rows.sql"]


def test_what_prepares_a_query_may_stand_before_it(tmp_path: Path) -> None:
    sql = (
        "begin; create table shops as select 'S001' as store_id; insert into shops values ('S002'); commit;"
        "set variable shop = 'S002'; delete from shops where store_id <> getvariable('shop'); from shops"
    )
    assert [key for key, _, _ in events(tmp_path, sql)] == [b"S002"]


@pytest.mark.parametrize(
    ("topic", "sql", "says"),
    [
        ("sales-events", "select 1 as x", r"no column event_time, .*payment_method; and x, which no field is called"),
        ("sales-events", "select * exclude (quantity) from sale", r"has no column quantity\."),
        ("sales-events", "select *, 1 as promotion from sale", r"has promotion, which no field is called\."),
        ("sales-events", "select *, 1 as QUANTITY2, 2 as unit_Price from sale", "QUANTITY2, unit_Price, which"),
        ("ventes_stream", "select 1 as client_id", "no column vente_id"),
    ],
)
def test_columns_that_are_no_fields_are_named(tmp_path: Path, topic: str, sql: str, says: str) -> None:
    """Before a broker is asked, and even if there are no rows."""
    fields = ", ".join(f"null as {field.name}" for field in SALES.fields if field.required)
    (tmp_path / "rows.sql").write_text(f"create view sale as select {fields} where false; {sql}")
    with pytest.raises(LevainError, match=says) as caught:
        replay(Settings(home=tmp_path), topic, tmp_path / "rows.sql")
    assert contract_for(topic).key in caught.value.hint or topic == "ventes_stream"


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
    columns = ", ".join(f"null as {field.name}" for field in SALES.fields)
    (tmp_path / "rows.sql").write_text(f"select {columns} where false")
    assert replay(Settings(home=tmp_path), "sales-events", tmp_path / "rows.sql") == 0
