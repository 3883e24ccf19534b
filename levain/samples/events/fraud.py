"""Purchases by thieves: what they look like, and which ones they are.

No field of a purchase says that it is fraudulent, only its number does, by `is_fraudulent`: for tests and for the
labels that a bank would send weeks later, never for a feature.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from hashlib import sha256

from levain.samples import company
from levain.samples.events.shoppers import Shopper, device_id

SHARE = 0.015
"""Part of the purchases."""

ATTACKS = (1, 2, 3, 4, 5, 6), (2, 3, 4, 5, 6, 7)
"""How many purchases a thief makes, and how often each, summed up."""

_STOLEN_CARDS = ("US", "GB", "CA", "AU", "BR")
_ADDRESSES = ("NL", "US", "GB", "DE", "SG", "CA")
_DROPS = ("BE", "NL", "ES", "DE")


def is_fraudulent(purchase_id: str) -> bool:
    """Whether a thief made the purchase of that number: one number of 64 is kept for thieves."""
    return sha256(f"fraud/{purchase_id}".encode()).digest()[0] < 4


def fraudulent(count: int) -> int:
    """How many of so many purchases are fraudulent."""
    return round(count * SHARE)


@dataclass(frozen=True, slots=True)
class Theft:
    """A purchase with someone else's account or card."""

    at: datetime
    product_id: str
    quantity: int
    card_country: str
    ip_country: str
    ship_country: str
    device: str


def attack(
    rng: random.Random, victim: Shopper, midnight: datetime, prices: dict[str, Decimal], count: int
) -> Iterator[Theft]:
    """So many purchases that a thief makes with a victim's account, within minutes.

    Few thieves show every sign. Most come at night, from another country than the card's or the parcel's, with a device
    that the victim never used, and take many of what costs most. Some first try whether the card works.
    """
    minute = rng.randrange(20, 300) if rng.random() < 0.75 else rng.randrange(480, 1320)
    at = midnight + timedelta(minutes=minute, milliseconds=rng.randrange(60_000))
    day = at.astimezone(company.PARIS).date()
    stolen_card = rng.random() < 0.5
    card = rng.choice(_STOLEN_CARDS) if stolen_card else victim.card_country
    address = rng.choice(_ADDRESSES) if rng.random() < 0.6 else victim.country_on(day)
    parcel = rng.choice(_DROPS) if rng.random() < 0.5 else victim.home
    device = device_id("thief", rng.random()) if rng.random() < 0.93 else victim.device_on(rng, day)
    greedy, tries = rng.random() < 0.85, rng.random() < 0.35
    costly = sorted(prices, key=lambda product_id: (-prices[product_id], product_id))
    for number in range(count):
        if tries and number == 0:
            product_id, quantity = costly[-1], 1
        else:
            product_id, quantity = rng.choice(costly[:5]), rng.randint(8, 30) if greedy else rng.randint(1, 4)
        yield Theft(at, product_id, quantity, card, address, parcel, device)
        at += timedelta(milliseconds=rng.randint(25_000, 240_000))
