"""A contract that changes: what is additive reaches old events by one command, what breaks a promise is refused."""

from __future__ import annotations

import copy
import json
import os
import shutil
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml
from dbt.contracts.graph.manifest import Manifest
from lake import WITHOUT_TESTS, Lake

from ingest.contracts import load_contract, load_contracts
from ingest.errors import LevainError
from ingest.settings import PROJECT_ROOT
from levain.warehouse import dbt as warehouse
from levain.warehouse import generate as codegen
from levain.warehouse.spark import prepare

NOW = datetime.now(UTC)
SALES = "sales-events.odcs.yaml"
PARTS = ("macros", "models", "profiles", "seeds", "snapshots", "tests")
CARD = {"name": "loyalty_card", "logicalType": "string", "description": "Loyalty card, if one was shown."}
FEW = ("--select", "+int_sales__daily", "+mart_sales_performance")
COMMAND = 'levain build --full-refresh --select "stg_retail__sales_events+"'

Document = dict[str, Any]
Change = Callable[[Document], object]


class Evolving(Lake):
    """A lake, with a project of its own whose contracts can be changed.

    Attributes:
        target: the engine's target in profiles.yml.
    """

    target = "duckdb"

    def __init__(self, folder: Path) -> None:
        super().__init__(folder / "home")
        self.project = folder / "project"
        for part in PARTS:
            shutil.copytree(PROJECT_ROOT / part, self.project / part, ignore=shutil.ignore_patterns("python"))
        shutil.copy(PROJECT_ROOT / "dbt_project.yml", self.project)
        self.contracts = self.project / "contracts"
        shutil.copytree(PROJECT_ROOT / "ingest" / "contracts", self.contracts)
        self.manifest: Manifest | None = None  # parsed once for each state of the contract

    def change(self, change: Change) -> None:
        """Change the contract of sales-events, and write what follows from it."""
        self.manifest = None
        path = self.contracts / SALES
        path.write_text(yaml.safe_dump(changed(yaml.safe_load(path.read_text()), change)), encoding="utf-8")
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(codegen, "PROJECT_ROOT", self.project)
            patch.setattr(codegen, "load_contracts", lambda: load_contracts(self.contracts))
            codegen.generate()

    def dbt(self, *arguments: str) -> None:
        """Run `dbt build` without tests, as `levain build` does it."""
        if self.manifest is None:
            self.manifest = warehouse.parse(self.settings, self.target)
        command = ["build", "--target", self.target, *WITHOUT_TESTS, *arguments]
        warehouse.run_dbt(self.settings, command, "", self.manifest)

    def run(self, command: str) -> None:
        """Run a command that a message named."""
        words = command.replace('"', "").split()
        assert words[:2] == ["levain", "build"]
        self.dbt(*words[2:])

    def sell(self, *numbers: int, **fields: object) -> None:
        """Land a valid sale per number."""
        self.send(
            "sales-events",
            [json.dumps({**sale(number), **fields}).encode() for number in numbers],
            timestamp=int(NOW.timestamp() * 1000),
        )


def sale(number: int) -> dict[str, Any]:
    return {
        "event_id": f"00000000-0000-4000-8000-{number:012d}",
        "event_time": NOW.isoformat(),
        "receipt_id": f"R{number}",
        "line_number": 1,
        "store_id": "S001",
        "product_id": "P001",
        "quantity": 1,
        "unit_price": 1.2,
        "discount_amount": 0.0,
        "payment_method": "card",
    }


def changed(document: Document, change: Change) -> Document:
    document = copy.deepcopy(document)
    change(document)
    return document


def field(document: Document, name: str) -> dict[str, Any]:
    (found,) = [each for each in document["schema"][0]["properties"] if each["name"] == name]
    assert isinstance(found, dict)
    return found


def add(**parts: object) -> Change:
    return lambda document: document["schema"][0]["properties"].append({**CARD, **parts})


def remove(name: str) -> Change:
    return lambda document: document["schema"][0]["properties"].remove(field(document, name))


def alter(name: str, **parts: object) -> Change:
    return lambda document: field(document, name).update(parts)


def options(name: str, **options: object) -> Change:
    return lambda document: field(document, name).setdefault("logicalTypeOptions", {}).update(options)


def custom(element: Callable[[Document], dict[str, Any]], key: str, value: object) -> Change:
    def change(document: Document) -> None:
        of = element(document)
        kept = [each for each in of.get("customProperties", []) if each["property"] != key]
        of["customProperties"] = [*kept, {"property": key, "value": value}]

    return change


def of_field(name: str, key: str, value: object) -> Change:
    return custom(lambda document: field(document, name), key, value)


def of_topic(key: str, value: object) -> Change:
    return custom(lambda document: document["schema"][0], key, value)


