"""The example company: Levain, a bakery chain, and the French marketplace it also sells on.

The company is the same for every seed and every number of events: shops, catalogue, prices and their history are
pure functions of the calendar. A seed changes what is sold, not who sells it.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from decimal import Decimal
from functools import cache

from faker import Faker

from ingest.settings import PROJECT_ROOT
from levain.samples.calendar import FIRST_DAY as FIRST_DAY
from levain.samples.calendar import LAST_DAY as LAST_DAY
from levain.samples.calendar import START as START
from levain.samples.calendar import ZONE
from levain.samples.calendar import local_midnight as local_midnight
from levain.samples.calendar import seeded as seeded

PARIS = ZONE
ONLINE = "S010"
CUSTOMERS = 2400
PROMOTION_CYCLE = 56
"""Days after which every promotion comes back."""

Hours = tuple[int, int] | None
"""Opening and closing time of one day in minutes after local midnight; None: closed."""


@dataclass(frozen=True)
class Store:
    """A shop as the store register has it on one day."""

    store_id: str
    name: str
    city: str
    country: str
    latitude: Decimal
    longitude: Decimal
    opened_on: date
    size_m2: int
    manager: str
    week: tuple[Hours, ...]
    """Opening hours, Monday first."""
    trade: float
    """Size of its trade against the average shop."""

    @property
    def opening_hours(self) -> str:
        """As on the door, such as `Mo-Sa 07:00-19:30; Su 07:00-13:00`."""
        groups: list[list[int]] = []
        for day in range(7):
            if groups and self.week[groups[-1][-1]] == self.week[day]:
                groups[-1].append(day)
            else:
                groups.append([day])
        names = ("Mo", "Tu", "We", "Th", "Fr", "Sa", "Su")
        parts = []
        for group in groups:
            hours = self.week[group[0]]
            if hours is not None:
                days = names[group[0]] if len(group) == 1 else f"{names[group[0]]}-{names[group[-1]]}"
                parts.append(f"{days} {_clock(hours[0])}-{_clock(hours[1])}")
        return "; ".join(parts)


@dataclass(frozen=True)
class Equipment:
    """A piece of equipment as its register has it on one day."""

    equipment_id: str
    store_id: str
    equipment_type: str
    model: str
    installed_on: date
    service_interval_days: int


@dataclass(frozen=True)
class Weather:
    """The weather at a shop; the condition is the name of a WMO code."""

    temperature_c: Decimal
    humidity_pct: Decimal
    precipitation_mm: Decimal
    wind_kmh: Decimal
    condition: str


@dataclass(frozen=True)
class Sky:
    """The weather of a day in a city.

    Attributes:
        mildness: degrees Celsius above what is usual on that day of the year.
        wet: whether rain or snow falls.
        wind: in km/h.
        dry_condition: the condition where nothing falls.
    """

    mildness: float
    wet: bool
    wind: float
    dry_condition: str


@dataclass(frozen=True)
class Product:
    """An article of the assortment, as it was launched."""

    product_id: str
    name: str
    category: str
    price: Decimal
    unit_cost: Decimal
    popularity: float
    season: tuple[tuple[int, int], tuple[int, int]] | None = None
    """First and last (month, day) of its sale each year; None: all year."""


@dataclass(frozen=True)
class ProductChange:
    """A product's state from `valid_from` on, as the catalogue recorded it at `recorded`."""

    product_id: str
    name: str
    category: str
    base_price: Decimal
    unit_cost: Decimal
    is_active: bool
    valid_from: datetime
    recorded: datetime
    day: date
    """Local day of `valid_from`."""


@dataclass(frozen=True)
class Promotion:
    """A percentage off a product or a category, on some days of the simulated period."""

    promotion_id: str
    target: str
    """Product id or category."""
    first: int
    last: int
    """Days of a cycle (`PROMOTION_CYCLE`), both included."""
    percent: int


@dataclass(frozen=True)
class Client:
    """A client of the marketplace."""

    client_id: int
    name: str
    country: str
    segment: str
    weight: int


@dataclass(frozen=True)
class Produit:
    """A product of the marketplace."""

    produit_id: int
    name: str
    category: str
    price: Decimal
    weight: int


def _clock(minutes: int) -> str:
    return f"{minutes // 60:02d}:{minutes % 60:02d}"


