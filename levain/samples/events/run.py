"""A run of the company's events: what its topics share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from functools import cached_property

from levain.samples import company, run


@dataclass(frozen=True)
class Run(run.Run):
    """One call of the generator.

    Attributes:
        changes: how many product changes follow the initial catalogue.
        sales: how many receipt lines there are, whether or not they are sent.
    """

    changes: int = 0
    sales: int = 0

    @cached_property
    def product_changes(self) -> list[company.ProductChange]:
        return company.product_changes(self.changes, self.days, self.start)

    @cached_property
    def prices(self) -> Mapping[str, list[tuple[date, Decimal]]]:
        """Product id -> (first day, price), oldest first."""
        book: dict[str, list[tuple[date, Decimal]]] = {}
        changes = (*company.catalogue(self.start), *self.product_changes)
        for change in sorted(changes, key=lambda change: change.valid_from):
            book.setdefault(change.product_id, []).append((change.day, change.base_price))
        return book
