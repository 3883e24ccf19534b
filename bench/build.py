"""What a build costs, by how much was built before: time, CPU and memory of `levain build`, with all tests.

`python bench/build.py [--sales 1000000 --sales 10000000 ...]`: for each size a lake of its own with that many sales of
two years in 50 shops, of 400 products, landed by the lander. Then builds of it on DuckDB: the first one; one with
nothing new; one with 10,000 new sales; one with 10,000 of which 5 % happened up to a month before; one with 10,000 and
a price that was changed 30 days back; one with 10,000, of a project that has 20 more models of sales, half of them
tables and half views, with their contracts and tests; a full refresh; and beside it the same tables by hand
(bench/by_hand.py). Of the builds with new sales there are three rounds, and the one with the median of CPU is shown.
The limit of memory is that of the profile, unless `LEVAIN_DUCKDB_MEMORY_LIMIT` says another. `--spark`: the builds of
the smallest size on Spark, too, in one round and without more models. The last table compares the goals with what was
reached.
"""

from __future__ import annotations

import argparse
import ctypes
import itertools
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import duckdb
import yaml
from harness import ROOT  # puts the tests' helpers on the path
from lake import CLUSTER, Lake, Record
from projects import copy_project

from ingest.lander import Fetch, land
from levain.terminal import show_table, warn

TOPIC = "sales-events"
NEW = 10_000
BATCH = 200_000
PARTITIONS = 3
PRODUCTS = 400
ROUNDS = 3
MORE = 20
FIRST = datetime(2024, 1, 1, 6, tzinfo=UTC)

PR_SET_CHILD_SUBREAPER = 36
"""Of Linux's prctl: processes whose parent has ended become children of this one."""

FIRST_BUILD = "first build"
NOTHING = "nothing new"
PLAIN = f"{NEW:,} new"
LATE = f"{NEW:,} new, 5 % late"
PRICE = f"{NEW:,} new, a price back-dated"
MORE_MODELS = f"{NEW:,} new, {MORE} more models"
REFRESH = "full refresh"
BY_HAND = "by hand"

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
    """Of a program: seconds, seconds of CPU of all its processes, and MB resident at most of the largest of them."""

    seconds: float
    cpu: float
    peak: float