def _week(weekday: str, saturday: str, sunday: str, closed: int | None = None) -> tuple[Hours, ...]:
    days = [_hours(weekday)] * 5 + [_hours(saturday), _hours(sunday)]
    return tuple(None if day == closed else hours for day, hours in enumerate(days))


def _hours(text: str) -> Hours:
    if not text:
        return None
    begin, end = (int(part[:2]) * 60 + int(part[3:]) for part in text.split("-"))
    return begin, end


_LONG = _week("07:00-20:00", "07:00-20:00", "07:30-13:30")
_USUAL = _week("07:00-19:30", "07:00-19:30", "07:00-13:00", closed=0)
_CITY = _week("06:30-19:30", "07:00-19:30", "")
_ALWAYS = _week("00:00-24:00", "00:00-24:00", "00:00-24:00")

_SHOPS: tuple[tuple[str, str, str, str, str, str, int, tuple[Hours, ...], float], ...] = (
    ("S001", "Levain Bastille", "Paris", "48.853291", "2.369255", "2014-03-17", 118, _LONG, 1.5),
    ("S002", "Levain Montmartre", "Paris", "48.886705", "2.343104", "2016-09-05", 84, _USUAL, 1.2),
    ("S003", "Levain Croix-Rousse", "Lyon", "45.774502", "4.831917", "2017-05-22", 96, _USUAL, 1.1),
    ("S004", "Levain Vieux-Port", "Marseille", "43.295132", "5.374407", "2018-02-12", 102, _LONG, 1.0),
    ("S005", "Levain Capitole", "Toulouse", "43.604429", "1.443812", "2018-10-01", 90, _LONG, 0.9),
    ("S006", "Levain Chartrons", "Bordeaux", "44.853774", "-0.571046", "2019-06-03", 88, _USUAL, 0.9),
    ("S007", "Levain Graslin", "Nantes", "47.213106", "-1.562448", "2021-04-12", 76, _USUAL, 0.8),
    ("S008", "Levain Wazemmes", "Lille", "50.624938", "3.049551", "2022-09-19", 81, _LONG, 0.8),
    ("S009", "Levain La Défense", "Puteaux", "48.891842", "2.240797", "2023-11-06", 64, _CITY, 0.9),
    (ONLINE, "Levain en ligne", "Paris", "48.853291", "2.369255", "2020-04-06", 0, _ALWAYS, 0.6),
)

PRODUCTS: tuple[Product, ...] = tuple(
    Product(f"P{number:03d}", name, category, Decimal(price), Decimal(cost), popularity, season)
    for number, (name, category, price, cost, popularity, season) in enumerate(
        (
            ("Baguette tradition", "bread", "1.30", "0.42", 30.0, None),
            ("Baguette classique", "bread", "1.10", "0.36", 18.0, None),
            ("Pain au levain 500 g", "bread", "3.20", "1.05", 9.0, None),
            ("Pain complet 400 g", "bread", "2.90", "0.98", 5.0, None),
            ("Pain aux céréales 400 g", "bread", "3.10", "1.10", 6.0, None),
            ("Pain de seigle 500 g", "bread", "3.60", "1.25", 3.0, None),
            ("Pain de mie 450 g", "bread", "2.80", "0.95", 3.0, None),
            ("Fougasse aux olives", "bread", "3.40", "1.15", 2.5, None),
            ("Croissant", "viennoiserie", "1.25", "0.40", 24.0, None),
            ("Pain au chocolat", "viennoiserie", "1.40", "0.46", 20.0, None),
            ("Pain aux raisins", "viennoiserie", "1.70", "0.58", 6.0, None),
            ("Chausson aux pommes", "viennoiserie", "1.90", "0.64", 5.0, None),
            ("Brioche à tête", "viennoiserie", "1.60", "0.52", 4.0, None),
            ("Chouquettes, sachet de 10", "viennoiserie", "2.80", "0.80", 4.0, None),
            ("Éclair au chocolat", "pastry", "3.20", "1.12", 7.0, None),
            ("Tartelette au citron", "pastry", "3.60", "1.28", 5.0, None),
            ("Paris-brest", "pastry", "4.50", "1.70", 3.5, None),
            ("Mille-feuille", "pastry", "4.20", "1.55", 3.5, None),
            ("Flan parisien, part", "pastry", "2.90", "0.85", 5.0, None),
            ("Tarte aux fraises, 6 parts", "pastry", "24.00", "9.80", 1.5, ((4, 15), (8, 31))),
            ("Galette des rois, 6 parts", "pastry", "22.00", "7.60", 6.0, ((12, 27), (1, 31))),
            ("Bûche de Noël, 6 parts", "pastry", "32.00", "12.40", 5.0, ((12, 1), (12, 31))),
            ("Jambon-beurre", "savoury", "4.60", "1.75", 8.0, None),
            ("Sandwich poulet crudités", "savoury", "5.40", "2.10", 6.0, None),
            ("Quiche lorraine, part", "savoury", "4.20", "1.45", 4.5, None),
            ("Salade niçoise", "savoury", "7.90", "3.20", 2.0, None),
            ("Café", "drink", "1.60", "0.32", 8.0, None),
            ("Chocolat chaud", "drink", "3.20", "0.75", 2.5, None),
            ("Jus d'orange pressé", "drink", "3.50", "1.30", 2.5, None),
            ("Eau minérale 50 cl", "drink", "1.50", "0.35", 4.0, None),
        ),
        start=1,
    )
)

