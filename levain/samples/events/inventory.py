"""What moves the stock of the shops: whole logs of as many products and shops as there are messages for.

The logs agree with the sales of the same run. What will be sold is known, so bakings and deliveries are enough for it,
and now and then exactly enough: then the shelf is empty after the last sale. The online shop bakes to order and keeps
no stock.
"""

from __future__ import annotations

import math
import random
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from functools import cache, lru_cache
from typing import Any

from levain.samples import company
from levain.samples.events.run import Run
from levain.samples.events.sales import Receipt, receipts
from levain.samples.run import Event, on_its_way, shared_out

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
    """The stock of a product in a shop, and the log of its movements on a day.

    Attributes:
        sold: units sold per hour (its begin, UTC) of the day, in order.
        lots: oldest first, which is the order they are sold in.
        promised: units that are still sold on the day.
        morning, afternoon: units of the day's bakings that are still to be made.
        usual: units that are sold on an ordinary day, as the last ones show it; None: none yet.
    """

    store_id: str
    product: company.Product
    sold: Sequence[tuple[datetime, int]] = ()
    lots: list[_Lot] = field(default_factory=list)
    log: list[Movement] = field(default_factory=list)
    promised: int = 0
    morning: int = 0
    afternoon: int = 0
    usual: float | None = None

    @property
    def level(self) -> int:
        return sum(lot.units for lot in self.lots)

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
    """Whole logs of as many products in shops as there are events for, and counts in the evening that fill up."""
    if not count:
        return
    rng, given = run.random("inventory-updates"), 0
    groups = [
        (run.random(f"stock/{product.product_id}/{shops[0]}"), [_Shelf(store_id, product) for store_id in shops])
        for product, shops in _chosen(run, count)
    ]
    shelves = [shelf for _, group in groups for shelf in group]
    targets = shared_out(count, _trade_of_days(run))
    for offset, (day, bought) in enumerate(zip(run.calendar, receipts(run, run.sales), strict=True)):
        sold = _units_per_hour(bought)
        for shelf in shelves:
            shelf.sold, shelf.log = sold.get((shelf.store_id, shelf.product.product_id), ()), []
        for group_rng, group in groups:
            _live(group_rng, group, day)
        missing = targets[offset] - given - sum(len(shelf.log) for shelf in shelves)
        if missing > 0:
            _count_in_the_evening(rng, shelves, day, missing, is_last=offset == run.days - 1)
        log = [each for shelf in shelves for each in shelf.log]
        log.sort(key=lambda each: (each.at, each.store_id, each.product_id))
        for each in log[: max(count - given, 0)]:
            yield _event(run, each, each.at + on_its_way(rng))
        given += len(log)


def _event(run: Run, movement: Movement, received: datetime) -> Event:
    store_id, product_id = movement.store_id, movement.product_id
    fields: dict[str, Any] = {
        "event_id": run.identity(f"inventory/{store_id}/{product_id}/{movement.at.isoformat()}"),
        "event_time": movement.at,
        "store_id": store_id,
        "product_id": product_id,
        "movement_type": movement.movement_type,
        "quantity": movement.quantity,
    }
    if movement.lot_id:
        fields |= {"lot_id": movement.lot_id, "expires_on": movement.expires_on}
    return Event(fields, received)


def _trade_of_days(run: Run) -> list[float]:
    return [math.fsum(company.demand(store, day) for store in company.stores(day)) for day in run.calendar]


_SLACK = 0.92
"""Part of the messages that the logs may take, as they are estimated; counts fill up the rest."""
_SAMPLED_DAYS = 24


def _chosen(run: Run, count: int) -> list[tuple[company.Product, tuple[str, ...]]]:
    """The logs that there is room for. Those of several shops are taken whole or not at all.

    What one shop sends another gets, so that their logs belong together.
    """
    chosen = list[tuple[company.Product, tuple[str, ...]]]()
    room, lengths = _SLACK * count, _lengths(run)
    for product, shops in _logs():
        length = math.fsum(lengths[store_id, product.product_id] for store_id in shops)
        if length <= room or not chosen:
            chosen.append((product, shops))
            room -= length
        elif len(shops) == 1:
            break
    return chosen


