"""Questionnaires that customers fill in after they bought something in the same run.

What they think of a shop is the same for every run, see `expected_rating`; a seed changes who answers, and how
strictly.
"""

from __future__ import annotations

import random
import statistics
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from functools import cache
from itertools import pairwise
from typing import Any

from levain.samples import company
from levain.samples.events.customers import customer
from levain.samples.events.run import Run
from levain.samples.events.sales import Receipt, receipts
from levain.samples.run import Event, in_time, on_its_way

HANDOVER = timedelta(days=14)
"""After its manager has changed, a shop's service is bad for so long."""
EVENING = 17
"""Hour from which on bread is no longer fresh, and some of it is sold out."""

_QUESTIONS = {"taste": 4.3, "freshness": 4.2, "choice": 4.0, "service": 4.1, "price": 3.6}
"""Question -> what the average shop gets for it in the morning."""
_ROOMY_M2 = 90
"""Square metres for the average trade; a smaller shop sells out before the evening."""


@cache
def _merit(kind: str, name: str, width: float) -> float:
    """By how much a shop or a product is better than the average; it never changes."""
    return company.seeded("merit", kind, name).uniform(-width, width)


@cache
def _handovers(store_id: str) -> tuple[datetime, ...]:
    """When the shop got another manager."""
    known = company.managers(store_id)
    return tuple(company.local_midnight(day) for (_, before), (day, after) in pairwise(known) if before != after)


def expected_rating(question: str, store: company.Store, moment: datetime, product_id: str | None = None) -> float:
    """What customers give on average for a visit at that time, 1 to 5; the same for every run.

    Service is bad for a fortnight after the manager changed. In the evening freshness is lower, and so is choice, most
    of all in shops that are small for their trade. Taste differs by product, and a promotion makes the price seem fair.

    Args:
        question: one of the questionnaire's.
        store: as on the day of the visit.
        moment: of the visit.
        product_id: what it is about, if anything.
    """
    stars = _QUESTIONS[question] + _merit(question, store.store_id, 0.35)
    local, online = moment.astimezone(company.PARIS), store.store_id == company.ONLINE
    evening = not online and local.hour >= EVENING
    match question:
        case "service" if any(since <= moment < since + HANDOVER for since in _handovers(store.store_id)):
            stars -= 1.4
        case "freshness" if evening:
            stars -= 0.8
        case "choice" if evening:
            stars -= 0.3 + max(store.trade * _ROOMY_M2 / store.size_m2 - 1, 0)
        case "taste" if product_id:
            stars += _merit("taste", product_id, 0.5)
        case "price" if product_id:
            product = next(each for each in company.PRODUCTS if each.product_id == product_id)
            stars += 0.4 if company.promotion(product, local.date()) else 0.0
    return min(max(stars, 1.0), 5.0)


def customer_feedback(run: Run, count: int) -> Iterator[Event]:
    """Questionnaires in the order they are submitted."""
    if not count:
        return
    rng, serial = run.random("customer-feedback"), int(run.tag[:4], 16)
    for number, (submitted, fields) in enumerate(in_time(_days(run, rng, count)), start=1):
        group, rest = divmod(number, 100_000)
        head = {
            "event_id": run.identity(f"customer-feedback/{number}"),
            "event_time": submitted,
            "feedback_id": f"F{(serial + group) % 0x10000:04x}{rest:05d}",
        }
        yield Event(head | fields, submitted + on_its_way(rng))


def _days(run: Run, rng: random.Random, count: int) -> Iterator[tuple[datetime, list[tuple[datetime, dict[str, Any]]]]]:
    """The questionnaires about what was bought on each day, the more of a receipt the more lines it has."""
    lines = run.sales or 8 * count
    sold, asked = 0, 0
    for day, bought in zip(run.calendar, receipts(run, lines), strict=True):
        places = [place for place, receipt in enumerate(bought) for _ in receipt.lines]
        sold += len(places)
        due = count * sold // lines - asked
        asked += due
        chosen = Counter(rng.sample(places, due) if due <= len(places) else rng.choices(places, k=due))
        found = [
            _answered(run, rng, bought[place], is_first=not number)
            for place, times in chosen.items()
            for number in range(times)
        ]
        yield company.local_midnight(day + timedelta(days=1)), found


_CHANNELS = ("shop", "web", "app", "survey")
_SHARES = {"known": (28, 17, 35, 20), "unknown": (68, 32, 0, 0), "online": (0, 40, 40, 20)}
_MINUTES = {"shop": (1, 20), "web": (30, 3 * 1440), "app": (10, 1440), "survey": (1440, 6 * 1440)}
"""Channel -> how long after the visit it is filled in."""


