"""The product catalogue as the log of its changes."""

from __future__ import annotations

from collections.abc import Iterator

from levain.samples import company
from levain.samples.events.run import Run
from levain.samples.run import Event, on_its_way


def product_changes(run: Run, count: int) -> Iterator[Event]:
    """The initial catalogue, then its changes."""
    rng = run.random("product-changes")
    for number, change in enumerate([*company.catalogue(run.start), *run.product_changes][:count], start=1):
        yield Event(
            {
                "event_id": run.identity(f"product-changes/{number}"),
                "event_time": change.recorded,
                "product_id": change.product_id,
                "name": change.name,
                "category": change.category,
                "base_price": change.base_price,
                "unit_cost": change.unit_cost,
                "is_active": change.is_active,
                "valid_from": change.valid_from,
            },
            change.recorded + on_its_way(rng),
        )
