"""Purchases to train on and to score, and a model of them."""

from __future__ import annotations

import math
from collections.abc import Iterable
from contextlib import suppress
from datetime import date, timedelta
from decimal import Decimal
from functools import cache
from pathlib import Path

from lake import Record

from ingest import fraud
from ingest.fraud import Forest, Model, NoPurchase, Profile, Purchase
from levain.learn.purchases import Parameters, model_of
from levain.samples import generate
from levain.samples.producer import Period

UNTIL = date(2026, 6, 1)
QUICK = Parameters(expected_rate=0.05, trees=20, samples=64)
"""A forest that grows at once."""


@cache
def values() -> tuple[str, ...]:
    """The payloads of 600 sample purchases, two thirds of them before `UNTIL`."""
    period = Period(UNTIL - timedelta(days=60), 90)
    return tuple(m.value.decode() for m in generate(["purchases"], 600, history=period) if m.value)


@cache
def purchases() -> tuple[Purchase, ...]:
    return tuple(map(fraud.read_purchase, values()))


@cache
def trained() -> tuple[str, str]:
    """Version and text of a model."""
    return model_of(purchases(), UNTIL, QUICK, {"table": "test"})


def write_model(folder: Path) -> Model:
    """The model as a file of a folder, read back."""
    version, text = trained()
    folder.mkdir(parents=True, exist_ok=True)
    fraud.path_of(folder, version).write_text(text)
    return fraud.load(folder)


def plain_model(trained_until: date) -> Model:
    """A model that nothing was trained for: what costs more than 20 euros is suspicious."""
    leaves = [(-1, 0.0, 9 * fraud.UNIT, 0), (-1, 0.0, 3 * fraud.UNIT, 0)]
    tree = [(fraud.FEATURES.index("amount"), math.log1p(20), 1, 2), *leaves]
    return Model(
        version=f"{trained_until.isoformat()}-000000000000",
        trained_until=trained_until,
        threshold=Decimal("0.6"),
        profile=Profile([1.0] * 24, 2.0, {}),
        forest=Forest([tree], 64),
        source={},
        parameters={},
    )


def scores(records: Iterable[Record], trained_until: date) -> list[Record]:
    """What a plain model says of the records of a partition of purchases, of those that can be scored."""
    model, found = plain_model(trained_until), list[Record]()
    for record in records:
        with suppress(NoPurchase, UnicodeDecodeError):
            text, _ = model.event(fraud.read_purchase(record.value and record.value.decode()))
            found.append(Record(len(found), record.timestamp, b"C", text.encode(), record.headers))
    return found
