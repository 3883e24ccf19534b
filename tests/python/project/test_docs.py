"""What is written about the project: links lead somewhere, and what is named exists."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import unquote

import pytest
import typer
from descriptions import descriptions, document

from ingest.settings import PROJECT_ROOT, Settings
from levain.cli import app
from levain.dev import stars
from levain.project import CLOSING, LINEAGE_FIRST

README = PROJECT_ROOT / "README.md"
PAGES = sorted([*PROJECT_ROOT.glob("*.md"), *PROJECT_ROOT.glob("docs/**/*.md")])
MODELS = {path.stem for path in PROJECT_ROOT.glob("models/**/*.sql")}


def anchors(page: Path) -> set[str]:
    """What GitHub makes of a page's headings."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(PROJECT_ROOT)))
def test_links_lead_to_what_is_there(page: Path) -> None:
    links = re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8"))
    for link in links:
        if "://" in link:
            continue
        path, _, anchor = unquote(link).partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


def test_every_decision_is_in_the_index() -> None:
    folder = PROJECT_ROOT / "docs" / "decisions"
    index = (folder / "README.md").read_text(encoding="utf-8")
    for record in folder.glob("0*.md"):
        for heading in re.findall(r"^## (.*)$", record.read_text(encoding="utf-8"), re.MULTILINE):
            assert f"- [{heading}]({record.name}#" in index, heading


def test_the_data_model_lists_every_view_of_silver_and_table_of_gold() -> None:
    text = (PROJECT_ROOT / "docs" / "data-model.md").read_text(encoding="utf-8")
    listed = set(re.findall(r"`(\w+)`", "".join(line for line in text.splitlines(True) if line.startswith("|"))))
    models = {path.stem for folder in ("silver", "gold") for path in PROJECT_ROOT.glob(f"models/{folder}/**/*.sql")}
    assert {name for name in models if not name.endswith("_superseded")} <= listed


def test_the_data_model_says_which_fact_has_which_dimension() -> None:
    text = (PROJECT_ROOT / "docs" / "data-model.md").read_text(encoding="utf-8")
    (table,) = re.findall(r"^\| \| (`dim_.*?)\n\n", text, re.DOTALL | re.MULTILINE)
    head, _, *lines = [[cell.strip(" `") for cell in line.strip("|").split("|")] for line in table.splitlines()]
    said = {
        (fact, dimension) for fact, *cells in lines for dimension, cell in zip(head, cells, strict=False) if cell == "x"
    }
    found = set()
    for name, model in descriptions().items():
        for column in model["columns"] if name.startswith("fct_") else ():
            kind, _, ending = column["name"].rpartition("_")
            if ending in ("key", "date"):
                found.add((name, f"dim_{kind}" if ending == "key" else "dim_calendar"))
    assert said == found
    drawn = {(each.fact.name, dimension.name) for each in stars.stars() for dimension in each.dimensions}
    assert {(fact, dimension) for fact, dimension in drawn if fact.startswith("fct_")} == found


def test_each_fact_has_its_picture() -> None:
    drawn = {f"{each.fact.name}.svg": stars.draw(each) for each in stars.stars()}
    found = {path.name: path.read_text(encoding="utf-8") for path in stars.PICTURES.iterdir()}
    assert found == drawn, "drawn by: python -m levain.dev.stars"
    page = (PROJECT_ROOT / "docs" / "data-model.md").read_text(encoding="utf-8")
    assert sorted(re.findall(r"\(stars/(\S+)\)", page)) == sorted(drawn)


def test_the_first_page_of_the_dbt_docs_names_models_that_exist() -> None:
    text = (PROJECT_ROOT / "models" / "overview.md").read_text(encoding="utf-8")
    named = re.findall(r"\[([a-z_.]+)\]\(#!/(?:model|source)/(?:model\.levain|source\.levain)\.([a-z_.]+)\)", text)
    assert len(named) > 10 and all(name == target for name, target in named)
    assert {name for name, _ in named if "." not in name} <= MODELS
    assert LINEAGE_FIRST in MODELS


def test_exposures_are_what_the_commands_read() -> None:
    exposures = document(PROJECT_ROOT / "models" / "_exposures.yml")["exposures"]
    said = {(each["label"], ref[5:-2]) for each in exposures for ref in each["depends_on"]}
    read = re.compile(
        r'rows_of\(\s*\w+,\s*"(?:gold|quality)",\s*"(\w+)"|_rows\(\s*connection,\s*"(\w+)"|verdict_(counts)\(connection'
    )
    found = {("levain demo", CLOSING.table)}
    modules = {"demo": "local/demo", "show": "warehouse/dbt", "ledger": "read/ledger", "quality": "read/quality"}
    for command, module in modules.items():
        for table, also, counts in read.findall((PROJECT_ROOT / "levain" / f"{module}.py").read_text(encoding="utf-8")):
            found.add((f"levain {command}", "quality_messages" if counts else table or also))
    demand = (PROJECT_ROOT / "levain" / "learn" / "demand.py").read_text(encoding="utf-8")
    found |= {("levain forecast", table) for table in re.findall(r"\bgold\.(\w+)", demand)}
    assert said == found


def test_the_image_has_the_uv_of_the_makefile() -> None:
    makefile, dockerfile = ((PROJECT_ROOT / name).read_text(encoding="utf-8") for name in ("Makefile", "Dockerfile"))
    (version,) = re.findall(r"^UV_VERSION := (\S+)$", makefile, re.MULTILINE)
    assert re.findall(r"^ARG UV_VERSION=(\S+)$", dockerfile, re.MULTILINE) == [version]


def test_the_commands_and_options_of_the_readme_are_those_of_the_command_line() -> None:
    commands = vars(typer.main.get_command(app))["commands"]
    rows = re.findall(
        r"^\| (?:`make[^|]*)?\| `([^|]*)`(?:\(.*?\))? \| (.*) \|$", README.read_text(encoding="utf-8"), re.MULTILINE
    )
    documented = {}
    for names, text in rows:
        for name in names.split("`, `"):
            documented[name.split()[0]] = set(re.findall(r"--[a-z-]+", text))
    assert documented.keys() == commands.keys()
    for name, options in documented.items():
        if not hasattr(commands[name], "commands"):
            known = {option for each in commands[name].params for option in (*each.opts, *each.secondary_opts)}
            assert options <= known, name


def test_the_variables_of_the_readme_are_the_settings() -> None:
    documented = set(re.findall(r"`(LEVAIN_[A-Z0-9_]+)`", README.read_text(encoding="utf-8")))
    settings = {f"LEVAIN_{name.upper()}" for name in Settings.model_fields}
    assert settings - documented == set()
    assert documented - settings <= {"LEVAIN_SPARK_JARS", "LEVAIN_SPARK_MASTER"}