def rule(**parts: object) -> Change:
    return lambda document: document["schema"][0]["quality"][0].update(parts)


def version(number: str) -> Change:
    return lambda document: document.update(version=number)


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Evolving]:
    with pytest.MonkeyPatch.context() as patch:
        made = Evolving(tmp_path_factory.mktemp("evolving"))
        patch.setattr(warehouse, "PROJECT_ROOT", made.project)
        yield made


def builds(lake: Evolving) -> int:
    return int(lake.read("select max(build) from meta.builds")[0][0])


def cards(lake: Evolving) -> list[tuple[Any, ...]]:
    return lake.read(
        "select right(event_id, 2), verdict, failed_rules, loyalty_card from silver.int_sales_events__verdicts "
        "order by kafka_offset"
    )


@pytest.mark.slow
def test_an_optional_field_reaches_old_and_new_events_by_the_command_that_is_named(lake: Evolving) -> None:
    lake.sell(1)
    lake.sell(2, loyalty_card="L2")  # before the contract knows it
    lake.sell(3, loyalty_card=3)
    lake.dbt()
    assert lake.read("select count(*) from gold.fct_sales") == [(3,)]

    lake.change(add())
    lake.sell(4, loyalty_card="L4")
    for refused in (FEW, (*FEW, "--full-refresh", "--exclude", "fct_sales")):
        with pytest.raises(LevainError) as error:
            lake.dbt(*refused)
        assert "The contract of sales-events has changed: the field loyalty_card is new." in error.value.message
        assert f"`{COMMAND}`" in str(error.value)
    assert builds(lake) == 1
    lake.run(COMMAND)
    expected = [
        ("01", "accepted", "", None),
        ("02", "accepted", "", "L2"),
        ("03", "rejected", "loyalty_card_invalid", None),
        ("04", "accepted", "", "L4"),
    ]
    assert cards(lake) == expected
    assert sorted(lake.read("select right(event_id, 2) from gold.fct_sales")) == [("01",), ("02",), ("04",)]

    lake.sell(5, loyalty_card="L5")
    lake.sell(1)
    lake.dbt(*FEW)
    assert cards(lake) == [*expected, ("05", "accepted", "", "L5"), ("01", "duplicate", "", None)]
    incremental = lake.contents()
    lake.dbt(*FEW, "--full-refresh")
    assert lake.contents() == incremental


@pytest.mark.slow
def test_a_full_refresh_that_was_not_finished_is_asked_for_again(lake: Evolving) -> None:
    since = lake.read("select build from meta.contracts where model = 'int_sales_events__verdicts'")
    assert since == [(2,)]
    lake.write("update meta.progress set build = 1 where model in ('fct_sales', 'int_sales__daily')")
    with pytest.raises(LevainError, match=r"sales-events has changed, and fct_sales, int_sales__daily have not been"):
        lake.dbt(*FEW)
    lake.dbt("--select", "dim_calendar")
    [(dimension,)] = lake.read("select build from meta.progress where model = 'dim_store'")
    lake.write("delete from meta.progress where model = 'dim_store'")
    with pytest.raises(LevainError, match='--full-refresh --select "@stg_retail__sales_events"'):
        lake.dbt(*FEW)
    lake.write(f"insert into meta.progress values ('dim_store', {dimension})")
    lake.run(COMMAND)
    lake.dbt(*FEW)


@pytest.mark.slow
def test_a_breaking_change_is_refused_until_the_next_major_version(lake: Evolving) -> None:
    built = builds(lake)
    lake.change(options("quantity", minimum=2))
    for more in ((), ("--full-refresh",)):
        with pytest.raises(LevainError) as error:
            lake.dbt(*FEW, *more)
        assert "breaks what version 1.0.0 promised: minimum of quantity is 2, no longer 1." in error.value.message
        assert "a topic of their own" in str(error.value) and f"`{COMMAND}`" in str(error.value)
    lake.change(version("2.0.0"))
    with pytest.raises(LevainError, match="The contract of sales-events has changed: minimum of quantity") as error:
        lake.dbt(*FEW)
    assert f"`{COMMAND}`" in str(error.value) and builds(lake) == built
    lake.run(COMMAND)
    assert lake.read("select count(*) from gold.fct_sales") == [(0,)]
    lake.change(version("2.1.0"))
    lake.dbt(*FEW)
    [(noted,)] = lake.read("select promises from meta.contracts where model = 'int_sales_events__verdicts'")
    assert json.loads(noted)["version"] == "2.1.0"


