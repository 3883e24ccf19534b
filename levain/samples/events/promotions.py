"""What the shops announce at a reduced price, and when: consistent with what the tills take off.

A promotion comes back every `company.PROMOTION_CYCLE` days under the same id, so id and start together name a run of
it. Each event holds the whole state of a run, and the last one counts.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from decimal import Decimal

from levain.samples import company
from levain.samples.events.run import Run
from levain.samples.run import Event, on_its_way


@dataclass(frozen=True)
class Notice:
    """The state of a run of a promotion, as it was announced, changed or withdrawn at `recorded`."""

    promotion_id: str
    status: str
    name: str
    discount_type: str
    discount_value: Decimal
    product_id: str | None
    category: str | None
    store_id: str | None
    starts_at: datetime
    ends_at: datetime
    recorded: datetime


@dataclass(frozen=True)
class _Offer:
    """A promotion as it is planned in every cycle.

    Attributes:
        target: product id, category, or None for all products.
        first, last: days of a cycle, both included.
        announced_value, announced_days: how much more (or less) its announcement says; a change before the start
            corrects it.
        longer: days for which it is planned beyond its last one, in the night after which it is withdrawn.
        dropped: it is withdrawn before it starts, so that no till ever applies it.
    """

    promotion_id: str
    name: str
    target: str | None
    first: int
    last: int
    discount_value: Decimal
    discount_type: str = "percentage"
    store_id: str | None = None
    announced_value: int = 0
    announced_days: int = 0
    longer: int = 0
    dropped: bool = False


def _applied(promotion: company.Promotion, name: str) -> _Offer:
    percent = Decimal(f"{promotion.percent}.00")
    return _Offer(promotion.promotion_id, name, promotion.target, promotion.first, promotion.last, percent)


_GALETTE, _BREAKFAST, _LEVAIN, _LUNCH, _PASTRY = company.PROMOTIONS
_OFFERS = (
    _applied(_GALETTE, "Galette des rois"),
    replace(_applied(_BREAKFAST, "Petits déjeuners de saison"), announced_value=5),
    replace(_applied(_LEVAIN, "Semaine du levain"), longer=3),
    _applied(_LUNCH, "Midi malin"),
    replace(_applied(_PASTRY, "Douceurs du week-end"), announced_days=-2),
    _applied(company.EVENING, "Viennoiseries du soir, dernière heure"),
    _Offer("PR101", "Chocolat chaud", "P028", 11, 17, Decimal("0.50"), "amount", store_id="S004", dropped=True),
    _Offer("PR102", "Anniversaire de la Bastille", None, 22, 23, Decimal("10.00"), store_id="S001", dropped=True),
    _Offer("PR103", "Pains du monde", "bread", 44, 50, Decimal("15.00"), dropped=True),
)


def notices(days: int, start: date = company.START) -> list[Notice]:
    """All that is announced, changed and withdrawn in a period of so many days from that day on, in order."""
    first = (start - company.START).days // company.PROMOTION_CYCLE
    cycles = range(first, first + days // company.PROMOTION_CYCLE + 3)
    begins = [company.START + timedelta(days=number * company.PROMOTION_CYCLE) for number in cycles]
    end = company.local_midnight(start + timedelta(days=days))
    found = [each for begin in begins for offer in _OFFERS for each in _run(offer, begin, start) if each.recorded < end]
    return sorted(found, key=lambda each: (each.recorded, each.promotion_id))


def _run(offer: _Offer, begin: date, start: date) -> Iterator[Notice]:
    """The notices of the run that an offer has in the cycle that begins on that day; none out of season.

    What runs as the period starts is announced in its first night, without what was changed before.
    """
    rng = company.seeded("promotion", offer.promotion_id, begin)
    product = next((each for each in company.PRODUCTS if each.product_id == offer.target), None)
    first, last = begin + timedelta(days=offer.first), begin + timedelta(days=offer.last)
    if last < start or (product and not company.in_season(product, first)):
        return

    def working_hours(day: date) -> datetime:
        return company.local_midnight(day) + timedelta(minutes=rng.randint(540, 1020), seconds=rng.randrange(60))

    # What starts with the period or in its first days is announced in the first night, as the catalogue is.
    first_night = company.local_midnight(start) + timedelta(hours=4, minutes=rng.randint(30, 50))
    planned = Notice(
        promotion_id=offer.promotion_id,
        status="announced",
        name=offer.name,
        discount_type=offer.discount_type,
        discount_value=offer.discount_value,
        product_id=product.product_id if product else None,
        category=None if product else offer.target,
        store_id=offer.store_id,
        starts_at=company.local_midnight(first),
        ends_at=company.local_midnight(last + timedelta(days=1 + offer.longer)),
        recorded=max(working_hours(first - timedelta(days=rng.randint(4, 9))), first_night),
    )
    corrected = working_hours(first - timedelta(days=2))
    if corrected < first_night:
        offer = replace(offer, announced_value=0, announced_days=0)
        if offer.dropped:
            return
    yield replace(
        planned,
        discount_value=planned.discount_value + offer.announced_value,
        ends_at=planned.ends_at + timedelta(days=offer.announced_days),
    )
    if offer.announced_value or offer.announced_days:
        yield replace(planned, status="changed", recorded=corrected)
    if offer.dropped:
        yield replace(planned, status="withdrawn", recorded=corrected)
    if offer.longer:
        midnight = company.local_midnight(last + timedelta(days=1))
        yield replace(planned, status="withdrawn", recorded=midnight - timedelta(seconds=30))


def promotions(run: Run, count: int) -> Iterator[Event]:
    """The notices of the period; if there are fewer, some of them with another name in the day after."""
    rng, found = run.random("promotions"), notices(run.days, run.start)
    announced = [each for each in found if each.status == "announced"]
    for number in range(count - len(found)):
        each = announced[number % len(announced)]
        moment = each.recorded + min(timedelta(days=1), run.end - each.recorded) * rng.uniform(0.01, 0.99)
        found.append(replace(each, status="changed", name=f"{each.name} ({number + 1})", recorded=moment))
    for each in sorted(found, key=lambda each: each.recorded)[:count]:
        fields = {name: value for name, value in vars(each).items() if value is not None}
        recorded = fields.pop("recorded")
        identity = run.identity(f"promotions/{each.promotion_id}/{each.starts_at}/{each.status}/{each.name}")
        yield Event(
            {"event_id": identity, "event_time": recorded} | fields,
            recorded + on_its_way(rng),
        )
