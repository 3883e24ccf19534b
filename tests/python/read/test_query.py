"""`levain query`: exact values in each format, and nothing but reading."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pytest
from lake import Lake

from ingest.errors import LevainError
from ingest.settings import Settings
from levain.read.query import query
from levain.warehouse.bronze import bronze_tables, prepare

Printed = Callable[..., str]


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Lake:
    """A lake with one message in it, and a warehouse as a build makes it: a view of Bronze, and a table."""
    lake = Lake(tmp_path_factory.mktemp("query") / "home")
    lake.send("sales-events", [b'{"event_id": "x"}'])
    with duckdb.connect(str(lake.settings.duckdb_file)) as connection:
        prepare(connection, lake.settings)
        location = dict(bronze_tables(lake.settings))["sales_events"]
        connection.execute(
            f"""
            create schema bronze; create schema quality;
            create view bronze.sales_events as select * from iceberg_scan('{location}');
            create table quality.quality_messages as
            select topic, count(*) as messages from bronze.sales_events group by all;
            """
        )
    return lake


@pytest.fixture
def printed(lake: Lake, capsys: pytest.CaptureFixture[str]) -> Printed:
    """What a query prints."""

    def run(sql: str, format: str = "table") -> str:
        query(lake.settings, sql, format)
        return capsys.readouterr().out

    return run


def test_a_table_is_printed_whole_however_wide(printed: Printed) -> None:
    long = "x" * 12_000
    head, row = printed(f"select 'é日' as short, '{long}' as long, 1234567 as number, -0.5 as part").splitlines()
    assert row == f" é日    {long}  1,234,567  -0.5"
    assert head == f" short  {'long':<12000}     number  part"
    columns = ", ".join(f"123456789012.25::decimal(20, 2) as c{number}" for number in range(900))
    assert printed(f"select {columns}").splitlines()[1].split() == ["123,456,789,012.25"] * 900


def test_many_rows_come_as_csv_and_json_and_are_refused_as_a_table(printed: Printed) -> None:
    sql = "select range as n from range(100_001)"
    with pytest.raises(LevainError, match=r"more than 100,000 rows.*\n.*limit.*csv"):
        printed(sql)
    assert printed(sql, "csv") == "n\n" + "".join(f"{n}\n" for n in range(100_001))
    assert json.loads(printed(sql, "json")) == [{"n": n} for n in range(100_001)]
    assert len(printed(f"{sql} limit 100_000").splitlines()) == 100_001


EXACT = {
    "12345678901234567.891::decimal(38,3)": Decimal("12345678901234567.891"),
    "-0.10::decimal(12,2)": Decimal("-0.10"),
    "170141183460469231731687303715884105727::hugeint": 170141183460469231731687303715884105727,
    "340282366920938463463374607431768211455::uhugeint": 340282366920938463463374607431768211455,
    "9007199254740993": 9007199254740993,
    "0.1::double": Decimal("0.1"),
    "'nan'::double": "NaN",
    "'-infinity'::float": "-Infinity",
    "true": True,
    "null::integer": None,
    "''": "",
    "'NULL'": "NULL",
    "'a,\"b\"' || chr(13) || chr(10) || ' c '": 'a,"b"\r\n c ',
    "'\u00e9\U0001f950 sku:key:1 [bold]' || chr(27) || '[31m'": "\u00e9\U0001f950 sku:key:1 [bold]\x1b[31m",
    "timestamp '2026-01-05 07:00:00.5'": "2026-01-05T07:00:00.5",
    "timestamptz '2026-01-05 07:00:00+02'": "2026-01-05T05:00:00+00:00",
    "timestamp_ns '2026-01-05 07:00:00.123456789'": "2026-01-05T07:00:00.123456789",
    "timestamp '12026-01-05 07:00:00'": "12026-01-05T07:00:00",
    "timestamp '0044-03-15 (BC) 10:00'": "0044-03-15 (BC) 10:00:00",
    "'infinity'::timestamp": "infinity",
    "date '2026-01-05'": "2026-01-05",
    "'-infinity'::date": "-infinity",
    "time '07:30'": "07:30:00",
    "interval '1 month 2 days 3 hours'": "1 month 2 days 03:00:00",
    "uuid '0b8e7e5e-9b1f-4a4f-8d0a-111111111111'": "0b8e7e5e-9b1f-4a4f-8d0a-111111111111",
    "'\\x00\\xFF'::blob": "00ff",
    "[1.10, null]::decimal(38,2)[]": [Decimal("1.10"), None],
    "[1, 2]::integer[2]": [1, 2],
    "{'a': 'nan'::double, 'b': [timestamp '2026-01-05']}": {"a": "NaN", "b": ["2026-01-05T00:00:00"]},
    "row(1, interval '1 month')": {"v1": 1, "v2": "1 month"},
    "map {1: 0.50}": {"1": Decimal("0.50")},
    "map {[1, 2]: interval '1 month'}": {"[1, 2]": "1 month"},
}


def test_json_keeps_every_value(printed: Printed) -> None:
    columns = ", ".join(f"{expression} as c{number}" for number, expression in enumerate(EXACT))
    text = printed(f"select {columns}", "json")
    (row,) = json.loads(text, parse_float=Decimal, parse_constant=lambda word: pytest.fail(f"bare {word}"))
    for (expression, value), found in zip(EXACT.items(), row.values(), strict=True):
        assert (found, type(found)) == (value, type(value)), expression
    assert json.loads(printed("select 1 as a where false", "json")) == []
    assert [each["a"] for each in json.loads(printed("select range as a from range(3)", "json"))] == [0, 1, 2]


def test_csv_keeps_every_value_and_tells_null_from_empty(printed: Printed, tmp_path: Path) -> None:
    columns = ", ".join(f"{expression} as c{number}" for number, expression in enumerate(EXACT))
    text = printed(f"select {columns} union all by name select 7 as c4", "csv")
    (tmp_path / "rows.csv").write_text(text, newline="", encoding="utf-8")
    options = "all_varchar = true, header = true, quote = '\"', escape = '\"', allow_quoted_nulls = false"
    rows = duckdb.sql(f"from read_csv('{tmp_path / 'rows.csv'}', {options})").fetchall()
    assert len(rows) == 2
    for (expression, value), found in zip(EXACT.items(), rows[0], strict=True):
        if isinstance(value, list | dict | bool):
            assert json.loads(found, parse_float=Decimal) == value, expression
        elif isinstance(value, str) or value is None:
            assert found == value, expression
        else:
            assert Decimal(found) == value, expression
    header, *_ = csv.reader(io.StringIO(printed("select 1 as a, 2 as a", "csv")))
    assert header == ["a", "a"], "CSV keeps both"
    assert printed("select 1 as a where false", "csv") == "a\n"


def test_a_table_shows_values_as_data(printed: Printed) -> None:
    sql = "select 'sku:key:1 [red]x' || chr(27) || '[31m' || chr(10) || chr(8238) || chr(155) as \"a[b]:key:\""
    header, row, *rest = printed(sql).splitlines()
    assert header.strip() == "a[b]:key:"
    assert row.strip() == r"sku:key:1 [red]x\x1b[31m\n\u202e\x9b"
    assert rest == []
    exact = printed("select 12345678901234567.891::decimal(38,3) as d, null as n, true as t, [1.50] as l").splitlines()
    assert exact[1].split() == ["12,345,678,901,234,567.891", "true", "[1.50]"]


def test_json_refuses_two_columns_of_one_name(printed: Printed) -> None:
    with pytest.raises(LevainError, match="two columns a") as caught:
        printed("select 1 as a, 2 as a, 3 as b", "json")
    assert "csv" in caught.value.hint


WRITES = [
    "copy (select 1) to '{}/x.csv'",
    "explain copy (select 1) to '{}/x.csv'",
    "explain analyze copy (select 1) to '{}/x.csv'",
    "/* a */ explain -- b\n analyze copy (select 1) to '{}/x.csv'",
    "explain (analyze, format json) copy (select 1) to '{}/x.csv'",
    "explain analyze insert into quality.quality_messages select * from quality.quality_messages",
    "explain analyze create temp table mine as select 1",
    "with a as (select 1) insert into quality.quality_messages select * from quality.quality_messages",
    "select 1; copy (select 1) to '{}/x.csv'",
    "explain select 1; copy (select 1) to '{}/x.csv'",
    "export database '{}/x'",
    "import database '{}'",
    "attach '{}/x.duckdb'",
    "install json",
    "load json",
    "set threads = 1",
    "reset threads",
    "use memory",
    "pragma database_size",
    "pragma import_database('{}')",
    "call enable_logging()",
    "checkpoint",
    "begin",
    "prepare p as select 1",
    "execute p",
    "vacuum",
    "create temp table mine as select 1",
    "",
    "; ;",
    "-- nothing",
    "explain",
]


@pytest.mark.parametrize("sql", WRITES)
def test_what_is_not_one_select_is_refused_before_anything_runs(tmp_path: Path, sql: str) -> None:
    """Even before the home is looked at: there is none."""
    with pytest.raises(LevainError, match=r"takes one SELECT|cannot be read"):
        query(Settings(home=tmp_path / "home"), sql.format(tmp_path))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "call",
    [
        "enable_logging('QueryLog', storage = 'file', storage_path = '{}/log')",
        "system.main.ENABLE_LOGGING()",
        "(select * from query('select 1'))",
        "json_execute_serialized_sql('x')",
        "range(3) where range in (select 1 from disable_logging())",
        "set_iceberg_table_properties('x', map {{'a': 'b'}})",
    ],
)
def test_a_table_function_that_may_write_is_refused(lake: Lake, call: str) -> None:
    for sql in (f"select * from {call}", f"explain analyze select * from {call}", f"describe select * from {call}"):
        with pytest.raises(LevainError, match="calls no table function"):
            query(lake.settings, sql.format(f"{lake.settings.root}/lake"))
    assert not (lake.settings.root / "lake" / "log").exists()


@pytest.mark.parametrize(
    "source",
    [
        "read_text('/etc/passwd')",
        "read_blob('{}/../outside.csv')",
        "read_csv('{}/outside.csv')",
        "'{}/outside.csv'",
        "glob('/etc/*')",
        "read_text('{}/home/catalog.db')",
        "read_text('file://{}/home/lake/../catalog.db')",
        "read_parquet('http://127.0.0.1:1/x.parquet')",
        "iceberg_scan('{}/elsewhere')",
        "duckdb_secrets()",
        "sql",  # a variable of the program itself
    ],
)
def test_no_file_outside_the_lake_can_be_read(lake: Lake, source: str) -> None:
    outside = lake.settings.root.parent
    (outside / "outside.csv").write_text("secret\n1\n")
    for sql in ("select * from {}", "explain analyze select * from {}", "select (select count(*) from {})"):
        with pytest.raises(LevainError, match="cannot be run"):
            query(lake.settings, sql.format(source.format(outside)))


def test_bronze_and_the_lakes_files_can_be_read(lake: Lake, printed: Printed) -> None:
    assert json.loads(printed("select count(*) as n from bronze.sales_events", "json")) == [{"n": 1}]
    assert "metadata.json" in printed(f"from glob('{lake.settings.root}/lake/**')")
    assert json.loads(printed("select sum(messages) as n from quality.quality_messages", "json")) == [{"n": 1}]


def test_plans_are_printed_as_they_are(printed: Printed) -> None:
    for sql in ("explain select 42", "explain analyze select 42", "EXPLAIN (analyze) (select 42)"):
        assert "42" in printed(sql) and "\\n" not in printed(sql)
    (row,) = json.loads(printed("explain (format json) select 42", "json"))
    plan: list[Any] = json.loads(row["plan"])
    assert plan[0]["name"]


def test_what_only_describes_is_a_select(printed: Printed) -> None:
    assert "messages" in printed("describe quality.quality_messages")
    assert "quality_messages" in printed("show all tables")
    assert "messages" in printed("summarize quality.quality_messages")
    assert printed("from range(2)").split() == ["range", "0", "1"]
