"""Receipt lines from the tills of the shops and from the online shop."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from functools import lru_cache
from itertools import accumulate
from typing import Any

from levain.samples import company
from levain.samples.events import shoppers
from levain.samples.events.run import Run
from levain.samples.run import Event, drawn, on_its_way, shared_out

_CENT = Decimal("0.01")
_ZERO = Decimal("0.00")


@dataclass(frozen=True, slots=True)
class Receipt:
    """What was sold to one customer at once.

    Attributes:
        sold_at: UTC.
        written: the same moment as the shop writes it: the online shop with its local offset.
        lines: of the event, without what names receipt and time.
    """

    receipt_id: str
    store_id: str
    sold_at: datetime
    written: datetime
    lines: list[dict[str, Any]]


def sales(run: Run, count: int) -> Iterator[Event]:
    """Receipt lines from the tills of the shops and from the online shop."""
    rng = run.random("sales-events")
    for day in receipts(run, count):
        for receipt in day:
            received = receipt.sold_at + on_its_way(rng)
            for number, line in enumerate(receipt.lines, start=1):
                head = {
                    "event_id": run.identity(f"{receipt.receipt_id}/{number}"),
                    "event_time": receipt.written,
                    "receipt_id": receipt.receipt_id,
                    "line_number": number,
                }
                yield Event(head | line, received)


def receipts(run: Run, count: int) -> Iterator[list[Receipt]]:
    """The receipts of each day, in order, if so many lines are sold in the run."""
    topics = ("sales-events", "inventory-updates", "customer-feedback")
    return run.follow(("receipts", count), lambda: _days(run, count), topics)


def _days(run: Run, count: int) -> Iterator[list[Receipt]]:
    rng, serial, given = run.random("sales"), 0, 0
    shops = [(day, store) for day in run.calendar for store in company.stores(day)]
    weights = [company.demand(store, day) for day, store in shops]
    # Where all shops are closed on the last days, the last one that was open sells what is left.
    last = max((place for place, weight in enumerate(weights) if weight), default=0)
    targets = shared_out(count, weights[: last + 1])
    place = 0
    for day in run.calendar:
        found: list[tuple[datetime, str, datetime, list[dict[str, Any]]]] = []
        for store in company.stores(day):
            if place <= last and targets[place] > given:
                found += _receipts(run, rng, store, day, targets[place] - given)
                given = targets[place]
            place += 1
        found.sort(key=lambda each: each[:2])
        numbered = []
        for sold_at, store_id, written, lines in found:
            receipt_id = f"{store_id}-{day:%y%m%d}-{run.tag[:4]}{serial:05d}"
            numbered.append(Receipt(receipt_id, store_id, sold_at, written, lines))
            serial += 1
        yield numbered


@lru_cache(maxsize=64)
def _busy(hours: tuple[int, int]) -> tuple[list[int], list[float]]:
    """The half hours of an opening time and how busy they are, summed up."""
    starts, busy = company.half_hours(hours)
    return starts, list(accumulate(busy))


def _receipts(
    run: Run, rng: random.Random, store: company.Store, day: date, lines: int
) -> Iterator[tuple[datetime, str, datetime, list[dict[str, Any]]]]:
    online = store.store_id == company.ONLINE
    hours = company.hours(store.store_id, day)
    assert hours is not None, "a closed shop has no demand"
    closing = hours[1]
    # One offset holds for the day. Clocks change at night, when the online shop, then, sells nothing.
    zone = timezone(datetime.combine(day, time(12), company.PARIS).utcoffset() or timedelta())
    midnight = datetime.combine(day, time(), zone).astimezone(UTC)
    if online and midnight != company.local_midnight(day):
        hours = (180, closing)
    starts, busy = _busy(hours)
    prices, promotions = price_list(run, day), _promotions(day)
    tastes = [_tastes(store.city, day, part) for part in range(3)]
    while lines > 0:
        minute = drawn(rng, starts, busy) + int(30 * rng.random())
        sold_at = midnight + timedelta(minutes=minute, milliseconds=int(60_000 * rng.random()))
        size = min(drawn(rng, *_SIZES) + (1 if online else 0), lines)
        products, weights = tastes[0 if minute < 660 else 1 if minute < 840 else 2]
        basket: dict[str, company.Product] = {}
        while len(basket) < size:
            product = drawn(rng, products, weights)
            basket[product.product_id] = product
        payment = drawn(rng, _PAYMENTS, _ONLINE_PAYMENTS if online else _SHOP_PAYMENTS)
        customer = _customer(run, rng, store, day) if online or rng.random() < 0.36 else None
        evening = not online and closing - minute <= 60
        rows = [
            _line(rng, store.store_id, product, prices[product.product_id], promotions, customer, payment, evening)
            for product in basket.values()
        ]
        # The online shop writes local time with its offset, the tills write UTC.
        yield sold_at, store.store_id, sold_at.astimezone(zone) if online else sold_at, rows
        lines -= size


def _summed(*weights: float) -> list[float]:
    return list(accumulate(weights))


_SIZES = (1, 2, 3, 4, 5, 6), _summed(34, 30, 18, 10, 5, 3)
_PAYMENTS = ("card", "cash", "mobile", "voucher")
_SHOP_PAYMENTS = _summed(52, 24, 18, 6)
_ONLINE_PAYMENTS = _summed(68, 0, 30, 2)
_QUANTITIES: dict[str, tuple[Sequence[int], Sequence[float]]] = {
    "bread": ((1, 2, 3, 4), _summed(66, 26, 6, 2)),
    "viennoiserie": ((1, 2, 3, 4, 6), _summed(38, 30, 12, 14, 6)),
    "pastry": ((1, 2, 3, 4), _summed(55, 27, 8, 10)),
    "savoury": ((1, 2, 3), _summed(84, 13, 3)),
    "drink": ((1, 2, 3), _summed(82, 15, 3)),
}


def _line(
    rng: random.Random,
    store_id: str,
    product: company.Product,
    price: Decimal,
    promotions: dict[str, company.Promotion],
    customer: str | None,
    payment: str,
    evening: bool,
) -> dict[str, Any]:
    quantity = 1 if price >= 20 else drawn(rng, *_QUANTITIES[product.category])
    promotion = promotions.get(product.product_id)
    if evening and product.category == company.EVENING.target:
        promotion = company.EVENING
    # Not every till applies it: some shoppers do not ask, some tills are not told.
    if promotion is not None and rng.random() < 0.15:
        promotion = None
    row: dict[str, Any] = {
        "store_id": store_id,
        "product_id": product.product_id,
        "quantity": quantity,
        "unit_price": price,
        "discount_amount": (price * quantity * promotion.percent / 100).quantize(_CENT) if promotion else _ZERO,
    }
    # The online shop writes null for what it does not know, the tills leave it out.
    online = store_id == company.ONLINE
    if promotion or online:
        row["promotion_id"] = promotion.promotion_id if promotion else None
    if customer or online:
        row["customer_id"] = customer
    row["payment_method"] = payment
    return row


def _customer(run: Run, rng: random.Random, store: company.Store, day: date) -> str | None:
    """Few customers come often; most have one shop, and the online shop sells to all.

    None: one who has left; whoever comes instead is not known by name. The online shop knows all of its customers.
    """
    online, number = store.store_id == company.ONLINE, None
    while number is None:
        home = int(store.store_id[1:]) - 1 if not online and rng.random() < 0.93 else rng.randrange(shoppers.SHOPS)
        number = shoppers.visitor(rng, home, day, run.start)
        if not online:
            break
    return f"C{number:05d}" if number else None


@lru_cache(maxsize=64)
def price_list(run: Run, day: date) -> dict[str, Decimal]:
    """Product id -> what it costs on a day."""
    return {product_id: [price for since, price in rows if since <= day][-1] for product_id, rows in run.prices.items()}


@lru_cache(maxsize=8)
def _promotions(day: date) -> dict[str, company.Promotion]:
    """Product id -> the promotion that runs for it."""
    running = ((product.product_id, company.promotion(product, day)) for product in company.PRODUCTS)
    return {product_id: promotion for product_id, promotion in running if promotion}


@lru_cache(maxsize=256)
def _tastes(city: str, day: date, daypart: int) -> tuple[list[company.Product], list[float]]:
    """What is asked for in a city, summed up."""
    mildness, (products, weights) = company.sky(city, day).mildness, _asked_for(day, daypart)
    return products, [*accumulate(w * company.thirst(p, mildness) for p, w in zip(products, weights, strict=True))]


@lru_cache(maxsize=32)
def _asked_for(day: date, daypart: int) -> tuple[list[company.Product], list[float]]:
    pairs = [(product, company.appetite(product, day, daypart)) for product in company.PRODUCTS]
    sold = [(product, weight) for product, weight in pairs if weight > 0]
    return [product for product, _ in sold], [weight for _, weight in sold]
