"""No message can stop a build: random messages of every contract (fuzz.py tells how they are drawn and judged)."""

from __future__ import annotations

from pathlib import Path

import pytest
from fuzz import Fuzz, fuzz, on_both, on_duckdb

from ingest.settings import PROJECT_ROOT


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_some_messages(tmp_path: Path) -> None:
    fuzz(Fuzz(tmp_path, on_duckdb), examples=10)


@pytest.mark.full
@pytest.mark.timeout(3600)
def test_many_messages(tmp_path: Path) -> None:
    run = Fuzz(tmp_path, on_duckdb)
    fuzz(run, examples=200)
    run.leave()


@pytest.mark.full
@pytest.mark.timeout(3600)
@pytest.mark.filterwarnings("ignore::ResourceWarning")  # pyspark leaves its sockets to the garbage collector
def test_both_engines_agree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LEVAIN_SPARK_JARS", str(PROJECT_ROOT / ".cache" / "spark-jars"))
    fuzz(Fuzz(tmp_path, on_both), examples=20, seed=1)
