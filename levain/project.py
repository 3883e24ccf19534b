"""What is this project's own where the framework names an example of it, or shows a table of it.

The framework is the same in every project; this module and `levain.samples.events` are what differs in its code.
"""

from __future__ import annotations

from typing import NamedTuple


class Closing(NamedTuple):
    """A table of Gold that `levain demo` prints at its end.

    Attributes:
        sql: a query in which `{}` stands for the table.
    """

    title: str
    headings: tuple[str, ...]
    table: str
    sql: str


TIME_ZONE = "Europe/Paris"
"""Where the days of sample events begin."""

CLOSING = Closing(
    "Best-selling products",
    ("product", "category", "units", "net amount, euros"),
    "mart_product_sales",
    """
    select coalesce(product_name, product_id), category, units, net_amount
    from {} order by sales_rank limit 10
    """,
)

TABLE = "mart_top_products"
"""A table of Gold, for examples of what to ask."""

COLUMN = "mart_top_products.net_amount"
"""A column of Gold, for the same."""

CONDITION = "store_id = 'S001'"
"""A condition on rows of Gold, for the same."""

LINEAGE_FIRST = "fct_sales"
"""The table that the page of lineage opens on."""
