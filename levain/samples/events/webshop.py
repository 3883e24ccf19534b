"""The online shop: what is ordered there, and the sessions on its web site, some of which end in an order.

`sessions` is what `web_events` sends and where `purchases` finds the orders of the same run.
"""

from __future__ import annotations

import math
import random
from bisect import bisect
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from decimal import Decimal
from functools import lru_cache
from itertools import accumulate
from typing import Any

from levain.samples import company
from levain.samples.events import shoppers
from levain.samples.events.fraud import fraudulent
from levain.samples.events.run import Run
from levain.samples.events.sales import price_list
from levain.samples.events.shoppers import Shopper
from levain.samples.run import Event, drawn, in_time, on_its_way, shared_out

GAP = timedelta(minutes=30)
"""Without a step for so long, a session has ended."""
MEMBERS_PAY = Decimal("0.95")
"""Of the price that the catalogue says."""

_CENT = Decimal("0.01")
_LONGEST_PAUSE = timedelta(minutes=20)
_WEEKDAYS = (1.0, 0.95, 1.0, 1.15, 1.2, 0.85, 1.1)
_HOURS = (1, 0.5, 0.2, 0.1, 0.1, 0.3, 1, 2.5, 4, 4.5, 4.5, 5, 6.5, 6, 4.5, 4, 4, 4.5, 5.5, 7, 8.5, 8.5, 6, 3)
_BUSY = list(accumulate(_HOURS))
_QUANTITIES = (1, 2, 3, 4, 6), list(accumulate((52, 26, 10, 8, 4)))
_PAGES = {"bread": "/pains", "viennoiserie": "/viennoiseries", "pastry": "/patisseries", "savoury": "/traiteur"}
"""Category -> its page; drinks are not sent to anyone."""
_REFERRERS = (
    *("", "https://www.google.com/", "https://www.bing.com/"),
    *("https://www.instagram.com/", "https://lettre.levain.example/"),
)
_REFERRED = list(accumulate((37, 38, 5, 12, 8)))


def demand(day: date) -> float:
    """Trade of the online shop on a day: most in December, least in August, more before the weekend."""
    season = 1 + 0.15 * math.cos(2 * math.pi * (day.timetuple().tm_yday - 10) / 365)
    if day.month == 12:
        season += 0.5
    if day.month == 8:
        season -= 0.3
    return season * _WEEKDAYS[day.weekday()] * company.seeded("webshop", day).uniform(0.85, 1.15)


def moment(rng: random.Random, day: date) -> datetime:
    """A time on a day at which somebody comes to the shop."""
    hour = drawn(rng, range(24), _BUSY)
    return company.local_midnight(day) + timedelta(hours=hour, milliseconds=int(3_600_000 * rng.random()))


def prices(run: Run, day: date) -> dict[str, Decimal]:
    """What can be ordered on a day, and its price for those who are no members."""
    listed = price_list(run, day)
    return {product.product_id: listed[product.product_id] for product in _tastes(day)[0]}


@lru_cache(maxsize=64)
def _tastes(day: date) -> tuple[list[company.Product], list[float]]:
    """What is asked for online, more evenly than in the shops."""
    weights = {
        product: math.fsum(company.appetite(product, day, part) for part in range(3)) ** 0.6
        for product in company.PRODUCTS
        if product.category in _PAGES
    }
    sold = {product: weight for product, weight in weights.items() if weight}
    return list(sold), list(accumulate(sold.values()))


def choose(rng: random.Random, day: date) -> company.Product:
    """A product that somebody looks at."""
    products, weights = _tastes(day)
    return drawn(rng, products, weights)


def units(rng: random.Random, product: company.Product, buyer: Shopper | None) -> int:
    """How many of it somebody orders; firms order for many."""
    quantity = 1 if product.price >= 20 else drawn(rng, *_QUANTITIES)
    return quantity * (buyer.appetite if buyer else 1)


def price(run: Run, product_id: str, at: datetime, buyer: Shopper | None) -> Decimal:
    """What a unit costs a visitor, whose customer is known or not."""
    listed = price_list(run, at.astimezone(company.PARIS).date())[product_id]
    if buyer is None or not shoppers.is_member(run, buyer.number, at):
        return listed
    return (listed * MEMBERS_PAY).quantize(_CENT)


@dataclass(frozen=True, slots=True)
class Order:
    """What a customer has ordered and paid.

    Attributes:
        cart: product id -> units.
        device: its id.
    """

    at: datetime
    buyer: Shopper
    device: str
    cart: dict[str, int]


@dataclass(slots=True)
class Step:
    """A step of a session; `cart`, of a checkout or a purchase: product id -> units."""

    at: datetime
    event_type: str
    page: str
    product_id: str | None = None
    quantity: int | None = None
    cart: dict[str, int] | None = None