@pytest.mark.slow
def test_what_verdicts_do_not_follow_from_stops_nothing(lake: Evolving) -> None:
    lake.change(lambda document: document.update(domain="shops"))
    lake.sell(6)
    lake.dbt("--select", "+int_sales_events__verdicts")
    assert cards(lake)[-1][:2] == ("06", "rejected")


@pytest.mark.full
@pytest.mark.timeout(1800)
@pytest.mark.filterwarnings("ignore::ResourceWarning")  # pyspark leaves its sockets to the garbage collector
def test_spark_asks_for_the_same_and_does_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(
        "LEVAIN_SPARK_JARS", os.environ.get("LEVAIN_SPARK_JARS", str(PROJECT_ROOT / ".cache" / "spark-jars"))
    )
    prepare()
    lake = Evolving(tmp_path)
    lake.target = "spark"
    monkeypatch.setattr(warehouse, "PROJECT_ROOT", lake.project)
    build = ("--select", "+int_sales_events__verdicts")
    lake.sell(1)
    lake.sell(2, loyalty_card="L2")
    lake.dbt(*build)
    lake.change(add(description='What\'s on the "card", with \\.'))
    lake.sell(3, loyalty_card="L3")
    with pytest.raises(LevainError, match="has changed: the field loyalty_card is new") as error:
        lake.dbt(*build)
    # The whole command builds all that is built from the topic; up to its verdicts is enough here.
    assert 'levain build --target spark --full-refresh --select "@stg_retail__sales_events"' in str(error.value)
    lake.dbt("--full-refresh", "--select", "stg_retail__sales_events+,+int_sales_events__verdicts")
    lake.sell(4, loyalty_card="L4")
    lake.dbt(*build)
    lake.change(remove("customer_id"))
    with pytest.raises(LevainError, match="promised: the field customer_id is gone"):
        lake.dbt("--full-refresh", *build)
    table = lake.catalog.load_table("silver.int_sales_events__verdicts").scan().to_arrow()
    rows = sorted(zip(*(table[name].to_pylist() for name in ("kafka_offset", "verdict", "loyalty_card")), strict=True))
    assert rows == [(0, "accepted", None), (1, "accepted", "L2"), (2, "accepted", "L3"), (3, "accepted", "L4")]


NESTED = "customer-feedback.odcs.yaml"


def items_of(document: Document, name: str) -> dict[str, Any]:
    found = field(document, name)["items"]
    assert isinstance(found, dict)
    return found


def answer(document: Document) -> list[dict[str, Any]]:
    """The members of an answer."""
    found = items_of(document, "answers")["properties"]
    assert isinstance(found, list)
    return found


PHONE = {"name": "phone", "logicalType": "string", "description": "Telephone."}
NESTED_CHANGES: list[tuple[Change, bool | None, str]] = [
    (lambda d: field(d, "visit")["properties"].append(PHONE), False, "the field visit_phone is new"),
    (
        lambda d: field(d, "visit")["properties"].append(PHONE | {"required": True}),
        True,
        "the field visit_phone is new and required, which no event from before can be",
    ),
    (add(name="seat", logicalType="object", properties=[PHONE | {"required": True}]), False, "seat_phone is new"),
    (add(name="seat", logicalType="object", required=True, properties=[PHONE]), True, "seat is new and required"),
    (remove("visit"), True, "the field visit_visited_on is gone"),
    (alter("visit", required=True), True, "required of visit is true, no longer false"),
    (lambda d: field(d, "visit")["properties"][0].update(logicalType="string"), True, "type of visit_visited_on is"),
    (options("answers", maxItems=10), True, "max_items of answers is 10, no longer 20"),
    (options("answers", maxItems=30), False, "max_items of answers is 30, no longer 20"),
    (options("answers", minItems=1), True, "min_items of answers is 1, no longer none"),
    (lambda d: items_of(d, "tags").pop("logicalTypeOptions"), False, "pattern of the items of tags is none"),
    (lambda d: items_of(d, "tags").update(logicalType="date", logicalTypeOptions={}), True, "items of tags is date"),
    (lambda d: answer(d).append(PHONE), False, "the field answers_phone is new"),
    (lambda d: answer(d).pop(), True, "the field answers_comment is gone"),
    (lambda d: answer(d)[2].update(required=True), True, "required of answers_comment is true"),
    (lambda d: answer(d)[0].pop("enum"), False, "values of answers_question is none"),
    (lambda d: answer(d).reverse(), False, "the fields of answers are in another order"),
    (of_topic("minimumCompleteness", 80), True, "an event with its required fields only may now be incomplete"),
]  # fmt: skip

