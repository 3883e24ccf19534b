"""Sample events per topic, without faults: one generator each, in the order the events are received."""

from __future__ import annotations

import csv
import io
import math
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from functools import cached_property, lru_cache
from itertools import accumulate
from typing import Any
from uuid import NAMESPACE_URL, UUID, uuid5

from ingest.jsontext import utc
from ingest.sources import extracts
from levain.samples import company

_CENT = Decimal("0.01")
_ZERO = Decimal("0.00")
SHORTEST_DAYS, LONGEST_DAYS = 28, 364


@dataclass(slots=True)
class Event:
    """An event as its source sends it.

    Attributes:
        fields: of the JSON object, in order; timestamps without a zone are UTC.
        received: when it is received, in simulated time (UTC).
        headers: beside `received-at`.
    """

    fields: dict[str, Any]
    received: datetime
    headers: tuple[tuple[str, bytes], ...] = ()


@dataclass(frozen=True)
class Run:
    """One call of the generator: all that the events depend on.

    Attributes:
        name: tells this run from every other; ids are derived from it, so another run sends other events.
        days: length of the simulated period, from `company.START` on.
        changes: how many product changes follow the initial catalogue.
    """

    name: str
    days: int
    changes: int

    @cached_property
    def namespace(self) -> UUID:
        return uuid5(NAMESPACE_URL, f"levain:{self.name}")

    @property
    def tag(self) -> str:
        """Eight hexadecimal digits, for ids that people read."""
        return self.namespace.hex[:8]

    def random(self, purpose: str) -> random.Random:
        return company.seeded(self.name, purpose)

    @cached_property
    def product_changes(self) -> list[company.ProductChange]:
        return company.product_changes(self.changes, self.days)

    @cached_property
    def prices(self) -> Mapping[str, list[tuple[date, Decimal]]]:
        """Product id -> (first day, price), oldest first."""
        book: dict[str, list[tuple[date, Decimal]]] = {}
        for change in sorted((*company.catalogue(), *self.product_changes), key=lambda change: change.valid_from):
            book.setdefault(change.product_id, []).append((change.day, change.base_price))
        return book


def days_for(events: int) -> int:
    """Length of the period: four weeks, or as many days as give a shop about 120 lines a day, up to 52 weeks."""
    return min(max(math.ceil(0.8 * events / (len(company.stores(company.START)) * 120)), SHORTEST_DAYS), LONGEST_DAYS)


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
            received = utc(closed) + timedelta(milliseconds=rng.randint(80, 2500))
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
    prices = _prices(run, day)
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
def _prices(run: Run, day: date) -> dict[str, Decimal]:
    return {product_id: [price for since, price in rows if since <= day][-1] for product_id, rows in run.prices.items()}


@lru_cache(maxsize=64)
def _tastes(day: date, daypart: int) -> tuple[list[company.Product], list[float]]:
    pairs = [(product, company.appetite(product, day, daypart)) for product in company.PRODUCTS]
    sold = [(product, weight) for product, weight in pairs if weight > 0]
    return [product for product, _ in sold], list(accumulate(weight for _, weight in sold))


def product_changes(run: Run, count: int) -> Iterator[Event]:
    """The initial catalogue, then its changes."""
    rng = run.random("product-changes")
    for number, change in enumerate([*company.catalogue(), *run.product_changes][:count], start=1):
        yield Event(
            {
                "event_id": uuid5(run.namespace, f"product-changes/{number}"),
                "event_time": change.recorded,
                "product_id": change.product_id,
                "name": change.name,
                "category": change.category,
                "base_price": change.base_price,
                "unit_cost": change.unit_cost,
                "is_active": change.is_active,
                "valid_from": change.valid_from,
            },
            change.recorded + timedelta(milliseconds=rng.randint(80, 2500)),
        )


STORE_COLUMNS = (
    *("store_id", "name", "city", "country", "latitude", "longitude"),
    *("opened_on", "size_m2", "manager", "opening_hours"),
)
EQUIPMENT_COLUMNS = tuple(each.name for each in fields(company.Equipment))


def store_extracts(run: Run, count: int) -> Iterator[Event]:
    """Rows of the store register's CSV drops, whole files; fewer events give fewer drops, over all the period."""
    return _drops(run, count, "stores", STORE_COLUMNS, company.stores)


def equipment_extracts(run: Run, count: int) -> Iterator[Event]:
    """Rows of the equipment register's CSV drops, as those of the stores."""
    return _drops(run, count, "equipment", EQUIPMENT_COLUMNS, company.equipment)