@dataclass(slots=True)
class Session:
    """A visit to the web site.

    Attributes:
        device: its id.
        referrer: where the visitor came from; empty: from nowhere.
        buyer: the customer who is logged in from the step `logged_in` on; None: nobody logs in.
    """

    number: int
    device: str
    referrer: str
    buyer: Shopper | None
    logged_in: int = 0
    steps: list[Step] = field(default_factory=list)

    @property
    def order(self) -> Order | None:
        last = self.steps[-1]
        if last.event_type != "purchase" or self.buyer is None:
            return None
        return Order(last.at, self.buyer, self.device, last.cart or {})


def sessions(run: Run) -> Iterator[list[Session]]:
    """The sessions that begin on each day; their steps are as many as the run's `web-events`.

    Where the run has `purchases`, no more is ordered in them than is purchased.
    """
    return run.follow("sessions", lambda: _days(run), ("web-events", "purchases"))


def _days(run: Run) -> Iterator[list[Session]]:
    rng, visitors, serial, given, ordered = run.random("web sessions"), _Visitors(run), 0, 0, 0
    targets = shared_out(run.events_of("web-events"), map(demand, run.calendar))
    for day, target, quota in zip(run.calendar, targets, quotas(run), strict=True):
        found: list[Session] = []
        while given < target:
            at: datetime | None = moment(rng, day)
            buyer = shoppers.drawn(rng, day, run.start) if rng.random() < 0.3 else None
            device = visitors.device(rng, day, buyer)
            while at and given < target:
                session = _session(run, rng, serial, at, device, buyer, quota.most - ordered)
                session.steps = session.steps[: targets[-1] - given]
                visitors.settle(session)
                found.append(session)
                serial += 1
                given += len(session.steps)
                ordered += len(session.order.cart) if session.order else 0
                # Some come back after a break that was too long for the session.
                again = len(session.steps) > 1 and not session.order and rng.random() < 0.1
                at = session.steps[-1].at + GAP + timedelta(seconds=rng.randint(60, 5400)) if again else None
        ordered = max(ordered, quota.least)
        visitors.forget(company.local_midnight(day))
        yield found


@dataclass(slots=True)
class Quota:
    """How many purchases by customers there may be by a day's end, and how many there are at least.

    Attributes:
        most: so many at most; some of them are kept for the sessions of the days after it.
        least: so many at least; what the sessions do not order is ordered otherwise.
    """

    most: int
    least: int


def quotas(run: Run) -> list[Quota]:
    """Of each day; where the run has no purchases, its sessions may order any number."""
    purchases = run.events_of("purchases")
    if not purchases:
        return [Quota(_ENDLESS, 0)] * run.days
    most = shared_out(purchases - fraudulent(purchases), map(demand, run.calendar))
    return [*(Quota(each, max(each - _KEPT, 0)) for each in most[:-1]), Quota(most[-1], most[-1])]


_ENDLESS = 10**9
_KEPT = 4
"""So many purchases are kept for the sessions of the days to come."""
_REMEMBERED = 5000
"""So many strangers' devices may come back: the last ones."""