def _answered(run: Run, rng: random.Random, receipt: Receipt, is_first: bool) -> tuple[datetime, dict[str, Any]]:
    """When a questionnaire about what was bought is submitted, and what it says."""
    local = receipt.sold_at.astimezone(company.PARIS)
    store, customer_id = company.store_on(receipt.store_id, local.date()), receipt.lines[0].get("customer_id")
    buyer = "online" if store.store_id == company.ONLINE else "known" if customer_id else "unknown"
    channel = rng.choices(_CHANNELS, _SHARES[buyer])[0]
    least, most = _MINUTES[channel]
    submitted = receipt.sold_at + timedelta(seconds=rng.randint(60 * least, 60 * most))
    if submitted.astimezone(company.PARIS).hour < 6:
        submitted += timedelta(hours=rng.uniform(6, 9))
    # The period ends for everyone: who bought on its last days answers sooner.
    if submitted >= run.end:
        submitted = receipt.sold_at + (run.end - receipt.sold_at) * rng.uniform(0.1, 0.9)
    product_id = rng.choice(receipt.lines)["product_id"] if rng.random() < 0.35 else None
    # Some are strict, others easily pleased, and now and then everything goes wrong.
    mood = rng.gauss(0.25, 0.6) - (1.6 if rng.random() < 0.06 else 0.0)
    stars = {
        question: _stars(rng, expected_rating(question, store, receipt.sold_at, product_id) + mood, 0.55)
        for question in _QUESTIONS
    }
    answered = {question: given for question, given in stars.items() if rng.random() < 0.86}
    rating = _stars(rng, statistics.mean((answered or stars).values()), 0.25)
    language = _language(rng, customer_id)
    fields: dict[str, Any] = {"store_id": store.store_id}
    if product_id:
        fields["product_id"] = product_id
    if customer_id:
        fields["customer_id"] = customer_id
    fields |= {"channel": channel, "rating": rating}
    if rng.random() < (0.6 if rating <= 2 else 0.35):
        # Words are about what stood out, well or badly.
        topic = min(stars, key=stars.__getitem__) if rating <= 3 else max(stars, key=stars.__getitem__)
        fields["comment"] = rng.choice(_COMMENTS[language][topic][stars[topic] >= 4])
    fields["language"] = language
    if is_first and rng.random() < 0.75:
        fields["visit"] = {"visited_on": local.date()}
        if run.events_of("sales-events") and rng.random() < 0.65:
            fields["visit"]["receipt_id"] = receipt.receipt_id
    fields["answers"] = [_answer(rng, language, question, given) for question, given in answered.items()]
    tags = [rng.choice(_TAGS[question][given >= 4]) for question, given in answered.items() if given != 3]
    if tags and rng.random() < 0.55:
        fields["tags"] = rng.sample(tags, rng.randint(1, min(3, len(tags))))
    return submitted, fields


def _stars(rng: random.Random, expected: float, spread: float) -> int:
    return min(max(round(rng.gauss(expected, spread)), 1), 5)


def _language(rng: random.Random, customer_id: str | None) -> str:
    at_home = customer_id is None or customer(int(customer_id[1:])).country in ("FR", "BE", "CH", "LU")
    return "fr" if rng.random() < (0.9 if at_home else 0.2) else "en"


def _answer(rng: random.Random, language: str, question: str, given: int) -> dict[str, Any]:
    answer: dict[str, Any] = {"question": question, "rating": given}
    if rng.random() < 0.06:
        answer["comment"] = rng.choice(_COMMENTS[language][question][given >= 4])
    return answer


_TAGS: Mapping[str, tuple[Sequence[str], Sequence[str]]] = {
    "taste": (("bland", "too_sweet"), ("tasty", "homemade")),
    "freshness": (("stale",), ("fresh", "still_warm")),
    "choice": (("sold_out", "little_choice"), ("wide_choice",)),
    "service": (("queue", "unfriendly"), ("friendly", "quick")),
    "price": (("expensive",), ("good_value",)),
}
"""Question -> words for few stars, and for many."""

_COMMENTS: Mapping[str, Mapping[str, tuple[Sequence[str], Sequence[str]]]] = {
    "fr": {
        "taste": (
            ("Un peu fade cette fois.", "Je m'attendais à mieux, la pâte manquait de goût.", "Trop cuit à mon goût."),
            ("Délicieux, comme toujours.", "La meilleure boulangerie du quartier !", "Un vrai goût, bravo."),
        ),
        "freshness": (
            ("Le pain était sec dès le soir.", "Viennoiserie de la veille, dommage.", "Pas très frais le soir."),
            ("Encore tiède, un bonheur.", "Toujours très frais.", "Croustillant dehors, moelleux dedans."),
        ),
        "choice": (
            ("Il ne restait presque plus rien.", "Plus de baguettes tradition à 18 h…", "Peu de choix ce jour-là."),
            ("Un choix impressionnant.", "On trouve toujours quelque chose de nouveau.", "Belle vitrine, bien garnie."),
        ),
        "service": (
            ("Vingt minutes d'attente pour une baguette.", "Accueil plutôt froid.", "On m'a oublié dans la file."),
            ("Équipe souriante et rapide.", "Très bon accueil, merci !", "Une vendeuse de bon conseil."),
        ),
        "price": (
            ("C'est devenu cher.", "Bon, mais le prix pique un peu.", "Les prix ont encore augmenté."),
            ("Prix correct pour la qualité.", "Bon rapport qualité-prix.", "La promotion valait le détour."),
        ),
    },
    "en": {
        "taste": (("A bit bland.", "I expected more flavour."), ("Delicious, as always.", "Best bakery around!")),
        "freshness": (("The bread was dry by the evening.", "Not very fresh."), ("Still warm, lovely.", "Very fresh.")),
        "choice": (("Hardly anything left.", "Little to choose from."), ("Great selection.", "Always something new.")),
        "service": (("Waited twenty minutes.", "Not very friendly."), ("Friendly and quick.", "Lovely staff!")),
        "price": (("Rather expensive.", "Prices went up again."), ("Fair price.", "Good value for money.")),
    },
}  # fmt: skip
"""Language -> question -> sentences for few stars, and for many."""
