"""What is ordered online to be sent: by visitors of the web site, by others, and by thieves."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from datetime import date, datetime, timedelta
from itertools import accumulate
from itertools import count as numbers
from typing import Any

from levain.samples import company
from levain.samples.events import fraud, shoppers, webshop
from levain.samples.events.run import Run
from levain.samples.events.webshop import Order
from levain.samples.run import Event, drawn, in_time, on_its_way, shared_out

_PAYMENTS = ("card", "mobile", "transfer", "voucher")
_SHARES = list(accumulate((66, 25, 4, 5)))
_SIZES = (1, 2, 3, 4), list(accumulate((62, 24, 10, 4)))
_PRODUCTS = {product.product_id: product for product in company.PRODUCTS}

Row = dict[str, Any]


def purchases(run: Run, count: int) -> Iterator[Event]:
    """Purchases in the order they are paid.

    Those of the run's web sessions are all there. The others came from the app, or from visitors who did not agree to
    be measured.
    """
    assert count == run.events_of("purchases"), "the run says how many purchases it has"
    if not count:
        return
    rng, identities = run.random("purchases"), {stolen: _identities(run, stolen) for stolen in (False, True)}
    for at, (row, is_theft) in in_time(_days(run, rng, fraud.fraudulent(count))):
        purchase_id = next(identities[is_theft])
        head = {"event_id": run.identity(purchase_id), "event_time": at, "purchase_id": purchase_id}
        yield Event(head | row, at + on_its_way(rng))


def _days(
    run: Run, rng: random.Random, thefts: int
) -> Iterator[tuple[datetime, list[tuple[datetime, tuple[Row, bool]]]]]:
    """What is ordered on each day, and whether by a thief."""
    given = 0
    stolen = _stolen(run, rng, thefts)
    days = zip(run.calendar, webshop.quotas(run), webshop.sessions(run), strict=True)
    for day, quota, sessions in days:
        found = []
        for order in _orders(run, rng, day, sessions, quota.least - given):
            found += [(order.at, (row, False)) for row in _bought(run, rng, order)]
        given += len(found)
        found += [(at, (row, True)) for at, row in next(stolen)]
        yield company.local_midnight(day + timedelta(days=1)), found


def _identities(run: Run, is_theft: bool) -> Iterator[str]:
    """Numbers of purchases, without end; those that are kept for thieves, or the others."""
    for number in numbers():
        purchase_id = f"W{run.identity(f'purchase/{number}').replace('-', '')[:12]}"
        if fraud.is_fraudulent(purchase_id) == is_theft:
            yield purchase_id


def _orders(
    run: Run, rng: random.Random, day: date, sessions: Sequence[webshop.Session], count: int
) -> Iterator[Order]:
    """The orders of a day, in no order: those of its sessions, and others, until there are so many products in all."""
    left = count
    for session in sessions:
        if order := session.order:
            left -= len(order.cart)
            yield order
    while left > 0:
        at = webshop.moment(rng, day)
        buyer = shoppers.drawn(rng, day, run.start)
        if buyer is None:
            continue
        device = buyer.device_on(rng, day)
        # Some forget something, and order again within minutes.
        for _ in range(2 if rng.random() < 0.03 else 1):
            if not left:
                return
            size = min(drawn(rng, *_SIZES), left)
            cart: dict[str, int] = {}
            while len(cart) < size:
                product = webshop.choose(rng, day)
                cart[product.product_id] = webshop.units(rng, product, buyer)
            left -= size
            yield Order(at, buyer, device, cart)
            at += timedelta(milliseconds=rng.randint(90_000, 900_000))


def _bought(run: Run, rng: random.Random, order: Order) -> Iterator[Row]:
    """The products of an order."""
    buyer, day = order.buyer, order.at.astimezone(company.PARIS).date()
    payment = drawn(rng, _PAYMENTS, _SHARES)
    # A gift goes to friends, some of whom live abroad.
    is_gift = rng.random() < 0.12
    ship_country = rng.choice(("FR", "BE", "DE", "ES", "IT")) if is_gift and rng.random() < 0.3 else buyer.home
    for product_id, quantity in order.cart.items():
        row = _row(run, order.at, buyer, product_id, quantity) | {
            "payment_method": payment,
            "card_country": buyer.card_country,
            "ip_country": buyer.country_on(day),
            "ship_country": ship_country,
            "device": order.device,
        }
        if attributes := _attributes(rng, _PRODUCTS[product_id], is_gift):
            row["attributes"] = attributes
        yield row


def _stolen(run: Run, rng: random.Random, count: int) -> Iterator[list[tuple[datetime, Row]]]:
    """Purchases by thieves on each day; a thief comes when there are as many left to make as that thief makes."""
    made, next_attack = 0, drawn(rng, *fraud.ATTACKS)
    for day, due in zip(run.calendar, shared_out(count, [1.0] * run.days), strict=True):
        found: list[tuple[datetime, Row]] = []
        last = day == run.calendar[-1]
        while made < due and (last or due - made >= next_attack):
            victim = shoppers.drawn(rng, run.start, run.start)
            if victim is None:
                continue
            most = min(next_attack, due - made)
            midnight, prices = company.local_midnight(day), webshop.prices(run, day)
            for theft in fraud.attack(rng, victim, midnight, prices, most):
                row = _row(run, theft.at, victim, theft.product_id, theft.quantity) | {
                    "payment_method": "card",
                    "card_country": theft.card_country,
                    "ip_country": theft.ip_country,
                    "ship_country": theft.ship_country,
                    "device": theft.device,
                }
                found.append((theft.at, row))
            made, next_attack = made + most, drawn(rng, *fraud.ATTACKS)
        yield found


def _row(run: Run, at: datetime, buyer: shoppers.Shopper, product_id: str, quantity: int) -> Row:
    unit_price = webshop.price(run, product_id, at, buyer)
    return {
        "customer_id": buyer.customer_id,
        "is_member": shoppers.is_member(run, buyer.number, at),
        "product_id": product_id,
        "quantity": quantity,
        "unit_price": unit_price,
        "total_amount": quantity * unit_price,
    }


_NAMES = ("Léa", "Hugo", "Mamie", "Camille", "Papa", "Louise")


def _attributes(rng: random.Random, product: company.Product, is_gift: bool) -> list[dict[str, str]]:
    """How the customer would like it: bread sliced, cakes with an inscription, gifts wrapped, with a card."""
    wishes = {}
    if product.category == "bread" and rng.random() < 0.4:
        wishes["slicing"] = rng.choice(("thin", "medium", "thick"))
    if product.price >= 20 and rng.random() < 0.4:
        wishes["inscription"] = f"Joyeux anniversaire {rng.choice(_NAMES)} !"
    if is_gift:
        wishes["gift_wrap"] = rng.choice(("kraft", "ribbon"))
        if rng.random() < 0.4:
            wishes["greeting"] = f"Bises à {rng.choice(_NAMES)}"
    return [{"name": name, "value": value} for name, value in wishes.items()]