PROMOTIONS = (
    Promotion("PR001", "P021", 2, 12, 10),
    Promotion("PR002", "viennoiserie", 7, 13, 15),
    Promotion("PR003", "P003", 16, 22, 20),
    Promotion("PR004", "savoury", 28, 34, 10),
    Promotion("PR005", "pastry", 40, 46, 15),
)
EVENING = Promotion("PR900", "viennoiserie", 0, 55, 30)
"""What is left of the viennoiserie in the last hour of a shop's day."""

CLIENTS = (
    Client(1, "Jean Dupont", "France", "Particulier", 30),
    Client(2, "Maria Garcia", "Spain", "Particulier", 22),
    Client(3, "John Smith", "UK", "Enterprise", 18),
    Client(4, "Anna Mueller", "Germany", "Particulier", 16),
    Client(5, "Paolo Rossi", "Italy", "Enterprise", 14),
)
PRODUITS = (
    Produit(101, "Ordinateur portable", "Electronique", Decimal("899.99"), 10),
    Produit(102, "Souris sans fil", "Electronique", Decimal("25.50"), 30),
    Produit(103, "Clavier mecanique", "Electronique", Decimal("75.00"), 20),
    Produit(104, "Casque audio", "Audio", Decimal("59.99"), 22),
    Produit(105, "Livre Data Science", "Livres", Decimal("19.99"), 18),
)

_DAYPARTS = {
    "bread": (1.0, 0.9, 1.5),
    "viennoiserie": (2.2, 0.4, 0.9),
    "pastry": (0.5, 0.8, 1.3),
    "savoury": (0.1, 3.0, 0.3),
    "drink": (1.2, 1.4, 0.7),
}
_HALF_HOURS = (
    *([0.02] * 10),
    *(0.1, 0.2, 0.5, 1.0, 1.9, 2.6, 2.4, 1.9, 1.4, 1.1, 1.0, 1.1, 1.3, 1.9, 2.4, 2.1),
    *(1.4, 1.0, 0.8, 0.8, 0.9, 1.2, 1.6, 2.0, 2.2, 2.0, 1.6, 1.0, 0.7, 0.6, 0.5, 0.4),
    *(0.3, 0.2, 0.1, 0.05, 0.02, 0.02),
)
_PER_DEGREE = {"P026": 0.06, "P029": 0.06, "P030": 0.06, "P027": -0.02, "P028": -0.06}
_CLOSED = ((1, 1), (5, 1), (12, 25))
_WEEKDAY = (0.85, 0.88, 0.95, 0.95, 1.1, 1.45, 1.3)
_RENAMES = {"P019": (date(2026, 1, 21), "Flan à la vanille, part"), "P024": (date(2026, 3, 9), "Sandwich poulet rôti")}


@cache
def stores(day: date) -> tuple[Store, ...]:
    """The store register of one day: managers move on, opening hours change."""
    return tuple(
        Store(
            store_id=store_id,
            name=name,
            city=city,
            country="FR",
            latitude=Decimal(latitude),
            longitude=Decimal(longitude),
            opened_on=date.fromisoformat(opened_on),
            size_m2=size,
            manager=[who for since, who in managers(store_id) if since <= day][-1],
            week=_week_on(store_id, day),
            trade=trade,
        )
        for store_id, name, city, latitude, longitude, opened_on, size, _, trade in _SHOPS
    )


