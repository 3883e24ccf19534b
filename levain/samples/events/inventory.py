"""What moves the stock of the shops: whole logs of as many products and shops as there are messages for.

The logs agree with the sales of the same run. What will be sold is known, so bakings and deliveries are enough for it,
and now and then exactly enough: then the shelf is empty after the last sale. The online shop bakes to order and keeps
no stock.
"""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, time, timedelta
from functools import cache
from typing import Any
from uuid import uuid5

from levain.samples import company
from levain.samples.events.run import Event, Run, on_its_way
from levain.samples.events.sales import sales

_SHOPS = tuple(store.store_id for store in company.stores(company.START) if store.store_id != company.ONLINE)
_NEIGHBOURS = ("S001", "S002", "S009")
"""Shops near enough to help each other out with a baking."""
_PRODUCTS = sorted(company.PRODUCTS, key=lambda product: -product.popularity)

_KEEPS_DAYS = {"bread": 0, "viennoiserie": 0, "pastry": 1, "savoury": 1, "drink": 150}
_DELIVERY_DAY, _COUNT_DAY = 1, 2
"""Days of the week, Monday 0: drinks come every week, stock is counted every second."""
_CASE = 6
_AFTERNOON = 15
"""Hour from which on the second baking of the day is sold."""


@dataclass(frozen=True, slots=True)
class Movement:
    """A movement of a product in a shop, or a count of it; `level` is what is there after it."""

    at: datetime
    store_id: str
    product_id: str
    movement_type: str
    quantity: int
    lot_id: str | None
    expires_on: date | None
    level: int


@dataclass(slots=True)
class _Lot:
    lot_id: str
    expires_on: date
    units: int


@dataclass(slots=True)
class _Shelf:
    """The stock of a product in a shop, and the log of its movements.

    Attributes:
        sold: local day -> units sold per hour (its begin, UTC), in order.
        lots: oldest first, which is the order they are sold in.
        promised: units that are sold before more can come, but for the baking in the afternoon.
        morning, afternoon: units of the day's bakings that are still to be made.
    """

    store_id: str
    product: company.Product
    sold: Mapping[date, Sequence[tuple[datetime, int]]]
    lots: list[_Lot] = field(default_factory=list)
    log: list[Movement] = field(default_factory=list)
    promised: int = 0
    morning: int = 0
    afternoon: int = 0

    @property
    def level(self) -> int:
        return sum(lot.units for lot in self.lots)

    def units_sold(self, since: date, until: date) -> int:
        """On the days `[since, until)`."""
        days = (since + timedelta(days=offset) for offset in range((until - since).days))
        return sum(units for day in days for _, units in self.sold.get(day, ()))

    def make(self, at: datetime, movement_type: str, units: int) -> None:
        """A baking or a delivery, which is a lot."""
        day = at.astimezone(company.PARIS)
        lot_id = f"L{day:%y%m%d%H}-{self.store_id}-{self.product.product_id}"
        self.add(at, movement_type, units, lot_id, day.date() + timedelta(days=_KEEPS_DAYS[self.product.category]))

    def add(self, at: datetime, movement_type: str, units: int, lot_id: str, expires_on: date) -> None:
        self.lots.append(_Lot(lot_id, expires_on, units))
        self._write(at, movement_type, units, lot_id, expires_on)

    def remove(self, at: datetime, movement_type: str, lot: _Lot, units: int) -> None:
        """Units of one lot."""
        lot.units -= units
        self.lots = [each for each in self.lots if each.units]
        self._write(at, movement_type, -units, lot.lot_id, lot.expires_on)

    def sell(self, at: datetime, units: int) -> None:
        self._take(units)
        self.promised -= units
        self._write(at, "sale", -units)

    def count(self, at: datetime, lost: int) -> None:
        """A stocktake, which finds that some units were lost."""
        self._take(lost)
        self._write(at, "stocktake", self.level)

    def _take(self, units: int) -> None:
        assert units <= self.level, f"{self.store_id} sells more of {self.product.product_id} than it has"
        for lot in self.lots:
            taken = min(units, lot.units)
            lot.units -= taken
            units -= taken
        self.lots = [lot for lot in self.lots if lot.units]

    def _write(
        self, at: datetime, movement_type: str, units: int, lot_id: str | None = None, expires_on: date | None = None
    ) -> None:
        product_id, level = self.product.product_id, self.level
        self.log.append(Movement(at, self.store_id, product_id, movement_type, units, lot_id, expires_on, level))


