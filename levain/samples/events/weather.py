"""Observations of the weather at the shops."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import asdict
from datetime import datetime, time, timedelta
from uuid import uuid5

from ingest.jsontext import utc
from levain.samples import company
from levain.samples.events.run import Event, Run, on_its_way


def weather(run: Run, count: int) -> Iterator[Event]:
    """Observations at every shop, on quarter hours that are evenly spread over the period."""
    shops = company.stores(company.START)
    polls = math.ceil(count / len(shops))
    rng = run.random("weather-data")
    for number in range(polls):
        quarter = number * run.days * 96 // polls
        moment = utc(datetime.combine(company.START, time())) + timedelta(minutes=15 * quarter)
        received = moment + on_its_way(rng)
        for store in shops[: count - number * len(shops)]:
            identity = uuid5(run.namespace, f"weather/{store.store_id}/{moment.isoformat()}")
            head = {"event_id": identity, "event_time": moment, "store_id": store.store_id}
            yield Event(head | asdict(company.weather(store, moment)), received)