@cache
def store_on(store_id: str, day: date) -> Store:
    """One shop as the store register has it on a day."""
    return next(store for store in stores(day) if store.store_id == store_id)


@cache
def public_holidays() -> frozenset[date]:
    """Those of France, as the seed of dim_calendar has them."""
    with (PROJECT_ROOT / "seeds" / "public_holidays.csv").open(encoding="utf-8", newline="") as file:
        return frozenset(date.fromisoformat(row["holiday_date"]) for row in csv.DictReader(file))


def hours(store_id: str, day: date) -> Hours:
    """When a shop is open on a day: on public holidays as on Sundays, and on three of them not at all."""
    week = _week_on(store_id, day)
    if store_id == ONLINE:
        return week[day.weekday()]
    if (day.month, day.day) in _CLOSED:
        return None
    return week[6 if day in public_holidays() else day.weekday()]


def _week_on(store_id: str, day: date) -> tuple[Hours, ...]:
    return [week for since, week in _register()[0][store_id] if since <= day][-1]


def managers(store_id: str) -> Sequence[tuple[date, str]]:
    """A shop's managers, each with the first day, oldest first."""
    return _register()[1][store_id]


@cache
def _register() -> tuple[
    Mapping[str, tuple[tuple[date, tuple[Hours, ...]], ...]], Mapping[str, list[tuple[date, str]]]
]:
    fake, rng = Faker("fr_FR"), seeded("register")
    fake.seed_instance("managers")
    managers = {shop[0]: [(date.min, fake.name())] for shop in _SHOPS}
    earlier, names = seeded("earlier managers"), Faker("fr_FR")
    names.seed_instance("earlier managers")
    for day in range((FIRST_DAY - START).days + 30, -20, 21):
        managers[earlier.choice(_SHOPS)[0]].append((START + timedelta(days=day), names.name()))
    # Three managers change in the first four weeks, then one about every three weeks.
    days = [8, 15, 24, *range(36, 1200, 21)]
    for day in days:
        managers[rng.choice(_SHOPS)[0]].append((START + timedelta(days=day + rng.randrange(4)), fake.name()))
    changes = {
        "S003": ((START + timedelta(days=14), _week("07:00-20:00", "07:00-20:00", "07:00-13:00", closed=0)),),
        "S008": ((START + timedelta(days=21), _week("06:30-20:00", "07:00-20:00", "07:30-13:00")),),
        "S004": ((date(2026, 5, 4), _week("07:00-20:30", "07:00-20:30", "07:30-14:00")),),
        "S009": ((date(2026, 8, 3), _week("07:00-18:00", "", "")), (date(2026, 8, 31), _CITY)),
    }
    return {shop[0]: ((date.min, shop[7]), *changes.get(shop[0], ())) for shop in _SHOPS}, managers


_MODELS = {
    "oven": (("Four à sole 3 étages", 90), ("Four ventilé 10 niveaux", 120)),
    "mixer": (("Pétrin spirale 60 l", 180), ("Batteur 20 l", 180)),
    "display": (("Vitrine réfrigérée 2 m", 365),),
}


@cache
def equipment(day: date) -> tuple[Equipment, ...]:
    """The equipment register of one day: each shop has an oven, a mixer and a display; some are replaced."""
    rng, register, serial = seeded("equipment"), [], 0
    for store in stores(START):
        if store.store_id == ONLINE:
            continue
        for kind, models in _MODELS.items():
            # One piece in four is replaced within a year of the start.
            replaced = START + timedelta(days=rng.randint(5, 360)) if rng.random() < 0.25 else date.max
            for since, until in ((max(store.opened_on, date(2019, 1, 7)), replaced), (replaced, date.max)):
                if since == date.max:
                    continue
                serial += 1
                model, interval = rng.choice(models)
                if since <= day < until:
                    register.append(Equipment(f"E{serial:03d}", store.store_id, kind, model, since, interval))
    return tuple(register)


@cache
def _noise(place: str, day: date) -> tuple[float, float]:
    """What the weather of a place draws on a day: independent of other days, normally distributed."""
    rng = seeded("sky", place, day)
    return rng.gauss(0, 1), rng.gauss(0, 1)


def _summer(day: date) -> float:
    """From -1 in January to 1 in July."""
    return -math.cos(2 * math.pi * (day.timetuple().tm_yday - 20) / 365)


