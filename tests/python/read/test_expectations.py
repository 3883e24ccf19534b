"""The suites for Great Expectations: what they say of each contract, and that they agree with our verdicts."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import duckdb
import pytest
from lake import Lake
from random_logs import a_log

from ingest.contracts import load_contracts
from ingest.jsontext import json_object
from ingest.settings import PROJECT_ROOT
from levain.read.expectations import VERSION, suite

CONTRACTS = load_contracts()
REQUIREMENTS = PROJECT_ROOT / "requirements" / "expectations.txt"


def test_each_part_of_a_contract_is_an_expectation() -> None:
    sales = suite(CONTRACTS["sales-events"])
    said = {(each["type"], str(each["kwargs"].get("column"))): each for each in sales["expectations"]}
    assert said["expect_column_values_to_be_between", "quantity"]["kwargs"] == {
        "column": "quantity",
        "min_value": 1.0,
        "max_value": 100000.0,
    }
    assert said["expect_column_values_to_be_in_set", "payment_method"]["meta"] == {
        "rules": ["payment_method_not_allowed"]
    }
    assert ("expect_column_values_to_not_be_null", "unit_price") in said
    assert ("expect_column_values_to_not_be_null", "customer_id") not in said
    assert "discount_within_gross" in sales["meta"]["not_said"]
    (pair,) = [each for each in suite(CONTRACTS["promotions"])["expectations"] if "column_A" in each["kwargs"]]
    assert (pair["kwargs"]["column_A"], pair["kwargs"]["column_B"], pair["kwargs"]["or_equal"]) == (
        "ends_at",
        "starts_at",
        False,
    )


@pytest.mark.parametrize("topic", CONTRACTS)
def test_each_rule_is_said_or_named_as_not_said(topic: str) -> None:
    contract = CONTRACTS[topic]
    written = suite(contract)
    said = {rule for each in written["expectations"] for rule in each["meta"]["rules"]}
    for rule in contract.rules:
        assert (rule.name in said) != (rule.name in written["meta"]["not_said"])
    for field in contract.columns:
        limits = {"out_of_range": field.logical_type in ("integer", "number") and field.maximum is not None}
        limits |= {"not_allowed": field.allowed is not None, "malformed": field.pattern is not None}
        for what, has in limits.items():
            assert (f"{field.name}_{what}" in said) >= has, (field.name, what)
        assert f"{field.name}_invalid" in said | set(written["meta"]["not_said"])


def test_the_suites_are_in_the_format_of_the_version_that_is_installed() -> None:
    assert f"great-expectations=={VERSION} " in REQUIREMENTS.read_text(encoding="utf-8")


@pytest.mark.full
@pytest.mark.timeout(1200)
def test_great_expectations_agrees_with_the_verdicts(tmp_path: Path) -> None:
    """Accepted rows meet every expectation; among the rejected each finds the rows whose verdicts name its rules."""
    python = tmp_path / "env" / "bin" / "python"
    uv = Path(sys.executable).with_name("uv")
    subprocess.run([uv, "venv", "--quiet", "--python", sys.executable, tmp_path / "env"], check=True)
    install = [uv, "pip", "install", "--quiet", "--python", python, "--require-hashes", "-r", REQUIREMENTS]
    subprocess.run(install, check=True)
    lake = Lake(tmp_path / "home")
    for (topic, partition), records in a_log(seed=3, events=4000).items():
        lake.land(topic, partition, records)
    lake.build()
    suites = tmp_path / "suites"
    levain = Path(sys.executable).with_name("levain")
    subprocess.run(
        [levain, "quality", "--expectations", suites], check=True, cwd=PROJECT_ROOT, stdout=subprocess.DEVNULL
    )
    checked = 0
    for verdict in ("accepted", "rejected"):
        rows = rows_of(lake, verdict, tmp_path / verdict)
        for topic, results in run(python, suites, tmp_path / verdict).items():
            assert len(results) == len(suite(CONTRACTS[topic])["expectations"])
            for result in results:
                if verdict == "accepted":
                    assert result["success"], (topic, result)
                elif result["rules"]:
                    named = [
                        number
                        for number, row in enumerate(rows[topic])
                        if set(row["failed_rules"].split(",")) & set(result["rules"])
                    ]
                    assert result["unexpected"] == named, (topic, result)
                    checked += len(named)
    assert checked > 100


def run(python: Path, suites: Path, rows: Path) -> dict[str, list[dict[str, Any]]]:
    """What each expectation finds, in the environment with Great Expectations."""
    script = PROJECT_ROOT / "tests" / "python" / "support" / "run_suites.py"
    done = subprocess.run([python, script, suites, rows], check=True, capture_output=True, text=True)
    found: dict[str, list[dict[str, Any]]] = json.loads(done.stdout)
    return found


def rows_of(lake: Lake, verdict: str, folder: Path) -> dict[str, list[dict[str, Any]]]:
    """The rows of each topic with a verdict, which are written to `<folder>/<topic>.jsonl`."""
    folder.mkdir()
    found = {}
    with duckdb.connect(str(lake.settings.duckdb_file), read_only=True) as connection:
        connection.execute("set timezone = 'UTC'")
        for topic, contract in CONTRACTS.items():
            columns = ", ".join(
                dict.fromkeys(["event_id", *(field.column for field in contract.columns), "failed_rules"])
            )
            cursor = connection.execute(
                f"select {columns} from silver.int_{contract.table}__verdicts where verdict = ? "
                'order by kafka_cluster, "partition", kafka_offset',
                [verdict],
            )
            names = [column[0] for column in cursor.description or []]
            rows = [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
            if rows:
                found[topic] = rows
                lines = [json_object(row) for row in rows]
                (folder / f"{topic}.jsonl").write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return found
