"""Observations of the weather at the shops."""

from __future__ import annotations

import math
from collections.abc import Iterator
from datetime import datetime, time, timedelta

from ingest.jsontext import utc
from levain.samples import company
from levain.samples.events.run import Run
from levain.samples.run import Event, on_its_way


def weather(run: Run, count: int) -> Iterator[Event]:
    """Observations at every shop, on quarter hours that are evenly spread over the period."""
    shops = company.stores(run.start)
    polls = math.ceil(count / len(shops))
    rng = run.random("weather-data")
    for number in range(polls):
        quarter = number * run.days * 96 // polls
        moment = utc(datetime.combine(run.start, time())) + timedelta(minutes=15 * quarter)
        received = moment + on_its_way(rng)
        for store in shops[: count - number * len(shops)]:
            identity = run.identity(f"weather/{store.store_id}/{moment.isoformat()}")
            head = {"event_id": identity, "event_time": moment, "store_id": store.store_id}
            yield Event(head | vars(company.weather(store, moment)), received)