@cache
def sky(city: str, day: date) -> Sky:
    """The weather of a day: like that of the days before it, and like that of the rest of the country."""
    days = [day - timedelta(days=back) for back in range(8)]
    warmth, damp = (
        math.fsum(
            fading**back * (0.8 * _noise("France", each)[kind] + 0.6 * _noise(city, each)[kind])
            for back, each in enumerate(days)
        )
        * math.sqrt(1 - fading**2)
        for kind, fading in ((0, 0.75), (1, 0.55))
    )
    # Four days of ten are wet in winter, a quarter in summer; wet days are mild in winter, and cool in summer.
    wet, rng = damp > 0.46 + 0.2 * _summer(day), seeded("sky of the day", city, day)
    return Sky(
        mildness=2.8 * warmth - 1.2 * _summer(day) * (wet - 0.33),
        wet=wet,
        wind=rng.uniform(4, 20) + 5 * max(damp, 0),
        dry_condition=rng.choice(("clear_sky", "mainly_clear", "partly_cloudy", "overcast", "fog")),
    )


def _warmth(store: Store, day: date) -> float:
    """Mean temperature of a day at a shop, in degrees Celsius: warmer in summer and in the south."""
    return 12.5 + 8 * _summer(day) - 0.7 * (float(store.latitude) - 46) + sky(store.city, day).mildness


def weather(store: Store, moment: datetime) -> Weather:
    """The weather at a shop at a time: warmer in the afternoon than in the mean of the day; rain on wet days."""
    day = sky(store.city, moment.date())
    season, wet = _summer(moment.date()), day.wet
    afternoon = math.cos(2 * math.pi * (moment.hour + moment.minute / 60 - 15) / 24)
    degrees = _warmth(store, moment.date()) + 3.5 * afternoon
    rng = seeded("weather", store.city, moment)
    falls = wet and rng.random() < 0.6
    amount = Decimal(f"{rng.expovariate(1.5) + 0.1:.1f}") if falls else Decimal("0.0")
    if falls:
        strength = "light_" * (amount < 1) + "heavy_" * (amount > 2)
        condition = strength + ("snow" if degrees < 0.5 else "rain")
    else:
        lifted = day.dry_condition == "fog" and moment.hour >= 11
        condition = "overcast" if wet else "mainly_clear" if lifted else day.dry_condition
    return Weather(
        temperature_c=Decimal(f"{degrees:.1f}"),
        humidity_pct=Decimal(f"{min(100, max(20, 72 - 10 * afternoon - 8 * season + 14 * wet + rng.gauss(0, 4))):.1f}"),
        precipitation_mm=amount,
        wind_kmh=Decimal(f"{day.wind * rng.uniform(0.7, 1.3):.1f}"),
        condition=condition,
    )


def in_season(product: Product, day: date) -> bool:
    """Whether the product is sold at that time of the year."""
    if product.season is None:
        return True
    first, last = product.season
    today = (day.month, day.day)
    return first <= today <= last if first <= last else today >= first or today <= last


def product_state(product: Product, day: date, recorded: datetime) -> ProductChange:
    """What a change that takes effect on that day says: prices drift up by about 4 % a year, in steps of 5 cents."""
    drift = 1 + 0.04 * (day - START).days / 365 + seeded(product.product_id, day).uniform(-0.02, 0.06)
    price = max(Decimal(round(float(product.price) * drift * 20)) / 20, product.unit_cost)
    renamed = _RENAMES.get(product.product_id)
    return ProductChange(
        product_id=product.product_id,
        name=renamed[1] if renamed and day >= renamed[0] else product.name,
        category=product.category,
        base_price=price.quantize(Decimal("0.01")),
        unit_cost=Decimal(round(float(product.unit_cost) * (drift + 0.01) * 100)).scaleb(-2),
        is_active=in_season(product, day),
        valid_from=local_midnight(day),
        recorded=recorded,
        day=day,
    )


def catalogue(start: date = START) -> list[ProductChange]:
    """The products as they stand at the start of a period, recorded in its first night."""
    recorded = local_midnight(start) + timedelta(hours=4)
    rows = []
    for number, product in enumerate(PRODUCTS):
        launched = start - timedelta(days=364 - 7 * (number % 20))
        state = product_state(product, launched, recorded + timedelta(seconds=number))
        rows.append(replace(state, is_active=in_season(product, start)))
    return rows


