"""Purchases to train on and to score, and a model of them."""

from __future__ import annotations

from datetime import date, timedelta
from functools import cache
from pathlib import Path

from ingest import fraud
from ingest.fraud import Model, Purchase
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