class _Visitors:
    """Whose devices have been there, and when."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.count = 0
        self.strangers = deque[str](maxlen=_REMEMBERED)
        self.times: dict[str, list[tuple[datetime, datetime]]] = {}

    def device(self, rng: random.Random, day: date, buyer: Shopper | None) -> str:
        """The device of a visit: a customer's, or a stranger's, who may have been there before."""
        if buyer:
            return buyer.device_on(rng, day)
        return rng.choice(self.strangers) if self.strangers and rng.random() < 0.3 else self._stranger()

    def _stranger(self) -> str:
        self.strangers.append(shoppers.device_id(self.run.name, "visitor", self.count))
        self.count += 1
        return self.strangers[-1]

    def forget(self, moment: datetime) -> None:
        """The visits that ended before it: none that begins a day later is part of them."""
        self.times = {device: kept for device, kept in self.times.items() if kept[-1][1] >= moment}

    def settle(self, session: Session) -> None:
        """Give the session another device where its own has another session that this one would be part of."""
        span = session.steps[0].at, session.steps[-1].at
        times = self.times.setdefault(session.device, [])
        place = bisect(times, span)
        before, after = times[max(place - 1, 0) : place], times[place : place + 1]
        if any(since - GAP < span[1] and span[0] < until + GAP for since, until in before + after):
            session.device = self._stranger()
            times, place = self.times.setdefault(session.device, []), 0
        times.insert(place, span)


def _session(
    run: Run, rng: random.Random, number: int, at: datetime, device: str, buyer: Shopper | None, room: int
) -> Session:
    """A visit from its first step on: many leave at each stage of the way to an order.

    room: for how many products there may be an order.
    """
    keen = buyer is not None
    remembered = keen and rng.random() < 0.55
    session = Session(number, device, drawn(rng, _REFERRERS, _REFERRED), buyer if remembered else None)
    day, walk = at.astimezone(company.PARIS).date(), _Walk(rng, session.steps, at)
    landing = rng.random()
    if landing < 0.5:
        walk.to("page_view", "/")
    elif landing < 0.7:
        walk.to("page_view", rng.choice(list(_PAGES.values())))
    else:
        walk.view(choose(rng, day))
    if rng.random() < (0.25 if keen else 0.46):
        return session
    cart: dict[str, int] = {}
    for _ in range(min(1 + int(rng.expovariate(0.45)), 12)):
        product = choose(rng, day)
        if rng.random() < 0.35:
            walk.to("page_view", _PAGES[product.category])
        walk.view(product)
        if product.product_id not in cart and rng.random() < (0.15 if keen else 0.08):
            cart[product.product_id] = units(rng, product, buyer)
            walk.to("add_to_cart", walk.page, product.product_id, cart[product.product_id])
            if rng.random() < 0.15:
                walk.to("remove_from_cart", "/panier", *cart.popitem())
    if not cart or rng.random() > (0.55 if keen else 0.4):
        return session
    walk.to("page_view", "/panier")
    if not remembered:
        # Who logs in now is a known customer, or turns out to be one with another device.
        walk.to("page_view", "/connexion")
        session.buyer, session.logged_in = buyer or shoppers.drawn(rng, day, run.start), len(session.steps)
    if session.buyer is None or rng.random() < 0.15:
        return session
    walk.to("checkout", "/commande", cart=dict(cart))
    if len(cart) <= room and rng.random() < (0.64 if keen else 0.5):
        walk.to("purchase", "/merci", cart=dict(cart))
    return session


class _Walk:
    """Steps one after the other, with pauses in which the visitor reads."""

    def __init__(self, rng: random.Random, steps: list[Step], at: datetime) -> None:
        self.rng, self.steps, self.at, self.page = rng, steps, at, ""

    def view(self, product: company.Product) -> None:
        self.to("product_view", f"/produits/{product.product_id}", product.product_id)

    def to(
        self,
        event_type: str,
        page: str,
        product_id: str | None = None,
        quantity: int | None = None,
        cart: dict[str, int] | None = None,
    ) -> None:
        self.steps.append(Step(self.at, event_type, page, product_id, quantity, cart))
        self.page = page
        pause = timedelta(milliseconds=int(4000 + self.rng.expovariate(1 / 45_000)))
        self.at += min(pause, _LONGEST_PAUSE)


def web_events(run: Run, count: int) -> Iterator[Event]:
    """The steps of all sessions, in the order they are taken."""
    assert count == run.events_of("web-events"), "the run says how many web events it has"
    rng = run.random("web-events")
    for at, (session, place) in in_time(_steps(run)):
        yield Event(_fields(run, session, place), at + on_its_way(rng))


def _steps(run: Run) -> Iterator[tuple[datetime, list[tuple[datetime, tuple[Session, int]]]]]:
    """The steps of the sessions that begin on each day."""
    for day, found in zip(run.calendar, sessions(run), strict=True):
        steps = [(step.at, (session, place)) for session in found for place, step in enumerate(session.steps)]
        yield company.local_midnight(day + timedelta(days=1)), steps


def _fields(run: Run, session: Session, place: int) -> dict[str, Any]:
    step, device = session.steps[place], shoppers.device(session.device)
    buyer = session.buyer if place >= session.logged_in else None
    fields: dict[str, Any] = {
        "event_id": run.identity(f"web-events/{session.number}/{place}"),
        "event_time": step.at,
        "session_id": run.identity(f"web session/{session.number}").replace("-", ""),
        "visitor_id": session.device,
        "customer_id": buyer.customer_id if buyer else None,
        "event_type": step.event_type,
        "page": step.page,
    }
    if step.product_id:
        fields["product_id"] = step.product_id
    if step.quantity:
        fields["quantity"] = step.quantity
    fields["device"] = {
        "type": device.type,
        "os": device.os,
        "browser": device.browser,
        "viewport_width": device.viewport_width,
    }
    if step.cart is not None:
        fields["cart"] = [
            {"product_id": product_id, "quantity": quantity, "unit_price": price(run, product_id, step.at, buyer)}
            for product_id, quantity in step.cart.items()
        ]
    if place == 0 and session.referrer:
        fields["referrer"] = session.referrer
    return fields
