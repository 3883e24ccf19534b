"""What this project has of sample events: how each topic's come about, what may be wrong with them, what they refer to.

A topic that is not named here has events that are drawn from its contract (`levain.samples.generic`).
"""

from __future__ import annotations

from datetime import date
from typing import Any

from levain.samples import company
from levain.samples.events.customers import FREQUENT, customer_changes
from levain.samples.events.equipment import equipment_metrics
from levain.samples.events.faults import FORMS, OTHER_VERSIONS
from levain.samples.events.feedback import customer_feedback
from levain.samples.events.inventory import inventory_updates
from levain.samples.events.marketplace import ventes
from levain.samples.events.planted import Planted
from levain.samples.events.products import product_changes
from levain.samples.events.promotions import notices, promotions
from levain.samples.events.purchases import purchases
from levain.samples.events.registers import equipment_extracts, store_extracts
from levain.samples.events.run import Run
from levain.samples.events.sales import sales
from levain.samples.events.weather import weather
from levain.samples.events.webshop import web_events
from levain.samples.run import Source

__all__ = ["FORMS", "MEMBERS", "OTHER_VERSIONS", "SOURCES", "WITHOUT_EVENTS", "Planted", "run_of"]

_STORES, _PRODUCTS = len(company.stores(company.START)), len(company.PRODUCTS)
_EQUIPMENT = len(company.equipment(company.START))
_SHELVES = (_STORES - 1) * _PRODUCTS


def _most_product_changes(days: int, _: date) -> int:
    """Two a day in some weeks; over years each product changes about four times a year."""
    return _PRODUCTS + min(2 * days, 60 + days // 3)


SOURCES: dict[str, Source] = {
    "sales-events": Source(sales, 0.78),
    "ventes_stream": Source(ventes, 0.154),
    "inventory-updates": Source(inventory_updates, 0.152, most=lambda days, _: 4 * _SHELVES * days),
    "equipment-metrics": Source(equipment_metrics, 0.065, most=lambda days, _: _EQUIPMENT * 96 * days),
    "web-events": Source(web_events, 0.115),
    "customer-feedback": Source(customer_feedback, 0.042),
    "purchases": Source(purchases, 0.028),
    "customer-changes": Source(
        customer_changes, 0.04, most=lambda days, _: company.CUSTOMERS + 12 * days, protected=FREQUENT
    ),
    "promotions": Source(
        promotions,
        0.004,
        least=lambda days, start: len(notices(days, start)),
        most=lambda days, start: len(notices(days, start)),
        protected=2,
    ),
    "product-changes": Source(
        product_changes, 0.01, least=lambda *_: _PRODUCTS + 6, most=_most_product_changes, protected=_PRODUCTS
    ),
    "store-extracts": Source(
        store_extracts,
        0.056,
        least=lambda *_: 2 * _STORES,
        most=lambda days, _: _STORES * days,
        unit=_STORES,
        protected=_STORES,
    ),
    "equipment-extracts": Source(equipment_extracts, 0.01, most=lambda days, _: _EQUIPMENT * days, unit=_EQUIPMENT),
    "weather-data": Source(
        weather, 0.02, least=lambda *_: _STORES, most=lambda days, _: _STORES * 96 * days, unit=_STORES
    ),
}

"""Topic -> how its events come about."""

WITHOUT_EVENTS = frozenset({"demand-forecasts", "purchase-scores"})
"""Topics into which only the project's own commands publish: they have no sample events."""

MEMBERS: dict[str, list[Any]] = {
    "dim_store.store_id": [store.store_id for store in company.stores(company.START)],
    "dim_product.product_id": [product.product_id for product in company.PRODUCTS],
    "dim_customer.customer_id": [f"C{number:05d}" for number in range(1, company.CUSTOMERS + 1)],
    "dim_equipment.equipment_id": [each.equipment_id for each in company.equipment(company.START)],
    "marketplace_clients_history.client_id": [client.client_id for client in company.CLIENTS],
    "marketplace_produits_history.produit_id": [produit.produit_id for produit in company.PRODUITS],
}
"""`model.column` that a contract refers to -> the values that events may name."""


def run_of(name: str, days: int, topics: tuple[tuple[str, int], ...], start: date) -> Run:
    """A run of these topics; see `Run`."""
    counts = dict(topics)
    # Where lines are not sent, as many are sold as go with the movements of stock.
    usual = SOURCES["sales-events"].share / SOURCES["inventory-updates"].share
    lines = counts.get("sales-events", round(usual * counts.get("inventory-updates", 0)))
    changes = max(counts.get("product-changes", 50) - len(company.PRODUCTS), 0)
    return Run(name, days, topics, start, changes=changes, sales=lines)
