"""Runs of sample events that many tests look at."""

from __future__ import annotations

import pytest
from sample_events import CONTRACTS, sample

from levain.samples import Message


@pytest.fixture(autouse=True)
def contracts_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reading them takes longer than most of the runs here."""
    monkeypatch.setattr("levain.samples.producer.load_contracts", lambda: CONTRACTS)


@pytest.fixture(scope="session")
def plain() -> list[Message]:
    return sample(22_000)


@pytest.fixture(scope="session")
def faulty() -> list[Message]:
    return sample(5000, faults="all")