def product_changes(count: int, days: int, start: date = START) -> list[ProductChange]:
    """Changes after the initial catalogue of a period of so many days, in the order they were recorded.

    Seasons that begin or end and renamed products come first, price revisions fill up. Most are recorded days ahead
    of `valid_from`, some on the day, and a fifth only days after it, so that sales already made must be restated.
    """
    rng = seeded("changes", days, start)
    chosen: list[tuple[Product, int]] = []
    for product in PRODUCTS:
        for offset in range(1, days):
            day = start + timedelta(days=offset)
            renamed = _RENAMES.get(product.product_id)
            turns = in_season(product, day) != in_season(product, day - timedelta(days=1))
            if turns or (renamed and renamed[0] == day):
                chosen.append((product, offset))
    while len(chosen) < count:
        for product in rng.sample(PRODUCTS, len(PRODUCTS)):
            chosen.append((product, rng.randrange(1, days) if days > 1 else 0))
    first_night, changes = catalogue(start)[-1].recorded, []
    for product, offset in chosen[:count]:
        day = start + timedelta(days=offset)
        habit = rng.random()
        shift = -rng.randint(2, 9) if habit < 0.55 else 0 if habit < 0.8 else rng.randint(1, 6)
        if offset + shift >= days:
            shift = 0
        on_the_way = local_midnight(day + timedelta(days=shift)) + timedelta(minutes=rng.randint(9 * 60, 17 * 60))
        recorded = max(on_the_way if shift else local_midnight(day) + timedelta(hours=5), first_night)
        changes.append(product_state(product, day, recorded + timedelta(seconds=rng.randint(1, 3000))))
    return sorted(changes, key=lambda change: (change.recorded, change.product_id))


@cache
def demand(store: Store, day: date) -> float:
    """Expected trade of a shop on a day, in no particular unit; 0 when it is closed.

    Rain keeps shoppers at home, where some of them order online; so do frost and great heat.
    """
    if hours(store.store_id, day) is None:
        return 0.0
    season = 1 + 0.10 * math.cos(2 * math.pi * (day.timetuple().tm_yday - 15) / 365)
    if day.month == 12 and day.day >= 15:
        season += 0.35
    if day.month == 8 and store.store_id != "S004":
        season -= 0.25
    wet, warmth = sky(store.city, day).wet, _warmth(store, day)
    if store.store_id == ONLINE:
        weekday, outside = 1.0, 1.06 if wet else 0.98
    else:
        weekday = _WEEKDAY[6 if day in public_holidays() else day.weekday()]
        outside = (0.86 if wet else 1.06) * (0.92 if warmth < 1 or warmth > 25 else 1.0)
    return store.trade * weekday * season * outside * seeded(store.store_id, day).uniform(0.92, 1.08)


def half_hours(hours: tuple[int, int]) -> tuple[list[int], list[float]]:
    """The half hours of an opening time (minutes after midnight) and how busy each is."""
    starts = list(range(hours[0], hours[1], 30))
    return starts, [_HALF_HOURS[start // 30] for start in starts]


def appetite(product: Product, day: date, daypart: int) -> float:
    """How much a product is asked for on a day in a part of it (0 morning, 1 midday, 2 afternoon); 0 out of season."""
    if not in_season(product, day):
        return 0.0
    weight = product.popularity * _DAYPARTS[product.category][daypart]
    summer = -math.cos(2 * math.pi * (day.timetuple().tm_yday - 15) / 365)
    if product.product_id in ("P026", "P029", "P030"):
        weight *= 1 + 0.5 * summer
    if product.product_id == "P028":
        weight *= 1 - 0.8 * summer
    if product.category == "pastry" and day.weekday() >= 5:
        weight *= 1.6
    if product.category == "savoury" and day.weekday() >= 5:
        weight *= 0.5
    return weight * (1.6 if promotion(product, day) else 1.0)


def thirst(product: Product, mildness: float) -> float:
    """How many times as much a product is asked for on a day that is so many degrees warmer than usual."""
    return max(1 + _PER_DEGREE.get(product.product_id, 0.0) * mildness, 0.4)


def promotion(product: Product, day: date) -> Promotion | None:
    """The promotion that runs for a product on a day."""
    offset = (day - START).days % PROMOTION_CYCLE
    for each in PROMOTIONS:
        if each.first <= offset <= each.last and each.target in (product.product_id, product.category):
            # What is out of season as it begins is not announced.
            begins = day - timedelta(days=offset - each.first)
            return each if each.target == product.category or in_season(product, begins) else None
    return None