def _drops(
    run: Run, count: int, prefix: str, columns: Sequence[str], register: Callable[[date], Sequence[object]]
) -> Iterator[Event]:
    per_file = len(register(company.START))
    files = math.ceil(count / per_file)
    rng, sent = run.random(f"{prefix}-extracts"), 0
    for number in range(files):
        day = company.START + timedelta(days=number * run.days // files if files < run.days else number)
        rows = [{column: getattr(each, column) for column in columns} for each in register(day)]
        sha256 = _sha256(day, run.tag, columns, rows)
        received = utc(datetime.combine(day, time(4, 10))) + timedelta(seconds=rng.randint(0, 900))
        for line, row in enumerate(rows, start=2):
            if sent == count:
                return
            sent += 1
            yield Event(
                {"event_id": extracts.event_id(sha256, line), "event_time": extracts.event_time(day), **row},
                received + timedelta(milliseconds=line),
                tuple(extracts.headers(f"{prefix}_{day}.csv", sha256, line)),
            )


def _sha256(day: date, tag: str, columns: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> str:
    """Of a drop: line 1 is the header, the last one names the run, so that two runs share no event."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(row.values() for row in rows)
    text.write(f"# export {tag} of {day}, {len(rows)} rows\n")
    digest = extracts.digest(day)
    digest.update(text.getvalue().encode())
    return digest.hexdigest()


def weather(run: Run, count: int) -> Iterator[Event]:
    """Observations at every shop, on quarter hours that are evenly spread over the period."""
    shops = company.stores(company.START)
    polls = math.ceil(count / len(shops))
    rng = run.random("weather-data")
    for number in range(polls):
        quarter = number * run.days * 96 // polls
        moment = utc(datetime.combine(company.START, time())) + timedelta(minutes=15 * quarter)
        received = moment + timedelta(milliseconds=rng.randint(80, 2500))
        for store in shops[: count - number * len(shops)]:
            identity = uuid5(run.namespace, f"weather/{store.store_id}/{moment.isoformat()}")
            head = {"event_id": identity, "event_time": moment, "store_id": store.store_id}
            yield Event(head | asdict(company.weather(store, moment)), received)


_VENTES_HOURS = (2, 1, 1, 1, 1, 2, 4, 8, 14, 20, 24, 26, 30, 28, 24, 24, 26, 30, 36, 42, 46, 40, 24, 10)


def ventes(run: Run, count: int) -> Iterator[Event]:
    """Sales of the marketplace, exactly its eleven fields."""
    rng, serial = run.random("ventes"), 0
    # Twelve digits: six of the run, so that no two runs sell under one number.
    first = (run.namespace.int % 900_000 + 100_000) * 1_000_000
    weights = [1.0 + (0.35 if (company.START + timedelta(days=day)).weekday() >= 5 else 0.0) for day in range(run.days)]
    bounds = [round(count * each / math.fsum(weights)) for each in accumulate(weights)]
    for day, (since, until) in enumerate(zip([0, *bounds], bounds, strict=False)):
        midnight = datetime.combine(company.START + timedelta(days=day), time())
        hours = rng.choices(range(24), _VENTES_HOURS, k=until - since)
        for sold in sorted(
            midnight + timedelta(hours=hour, microseconds=rng.randrange(3_600_000_000)) for hour in hours
        ):
            serial += 1
            client = rng.choices(company.CLIENTS, [each.weight for each in company.CLIENTS])[0]
            produit = rng.choices(company.PRODUITS, [each.weight for each in company.PRODUITS])[0]
            quantite = rng.choices(
                (1, 2, 3, 5, 10), (20, 30, 20, 20, 10) if client.segment == "Enterprise" else (70, 22, 6, 2, 0)
            )[0]
            yield Event(
                {
                    "vente_id": first + serial,
                    "client_id": client.client_id,
                    "produit_id": produit.produit_id,
                    "timestamp": sold,
                    "quantite": quantite,
                    "montant": produit.price * quantite,
                    "client_nom": client.name,
                    "produit_nom": produit.name,
                    "categorie": produit.category,
                    "pays": client.country,
                    "segment": client.segment,
                },
                utc(sold) + timedelta(milliseconds=rng.randint(80, 2500)),
            )


@dataclass(frozen=True)
class Source:
    """How a topic's events come about.

    Attributes:
        generate: exactly that many events, nearly in the order of `received` (see `faults.SLACK`).
        share: its part of a run's messages, against the other topics' shares.
        least: messages that cover what must be known (every product, every store).
        most: messages that a period of so many days can hold without becoming implausible; None: any number.
        unit: its events come in batches of so many.
        protected: how many of the first carry no fault, because others rest on them.
    """

    generate: Callable[[Run, int], Iterator[Event]]
    share: float
    least: int = 0
    most: Callable[[int], int] | None = None
    unit: int = 1
    protected: int = 0


_STORES, _PRODUCTS = len(company.stores(company.START)), len(company.PRODUCTS)
_EQUIPMENT = len(company.equipment(company.START))

SOURCES: dict[str, Source] = {
    "sales-events": Source(sales, 0.78),
    "ventes_stream": Source(ventes, 0.154),
    "product-changes": Source(
        product_changes, 0.01, least=_PRODUCTS + 6, most=lambda days: _PRODUCTS + 2 * days, protected=_PRODUCTS
    ),
    "store-extracts": Source(
        store_extracts, 0.056, least=2 * _STORES, most=lambda days: _STORES * days, unit=_STORES, protected=_STORES
    ),
    "equipment-extracts": Source(equipment_extracts, 0.01, most=lambda days: _EQUIPMENT * days, unit=_EQUIPMENT),
    "weather-data": Source(weather, 0.02, least=_STORES, most=lambda days: _STORES * 96 * days, unit=_STORES),
}
