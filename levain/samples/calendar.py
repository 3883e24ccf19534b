"""The days that sample events are of, and random numbers that belong to a name."""

from __future__ import annotations

import random
from datetime import UTC, date, datetime, time
from zoneinfo import ZoneInfo

from levain.project import TIME_ZONE

START = date(2026, 1, 5)
"""First day of a simulated period that nobody asks to be another, a Monday."""
FIRST_DAY, LAST_DAY = date(2024, 1, 1), date(2028, 12, 31)
"""A simulated period lies within these."""

ZONE = ZoneInfo(TIME_ZONE)
"""Where the days begin."""


def seeded(*parts: object) -> random.Random:
    """Random numbers that are the same wherever they are asked for under the same name."""
    return random.Random("/".join(map(str, parts)))  # noqa: S311 - sample data, not secrets


def local_midnight(day: date) -> datetime:
    """The first moment of a day where the days begin, as UTC."""
    return datetime.combine(day, time(), ZONE).astimezone(UTC)
