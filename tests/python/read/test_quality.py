"""Anomalies are found where a fault was planted, and nowhere else; the report says what the tables say."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import planted
import pytest
from lake import Lake
from planted import Anomaly

from ingest.contracts import load_contracts
from ingest.errors import BadInput
from levain.read import quality
from levain.read.quality_page import page
from levain.samples import company

CONTRACTS = load_contracts()


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Lake, planted.Planted]:
    """A lake with weeks of sales, a fault on each of the last days, built in two steps."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("LEVAIN_HOME", "DBT_PROFILES_DIR"):
            patch.delenv(name, raising=False)
        lake = Lake(tmp_path_factory.mktemp("quality") / "home")
        outcome = planted.land_one_a_day(lake)
        lake.build(*SELECTED)
    return lake, outcome


READ = ("metrics", "anomalies", "messages", "rejects", "late_arrivals", "freshness")
SELECTED = ("--select", *(f"+quality_{name}" for name in READ))


@pytest.fixture
def lake(built: tuple[Lake, planted.Planted]) -> Lake:
    return built[0]


@pytest.fixture(scope="module")
def report(built: tuple[Lake, planted.Planted]) -> quality.Report:
    return quality.read(built[0].settings, AS_OF)


AS_OF = datetime.now(UTC) + timedelta(hours=1)


def found(lake: Lake) -> set[Anomaly]:
    return {Anomaly(*row) for row in lake.read(planted.FOUND)}


def test_each_planted_fault_is_found_and_nothing_else(built: tuple[Lake, planted.Planted]) -> None:
    lake, outcome = built
    assert outcome.musts - found(lake) == set()
    assert outcome.false(found(lake)) == []
    judged = company.START + timedelta(days=5 * 7)
    first = min(planted.ONE_A_DAY)
    assert first > 42 and company.START + timedelta(days=first) > judged, "days without a fault are judged too"


def test_the_newest_day_is_not_complete(lake: Lake) -> None:
    """Or its few events, so far, would be a fall of the volume."""
    newest = lake.read("select max(event_date) from quality.quality_metrics where not is_complete")
    assert newest == lake.read("select max(event_day) from quality.int_messages__daily where accepted > 0")
    assert lake.read("select count(*) from quality.quality_metrics where not is_complete") > [(0,)]


def test_metrics_are_what_silver_says(lake: Lake) -> None:
    day = "event_date = (select min(event_date) + 10 from silver.int_sales_events__verdicts where verdict = 'accepted')"
    ((events, mean, nulls, shops, cards),) = lake.read(
        "select count(*), avg(unit_price), avg((customer_id is null)::int), count(distinct store_id), "
        "avg((payment_method = 'card')::int) from silver.int_sales_events__verdicts "
        f"where verdict = 'accepted' and {day}"
    )
    values = {
        (metric, field, category): value
        for metric, field, category, value in lake.read(
            "select metric, field, category, value from quality.quality_metrics where topic = 'sales-events' and " + day
        )
    }
    assert values["volume", None, None] == events
    assert float(values["mean", "unit_price", None]) == pytest.approx(mean, abs=1e-6)
    assert float(values["null_share", "customer_id", None]) == pytest.approx(nulls, abs=1e-6)
    assert values["distinct", "store_id", None] == shops
    assert float(values["share", "payment_method", "card"]) == pytest.approx(cards, abs=1e-6)
    assert ("null_share", "unit_price", None) not in values, "what every event has is not measured for nulls"


