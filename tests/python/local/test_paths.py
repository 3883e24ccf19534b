"""Homes with odd names, and settings with wrong ones: they work, or are refused before anything is done."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest
from lake import Lake
from test_cli import levain

import ingest.lake
from ingest.errors import LevainError
from ingest.settings import PROJECT_ROOT, SPARK_VARIABLES, Settings, load_settings
from levain.read.query import query
from levain.warehouse.bronze import bronze_tables


@pytest.mark.parametrize("name", ["L'atelier a%20b#c, [x] *", "-''{{été}}\u202e $HOME;&=~\\ ." + 150 * "x"])
def test_a_home_of_any_name_can_be_built_and_read(
    tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    lake = Lake(tmp_path / name / "home")
    lake.send("sales-events", [b'{"event_id": "x"}'])
    lake.build("--select", "stg_retail__sales_events")
    query(lake.settings, "select count(*) as n from staging.stg_retail__sales_events", "json")
    assert json.loads(capsys.readouterr().out) == [{"n": 1}]
    assert [path.name for path in tmp_path.iterdir()] == [name], "nothing lies beside it"
    locations = dict(bronze_tables(Settings(home=tmp_path / name / "home")))
    assert Path(locations["sales_events"]).is_relative_to(tmp_path / name / "home" / "lake")
    shown = levain(lake.settings.root, "show")
    assert shown.returncode == 0 and re.search(r"sales_events +1\b", shown.stdout), shown.stderr
    shutil.rmtree(tmp_path / name)


@pytest.mark.parametrize("character", ['"', "?", "\n", "\x1b"])
def test_a_home_that_a_library_cannot_open_is_refused(monkeypatch: pytest.MonkeyPatch, character: str) -> None:
    monkeypatch.setenv("LEVAIN_HOME", f"/nowhere/a{character}b")
    with pytest.raises(LevainError, match=r"LEVAIN_HOME.* cannot open") as caught:
        load_settings()
    assert repr(character) in caught.value.message and "\n" not in caught.value.message


def test_a_home_that_is_too_long_or_no_folder_is_said(tmp_path: Path) -> None:
    for home in (tmp_path / ("x" * 300), Path("/dev/null/home"), Path("/proc/home")):
        ran = levain(home, "up")
        assert ran.returncode == 1
        assert len(ran.stderr.splitlines()) == 2 and "Traceback" not in ran.stderr, ran.stderr


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("KAFKA_BOOTSTRAP", "127.0.0.1:99999", "`127.0.0.1:99999` is not host:port"),
        ("KAFKA_BOOTSTRAP", "http://127.0.0.1:9092", "`http://127.0.0.1:9092` is not host:port"),
        ("KAFKA_BOOTSTRAP", "one:9092,", "`` is not host:port"),
        ("KAFKA_BOOTSTRAP", "one:9092, [::1]:9092", ""),
        ("DUCKDB_MEMORY_LIMIT", "0B", "from 64MB to 1000TB"),
        ("DUCKDB_MEMORY_LIMIT", "999999999TB", "from 64MB to 1000TB"),
        ("DUCKDB_MEMORY_LIMIT", "much", "write it as"),
        ("DUCKDB_MEMORY_LIMIT", "1.5GiB", ""),
        ("DUCKDB_THREADS", "1000000", "less than or equal to 1024"),
        ("MAINTAIN_KEEP_HOURS", "99999999999", "less than or equal to 1000000"),
        ("COMMIT_EVERY_SECONDS", "inf", "finite number"),
        ("CATALOG_PROPERTIES", '{"a": 1}', "LEVAIN_CATALOG_PROPERTIES, a: "),
    ],
)
def test_a_value_out_of_range_is_named(monkeypatch: pytest.MonkeyPatch, name: str, value: str, says: str) -> None:
    monkeypatch.setenv(f"LEVAIN_{name}", value)
    if not says:
        load_settings()
        return
    with pytest.raises(LevainError) as error:
        load_settings()
    assert f"LEVAIN_{name}" in error.value.message and says in error.value.message


def test_a_lake_on_a_storage_of_no_known_kind_is_refused(tmp_path: Path) -> None:
    with pytest.raises(LevainError, match="LEVAIN_CATALOG_WAREHOUSE: ftp://host/lake is no place for a lake"):
        ingest.lake.Lake(Settings(home=tmp_path, catalog_warehouse="ftp://host/lake"))


def test_a_variable_that_is_no_setting_is_named_with_the_nearest_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LEVAIN_BROKR_PORT", "1")
    monkeypatch.setenv("levain_hom", "x")
    monkeypatch.setenv("LEVAIN_XYZZY", "")
    with pytest.raises(LevainError, match="LEVAIN_BROKR_PORT, LEVAIN_XYZZY, levain_hom") as caught:
        load_settings()
    assert "Write LEVAIN_BROKER_PORT, or unset LEVAIN_BROKR_PORT" in caught.value.hint
    assert "Write LEVAIN_HOME" in caught.value.hint and "Unset LEVAIN_XYZZY" in caught.value.hint


def test_every_variable_that_is_read_or_documented_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = [PROJECT_ROOT / "profiles" / "profiles.yml", PROJECT_ROOT / "README.md", PROJECT_ROOT / "dbt_project.yml"]
    texts += [*PROJECT_ROOT.glob("docs/*.md"), *PROJECT_ROOT.glob("macros/**/*.sql")]
    named = {name for text in texts for name in re.findall(r"LEVAIN_[A-Z0-9_]*[A-Z0-9]\b(?![_*])", text.read_text())}
    known = {f"LEVAIN_{field.upper()}" for field in Settings.model_fields} | set(SPARK_VARIABLES)
    assert named <= known
    documented = (PROJECT_ROOT / "README.md").read_text()
    assert [name for name in known if f"`{name}`" not in documented] == []
