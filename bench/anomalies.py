"""How many planted faults the anomalies find (recall), and how many of what they find was planted (precision).

`python bench/anomalies.py [--rounds 3] [--days 98] [--scale 2.5]`: in each round weeks of sample events of six topics,
other ones each time, with a fault on each of many days of the second half; all of it is built, and the anomalies are
compared with what was planted (tests/python/support/planted.py). A day's other anomalies count as planted where they
follow from its fault, such as fewer receipts on a day with fewer events.
"""

from __future__ import annotations

import argparse
import tempfile
from collections import Counter
from pathlib import Path

from harness import ROOT  # noqa: F401  (puts the tests' support on the path)
from lake import Lake
from planted import FAULTS, FOUND, Anomaly, land

from levain.terminal import progress, show_table

A_DAY = {
    "sales-events": 60,
    "ventes_stream": 30,
    "web-events": 40,
    "inventory-updates": 30,
    "purchases": 25,
    "customer-feedback": 25,
}
"""Events of each topic, times `--scale`."""

JUDGED_FROM = 36
"""Days of history before anything is said: three weeks for a first deviation, and two more of them."""


def places(days: int, shift: int) -> dict[int, str]:
    """Number of the day -> fault: one every second day, from well after the first judged day on."""
    names, numbers = list(FAULTS), list(range(max(JUDGED_FROM + 14, days // 2), days - 1, 2))
    return {number: names[(place + shift) % len(names)] for place, number in enumerate(numbers)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--days", type=int, default=98, help="of history; 60 at least")
    parser.add_argument("--scale", type=float, default=2.5, help="of the number of events")
    options = parser.parse_args()
    planted: Counter[str] = Counter()
    found: Counter[str] = Counter()
    named: Counter[str] = Counter()
    false: Counter[str] = Counter()
    checks = 0
    with progress("Building weeks of events") as advance:
        for number in range(options.rounds):
            advance(number, "", options.rounds)
            with tempfile.TemporaryDirectory() as name:
                lake = Lake(Path(name))
                counts = {topic: int(each * options.scale * options.days) for topic, each in A_DAY.items()}
                outcome = land(lake, counts, options.days, 100 + number, places(options.days, 4 * number))
                lake.build("--select", "+quality_anomalies")
                anomalies = [Anomaly(*row) for row in lake.read(FOUND)]
                checks += lake.read("select count(*) from quality.quality_metrics where is_complete")[0][0]
            planted.update(each.metric for each in outcome.musts)
            found.update(each.metric for each in outcome.musts & set(anomalies))
            named.update(each.metric for each in anomalies)
            false.update(each.metric for each in outcome.false(anomalies))
    rows = [
        (metric, planted[metric], found[metric], share(found[metric], planted[metric]), named[metric], false[metric],
         share(named[metric] - false[metric], named[metric]))
        for metric in sorted(planted | named)
    ]  # fmt: skip
    total = planted.total(), found.total(), named.total(), false.total()
    rows.append(("all", *total[:2], share(total[1], total[0]), *total[2:], share(total[2] - total[3], total[2])))
    show_table(
        f"Anomalies in {options.rounds} times {options.days} days, {checks:,} values",
        ("metric", "planted", "found", "recall", "anomalies", "false", "precision"),
        rows,
    )


def share(part: int, whole: int) -> str:
    return f"{part / whole:.2f}" if whole else ""


if __name__ == "__main__":
    main()
