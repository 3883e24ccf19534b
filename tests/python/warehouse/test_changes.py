"""What a build leaves out: only what would come out as it is, and nothing unless the last build was a good one."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from lake import Lake

from ingest.settings import PROJECT_ROOT, Settings
from levain.warehouse import changes
from levain.warehouse.changes import plan

Damage = Callable[[Lake], object]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Lake:
    """A home with a message of two topics, built as `levain build` does, without tests."""
    lake = Lake(tmp_path_factory.mktemp("changes") / "home")
    lake.send("sales-events", [b"{}"])
    lake.send("weather-data", [b"{}"])
    assert lake.build_what_is_new() is None
    return lake


@pytest.fixture
def lake(built: Lake) -> Lake:
    """The same home; what a test does to its warehouse is undone."""
    kept = built.settings.duckdb_file.with_suffix(".kept")
    if not kept.exists():
        shutil.copy(built.settings.duckdb_file, kept)
    shutil.copy(kept, built.settings.duckdb_file)
    return built


def test_nothing_new_is_nothing_to_do(lake: Lake) -> None:
    found = plan(lake.settings)
    assert found.is_empty and found.build == 1


def test_after_a_commit_without_messages_views_read_the_new_files(lake: Lake) -> None:
    """As maintenance makes one, which removes the files of before."""
    table = lake.tables["sales-events"]
    with table.transaction() as transaction:
        transaction.set_properties({"a": "b"})
    found = plan(lake.settings)
    assert (found.topics, found.moved) == ((), ("sales_events",)) and not found.is_empty
    rows = lake.read("select _build, count(*) from gold.fct_sales group by all")
    lake.build_what_is_new()
    assert plan(lake.settings).is_empty
    assert lake.read("select _build, count(*) from gold.fct_sales group by all") == rows
    query = "select sql from duckdb_views() where schema_name = 'bronze' and view_name = 'sales_events'"
    assert table.refresh().metadata_location in lake.read(query)[0][0]


def test_views_that_read_an_older_bronze_are_made_again(lake: Lake) -> None:
    """As a build leaves them that was refused, since the catalog was an older one then."""
    table = lake.tables["sales-events"].refresh()
    older = table.metadata.metadata_log[-1].metadata_file
    lake.write(f"create or replace view bronze.sales_events as select * from iceberg_scan('{older}')")
    assert plan(lake.settings).moved == ("sales_events",)
    lake.build_what_is_new()
    assert plan(lake.settings).is_empty
    query = "select sql from duckdb_views() where schema_name = 'bronze' and view_name = 'sales_events'"
    assert table.metadata_location in lake.read(query)[0][0]


@pytest.mark.parametrize(
    "damage",
    [
        lambda lake: lake.write("drop view gold.mart_top_products"),
        lambda lake: lake.write("drop table gold.int_sales__daily"),
        lambda lake: lake.write("drop view bronze.sales_events"),
        lambda lake: lake.write("insert into meta.failures values ('test.levain.a', 'test', 'a', 'fail', 1)"),
        lambda lake: lake.write("insert into meta.builds values (2, now(), 'killed')"),
        lambda lake: lake.write("drop table meta.code"),
        lambda lake: lake.write("update meta.watermarks set next_offset = 9 where topic = 'sales-events'"),
        lambda lake: lake.settings.duckdb_file.write_bytes(b"garbage"),
        lambda lake: lake.settings.duckdb_file.unlink(),
    ],
    ids=["a view", "a table", "of Bronze", "a failure", "interrupted", "older", "Bronze is older", "garbage", "lost"],
)
def test_after_anything_else_than_a_good_build_everything_is_built(lake: Lake, damage: Damage) -> None:
    lake.send("sales-events", [b"{}"])  # its marks are looked at only where its metadata file is another one
    damage(lake)
    assert plan(lake.settings).topics is None


@pytest.mark.parametrize("lost", ["catalog.db", "lake"])
def test_where_the_catalog_or_the_lake_is_lost_the_build_itself_says_so(lake: Lake, lost: str) -> None:
    path = lake.settings.root / lost
    path.rename(path.with_suffix(".lost"))
    try:
        assert plan(lake.settings).topics is None
    finally:
        path.with_suffix(".lost").rename(path)


@pytest.mark.parametrize(
    "file",
    [
        "seeds/released_messages.csv",
        "macros/topics/verdicts.sql",
        "tests/python_too.sql",
        "macros/__pycache__.sql",
        "dbt_packages/another/macros/a.sql",
        "more/models.yml",
        "packages.yml",
        ".dbtignore",
        "selectors.yml",
    ],
)
def test_another_project_is_built_whole(lake: Lake, file: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    project(tmp_path)
    monkeypatch.setattr(changes, "PROJECT_ROOT", tmp_path)
    assert plan(lake.settings).topics is not None
    (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
    with (tmp_path / file).open("a") as changed:
        changed.write("\n")
    assert plan(lake.settings).topics is None


def project(folder: Path) -> None:
    """A copy of all that the checksum is taken of."""
    for path in changes._files(Settings(home=folder / "home")):
        copy = folder / path.relative_to(PROJECT_ROOT)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, copy)


def test_what_no_build_reads_changes_nothing(lake: Lake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    project(tmp_path)
    monkeypatch.setattr(changes, "PROJECT_ROOT", tmp_path)
    for file in (
        "docs/a.md",
        "target/a.sql",
        "tests/python/a.py",
        ".levain/target/a.sql",
        "macros/__pycache__/a.py",
        "models/gold/sales/_sales__semantics.yml",
    ):
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).write_text("changed")
    assert plan(lake.settings).topics is not None


@pytest.mark.parametrize("name", ["DBT_EXCLUDE_RESOURCE_TYPES", "DBT_FULL_REFRESH", "DBT_INDIRECT_SELECTION"])
def test_variables_that_steer_dbt_are_heeded_and_nothing_is_noted(
    lake: Lake, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, "test")
    found = plan(lake.settings)
    assert found.topics is None and not found.code


def test_a_variable_that_the_project_reads_is_a_part_of_it(
    lake: Lake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project(tmp_path)
    (tmp_path / "models" / "a.sql").write_text("select '{{ env_var('SHOP', 'a') }}' as shop")
    monkeypatch.setattr(changes, "PROJECT_ROOT", tmp_path)
    before = changes.checksum(lake.settings)
    monkeypatch.setenv("SHOP", "b")
    assert changes.checksum(lake.settings) != before
    monkeypatch.setenv("NO_SHOP", "b")
    monkeypatch.delenv("SHOP")
    assert changes.checksum(lake.settings) == before


def test_tables_that_were_built_from_another_bronze_are_not_up_to_date(lake: Lake, tmp_path: Path) -> None:
    """A warehouse that was restored into the wrong home, which has the same offsets."""
    other = Lake(tmp_path / "home")
    other.send("sales-events", [b"{}"])
    other.send("weather-data", [b"{}"])
    shutil.copy(lake.settings.duckdb_file, other.settings.duckdb_file)
    assert plan(other.settings).topics is None


def test_a_copied_home_is_not_up_to_date(lake: Lake, tmp_path: Path) -> None:
    """Its catalog leads to the lake of the other one."""
    shutil.copytree(lake.settings.root, tmp_path / "home")
    assert plan(Settings(home=tmp_path / "home")).topics is None


def test_a_plain_dbt_build_is_not_known_to_be_whole(lake: Lake) -> None:
    lake.build("--select", "quality_freshness")
    assert plan(lake.settings).topics is None


@pytest.mark.slow
def test_a_warning_is_given_again(lake: Lake) -> None:
    lake.write("insert into reference.released_messages values ('test', 'sales-events', 0, 99, 'ops', 'mistyped')")
    everything = changes.plan(lake.settings, whole=True)
    with changes.noted(everything.notes):
        lake.build("--exclude", "released_messages", tests=True)
    assert lake.read("select outcome, is_complete from meta.outcomes order by build desc limit 1") == [
        ("passed", False)
    ]
    with changes.noted(everything.notes | {"REST_IS_CURRENT": "true"}):
        lake.build("--exclude", "released_messages", tests=True)
    assert lake.read("select outcome, is_complete from meta.outcomes order by build desc limit 1") == [("passed", True)]
    assert plan(lake.settings).topics is None


def test_news_are_built_with_what_is_built_from_them_alone(lake: Lake) -> None:
    lake.send("weather-data", [b"{}"])
    assert "weather_data" in (plan(lake.settings).topics or ())
    lake.build_what_is_new(full=True)
    lake.send("weather-data", [b"{}"])
    assert plan(lake.settings).topics == ("weather_data",)
    assert lake.build_what_is_new() == 1
    ran = {
        name
        for (name,) in lake.read("select model from meta.progress where build = (select max(build) from meta.builds)")
    }
    assert {"int_weather_data__arrived", "int_weather_data__verdicts", "latest_events", "dim_store"} <= ran
    assert not {"int_sales_events__verdicts", "stg_retail__weather_data"} & ran, "another topic's, and views"
    assert plan(lake.settings).is_empty


@pytest.mark.slow
def test_views_that_are_left_out_are_as_they_would_be(lake: Lake) -> None:
    """A view's SQL holds nothing of the build that wrote it, such as its number or where a table is."""
    query = "select schema_name || '.' || view_name, sql from duckdb_views() where database_name = 'levain'"
    before = dict(lake.read(query))
    lake.send("weather-data", [b"{}"])
    lake.build()
    after = dict(lake.read(query))
    changed = {name for name in before if before[name] != after.get(name)}
    assert len(before) > 30 and "bronze.weather_data" in changed, "which the run's start makes, not a model"
    assert {name.partition(".")[0] for name in changed} == {"bronze"}
