"""Two engines, one answer: the whole project over one log with every fault, built in two steps on each engine."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from lake import WITHOUT_TESTS, Lake
from test_order import a_log

from ingest.settings import PROJECT_ROOT
from levain.parity import SCHEMAS, compare
from levain.spark import prepare
from levain.warehouse import run_dbt

# pyspark leaves its sockets to the garbage collector.
pytestmark = [pytest.mark.filterwarnings("ignore::ResourceWarning"), pytest.mark.timeout(2400)]

SPARK_JARS = os.environ.get("LEVAIN_SPARK_JARS", str(PROJECT_ROOT / ".cache" / "spark-jars"))


def test_both_engines_build_the_same_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LEVAIN_SPARK_JARS", SPARK_JARS)
    monkeypatch.setenv("LEVAIN_HOME", str(tmp_path))
    lake = Lake(tmp_path)
    log = a_log(seed=5, events=600)
    for (topic, partition), records in log.items():
        lake.land(topic, partition, records[: len(records) // 2])
    prepare()
    for engine in ("duckdb", "spark"):
        run_dbt(lake.settings, ["build", "--target", engine, *WITHOUT_TESTS], "")
    for (topic, partition), records in log.items():
        lake.land(topic, partition, records[len(records) // 2 :])

    comparisons = compare(lake.settings)

    assert {each.relation: each.remarks for each in comparisons if not each.equal} == {}
    assert {each.relation.split(".")[0] for each in comparisons} == set(SCHEMAS)
    rows = {each.relation: each.rows[0] or 0 for each in comparisons}
    assert sum(count for relation, count in rows.items() if relation.endswith("__verdicts")) == sum(
        map(len, log.values())
    )
    for relation in ("gold.fct_sales", "gold.dim_product", "silver.ventes_clean", "quality.quality_rejects"):
        assert rows[relation] > 0