class History:
    """A lake with products, and with sales `step` seconds after each other."""

    def __init__(self, home: Path, step: float) -> None:
        self.home, self.step, self.landed, self.prices = home, step, 0, 0
        self._lake = Lake(home)
        self._table = self._lake.tables[TOPIC]
        self._connection = duckdb.connect()
        self._changes: list[bytes] = []
        for product in range(PRODUCTS):
            self.change_price(f"P{product:04d}", FIRST)

    def change_price(self, product: str, valid_from: datetime) -> None:
        """Land a price that holds from a moment on."""
        self.prices += 1
        change = {
            "event_id": f"{self.prices:08x}-0000-4000-9000-000000000000",
            "event_time": valid_from.isoformat(),
            "product_id": product,
            "name": product,
            "category": "bread",
            "base_price": self.prices % 7 + 2,
            "unit_cost": self.prices % 3 + 0.5,
            "is_active": True,
            "valid_from": valid_from.isoformat(),
        }
        self._changes.append(json.dumps(change).encode())

    def land(self, count: int, late: int = 0) -> None:
        """Land the prices that were changed, and further sales, so many per cent of them late."""
        self._lake.send("product-changes", self._changes, timestamp=int(self.now.timestamp() * 1000))
        self._changes.clear()
        end = self.landed + count
        for first in range(self.landed, end, BATCH):
            last = min(first + BATCH, end)
            parameters = {"first": first, "last": last, "step": self.step, "late": late}
            rows = self._connection.execute(_SALES, parameters).fetchall()
            land(self._table, list(self._fetches(first, rows)))
        self.landed = end

    @property
    def now(self) -> datetime:
        """When the last sale happened."""
        return FIRST + timedelta(seconds=self.landed * self.step)

    def _fetches(self, first: int, rows: list[tuple[int, str]]) -> Iterator[Fetch]:
        for number in range(PARTITIONS):
            start = -(-(first - number) // PARTITIONS)  # how many sales before these are in this partition
            mine = rows[(number - first) % PARTITIONS :: PARTITIONS]
            if mine:
                records = [Record(start + i, at, None, text.encode()) for i, (at, text) in enumerate(mine)]
                yield Fetch.of((CLUSTER, TOPIC, number), records)

    def build(self, *arguments: str, project: Path = ROOT) -> Cost:
        """Run `levain build`."""
        return self._run("-c", "from levain.cli import main; main()", "build", *arguments, project=project)

    def by_hand(self) -> Cost:
        """Make the same tables by hand."""
        file = self.home / "by_hand.duckdb"
        cost = self._run(str(ROOT / "bench" / "by_hand.py"), str(file))
        file.unlink()
        return cost

    def _run(self, *arguments: str, project: Path = ROOT) -> Cost:
        """Run a Python program, and count what it leaves behind, too: Spark's JVM ends after the program."""
        began = time.monotonic()
        environment = {**os.environ, "LEVAIN_HOME": str(self.home)}
        program = subprocess.Popen(
            [sys.executable, *arguments], cwd=project, env=environment, stdout=subprocess.DEVNULL
        )
        used = []
        while True:
            try:
                ended, status, usage = os.wait3(0)
            except ChildProcessError:
                break
            used.append(usage)
            if ended == program.pid:
                program.returncode = os.waitstatus_to_exitcode(status)
        if program.returncode:
            raise SystemExit(f"{' '.join(arguments)} failed ({program.returncode}): {self.home}.")
        seconds = sum(usage.ru_utime + usage.ru_stime for usage in used)
        return Cost(time.monotonic() - began, seconds, max(usage.ru_maxrss for usage in used) / 1024)


def with_more_models(project: Path) -> Path:
    """A copy of the project with more models of sales: a table and a view that it has, under other names."""
    copy_project(project)
    folder = project / "models" / "gold" / "sales"
    models = yaml.safe_load((folder / "_sales__models.yml").read_text(encoding="utf-8"))["models"]
    more = []
    for number in range(MORE):
        name = ("int_sales__monthly", "mart_sales_performance")[number % 2]
        copy = f"{name}_{number}"
        shutil.copy(folder / f"{name}.sql", folder / f"{copy}.sql")
        more += [{**each, "name": copy} for each in models if each["name"] == name]
    (folder / "_more__models.yml").write_text(yaml.safe_dump({"models": more}), encoding="utf-8")
    return project


def measure(home: Path, sales: int, *target: str) -> dict[str, Cost]:
    """What each kind of build costs after so many sales."""
    history = History(home, step=2 * 365 * 86_400 / sales)
    history.land(sales)
    costs = {FIRST_BUILD: history.build(*target), NOTHING: history.build(*target)}
    rounds: dict[str, list[Cost]] = {PLAIN: [], LATE: [], PRICE: []}
    for _ in range(1 if target else ROUNDS):
        history.land(NEW)
        rounds[PLAIN].append(history.build(*target))
        history.land(NEW, late=5)
        rounds[LATE].append(history.build(*target))
        history.change_price("P0007", history.now - timedelta(days=30))
        history.land(NEW)
        rounds[PRICE].append(history.build(*target))
    if not target:
        rounds[MORE_MODELS] = []
        project = with_more_models(home.parent / "project")
        history.build(project=project)
        for _ in range(ROUNDS):
            history.land(NEW)
            rounds[MORE_MODELS].append(history.build(project=project))
    costs |= {build: sorted(found, key=lambda cost: cost.cpu)[len(found) // 2] for build, found in rounds.items()}
    costs[REFRESH] = history.build("--full-refresh", *target)
    if not target:
        costs[BY_HAND] = history.by_hand()
    return costs


def goals(
    sizes: list[int], costs: dict[int, dict[str, Cost]], spark: dict[str, Cost] | None
) -> Iterator[tuple[str, str, str]]:
    """Goal, what was asked, what was reached."""
    for sales in sizes:
        yield f"{NOTHING}, {sales:,} sales", "at most 2 s", f"{costs[sales][NOTHING].seconds:.1f} s"
        more = (costs[sales][MORE_MODELS].cpu - costs[sales][PLAIN].cpu) / MORE
        yield f"one more model, {sales:,} sales", "", f"{more * 1000:,.0f} CPU ms"
    for small, large in itertools.pairwise(sizes):
        for build in (PLAIN, LATE, PRICE):
            ratio = costs[large][build].cpu / costs[small][build].cpu
            yield f"{build}, {large:,} to {small:,} sales", "at most 1.3 times", f"{ratio:.2f} times the CPU"
    for sales in sizes:
        refresh, by_hand = costs[sales][REFRESH], costs[sales][BY_HAND]
        reached = f"{refresh.seconds / by_hand.seconds:.2f} times the time, {refresh.cpu / by_hand.cpu:.2f} the CPU"
        yield f"{REFRESH} to by hand, {sales:,} sales", "at most 1.5 times", reached
        peak = max(cost.peak for build, cost in costs[sales].items() if build != BY_HAND)
        yield f"memory, {sales:,} sales", "at most 4,000 MB", f"{peak:,.0f} MB"
    if spark is not None:
        share = spark[PLAIN].cpu / spark[FIRST_BUILD].cpu
        yield f"Spark, {PLAIN} to {FIRST_BUILD}, {sizes[0]:,} sales", "at most a third", f"{share:.2f} times the CPU"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sales", type=int, action="append", help="sizes; 100,000 and 1,000,000 unless given")
    parser.add_argument("--spark", action="store_true", help="the smallest size on Spark, too")
    arguments = parser.parse_args()
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    sizes = sorted(arguments.sales or [100_000, 1_000_000])
    runs = [(sales, "duckdb") for sales in sizes] + [(sizes[0], "spark")] * arguments.spark
    costs: dict[int, dict[str, Cost]] = {}
    spark = None
    for sales, engine in runs:
        with tempfile.TemporaryDirectory() as folder:
            warn(f"Landing and building {sales:,} sales on {engine}", style="")
            found = measure(Path(folder) / "home", sales, *(("--target", engine) if engine == "spark" else ()))
        if engine == "duckdb":
            costs[sales] = found
        else:
            spark = found
        rows = [(name, round(cost.seconds, 1), round(cost.cpu, 1), round(cost.peak)) for name, cost in found.items()]
        show_table(f"\n{sales:,} sales on {engine}", ("build", "s", "CPU s", "peak MB"), rows)
    show_table("\nGoals", ("what", "goal", "reached"), list(goals(sizes, costs, spark)))


if __name__ == "__main__":
    main()
