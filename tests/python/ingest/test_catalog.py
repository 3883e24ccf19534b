"""Bronze tables and the catalog they are in."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from pathlib import Path

import duckdb
import pytest
from pydantic import SecretStr

from ingest.catalog import BRONZE_SCHEMA, ensure_table, metadata_location, open_catalog, watermarks
from ingest.contracts import contract_for
from ingest.errors import LevainError
from ingest.settings import Settings, load_settings
from levain.warehouse.bronze import load_extensions

SALES = contract_for("sales-events")


def test_a_table_is_made_once_and_has_the_bronze_schema(settings: Settings) -> None:
    made = ensure_table(open_catalog(settings), SALES)
    again = ensure_table(open_catalog(settings), SALES)
    assert made.metadata.table_uuid == again.metadata.table_uuid
    assert made.name() == ("bronze", "sales_events")
    assert made.schema().fields == BRONZE_SCHEMA.fields
    assert [(f.name, str(f.transform)) for f in made.spec().fields] == [("ingested_at_day", "day")]
    assert made.metadata.format_version == 2
    assert watermarks(made) == {}


def test_processes_that_start_together_make_one_table(settings: Settings, tmp_path: Path) -> None:
    program = (
        "from ingest.catalog import *; from ingest.contracts import contract_for; from ingest.settings import *\n"
        "print(ensure_table(open_catalog(load_settings()), contract_for('sales-events')).metadata.table_uuid)"
    )
    run = [sys.executable, "-c", program]
    environment = {"LEVAIN_HOME": str(settings.root), "PATH": "/usr/bin:/bin"}
    started = [
        subprocess.Popen(run, env=environment, cwd=_root(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    ended = [process.communicate(timeout=60) for process in started]
    assert [process.returncode for process in started] == [0, 0, 0], [errors for _, errors in ended]
    assert len({output for output, _ in ended}) == 1


def test_duckdb_reads_a_table_that_nothing_has_landed_in(settings: Settings) -> None:
    table = ensure_table(open_catalog(settings), SALES)
    with duckdb.connect() as connection:
        load_extensions(connection)
        rows = connection.execute(
            "select count(*), max(ingested_at) from iceberg_scan(?) where topic = 'sales-events'",
            [metadata_location(table)],
        ).fetchall()
    assert rows == [(0, None)]


def test_a_foreign_table_of_that_name_is_refused(settings: Settings) -> None:
    catalog = open_catalog(settings)
    catalog.create_namespace("bronze")
    catalog.create_table("bronze.sales_events", BRONZE_SCHEMA.select("topic", "offset"))
    with pytest.raises(LevainError, match="does not have the columns of a Bronze table: topic, offset"):
        ensure_table(catalog, SALES)


@pytest.mark.parametrize(
    ("options", "shown"),
    [
        ({"catalog_uri": "nonsense"}, "nonsense"),
        ({"catalog_uri": "sqlite:////no/such/folder/catalog.db"}, "/no/such/folder"),
        ({"catalog_type": "rest", "catalog_uri": "http://127.0.0.1:9/"}, "http://127.0.0.1:9/"),
        ({"catalog_uri": "postgresql://levain:secret@127.0.0.1:9/lake"}, "postgresql://levain:***@127.0.0.1:9/lake"),
        ({"catalog_uri": "postgresql://levain:a secret@127.0.0.1:9/lake"}, "postgresql://levain:***@127.0.0.1:9/lake"),
        ({"catalog_uri": "postgresql://levain:a?secret@127.0.0.1:9/lake"}, "postgresql://levain:***@127.0.0.1:9/lake"),
        ({"catalog_uri": "postgresql://levain:secret?@127.0.0.1:9/lake"}, "postgresql://levain:***@127.0.0.1:9/lake"),
    ],
    ids=[
        "not a uri",
        "no such folder",
        "nobody listens",
        "password",
        "with a space",
        "with a ?",
        "with a ? at its end",
    ],
)
def test_a_catalog_that_cannot_be_opened_is_named(tmp_path: Path, options: dict[str, str], shown: str) -> None:
    settings = Settings(home=tmp_path, catalog_token=SecretStr("t0ken"), **options)  # type: ignore[arg-type]
    with pytest.raises(LevainError) as caught:
        open_catalog(settings)
    assert caught.value.message.startswith("The catalog at ")
    assert shown in caught.value.message
    assert "secret" not in str(caught.value)
    assert "t0ken" not in str(caught.value)
    assert "LEVAIN_CATALOG_URI" in caught.value.hint


def test_properties_that_are_not_json_are_refused_unseen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LEVAIN_CATALOG_PROPERTIES", '{"s3.secret-access-key": "secret"')
    with pytest.raises(LevainError, match="LEVAIN_CATALOG_PROPERTIES is not JSON") as caught:
        load_settings()
    assert '"secret"' not in str(caught.value)


def test_an_empty_variable_is_one_that_is_not_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LEVAIN_WEATHER_STORES", "")
    monkeypatch.setenv("LEVAIN_DROPS_DIR", "")
    settings = load_settings()
    assert settings.weather_stores is None
    assert settings.drops == settings.root / "drops"


def test_a_home_that_cannot_be_written_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(LevainError, match="cannot be created"):
        open_catalog(Settings(home=tmp_path / "file" / "home"))


def test_iceberg_in_java_can_open_the_same_file(settings: Settings) -> None:
    """Its JdbcCatalog looks for these columns (schema version V1), and for tables under the catalog's own name."""
    ensure_table(open_catalog(settings), SALES)
    with sqlite3.connect(settings.catalog_file) as connection:
        columns = [row[1] for row in connection.execute("pragma table_info(iceberg_tables)")]
        rows = connection.execute("select catalog_name, table_namespace, table_name from iceberg_tables").fetchall()
    assert "iceberg_type" in columns
    assert rows == [("lake", "bronze", "sales_events")]


def _root() -> Path:
    return Path(__file__).resolve().parents[3]
