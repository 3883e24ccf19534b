"""How good forecasts of demand are, beside the same weekday before and the mean of four weeks, and what they rest on.

`python bench/forecast.py [--days 180] [--events 300000] [--seed 1] [--weeks 8]`: a history of sample events is landed
and built; then, at the end of each of the last weeks, a model is fitted to what was known and asked for the next seven
days. The first table has its errors by days ahead, the second those of models that do not see the promotions, or the
weather.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

from harness import ROOT  # noqa: F401  (puts the tests' support on the path)
from lake import Lake, Record, connect

from levain.learn import demand
from levain.samples import calendar, generate
from levain.samples.producer import Period
from levain.terminal import errors, show_table

WITHOUT: dict[str, Sequence[str]] = {
    "promotions and weather": (),
    "no weather": demand.WEATHER,
    "no promotions": demand.PROMOTION,
    "neither": (*demand.PROMOTION, *demand.WEATHER),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--days", type=int, default=180)
    parser.add_argument("--events", type=int, default=300_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--weeks", type=int, default=8, help="how many are forecast")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        lake = Lake(Path(name))
        period = Period(calendar.START, options.days)
        with errors.status("Landing and building the history"):
            land(lake, options.events, options.seed, period)
            lake.build("--select", "+feat_demand_forecast", "+latest_events")
        with connect(lake.settings.duckdb_file) as connection:
            last = period.last - timedelta(days=1)  # the days of shops begin an hour before those of UTC
            found = {}
            for what, without in WITHOUT.items():
                with errors.status(f"Forecasting with {what}"):
                    found[what] = demand.back_test(connection, last, options.weeks, without)
    demand.show_scores(
        f"Forecasts of {options.weeks} weeks, {options.events:,} events of {options.days} days",
        found["promotions and weather"],
    )
    show_table(
        "What the model sees, and its WAPE",
        ("it sees", "all days", *(f"{number} ahead" for number in range(1, 8))),
        [
            (what, *(f"{each.error / each.units:.1%}" for each in (demand.total(scores), *scores)))
            for what, scores in found.items()
        ],
    )


def land(lake: Lake, events: int, seed: int, period: Period) -> None:
    """Sample messages of every topic, in the order in which they are received."""
    places: dict[str, list[Record]] = {}
    for number, message in enumerate(generate(None, events, seed, "none", period)):
        records = places.setdefault(message.topic, [])
        records.append(Record(len(records), number, message.key, message.value, list(message.headers)))
    for topic, records in places.items():
        lake.land(topic, 0, records)


if __name__ == "__main__":
    main()