def _lengths(run: Run) -> dict[tuple[str, str], float]:
    """(store, product) -> about how many movements there are in the run, as some of its days show it."""
    found: dict[tuple[str, str], float] = defaultdict(float)
    every = max(run.days // _SAMPLED_DAYS, 1)
    if every % 7 == 0:
        every -= 1
    sampled, trades = run.calendar[::every], _trade_of_days(run)
    for trade, day in zip(trades[::every], sampled, strict=True):
        lines = run.sales * trade / math.fsum(trades)
        for store in company.stores(day):
            hours = company.hours(store.store_id, day)
            if hours is None or store.store_id == company.ONLINE:
                continue
            lines_here = lines * company.demand(store, day) / trade
            for product_id, per_hour in _asked_for(hours, day).items():
                asked = [lines_here * share for share in per_hour]
                sales = math.fsum(1 - math.exp(-each) for each in asked)
                total = math.fsum(asked)
                # Beside its sales a shelf has a baking or two, what is thrown away, a count now and then.
                baked, thrown_away = 1 - math.exp(-total), 0.7 * (1 - math.exp(-0.1 * total))
                found[store.store_id, product_id] += sales + baked * (1 + 0.5 * (total > 8)) + thrown_away + 0.02
    return defaultdict(float, {shelf: length * run.days / len(sampled) for shelf, length in found.items()})


@lru_cache(maxsize=64)
def _asked_for(hours: tuple[int, int], day: date) -> dict[str, list[float]]:
    """Product -> which part of a shop's lines are of it, in each hour that the shop is open."""
    starts, busy = company.half_hours(hours)
    whole, found = math.fsum(busy), {}
    shares: dict[str, dict[int, float]] = defaultdict(lambda: defaultdict(float))
    weights = [{each.product_id: company.appetite(each, day, part) for each in company.PRODUCTS} for part in range(3)]
    for start, share in zip(starts, busy, strict=True):
        wanted = weights[0 if start < 660 else 1 if start < 840 else 2]
        total = math.fsum(wanted.values())
        for product_id, weight in wanted.items():
            shares[product_id][start // 60] += share / whole * weight / total
    for product_id, per_hour in shares.items():
        found[product_id] = list(per_hour.values())
    return found


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


def _units_per_hour(sold: Sequence[Receipt]) -> dict[tuple[str, str], list[tuple[datetime, int]]]:
    """(store, product) -> units sold per hour (its begin, UTC) of a day, in order."""
    units: Counter[tuple[str, str, datetime]] = Counter()
    for receipt in sold:
        if receipt.store_id != company.ONLINE:
            hour = receipt.sold_at.replace(minute=0, second=0, microsecond=0)
            for line in receipt.lines:
                units[receipt.store_id, line["product_id"], hour] += line["quantity"]
    found: dict[tuple[str, str], list[tuple[datetime, int]]] = defaultdict(list)
    for (store_id, product_id, hour), number in sorted(units.items()):
        found[store_id, product_id].append((hour, number))
    return found


def _live(rng: random.Random, shelves: Sequence[_Shelf], day: date) -> None:
    """A day of a product in shops that help each other out."""
    opened = [shelf for shelf in shelves if _closing(shelf.store_id, day)]
    for shelf in opened:
        shelf.promised = sum(units for _, units in shelf.sold)
        shelf.usual = shelf.promised if shelf.usual is None else 0.8 * shelf.usual + 0.2 * shelf.promised
    if opened and opened[0].product.category == "drink":
        for shelf in opened:
            _deliver(rng, shelf, day)
    else:
        _bake(rng, opened, day)
    for shelf in opened:
        _trade(rng, shelf, day)


def _count_in_the_evening(rng: random.Random, shelves: Sequence[_Shelf], day: date, times: int, is_last: bool) -> None:
    """So many counts after the shops have closed, of what was there on the day if there was anything."""
    opened = [shelf for shelf in shelves if _closing(shelf.store_id, day) and (shelf.level or shelf.log)]
    opened = opened or [shelf for shelf in shelves if shelf.usual or is_last]
    if not opened:
        return
    rng.shuffle(opened)
    opened.sort(key=lambda shelf: not shelf.level)
    rounds = -(-times // len(opened))
    step = min(60.0, 3600 / rounds)
    for number in range(times):
        turn, place = divmod(number, len(opened))
        minute = (_closing(opened[place].store_id, day) or 1140) + 90
        lost = int(opened[place].level > 0 and rng.random() < 0.3)
        opened[place].count(_midnight(day) + timedelta(minutes=minute, seconds=turn * step), lost)


@lru_cache(maxsize=4096)
def _closing(store_id: str, day: date) -> int | None:
    """When a shop closes on a day, in minutes after midnight; None: it does not open."""
    hours = company.hours(store_id, day)
    return hours[1] if hours else None


@cache
def _midnight(day: date) -> datetime:
    """Local midnight, as UTC, by the offset that holds in the day: clocks change at night."""
    return datetime.combine(day, time(12), company.PARIS).astimezone(UTC) - timedelta(hours=12)


def _at(rng: random.Random, day: date, first: int, last: int) -> datetime:
    """A time between two minutes of a local day."""
    return _midnight(day) + timedelta(minutes=rng.randrange(first, last), seconds=rng.randrange(60))


def _deliver(rng: random.Random, shelf: _Shelf, day: date) -> None:
    """Drinks for a week and some more, in cases; and on the day when they would run out, now and then just enough."""
    assert shelf.usual is not None
    short = shelf.promised - shelf.level
    if short <= 0 and day.weekday() != _DELIVERY_DAY:
        return
    scarce = short > 0 and rng.random() < 0.3
    units = short if scarce else math.ceil(8 * shelf.usual) + max(short, 0) - max(shelf.level - shelf.promised, 0)
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
    hours, total = shelf.sold, shelf.promised
    sells_out = not total or (_local_hour(hours[-1][0], day) >= 14 and rng.random() < 0.2)
    spare = 0 if sells_out else int(total * rng.uniform(0, 0.12) + rng.random())
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
    for hour, units in shelf.sold:
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
