"""Machines whose clocks are wrong."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace

import pytest
from pyiceberg.table import snapshots


@contextmanager
def clock(ahead: float) -> Iterator[None]:
    """A machine whose clock is so many seconds ahead, as snapshots take it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(snapshots, "time", SimpleNamespace(time=lambda: time.time() + ahead))
        yield