CHANGES: list[tuple[Change, bool | None, str]] = [
    # the change, whether it breaks a promise (None: nothing that matters), what is said
    (lambda document: field(document, "quantity").update(description="Pieces."), None, ""),
    (of_topic("partitions", 6), None, ""),
    (version("7.0.0"), None, ""),
    (add(), False, "the field loyalty_card is new"),
    (add(required=True), True, "the field loyalty_card is new and required, which no event from before can be"),
    (remove("customer_id"), True, "the field customer_id is gone"),
    (of_topic("key", "product_id"), True, "the key is product_id, no longer store_id"),
    (of_topic("minimumCompleteness", 97), True, "an event with its required fields only may now be incomplete"),
    (of_topic("minimumCompleteness", 70), False, "minimumCompleteness is 70, no longer 80"),
    (of_topic("encoding", "confluent-avro"), False, "the encoding is confluent-avro, no longer none"),
    (add(customProperties=[{"property": "weight", "value": 40}]), True, "required fields only may now be incomplete"),
    (alter("line_number", logicalType="number", physicalType="decimal(9,0)"), True, "type of line_number is decimal"),
    (alter("unit_price", physicalType="decimal(12,3)"), True, "is decimal(12,3), no longer decimal(12,2)"),
    (alter("event_id", logicalTypeOptions={}), True, "type of event_id is string, no longer uuid"),
    (of_field("line_number", "column", "place"), True, "column of line_number is place, no longer none"),
    (alter("customer_id", required=True), True, "required of customer_id is true, no longer false"),
    (alter("receipt_id", required=False), False, "required of receipt_id is false, no longer true"),
    (options("unit_price", minimum=0.5), True, "minimum of unit_price is 0.5, no longer 0"),
    (options("quantity", minimum=0), False, "minimum of quantity is 0, no longer 1"),
    (options("quantity", minimum=3), True, "minimum of quantity is 3, no longer 1"),
    (options("line_number", maximum=9), True, "maximum of line_number is 9, no longer 10000"),
    (options("line_number", maximum=10001), False, "maximum of line_number is 10001, no longer 10000"),
    (options("receipt_id", pattern="^R"), True, "pattern of receipt_id is ^R, no longer none"),
    (alter("payment_method", enum=[{"value": "cash"}]), True, "values of payment_method is cash, no longer cash, card"),
    (lambda d: field(d, "payment_method")["enum"].append({"value": "coin"}), False, "mobile, voucher, coin, no longer"),
    (lambda d: field(d, "payment_method").pop("enum"), False, "values of payment_method is none"),
    (of_field("store_id", "strict", True), True, "strict of store_id is dim_store.store_id, no longer none"),
    (of_field("customer_id", "weight", 4), False, "weight of customer_id is 4, no longer 3"),
    (rule(implementation="discount_amount < quantity * unit_price"), True, "the rule discount_within_gross is another"),
    (rule(customProperties=[{"property": "weight", "value": 3}]), False, "discount_within_gross has another weight"),
    (rule(name="discount_not_above_gross"), True, "the rule discount_not_above_gross is new"),
    (lambda document: document["schema"][0].pop("quality"), False, "the rule discount_within_gross is gone"),
    (lambda document: document["schema"][0]["properties"].reverse(), False, "the fields are in another order"),
]  # fmt: skip


def test_each_kind_of_change_is_classed_and_named(lake: Evolving, tmp_path: Path) -> None:
    def promises(document: Document) -> dict[str, object]:
        path = tmp_path / SALES
        path.write_text(yaml.safe_dump(document), encoding="utf-8")
        return codegen._promises(load_contract(path))

    pairs = []
    for name, changes in ((SALES, CHANGES), (NESTED, NESTED_CHANGES)):
        document = yaml.safe_load((PROJECT_ROOT / "ingest" / "contracts" / name).read_text(encoding="utf-8"))
        old = promises(document)
        pairs += [[old, promises(changed(document, change))] for change, _, _ in changes]
    (lake.project / "macros" / "compare.sql").write_text(
        "{% macro compare(pairs) %}{% set found = [] %}"
        "{% for pair in pairs %}{% do found.append(contract_changes(pair[0], pair[1])) %}{% endfor %}"
        "{% do run_query('create schema if not exists meta') %}"
        "{% do run_query('create table meta.compared as select ' ~ string_literal(tojson(found)) ~ ' as found') %}"
        "{% endmacro %}",
        encoding="utf-8",
    )
    arguments = ["run-operation", "compare", "--args", json.dumps({"pairs": pairs})]
    warehouse.run_dbt(lake.settings, arguments, "")
    [(compared,)] = lake.read("select found from meta.compared")
    for (_, breaking, says), found in zip([*CHANGES, *NESTED_CHANGES], json.loads(compared), strict=True):
        texts = "; ".join(each["what"] for each in found)
        assert says in texts, texts
        assert (any(each["breaking"] for each in found) if found else None) is breaking, texts
