"""What a model says one row of it is, its tests prove."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from descriptions import descriptions

from ingest.contracts import load_contracts
from ingest.settings import PROJECT_ROOT

ONE_COPY = "one_accepted_copy_of_each_event_in_"
#: Where two rows of these would also be two rows of another table, whose key is tested.
KEYS_OF_ANOTHER = {
    "int_messages": "the verdicts of each topic",
    **{contract.table: ONE_COPY + contract.table for contract in load_contracts().values()},
    "ventes_clean": ONE_COPY + "ventes_stream",
    "promotion_notices": ONE_COPY + "promotions",
    "weather_observations": ONE_COPY + "weather_data",
    "marketplace_clients_history": "dim_marketplace_client, which has a row for each",
    "marketplace_produits_history": "dim_marketplace_product, which has a row for each",
    "feat_demand_forecast": "int_sales__daily, whose days and products it pairs; to test its own would read all days",
    "mart_demand_forecast": "fct_demand_forecast, joined with at most one row of each other table",
    "feat_customer_churn": "int_customers__weekly, which it groups; to test its own would read all weeks in each build",
    "mart_churn_risk": "feat_customer_churn, of which it is one week",
    "mart_equipment_health": "feat_equipment_maintenance, with the one current version of each piece of equipment",
    "mart_customer_retention": "fct_sales, whose months it groups; to test its own would read all sales in each build",
    "mart_sales_performance": "int_sales__daily, joined with the one current version of each shop and product",
}


RELATIONS = descriptions()


@pytest.mark.parametrize("name", RELATIONS)
def test_one_row_per_is_tested(name: str) -> None:
    """But for what is only on the way to the verdicts: each message, and so each row, has one of them."""
    if name.startswith("stg_") or name.endswith(("__checked", "__arrived", "_superseded")):
        return
    relation = RELATIONS[name]
    assert relation["description"].startswith("One row per ")
    arguments = [test["row_rules"]["arguments"] for test in relation.get("data_tests", []) if "row_rules" in test]
    keys = [key for each in arguments for key in each.get("keys", [])]
    assert bool(keys) != (name in KEYS_OF_ANOTHER), f"{name}: row_rules with keys, or KEYS_OF_ANOTHER"


def columns_of(model: str) -> set[str]:
    """The columns of a Silver view, as its select list names them."""
    (path,) = (PROJECT_ROOT / "models" / "silver").glob(f"{model}.sql")
    listed = path.read_text(encoding="utf-8").partition("from {{")[0]
    return {line.strip().rstrip(",").split()[-1] for line in listed.splitlines()[1:] if line.strip()}


GOLD = sorted((PROJECT_ROOT / "models" / "gold").rglob("*.sql"))
FRAMED = [path for path in GOLD if re.search(r"superseded(_facts)?=", path.read_text(encoding="utf-8"))]


@pytest.mark.parametrize("path", FRAMED, ids=lambda path: path.stem)
def test_superseded_versions_have_the_keys_of_what_they_touch(path: Path) -> None:
    """A build with nothing but first messages does not read them, so a key that is missing would fail only later."""
    text = path.read_text(encoding="utf-8")

    def pairs(argument: str) -> dict[str, str]:
        found = re.search(rf"\b{argument}=\{{(.*?)\}}", text, re.DOTALL)
        plain = r"'(\w+)': (?:'(\w+)'|[\w]+\('(\w+)'\))"
        return {key: one or other for key, one, other in re.findall(plain, found[1] if found else "")}

    needed = set((pairs("keys") | pairs("superseded_keys")).values())
    member = re.search(r"member='(\w+)'", text)
    needed |= {member[1]} if member else set()
    needed |= {"event_id", "event_date"} if "call fact(" in text else set()
    listed = re.findall(r"superseded(?:_facts|_changes)?=(\[.*?\]|ref\('\w+'\))", text, re.DOTALL)
    assert needed and listed
    for model in re.findall(r"ref\('(\w+)'\)", " ".join(listed)):
        assert needed | {"_build"} <= columns_of(model), model