def inventory_updates(run: Run, count: int) -> Iterator[Event]:
    """Whole logs of products in shops, as many as there are events for; the last one may end early."""
    rng, chosen = run.random("inventory-updates"), _movements(run, count)
    chosen.sort(key=lambda each: (each.at, each.store_id, each.product_id))
    for each in chosen:
        identity = f"inventory/{each.store_id}/{each.product_id}/{each.at.isoformat()}"
        fields: dict[str, Any] = {
            "event_id": uuid5(run.namespace, identity),
            "event_time": each.at,
            "store_id": each.store_id,
            "product_id": each.product_id,
            "movement_type": each.movement_type,
            "quantity": each.quantity,
        }
        if each.lot_id:
            fields |= {"lot_id": each.lot_id, "expires_on": each.expires_on}
        yield Event(fields, each.at + on_its_way(rng))


def _movements(run: Run, count: int) -> list[Movement]:
    """Exactly so many. A log of several shops is taken whole or not at all, so that what one sends another gets."""
    sold = _sold(run)
    chosen: list[Movement] = []
    for product, shops in _logs():
        log, room = _log(run, product, shops, sold), count - len(chosen)
        if len(log) <= room:
            chosen += log
        elif len(shops) == 1:
            return chosen + log[:room]
    # Where more is asked for than moves, the level after each movement is counted.
    moved = len(chosen)
    for number in range(count - moved):
        each = chosen[number % moved]
        at = each.at + timedelta(seconds=1 + number // moved)
        counted = replace(each, at=at, movement_type="stocktake", quantity=each.level, lot_id=None, expires_on=None)
        chosen.append(counted)
    return chosen


def _logs() -> Iterator[tuple[company.Product, tuple[str, ...]]]:
    """Products with the shops whose logs belong together, in such an order that few of them are of many kinds."""
    done = set()
    shops = [*(each for each in _SHOPS if each not in _NEIGHBOURS), *_NEIGHBOURS]
    for turn in range(len(_PRODUCTS)):
        for place, store_id in enumerate(shops):
            product = _PRODUCTS[(turn + 3 * place) % len(_PRODUCTS)]
            together = store_id in _NEIGHBOURS and product.category != "drink"
            group = (product, _NEIGHBOURS if together else (store_id,))
            if group not in done:
                done.add(group)
                yield group


_Sold = Mapping[tuple[str, str], Mapping[date, list[tuple[datetime, int]]]]


def _sold(run: Run) -> _Sold:
    """(store, product) -> local day -> units sold per hour (its begin, UTC)."""
    units: Counter[tuple[str, str, datetime]] = Counter()
    for event in sales(run, run.sales):
        row = event.fields
        if row["store_id"] != company.ONLINE:
            hour = row["event_time"].replace(minute=0, second=0, microsecond=0)
            units[row["store_id"], row["product_id"], hour] += row["quantity"]
    found: dict[tuple[str, str], dict[date, list[tuple[datetime, int]]]] = defaultdict(lambda: defaultdict(list))
    for store_id, product_id, hour in sorted(units):
        day = hour.astimezone(company.PARIS).date()
        found[store_id, product_id][day].append((hour, units[store_id, product_id, hour]))
    return found


def _log(run: Run, product: company.Product, shops: Sequence[str], sold: _Sold) -> list[Movement]:
    """All movements of a product in shops that help each other out, in order."""
    rng = run.random(f"stock/{product.product_id}/{shops[0]}")
    shelves = [_Shelf(store_id, product, sold.get((store_id, product.product_id), {})) for store_id in shops]
    for offset in range(run.days):
        day = company.START + timedelta(days=offset)
        opened = [shelf for shelf in shelves if _closing(shelf.store_id, day)]
        if product.category == "drink":
            for shelf in opened:
                _deliver(rng, shelf, day)
        else:
            _bake(rng, opened, day)
        for shelf in opened:
            _trade(rng, shelf, day)
    return sorted((each for shelf in shelves for each in shelf.log), key=lambda each: each.at)


@cache
def _closing(store_id: str, day: date) -> int | None:
    """When a shop closes on a day, in minutes after midnight; None: it does not open."""
    store = next(each for each in company.stores(day) if each.store_id == store_id)
    hours = store.week[day.weekday()] if company.demand(store, day) else None
    return hours[1] if hours else None


@cache
def _midnight(day: date) -> datetime:
    """Local midnight, as UTC, by the offset that holds in the day: clocks change at night."""
    return datetime.combine(day, time(12), company.PARIS).astimezone(UTC) - timedelta(hours=12)


def _at(rng: random.Random, day: date, first: int, last: int) -> datetime:
    """A time between two minutes of a local day."""
    return _midnight(day) + timedelta(minutes=rng.randrange(first, last), seconds=rng.randrange(60))


def _deliver(rng: random.Random, shelf: _Shelf, day: date) -> None:
    """Drinks for a week, in cases, with some to spare; now and then exactly what will be sold."""
    if shelf.log and day.weekday() != _DELIVERY_DAY:
        return
    following = day + timedelta(days=(_DELIVERY_DAY - day.weekday() - 1) % 7 + 1)
    shelf.promised = shelf.units_sold(day, following)
    scarce = rng.random() < 0.15
    units = shelf.promised + (0 if scarce else _CASE) - shelf.level
    if units > 0:
        shelf.make(_at(rng, day, 330, 360), "delivery", units if scarce else -(-units // _CASE) * _CASE)


def _bake(rng: random.Random, shelves: Sequence[_Shelf], day: date) -> None:
    """The morning's bakings, some of which go to another shop, and the plan of the afternoon's."""
    for shelf in shelves:
        _plan(rng, shelf, day)
    able = [shelf for shelf in shelves if shelf.morning > 1]
    units, giver, receiver = 0, None, None
    if len(able) > 1 and rng.random() < 0.12:
        giver, receiver = rng.sample(able, 2)
        units = rng.randint(1, receiver.morning // 2)
        giver.morning, receiver.morning = giver.morning + units, receiver.morning - units
    for shelf in shelves:
        if shelf.morning:
            shelf.make(_at(rng, day, 300, 315), "production", shelf.morning)
    if giver and receiver:
        lot = giver.lots[-1]
        giver.remove(_at(rng, day, 320, 330), "transfer_out", lot, units)
        receiver.add(_at(rng, day, 350, 370), "transfer_in", units, lot.lot_id, lot.expires_on)


def _plan(rng: random.Random, shelf: _Shelf, day: date) -> None:
    """How much to bake: what will be sold and some more, or on some days no more, if it is sold until the afternoon."""
    hours = shelf.sold.get(day, ())
    total = shelf.promised = sum(units for _, units in hours)
    if total:
        sells_out = _local_hour(hours[-1][0], day) >= 14 and rng.random() < 0.4
        spare = 0 if sells_out else 1 + round(total * rng.uniform(0, 0.12))
    else:
        spare = rng.choice((0, 0, 0, 0, 0, 1)) if company.in_season(shelf.product, day) else 0
    needed = max(total + spare - shelf.level, 0)
    late = sum(units for hour, units in hours if _local_hour(hour, day) >= _AFTERNOON)
    shelf.afternoon = min(late, round(0.3 * needed)) if shelf.product.category == "bread" and needed >= 8 else 0
    shelf.morning = needed - shelf.afternoon


def _local_hour(hour: datetime, day: date) -> int:
    return (hour - _midnight(day)) // timedelta(hours=1)


def _trade(rng: random.Random, shelf: _Shelf, day: date) -> None:
    """From the count before the shop opens to what is thrown away after it has closed."""
    fortnight = (day - company.START).days // 7 % 2
    if day.weekday() == _COUNT_DAY and fortnight == _SHOPS.index(shelf.store_id) % 2 and shelf.level:
        lost = rng.choice((1, 1, 2)) if rng.random() < 0.25 else 0
        shelf.count(_at(rng, day, 375, 385), min(lost, shelf.level + shelf.afternoon - shelf.promised))
    for hour, units in shelf.sold.get(day, ()):
        if shelf.afternoon and _local_hour(hour, day) >= _AFTERNOON:
            shelf.make(_at(rng, day, 60 * _AFTERNOON - 40, 60 * _AFTERNOON - 20), "production", shelf.afternoon)
            shelf.afternoon = 0
        shelf.sell(hour + timedelta(minutes=59, seconds=59), units)
    tomorrow = day + timedelta(days=1)
    while not _closing(shelf.store_id, tomorrow):
        tomorrow += timedelta(days=1)
    spoilt = [lot for lot in shelf.lots if lot.expires_on < tomorrow]
    for minute, lot in enumerate(spoilt, start=(_closing(shelf.store_id, day) or 0) + 35):
        shelf.remove(_midnight(day) + timedelta(minutes=minute), "waste", lot, lot.units)
