"""Rows of the daily CSV drops of the store and equipment registers."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import fields
from datetime import date, datetime, time, timedelta
from typing import Any

from ingest.jsontext import utc
from ingest.sources import extracts
from levain.samples import company
from levain.samples.events.run import Run
from levain.samples.run import Event

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
    per_file = len(register(run.start))
    files = math.ceil(count / per_file)
    rng, sent = run.random(f"{prefix}-extracts"), 0
    for number in range(files):
        day = run.start + timedelta(days=number * run.days // files if files < run.days else number)
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
