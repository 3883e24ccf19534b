"""The largest numbers that contracts allow, and larger ones: what becomes of them, in every sum, product and division.

One lake holds them all, built with every data test: no message that keeps its contract can stop a build.
"""

from __future__ import annotations

import shutil
import time
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from edge_messages import product, sale, vente
from lake import Lake, connect

from ingest.contracts import load_contracts
from ingest.jsontext import JsonText

CONTRACTS = load_contracts()
NOW = int(time.time()) * 1000
BARCODE = 376130321109103420


def limit(topic: str, field: str) -> int:
    """The maximum of a field by its contract."""
    maximum = CONTRACTS[topic].by_name[field].maximum
    assert maximum is not None, f"{topic}.{field} has no maximum"
    return int(maximum)


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Lake:
    lake = Lake(tmp_path_factory.mktemp("numbers"))
    most: dict[str, Any] = {
        name: limit("sales-events", name) for name in ("quantity", "unit_price", "line_number", "discount_amount")
    }
    sales = [
        sale(1),
        sale(2, quantity=BARCODE),
        sale(3, quantity=10**18 - 1, unit_price=JsonText("9999999999.99")),
        *(sale(10 + n, **most | {"product_id": "PMAX"}) for n in range(20)),
        *(sale(30 + n, **most | {"product_id": "PMAX", "discount_amount": 0}) for n in range(20)),
        *(sale(60 + n, **{name: value + 1}) for n, (name, value) in enumerate(most.items())),
    ]
    lake.send("sales-events", sales, timestamp=NOW)
    costed_from_noon = [
        sale(50, product_id="P777", quantity=10, unit_price=2, event_time="2026-01-10T09:00:00Z"),
        sale(51, product_id="P777", quantity=1, unit_price=2, event_time="2026-01-10T14:00:00Z"),
    ]
    lake.send("sales-events", costed_from_noon, received_at="2026-01-10T15:00:00Z", timestamp=NOW)
    products = [
        product(1, product_id="PMAX", base_price=1_000_000, unit_cost=1_000_000, valid_from="2020-01-01T00:00:00Z"),
        product(2, product_id="P777", unit_cost=JsonText("0.40"), valid_from="2026-01-10T12:00:00Z"),
        product(3, product_id="PX", base_price=1_000_001, unit_cost=JsonText("1000000.01")),
    ]
    lake.send("product-changes", products, timestamp=NOW)
    many: dict[str, Any] = {name: limit("ventes_stream", name) for name in ("quantite", "montant")}
    ventes = [
        *(vente(n, **many) for n in range(20)),
        vente(20, vente_id=10**18 - 1),
        vente(21, client_id=10**18 - 1),
        vente(22, quantite=BARCODE),
        vente(23, montant=many["montant"] + 1),
    ]
    lake.send("ventes_stream", ventes, timestamp=NOW)
    lake.build(tests=True)
    return lake


def verdicts(lake: Lake, topic: str, where: str) -> set[tuple[str, str]]:
    return set(lake.read(f"select verdict, failed_rules from silver.int_{topic}__verdicts where {where}"))


def test_a_barcode_as_quantity_is_rejected_by_name(lake: Lake) -> None:
    assert verdicts(lake, "sales_events", "receipt_id in ('R2', 'R3')") == {
        ("rejected", "quantity_out_of_range"),
        ("rejected", "quantity_out_of_range,unit_price_out_of_range"),
    }
    assert verdicts(lake, "ventes_stream", "quantite = 376130321109103420") == {("rejected", "quantite_out_of_range")}
    beyond = {("rejected", f"{name}_out_of_range") for name in ("quantity", "unit_price", "line_number")}
    assert verdicts(lake, "sales_events", "receipt_id in ('R60', 'R61', 'R62')") == beyond
    assert verdicts(lake, "product_changes", "product_id = 'PX'") == {
        ("rejected", "base_price_out_of_range,unit_cost_out_of_range")
    }


