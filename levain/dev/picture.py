"""Draws docs/numbers.svg, the picture at the top of README: what the tables of `make demo` say.

`LEVAIN_HOME=... python -m levain.dev.picture` draws it from a home in which the demo has run as it is; a test compares
the file with the tables.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from decimal import Decimal
from html import escape
from pathlib import Path

import duckdb

from ingest.settings import PROJECT_ROOT, Settings, load_settings
from levain.warehouse.dbt import VERDICTS, reader, verdict_counts

PICTURE = PROJECT_ROOT / "docs" / "numbers.svg"

_WIDTH, _HEIGHT = 1200, 400
_TOP, _BOTTOM = 110, 350

_HEAD = f"""<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img"
  width="{_WIDTH}" height="{_HEIGHT}" aria-labelledby="title desc">
  <title id="title">The numbers of the demo</title>
  <desc id="desc">Net sales per day, the products that sold best, and what became of each message.</desc>
  <style>
    text {{ font-family: system-ui, -apple-system, "Segoe UI", "DejaVu Sans", Helvetica, Arial, sans-serif; \
fill: #1f2328; font-size: 13px; }}
    .page {{ fill: #ffffff; stroke: #d0d7de; }}
    .rule {{ stroke: #d0d7de; }}
    .large {{ font-size: 22px; font-weight: 600; }}
    .quiet {{ fill: #57606a; font-size: 12px; }}
    .end {{ text-anchor: end; }}
    .weekday {{ fill: #d4a72c; }}
    .weekend {{ fill: #9a6700; }}
    .product {{ fill: #bc4c00; }}
    .accepted {{ fill: #1a7f37; }}
    .duplicate {{ fill: #8c959f; }}
    .conflict {{ fill: #8250df; }}
    .rejected {{ fill: #cf222e; }}
    .held {{ fill: #0969da; }}
  </style>
  <rect class="page" x="0.5" y="0.5" width="{_WIDTH - 1}" height="{_HEIGHT - 1}" rx="6"/>
"""


def draw(settings: Settings) -> str:
    """The picture of a home's tables, as SVG.

    Raises:
        LevainError: nothing was built yet, or the tables cannot be read.
    """
    with reader(settings) as connection:
        parts = [_HEAD, _days(connection), _products(connection), _messages(connection), "</svg>\n"]
    return "".join(parts)


def _heading(x: int, number: str, words: str) -> str:
    return _text(x, 50, number, "large") + _text(x, 74, words, "quiet")


def _bar(kind: str, x: float, y: float, width: float, height: float) -> str:
    width, height = max(width, 1), max(height, 1)
    return f'  <rect class="{kind}" x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}"/>\n'


def _text(x: float, y: float, words: str, kind: str = "") -> str:
    return f'  <text class="{kind}" x="{x:.1f}" y="{y:.1f}">{escape(words)}</text>\n'


def _days(connection: duckdb.DuckDBPyConnection) -> str:
    """Net sales per day as columns, Saturdays and Sundays darker."""
    days = connection.execute(
        "select sale_date, sum(net_amount) from gold.mart_sales_performance group by all order by all"
    ).fetchall()
    left, width = 40, 400
    most = max(amount for _, amount in days)
    step = width / len(days)
    total = sum((amount for _, amount in days), Decimal(0))
    span = f"{days[0][0]:%-d %B} to {days[-1][0]:%-d %B %Y}"
    drawn = _heading(left, f"{total:,.2f} €", f"net sales per day, {span}; weekends are dark")
    for number, (day, amount) in enumerate(days):
        height = float(amount / most) * (_BOTTOM - _TOP - 20)
        kind = "weekend" if day.isoweekday() > 5 else "weekday"
        drawn += _bar(kind, left + number * step, _BOTTOM - height, step - 3, height)
    best = max(days, key=lambda each: each[1])
    drawn += _text(left + days.index(best) * step + step, _TOP, f"{best[1]:,.2f} € on {best[0]:%A %-d}", "quiet end")
    return drawn + f'  <line class="rule" x1="{left}" y1="{_BOTTOM}" x2="{left + width}" y2="{_BOTTOM}"/>\n'


def _products(connection: duckdb.DuckDBPyConnection) -> str:
    """The products with the highest net sales as bars."""
    sold = connection.execute("select count(*), sum(margin_amount) from gold.mart_product_sales")
    ((count, margin),) = sold.fetchall()
    best = connection.execute(
        "select coalesce(product_name, product_id), units, net_amount from gold.mart_product_sales "
        "order by sales_rank limit 6"
    ).fetchall()
    left, width = 480, 360
    drawn = _heading(left, f"{margin:,.2f} €", f"margin of {count} products; the six that sold best")
    step = (_BOTTOM - _TOP + 14) / len(best)
    for number, (name, units, amount) in enumerate(best):
        y = _TOP + number * step
        drawn += _text(left, y, name)
        drawn += _text(left + width, y, f"{units:,} units, {amount:,.2f} €", "quiet end")
        drawn += _bar("product", left, y + 7, float(amount / best[0][2]) * width, 9)
    return drawn


def _messages(connection: duckdb.DuckDBPyConnection) -> str:
    """How many messages got each verdict, as one bar and a list."""
    counts: Sequence[int] = [sum(column) for column in list(zip(*verdict_counts(connection), strict=True))[1:]]
    left, width = 880, 280
    drawn = _heading(left, f"{counts[-1]:,} messages", "each with its verdict, and the counts add up")
    x = float(left)
    step = (_BOTTOM - _TOP - 50) / len(VERDICTS)
    for number, (verdict, count) in enumerate(zip(VERDICTS, counts, strict=False)):
        share = count / counts[-1] * width
        drawn += _bar(verdict, x, _TOP - 12, share, 24)
        x += share
        y = _TOP + 60 + number * step
        drawn += _bar(verdict, left, y - 11, 12, 12)
        drawn += _text(left + 22, y, verdict)
        drawn += _text(left + width, y, f"{count:,}", "end")
    return drawn


if __name__ == "__main__":
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else PICTURE
    target.write_text(draw(load_settings()), encoding="utf-8")
