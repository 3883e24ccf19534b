"""The main job on real parts: a broker, a worker, the command line, and the tables at the end."""

from __future__ import annotations

import csv
import json
import os
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import commands
import pytest
from kafka_broker import Broker, free_port
from lake import connect

from ingest.catalog import open_catalog
from ingest.contracts import contract_for
from ingest.settings import PROJECT_ROOT, Settings

BREAD_BASKET = PROJECT_ROOT.parent / "shared" / "data" / "bread_basket.csv"

REPLAY = """
select
    strftime(sold_on + sold_at, '%Y-%m-%dT%H:%M:%SZ') as event_time,
    'BB' || receipt as receipt_id,
    row_number() over (partition by receipt order by line) as line_number,
    'EDI' as store_id,
    nullif(item, 'NONE') as product_id,
    1 as quantity,
    cast(0 as decimal(12, 2)) as unit_price,
    cast(0 as decimal(12, 2)) as discount_amount,
    'cash' as payment_method
from (
    select *, row_number() over () as line
    from read_csv(
        'bread_basket.csv', header = false,
        columns = {'sold_on': 'date', 'sold_at': 'time', 'receipt': 'integer', 'item': 'varchar'}
    )
)
order by line
"""


class Home:
    """A home of the test's own, and the commands run in it."""

    def __init__(self, root: Path, **variables: str) -> None:
        self.root = root
        self.environment = {**os.environ, "LEVAIN_HOME": str(root), **variables}

    def levain(self, *arguments: str, cwd: Path | None = None) -> str:
        """Run a command that must succeed; returns what it printed on standard output."""
        done = commands.levain(*arguments, env=self.environment, cwd=cwd)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def query(self, sql: str) -> list[tuple[Any, ...]]:
        with connect(self.root / "levain.duckdb") as connection:
            return connection.execute(sql).fetchall()


def wait_for(settings: Settings, topic: str, text: str, count: int) -> None:
    """Until Bronze holds that many messages with that text."""
    table = open_catalog(settings).load_table(("bronze", contract_for(topic).table))
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        values = table.refresh().scan(selected_fields=("value",)).to_arrow()["value"].to_pylist()
        if sum(text in value for value in values if value) >= count:
            return
        time.sleep(1)
    raise AssertionError(f"{count} messages did not land in {topic}")


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    made = Home(tmp_path / "home", LEVAIN_BROKER_PORT=str(free_port()))
    yield made
    made.levain("down")


@pytest.mark.full
def test_the_ledger_equals_the_expected_outcome_of_all_faults(home: Home) -> None:
    """Every message of every topic and partition is accounted for, with the verdict and rules that were meant."""
    home.levain("up")
    home.levain("produce", "--events", "3000", "--seed", "11", "--faults", "all")
    home.levain("down")  # lands what the broker still holds
    home.levain("build")

    ledger = json.loads(home.levain("ledger", "--format", "json"))
    [outcome_file] = (home.root / "expected").glob("*.json")
    outcome = json.loads(outcome_file.read_text())

    assert ledger["adds_up"] is True
    verdicts: dict[str, Counter[str]] = defaultdict(Counter)
    for line in ledger["partitions"]:
        assert line["rows"] == line["messages"] == sum(line["verdicts"].values())
        assert line["not_built"] == 0
        verdicts[line["topic"]].update(line["verdicts"])
    rules = {topic: Counter(ledger["rules"].get(topic, {})) for topic in verdicts}
    assert set(outcome["topics"]) == set(verdicts)
    for topic, meant in outcome["topics"].items():
        assert sum(verdicts[topic].values()) == meant["messages"]
        assert verdicts[topic] == Counter(meant["verdicts"])
        assert rules[topic] == Counter(meant["rules"])
    assert sum(sum(counts.values()) for counts in rules.values()) > 50


@pytest.mark.slow
def test_real_sales_of_a_bakery(apache_kafka: Broker, tmp_path: Path) -> None:
    """21,293 real sale lines through Apache Kafka into Gold; the figures come straight from the file by other code."""
    if not BREAD_BASKET.exists():
        pytest.skip(f"{BREAD_BASKET} is not there: the real sales of a bakery cannot be replayed")
    lines: list[tuple[str, str, str]] = []
    with BREAD_BASKET.open(newline="") as file:
        for day, _, receipt, item in csv.reader(file):
            lines.append((day, receipt, item))
    sold = [line for line in lines if line[2] != "NONE"]
    assert len(lines) == 21_293 and len(sold) < len(lines)

    query = tmp_path / "bread_basket.sql"
    query.write_text(REPLAY)
    home = Home(tmp_path / "home", LEVAIN_KAFKA_BOOTSTRAP=apache_kafka.bootstrap, LEVAIN_KAFKA_CLUSTER="bakery")
    try:
        home.levain("init")
        home.levain("up")
        home.levain("replay", "--topic", "sales-events", "--sql", str(query), cwd=BREAD_BASKET.parent)
        settings = Settings(home=home.root, kafka_bootstrap=apache_kafka.bootstrap, kafka_cluster="bakery")
        wait_for(settings, "sales-events", '"EDI"', len(lines))
    finally:
        home.levain("down")
    home.levain("build")

    # what other tests sent to this broker has other stores
    mine = "from gold.fct_sales where store_id = 'EDI'"
    by_day = home.query(
        f"select sale_date::varchar, count(*), sum(quantity), count(distinct receipt_id) {mine} group by all"
    )
    receipts: dict[str, set[str]] = defaultdict(set)
    for day, receipt, _ in sold:
        receipts[day].add(receipt)
    days = Counter(day for day, _, _ in sold)
    assert {row[0]: row[1:] for row in by_day} == {day: (n, n, len(receipts[day])) for day, n in days.items()}
    assert len(days) == 159

    by_product = home.query(
        f"select product_id, count(*), sum(quantity), count(distinct receipt_id) {mine} group by all"
    )
    buyers: dict[str, set[str]] = defaultdict(set)
    for _, receipt, item in sold:
        buyers[item].add(receipt)
    items = Counter(item for _, _, item in sold)
    assert {row[0]: row[1:] for row in by_product} == {item: (n, n, len(buyers[item])) for item, n in items.items()}
    assert len(items) == 94

    marts = home.query(
        "select sum(line_count), sum(units) from gold.mart_sales_performance where store_id = 'EDI' union all "
        "select sum(line_count), sum(units) from gold.mart_hourly_sales where store_id = 'EDI'"
    )
    assert marts == [(len(sold), len(sold))] * 2
    rejected = home.query(
        "select failed_rules, count(*) from quality.quality_rejects "
        "where contains(payload, '\"EDI\"') group by all"  # what other tests sent need not be JSON
    )
    assert rejected == [("product_id_missing", len(lines) - len(sold))]