def test_the_largest_numbers_are_counted_to_the_cent(lake: Lake) -> None:
    gross = 40 * Decimal(100_000) * Decimal(1_000_000)
    discount = 20 * Decimal(limit("sales-events", "discount_amount"))
    expected = (40 * 100_000, gross, discount, gross - discount, gross)
    columns = "sum(units), sum(gross_amount), sum(discount_amount), sum(net_amount), sum(cost_amount)"
    for mart in ("mart_sales_performance", "mart_product_sales"):
        assert lake.read(f"select {columns} from gold.{mart} where product_id = 'PMAX'") == [expected]
    columns = "sales_rank, net_amount, margin_amount, costed_share"
    assert lake.read(f"select {columns} from gold.mart_product_sales where product_id = 'PMAX'") == [
        (1, gross - discount, -discount, 1)
    ]
    many = limit("ventes_stream", "montant")
    columns = "nombre_ventes, total_quantite, total_montant, montant_moyen"
    total = 20 * many + Decimal("899.99")
    assert lake.read(f"select {columns} from gold.ventes_aggreges where produit_id = 101") == [
        (21, 20 * 100_000 + 1, total, round(total / 21, 2))
    ]


def test_margin_is_of_the_lines_whose_cost_is_known(lake: Lake) -> None:
    expected = [(11, 22, 1, 2, Decimal("0.090909"), Decimal("0.40"), Decimal("1.60"))]
    columns = "units, net_amount, costed_units, costed_net_amount, costed_share, cost_amount, margin_amount"
    for mart in ("mart_sales_performance", "mart_product_sales"):
        assert lake.read(f"select {columns} from gold.{mart} where product_id = 'P777'") == expected
    assert lake.read(f"select {columns} from gold.mart_product_sales where product_id = 'P001'") == [
        (1, Decimal("1.20"), 0, 0, 0, None, None)
    ]


def test_sums_are_stored_such_that_they_are_read_fast(lake: Lake, tmp_path: Path) -> None:
    """DuckDB reads a decimal of more than 18 digits a hundred times slower when its bits are packed."""
    path = tmp_path / lake.settings.duckdb_file.name
    shutil.copy(lake.settings.duckdb_file, path)
    with connect(path, read_only=False) as connection:
        wide = connection.execute(
            "select table_schema || '.' || table_name, column_name from information_schema.columns "
            "join information_schema.tables using (table_schema, table_name) "
            "where table_type = 'BASE TABLE' and data_type like 'DECIMAL%' and numeric_precision > 18"
        ).fetchall()
        tables = {table for table, _ in wide}
        assert tables >= {"gold.int_sales__daily", "gold.int_ventes__hourly", "gold.mart_hourly_sales"}
        for table, column in wide:
            connection.execute(f"insert into {table} ({column}) select hash(n) % 10000 from range(10000) as r (n)")
        connection.execute("checkpoint")
        for table, column in wide:
            found = connection.execute(
                f"select distinct compression from pragma_storage_info('{table}') "
                f"where column_name = '{column}' and segment_type <> 'VALIDITY'"
            ).fetchall()
            assert {name for (name,) in found} <= {"RLE", "Constant"}, (table, column)


def test_totals_of_all_time_are_the_facts(lake: Lake) -> None:
    facts = "select product_id, count(*), sum(quantity), sum(gross_amount), sum(discount_amount), sum(net_amount)"
    mart = "select product_id, line_count, units, gross_amount, discount_amount, net_amount"
    assert lake.read(f"{mart} from gold.mart_product_sales order by all") == lake.read(
        f"{facts} from gold.fct_sales group by all order by all"
    )


def test_an_identity_has_up_to_eighteen_digits(lake: Lake) -> None:
    assert lake.read(f"select event_id from silver.ventes_clean where vente_id = {10**18 - 1}") == [("9" * 18,)]
    assert verdicts(lake, "ventes_stream", f"client_id = {10**18 - 1}") == {("held", "client_id_unknown")}