class Figures(HTMLParser):
    """The page's figures by name, and whether it asks anything of a network."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.values: dict[str, set[str]] = {}
        self.links: list[str] = []
        self.tags: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        given = dict(attributes)
        self.tags.add(tag)
        self.links += [given[name] or "" for name in ("src", "href") if name in given]
        if name := given.get("data-figure"):
            self.values.setdefault(name, set()).add(given.get("data-value") or "")


def expected_figures(lake: Lake, as_of: datetime) -> dict[str, Any]:
    """Every figure of the page, counted from the messages themselves where there are any."""
    figures: dict[str, Any] = {}
    messages = lake.read("select topic, count(*), sum(quality_score) from silver.int_messages group by all")
    figures["messages"] = sum(count for _, count, _ in messages)
    figures["score"] = round(Decimal(sum(score for *_, score in messages)) / figures["messages"], 2)
    for topic, count, score in messages:
        figures |= {f"{topic}/messages": count, f"{topic}/score": round(Decimal(score) / count, 2)}
        figures |= {f"{topic}/{verdict}": 0 for verdict in quality.VERDICTS}
    for topic, verdict, count in lake.read("select topic, verdict, count(*) from silver.int_messages group by all"):
        figures[f"{topic}/{verdict}"] = count
    figures["accepted"] = sum(count for name, count in figures.items() if name.endswith("/accepted"))
    for topic, landed in lake.read("select topic, max(ingested_at) from silver.int_messages group by all"):
        figures[f"{topic}/hours"] = round(Decimal((as_of - landed).total_seconds()) / 3600, 1)
        figures[f"{topic}/limit_hours"] = 2 * (CONTRACTS[topic].frequency_hours or 0)
    figures["fresh"] = len(messages)
    for topic, day, count in lake.read(
        "select topic, event_date, count(*) from silver.int_messages where verdict = 'accepted' group by all"
    ):
        figures[f"{topic}/volume/{day}"] = count
    for topic, day, score, count in lake.read(
        "select topic, event_date, sum(quality_score), count(*) from silver.int_messages group by all"
    ):
        figures[f"{topic}/score/{day}"] = round(Decimal(score) / count, 2)
    for topic, rules, verdict in lake.read(
        "select topic, failed_rules, verdict from silver.int_messages where failed_rules <> ''"
    ):
        for rule in rules.split(","):
            name = f"{topic}/rule/{rule}/{verdict}"
            figures[name] = figures.get(name, 0) + 1
    anomalies = lake.read(
        "select event_date, topic, metric, field, category, value, expected_low, expected_high, score "
        "from quality.quality_anomalies"
    )
    figures["anomalies"] = len(anomalies)
    for day, topic, metric, field, category, *numbers in anomalies:
        what = metric + (f" of {field}" if field else "") + (f" = {category}" if category else "")
        for name, number in zip(("value", "expected_low", "expected_high", "score"), numbers, strict=True):
            figures[f"anomaly/{day}/{topic}/{what}/{name}"] = number
    return figures


def test_every_figure_of_the_page_is_what_the_tables_say(lake: Lake, report: quality.Report) -> None:
    shown = Figures(page(report))
    wanted = expected_figures(lake, AS_OF)
    gaps = {
        f"ventes_stream/volume/{day.isoformat()}": 0
        for day in (company.START + timedelta(n) for n in range(planted.DAYS + 1))
    }
    assert shown.values == {name: {str(value)} for name, value in (gaps | wanted).items() if name in shown.values}
    assert shown.values.keys() >= wanted.keys()
    assert shown.links == [] and not shown.tags & {"script", "link", "img", "iframe", "object"}


def test_the_json_and_the_table_have_the_same(
    lake: Lake, report: quality.Report, capsys: pytest.CaptureFixture[str]
) -> None:
    document = json.loads(quality.as_json(report), parse_float=Decimal)
    assert [topic["name"] for topic in document["topics"]] == list(CONTRACTS)
    assert len(document["anomalies"]) == len(found(lake)) == len(report.anomalies)
    quality.run(lake.settings)
    text = capsys.readouterr().out
    sales = next(topic for topic in report.topics if topic.name == "sales-events")
    (line,) = [line for line in text.splitlines() if line.startswith(" sales-events") and f"{sales.messages:,}" in line]
    assert line.split()[1:3] == [str(sales.score), f"{sales.verdicts['accepted']:,}"]
    assert f"score     {report.score} of 100 over {report.messages:,} messages" in text
    assert re.search(r"sales-events +unit_price_missing +rejected +\d+ +unit_price = null", text)


def test_a_source_is_stale_after_twice_its_frequency() -> None:
    now = datetime.now(UTC)
    for hours, limit, state in ((47, 48, "fresh"), (48, 48, "fresh"), (49, 48, "stale"), (49, None, "no limit")):
        assert quality.Freshness(now, now, Decimal(hours), limit).state == state
    assert quality.Freshness(None, None, None, 48).state == "no events"


def test_an_example_has_only_the_fields_of_its_rule() -> None:
    payload = '{"quantity": 376130321109103420, "unit_price": 1.5, "discount_amount": 2, "customer_id": "C1"}'
    sales = CONTRACTS["sales-events"]
    assert quality.example(sales, "quantity_out_of_range", payload) == "quantity = 376130321109103420"
    assert quality.example(sales, "discount_within_gross", payload) == (
        "quantity = 376130321109103420, unit_price = 1.5, discount_amount = 2"
    )
    for nothing in (None, "{", "[]", "\x00"):
        assert quality.example(sales, "quantity_out_of_range", nothing) == ""
    long = json.dumps({"receipt_id": "x" * 500})
    assert len(quality.example(sales, "receipt_id_invalid", long)) <= quality.EXAMPLE_LETTERS + len("receipt_id = ")


@pytest.mark.parametrize("topic", CONTRACTS)
def test_every_rule_has_a_meaning(topic: str) -> None:
    contract = CONTRACTS[topic]
    names = [f"{each.name}_{what}" for each in contract.columns for what in ("missing", "invalid")]
    names += [f"{each.name}_out_of_range" for each in contract.columns if each.maximum is not None]
    for rule in (*names, *(rule.name for rule in contract.rules), "message_malformed", "incomplete", "event_too_late"):
        assert quality.meaning(contract, rule), rule


def test_what_comes_from_data_is_shown_as_data(report: quality.Report) -> None:
    rule = quality.Rule("r", "rejected", 1, "", "a = \"<script>alert('x')</script>\"", "here")
    topic = replace(report.topics[0], messages=1, rules=[rule])
    text = page(replace(report, topics=[topic]))
    assert "alert" in text and "<script" not in text


def test_a_page_needs_its_folder(lake: Lake, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="There is no folder"):
        quality.run(lake.settings, html=tmp_path / "no" / "page.html")
    quality.run(lake.settings, html=tmp_path / "page.html")
    assert "Data quality" in (tmp_path / "page.html").read_text(encoding="utf-8")


def test_a_day_is_measured_again_when_its_events_change(lake: Lake) -> None:
    """A late event changes the metrics of its own day, and no other's; test_order.py compares with a full refresh."""
    before = lake.read("select max(_build) from quality.int_fields__daily")[0][0]
    late = {
        "event_id": "0f000000-0000-4000-8000-000000000001", "event_time": "2026-02-01T12:00:00Z",
        "receipt_id": "R-late", "line_number": 1, "store_id": "S999", "product_id": "P001", "quantity": 1,
        "unit_price": 99, "discount_amount": 0, "customer_id": "C1", "payment_method": "cash",
    }  # fmt: skip
    lake.send("sales-events", [json.dumps(late).encode()], 1, 1, received_at="2026-02-01T13:00:00Z")
    changing = ("int_sales_events__arrived", "int_sales_events__verdicts", "int_messages__daily", "int_fields__daily")
    lake.build("--select", *changing)
    changed = lake.read(f"select distinct event_date, topic from quality.int_fields__daily where _build > {before}")
    assert changed == [(date(2026, 2, 1), "sales-events")]
