"""Sample events per topic, without faults: one generator each, in the order the events are received."""

from __future__ import annotations

from levain.samples import company
from levain.samples.events.marketplace import ventes
from levain.samples.events.products import product_changes
from levain.samples.events.registers import equipment_extracts, store_extracts
from levain.samples.events.run import Source
from levain.samples.events.sales import sales
from levain.samples.events.weather import weather

_STORES, _PRODUCTS = len(company.stores(company.START)), len(company.PRODUCTS)
_EQUIPMENT = len(company.equipment(company.START))

SOURCES: dict[str, Source] = {
    "sales-events": Source(sales, 0.78),
    "ventes_stream": Source(ventes, 0.154),
    "product-changes": Source(
        product_changes, 0.01, least=_PRODUCTS + 6, most=lambda days: _PRODUCTS + 2 * days, protected=_PRODUCTS
    ),
    "store-extracts": Source(
        store_extracts, 0.056, least=2 * _STORES, most=lambda days: _STORES * days, unit=_STORES, protected=_STORES
    ),
    "equipment-extracts": Source(equipment_extracts, 0.01, most=lambda days: _EQUIPMENT * days, unit=_EQUIPMENT),
    "weather-data": Source(weather, 0.02, least=_STORES, most=lambda days: _STORES * 96 * days, unit=_STORES),
}
