"""What `levain generate` writes, and what the documentation says to add, passes the project's own checks."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from documents import documented

from ingest.contracts import CONTRACTS_DIR, load_contracts
from ingest.settings import PROJECT_ROOT
from levain.warehouse.generate import render

PARTS = (
    "models",
    "macros",
    "seeds",
    "snapshots",
    "tests",
    "profiles",
    "dbt_project.yml",
    "dbt-bouncer.yml",
    ".sqlfluff",
)

LONG = "a_name_as_long_as_the_words_of_another_system_that_somebody_once_generated_from_a_form_of_nine_pages"
AWKWARD = f"""
apiVersion: v3.1.0
domain: crm_2
schema:
  - name: loyalty
    physicalName: loyalty-v2-events
    description: "x: y # z 'q' \\"r\\" | > - {{}}"
    dataGranularityDescription: one of them
    customProperties:
      - {{property: key, value: id2}}
      - {{property: identity, value: id2}}
      - {{property: eventTime, value: ts}}
      - {{property: minimumCompleteness, value: 70}}
    properties:
      - {{name: id2, logicalType: integer, required: true, description: "Nº 2"}}
      - {{name: ts, logicalType: timestamp, required: true, description: When.}}
      - name: value
        logicalType: number
        physicalType: "decimal(15,6)"
        description: "- a list"
        logicalTypeOptions: {{minimum: -0.000001}}
      - {{name: {LONG}, logicalType: integer, description: A count., logicalTypeOptions: {{minimum: -5, maximum: 5}}}}
      - name: kind
        logicalType: string
        description: One of many.
        enum: [{{value: "é% {{x}} --"}}, {", ".join(f"{{value: a kind that has a long name {n}}}" for n in range(8))}]
      - name: code
        logicalType: string
        description: A code of {{braces}}.
        logicalTypeOptions: {{pattern: "^({"|".join(letter * 30 for letter in "abcdef")})[{{]x[}}]{{2}}$"}}
    quality:
      - name: everything
        type: custom
        engine: dbt
        description: A long rule.
        implementation: >-
          {LONG} > 3 or kind in ('a', 'b') AND Code like 'x%' and value * {LONG} <= 12.5
          or kind is null and (code is null or {LONG} is not distinct from 4)
"""


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the project with the documentation's example, built as it says, and a contract that is awkward."""
    project = tmp_path_factory.mktemp("generated")
    for part in PARTS:
        source = PROJECT_ROOT / part
        if source.is_dir():
            shutil.copytree(source, project / part, ignore=shutil.ignore_patterns("python", "__pycache__"))
        else:
            shutil.copy(source, project / part)
    contract, silver, preorders, superseded, silver_yaml, gold, gold_yaml, encoded = documented()
    contracts = project / "contracts"
    shutil.copytree(CONTRACTS_DIR, contracts)
    (contracts / "table-bookings.odcs.yaml").write_text(contract, encoding="utf-8")
    (contracts / "card-payments.odcs.yaml").write_text(encoded, encoding="utf-8")
    (contracts / "loyalty.odcs.yaml").write_text(AWKWARD, encoding="utf-8")
    files = render(list(load_contracts(contracts).values())) | {
        "models/silver/table_bookings.sql": silver,
        "models/silver/table_booking_preorders.sql": preorders,
        "models/silver/table_bookings_superseded.sql": superseded,
        "models/silver/_silver__models.yml": (project / "models/silver/_silver__models.yml").read_text() + silver_yaml,
        "models/gold/bookings/fct_table_bookings.sql": gold,
        "models/gold/bookings/_bookings__models.yml": gold_yaml,
    }
    for path, content in files.items():
        (project / path).parent.mkdir(parents=True, exist_ok=True)
        (project / path).write_text(content, encoding="utf-8")
    return project


def run(project: Path, *command: str) -> None:
    """Run a tool of the environment as `make lint` does; its output is the failure's."""
    home = project / ".cache/lint"
    home.mkdir(parents=True, exist_ok=True)
    environment = {
        "PATH": "/usr/bin:/bin",
        "HOME": str(project),
        "DBT_PROFILES_DIR": "profiles",
        "LEVAIN_HOME": str(home),
        "DBT_TARGET_PATH": str(home / "target"),
        "DBT_LOG_PATH": str(home / "logs"),
        "COLUMNS": "240",
    }
    tool = str(Path(sys.executable).parent / command[0])
    done = subprocess.run(
        [tool, *command[1:]], cwd=project, env=environment, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.slow
def test_generated_files_and_the_documented_ones_pass_every_check(project: Path) -> None:
    run(project, "dbt", "--quiet", "parse")
    run(project, "dbt-bouncer", "run")
    changed = [
        str(path.relative_to(project))
        for path in sorted((project / "models").rglob("*.sql"))
        if not (PROJECT_ROOT / path.relative_to(project)).exists()
    ]
    assert len(changed) == 16
    run(project, "sqlfluff", "lint", "--disable-progress-bar", *changed)
