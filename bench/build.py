"""What a build costs, by how much was built before: time, CPU and memory of `levain build` on DuckDB.

`python bench/build.py [--sales 1000000 [--sales 10000000 ...]]`: for each size a lake of its own with that many sales
of two years, landed by the lander; then builds of it with all tests: the first one, one with nothing new, one with
10,000 new sales, one with 10,000 of which 5 % happened up to a month before, and a full refresh. The limit of memory
is that of the profile, unless `LEVAIN_DUCKDB_MEMORY_LIMIT` says another.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import duckdb
from harness import ROOT  # puts the tests' helpers on the path
from lake import CLUSTER, Lake, Record

from ingest.lander import Fetch, land
from levain.terminal import show_table, warn

TOPIC = "sales-events"
NEW = 10_000
BATCH = 200_000
PARTITIONS = 3

_SALES = """
select
    epoch_ms(received_at) as received_ms,
    format(
        '{{"event_id":"{:08x}-0000-4000-8000-{:012x}","event_time":"{}Z","receipt_id":"R{}","line_number":{},'
        || '"store_id":"S{:03d}","product_id":"P{:04d}","quantity":{},"unit_price":{}.{:02d},"discount_amount":0,'
        || '"customer_id":"C{:06d}","payment_method":"card"}}',
        number, number, strftime(event_at, '%Y-%m-%dT%H:%M:%S'), number // 3, 1 + number % 3,
        hash(number // 3) % 50, hash(number, 1) % 400, 1 + hash(number, 2) % 5, 1 + hash(number, 3) % 9,
        hash(number, 4) % 100, hash(number // 3, 5) % 100000
    ) as value
from (
    select
        number,
        timestamp '2024-01-01 06:00:00' + to_seconds(number * $step) as received_at,
        received_at - to_seconds(if(hash(number, 6) % 100 < $late, hash(number, 7) % 2592000, 0)) as event_at
    from range($first, $last) as numbers (number)
)
"""


@dataclass(frozen=True)
class Cost:
    """Of one process: seconds, seconds of CPU, and MB resident at most."""

    seconds: float
    cpu: float
    peak: float


class History:
    """A lake with sales, `step` seconds after each other."""

    def __init__(self, home: Path, step: float) -> None:
        self.home, self.step, self.landed = home, step, 0
        self._table = Lake(home).tables[TOPIC]
        self._connection = duckdb.connect()

    def land(self, count: int, late: int = 0) -> None:
        """Land further sales, so many per cent of them late."""
        end = self.landed + count
        for first in range(self.landed, end, BATCH):
            last = min(first + BATCH, end)
            parameters = {"first": first, "last": last, "step": self.step, "late": late}
            rows = self._connection.execute(_SALES, parameters).fetchall()
            land(self._table, list(self._fetches(first, rows)))
        self.landed = end

    def _fetches(self, first: int, rows: list[tuple[int, str]]) -> Iterator[Fetch]:
        for number in range(PARTITIONS):
            start = -(-(first - number) // PARTITIONS)  # how many sales before these are in this partition
            mine = rows[(number - first) % PARTITIONS :: PARTITIONS]
            if mine:
                records = [Record(start + i, at, None, text.encode()) for i, (at, text) in enumerate(mine)]
                yield Fetch.of((CLUSTER, TOPIC, number), records)

    def build(self, *arguments: str) -> Cost:
        """Run `levain build`; its children are none, so what it uses is what the build uses."""
        command = [sys.executable, "-c", "from levain.cli import main; main()", "build", *arguments]
        began = time.monotonic()
        build = subprocess.Popen(
            command, cwd=ROOT, env={**os.environ, "LEVAIN_HOME": str(self.home)}, stdout=subprocess.DEVNULL
        )
        _, status, used = os.wait4(build.pid, 0)
        build.returncode = os.waitstatus_to_exitcode(status)
        if build.returncode:
            raise SystemExit(f"The build failed ({build.returncode}): {self.home}.")
        return Cost(time.monotonic() - began, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024)


def measure(home: Path, sales: int) -> dict[str, Cost]:
    history = History(home, step=2 * 365 * 86_400 / sales)
    history.land(sales)
    costs = {"first build": history.build(), "nothing new": history.build()}
    history.land(NEW)
    costs[f"{NEW:,} new"] = history.build()
    history.land(NEW, late=5)
    costs[f"{NEW:,} new, 5 % late"] = history.build()
    costs["full refresh"] = history.build("--full-refresh")
    return costs


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sales", type=int, action="append", help="sizes; 100,000 and 1,000,000 unless given")
    sizes = parser.parse_args().sales or [100_000, 1_000_000]
    smallest: dict[str, Cost] = {}
    rows = []
    for sales in sizes:
        with tempfile.TemporaryDirectory() as folder:
            warn(f"Landing and building {sales:,} sales", style="")
            costs = measure(Path(folder) / "home", sales)
        smallest = smallest or costs
        for name, cost in costs.items():
            ratio = f"{cost.cpu / smallest[name].cpu:.2f}"
            rows.append((f"{sales:,}", name, *(round(n, 1) for n in (cost.seconds, cost.cpu)), round(cost.peak), ratio))
    show_table("", ("sales", "build", "s", "CPU s", "peak MB", "CPU, times that of the first size"), rows)


if __name__ == "__main__":
    main()
