"""Forecasts for logs of sample events, which have none: of the days, shops and products of some sales."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from contextlib import suppress
from datetime import date, timedelta
from decimal import Decimal

from lake import Record

from ingest.contracts import contract_for
from ingest.sources.publish import Headers
from ingest.sources.replay import encode
from levain.learn import demand

TOPIC = demand.TOPIC


def forecasts(sales: Iterable[Record], count: int) -> Iterator[tuple[bytes | None, bytes, Headers]]:
    """Key, value and headers of that many forecasts, each made three days before a sale.

    Of every four one comes again as it is, and one with other numbers.
    """
    contract, number = contract_for(TOPIC), 0
    for record in sales:
        with suppress(ValueError, KeyError, TypeError, OverflowError):
            sale = json.loads(record.value or b"")
            day, place = date.fromisoformat(sale["event_time"][:10]), (str(sale["store_id"]), str(sale["product_id"]))
            low, units, high = (Decimal(number % 3 + each).quantize(Decimal("0.01")) for each in (0, 2, 4))
            made = demand.Forecast(*place, day, units, low, high)
            versions = [made] + [made] * (number % 4 == 1) + [made._replace(units=low)] * (number % 4 == 2)
            for each in versions:
                yield encode(contract, demand.event(each, day - timedelta(days=3), "demand-test"), number)
            number += 1
        if number == count:
            return
    raise AssertionError(f"{number} sales, not {count}")
