"""What is ordered online to be sent: by visitors of the web site, by others, and by thieves."""

from __future__ import annotations

import random
from collections.abc import Iterator
from datetime import datetime, timedelta
from itertools import count as numbers
from typing import Any
from uuid import uuid5

from levain.samples import company
from levain.samples.events import fraud, shoppers, webshop
from levain.samples.events.run import Event, Run, on_its_way
from levain.samples.events.webshop import Order

_PAYMENTS = ("card", "mobile", "transfer", "voucher")
_SHARES = (66, 25, 4, 5)
_PRODUCTS = {product.product_id: product for product in company.PRODUCTS}

Row = dict[str, Any]


def purchases(run: Run, count: int) -> Iterator[Event]:
    """Purchases in the order they are paid.

    Those of the run's web sessions are all there. The others came from the app, or from visitors who did not agree to
    be measured.
    """
    rng = run.random("purchases")
    thefts = fraud.fraudulent(count)
    rows = [row for order in _orders(run, rng, count - thefts) for row in _bought(run, rng, order)]
    found = [(row["event_time"], False, row) for row in rows]
    found += [(row["event_time"], True, row) for row in _stolen(run, rng, thefts)]
    found.sort(key=lambda each: each[:2])
    identities = {is_theft: _identities(run, is_theft) for is_theft in (False, True)}
    for at, is_theft, row in found:
        purchase_id = next(identities[is_theft])
        head = {"event_id": uuid5(run.namespace, purchase_id), "event_time": at, "purchase_id": purchase_id}
        yield Event(head | row, at + on_its_way(rng))


def _identities(run: Run, is_theft: bool) -> Iterator[str]:
    """Numbers of purchases, without end; those that are kept for thieves, or the others."""
    for number in numbers():
        purchase_id = f"W{uuid5(run.namespace, f'purchase/{number}').hex[:12]}"
        if fraud.is_fraudulent(purchase_id) == is_theft:
            yield purchase_id


def _orders(run: Run, rng: random.Random, count: int) -> Iterator[Order]:
    """Orders of so many products in all, in no order."""
    left = count
    for session in webshop.sessions(run):
        if order := session.order:
            left -= len(order.cart)
            yield order
    for at in webshop.moments(run, rng):
        day = at.astimezone(company.PARIS).date()
        buyer = shoppers.drawn(rng, day)
        if buyer is None:
            continue
        device = buyer.device_on(rng, day)
        # Some forget something, and order again within minutes.
        for _ in range(2 if rng.random() < 0.03 else 1):
            if not left:
                return
            size = min(rng.choices((1, 2, 3, 4), (62, 24, 10, 4))[0], left)
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
    payment = rng.choices(_PAYMENTS, _SHARES)[0]
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


def _stolen(run: Run, rng: random.Random, count: int) -> list[Row]:
    """Purchases by thieves."""
    found: list[Row] = []
    while len(found) < count:
        midnight = company.local_midnight(company.START + timedelta(days=rng.randrange(run.days)))
        day = midnight.astimezone(company.PARIS).date()
        victim = shoppers.drawn(rng, company.START)
        if victim is None:
            continue
        for theft in fraud.attack(rng, victim, midnight, webshop.prices(run, day), count - len(found)):
            found.append(
                _row(run, theft.at, victim, theft.product_id, theft.quantity)
                | {
                    "payment_method": "card",
                    "card_country": theft.card_country,
                    "ip_country": theft.ip_country,
                    "ship_country": theft.ship_country,
                    "device": theft.device,
                }
            )
    return found


def _row(run: Run, at: datetime, buyer: shoppers.Shopper, product_id: str, quantity: int) -> Row:
    unit_price = webshop.price(run, product_id, at, buyer)
    return {
        "event_time": at,
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
