"""Pages of docs/ that lead through something: each of their commands, and what they show of it."""

from __future__ import annotations

import csv
import os
import re
import subprocess
from collections import defaultdict
from decimal import Decimal
from pathlib import Path

import pytest
from projects import copy_project

from ingest.settings import PROJECT_ROOT


def walk(page: str, folder: Path, after: str = "", **environment: str) -> str:
    """Run a page's commands in a folder, one after the other; what it shows of them is what they print."""
    text = (PROJECT_ROOT / "docs" / page).read_text(encoding="utf-8")
    script = "set -e\n" + "".join(re.findall(r"```sh\n(.*?)```", text, re.DOTALL)) + after
    who = {f"GIT_{role}_{what}": "me" for role in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    done = subprocess.run(
        ["bash", "-c", script], cwd=folder, env={**os.environ, **who, **environment}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    shown = [line.rstrip() for line in done.stdout.splitlines()]
    said = [line for block in re.findall(r"```text\n(.*?)```", text, re.DOTALL) for line in block.splitlines()]
    assert said
    for line in said:
        assert any(each.startswith(line.rstrip()) for each in shown), line
    return text


@pytest.mark.full
@pytest.mark.timeout(3000)
def test_from_a_csv_file_to_a_mart(tmp_path: Path) -> None:
    """In an environment of its own, and then the tests of the project that was made."""
    page = (PROJECT_ROOT / "docs" / "your-own-project.md").read_text(encoding="utf-8")
    (table,) = re.findall(r"```csv\n(.*?)```", page, re.DOTALL)
    (tmp_path / "rentals.csv").write_text(table, encoding="utf-8")
    (tmp_path / "levain").symlink_to(PROJECT_ROOT)
    walk("your-own-project.md", tmp_path, after="make test\n")


@pytest.mark.full
@pytest.mark.timeout(1200)
def test_real_data(tmp_path: Path) -> None:
    """In an environment of its own; the figures come straight from the file, too."""
    (tmp_path / "levain").symlink_to(PROJECT_ROOT)
    page = walk("real-data.md", tmp_path)
    years: dict[str, list[dict[str, str]]] = defaultdict(list)
    with (tmp_path / "seattle-weather.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            years[row["date"][:4]].append(row)
    said = [line.split() for line in page.splitlines()]
    assert len(years) == 4
    for year, days in years.items():
        rain = sum(Decimal(day["precipitation"]) for day in days)
        warmest, coldest = max(Decimal(day["temp_max"]) for day in days), min(Decimal(day["temp_min"]) for day in days)
        sunny = sum(day["weather"] == "sun" for day in days)
        assert [year, f"{rain:,.2f}", f"{warmest:.2f}", f"{coldest:.2f}", str(sunny)] in said


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_adding_a_mart(tmp_path: Path) -> None:
    """In a copy of this project, after the demo."""
    mine = tmp_path / "levain"
    copy_project(mine)
    (mine / ".venv").symlink_to(PROJECT_ROOT / ".venv")
    own = {"PYTHONPATH": str(mine), "LEVAIN_HOME": str(mine / ".levain")}
    subprocess.run([mine / ".venv/bin/levain", "demo"], cwd=mine, env=os.environ | own, capture_output=True, check=True)
    text = (PROJECT_ROOT / "docs" / "adding-a-mart.md").read_text(encoding="utf-8")
    files = re.findall(r"`(models/\S+)`:\n\n```\w+\n(.*?)```", text, re.DOTALL)
    assert len(files) == 2
    for name, content in files:
        (mine / name).write_text(content, encoding="utf-8")
    walk("adding-a-mart.md", mine, **own)
