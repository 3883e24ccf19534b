"""Receipt lines from the tills of the shops and from the online shop."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from functools import lru_cache
from itertools import accumulate
from typing import Any
from uuid import uuid5

from ingest.jsontext import utc
from levain.samples import company
from levain.samples.events.run import Event, Run, on_its_way

_CENT = Decimal("0.01")
_ZERO = Decimal("0.00")


def sales(run: Run, count: int) -> Iterator[Event]:
    """Receipt lines from the tills of the shops and from the online shop."""
    rng, serial = run.random("sales"), 0
    for day, lines in _share_out(count, _sales_plan(run)):
        receipts: list[tuple[datetime, company.Store, list[dict[str, Any]]]] = []
        for store, target in lines:
            receipts += [(closed, store, rows) for closed, rows in _receipts(run, rng, store, day, target)]
        receipts.sort(key=lambda receipt: (receipt[0], receipt[1].store_id))
        for closed, store, rows in receipts:
            receipt_id = f"{store.store_id}-{day:%y%m%d}-{run.tag[:4]}{serial:05d}"
            received = utc(closed) + on_its_way(rng)
            serial += 1
            for number, row in enumerate(rows, start=1):
                event_id = uuid5(run.namespace, f"{receipt_id}/{number}")
                head = {"event_id": event_id, "event_time": closed, "receipt_id": receipt_id, "line_number": number}
                yield Event(head | row, received)


_DayPlan = tuple[date, list[tuple[company.Store, float]]]


def _sales_plan(run: Run) -> list[_DayPlan]:
    days = [company.START + timedelta(days=offset) for offset in range(run.days)]
    return [(day, [(store, company.demand(store, day)) for store in company.stores(day)]) for day in days]


def _share_out(count: int, plan: list[_DayPlan]) -> Iterator[tuple[date, list[tuple[company.Store, int]]]]:
    """Lines per day and store in proportion to the plan's weights; their sum is exactly `count`."""
    total, so_far, given = math.fsum(weight for _, each in plan for _, weight in each), 0.0, 0
    last = [(day, store) for day, each in plan for store, weight in each if weight][-1]
    for day, each in plan:
        lines = []
        for store, weight in each:
            so_far += weight
            target = count if (day, store) == last else int(count * so_far / total)
            if target > given:
                lines.append((store, target - given))
                given = target
        yield day, lines


def _receipts(
    run: Run, rng: random.Random, store: company.Store, day: date, lines: int
) -> Iterator[tuple[datetime, list[dict[str, Any]]]]:
    online = store.store_id == company.ONLINE
    hours = store.week[day.weekday()]
    assert hours is not None, "a closed shop has no demand"
    starts, busy = company.half_hours(hours)
    closing = hours[1]
    prices = price_list(run, day)
    tastes = [_tastes(day, part) for part in range(3)]
    # One offset holds for the day: clocks change at night, when even the online shop sells next to nothing.
    zone = timezone(datetime.combine(day, time(12), company.PARIS).utcoffset() or timedelta())
    midnight = datetime.combine(day, time(), zone)
    while lines > 0:
        minute = rng.choices(starts, busy)[0] + rng.randrange(30)
        closed = midnight + timedelta(minutes=minute, milliseconds=rng.randrange(60_000))
        size = min(rng.choices((1, 2, 3, 4, 5, 6), (34, 30, 18, 10, 5, 3))[0] + (1 if online else 0), lines)
        products, weights = tastes[0 if minute < 660 else 1 if minute < 840 else 2]
        basket: dict[str, company.Product] = {}
        while len(basket) < size:
            product = rng.choices(products, cum_weights=weights)[0]
            basket[product.product_id] = product
        payment = rng.choices(_PAYMENTS, _ONLINE_PAYMENTS if online else _SHOP_PAYMENTS)[0]
        customer = _customer(rng, store) if online or rng.random() < 0.36 else None
        evening = not online and closing - minute <= 60
        # The online shop writes local time with its offset, the tills write UTC.
        yield (
            closed if online else utc(closed),
            [
                _line(rng, store, product, day, prices[product.product_id], customer, payment, evening)
                for product in basket.values()
            ],
        )
        lines -= size


_PAYMENTS = ("card", "cash", "mobile", "voucher")
_SHOP_PAYMENTS = (52, 24, 18, 6)
_ONLINE_PAYMENTS = (68, 0, 30, 2)
_QUANTITIES = {
    "bread": ((1, 2, 3, 4), (66, 26, 6, 2)),
    "viennoiserie": ((1, 2, 3, 4, 6), (38, 30, 12, 14, 6)),
    "pastry": ((1, 2, 3, 4), (55, 27, 8, 10)),
    "savoury": ((1, 2, 3), (84, 13, 3)),
    "drink": ((1, 2, 3), (82, 15, 3)),
}


def _line(
    rng: random.Random,
    store: company.Store,
    product: company.Product,
    day: date,
    price: Decimal,
    customer: str | None,
    payment: str,
    evening: bool,
) -> dict[str, Any]:
    quantity = 1 if price >= 20 else rng.choices(*_QUANTITIES[product.category])[0]
    promotion = company.promotion(product, day)
    if evening and product.category == company.EVENING.target:
        promotion = company.EVENING
    # Not every till applies it: some shoppers do not ask, some tills are not told.
    if promotion is not None and rng.random() < 0.15:
        promotion = None
    row: dict[str, Any] = {
        "store_id": store.store_id,
        "product_id": product.product_id,
        "quantity": quantity,
        "unit_price": price,
        "discount_amount": (price * quantity * promotion.percent / 100).quantize(_CENT) if promotion else _ZERO,
    }
    # The online shop writes null for what it does not know, the tills leave it out.
    online = store.store_id == company.ONLINE
    if promotion or online:
        row["promotion_id"] = promotion.promotion_id if promotion else None
    if customer or online:
        row["customer_id"] = customer
    row["payment_method"] = payment
    return row


def _customer(rng: random.Random, store: company.Store) -> str:
    """Few customers come often; most have one shop, and the online shop sells to all of them."""
    shops = 9
    rank = min(int(rng.paretovariate(0.9)) - 1, company.CUSTOMERS // shops - 1)
    home = (
        int(store.store_id[1:]) - 1
        if store.store_id != company.ONLINE and rng.random() < 0.93
        else rng.randrange(shops)
    )
    return f"C{rank * shops + home + 1:05d}"


@lru_cache(maxsize=64)
def price_list(run: Run, day: date) -> dict[str, Decimal]:
    """Product id -> what it costs on a day."""
    return {product_id: [price for since, price in rows if since <= day][-1] for product_id, rows in run.prices.items()}


@lru_cache(maxsize=64)
def _tastes(day: date, daypart: int) -> tuple[list[company.Product], list[float]]:
    pairs = [(product, company.appetite(product, day, daypart)) for product in company.PRODUCTS]
    sold = [(product, weight) for product, weight in pairs if weight > 0]
    return [product for product, _ in sold], list(accumulate(weight for _, weight in sold))
