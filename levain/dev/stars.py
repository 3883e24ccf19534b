"""Draws docs/stars/, a picture of each fact with its dimensions and what reads it, from the models and their YAML.

`python -m levain.dev.stars` draws them again after a change of models; a test compares the files with the models.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from html import escape
from textwrap import wrap
from typing import Any

import yaml

from ingest.contracts import EVENT_COLUMNS, MESSAGE_COLUMNS
from ingest.settings import PROJECT_ROOT

PICTURES = PROJECT_ROOT / "docs" / "stars"

_FACT = re.compile(r"fct_\w+|ventes_clean")
_REF = re.compile(r"ref\('(\w+)'\)")
_CALENDAR = "dim_calendar"
_OF_MESSAGES = {"_build", *MESSAGE_COLUMNS, *EVENT_COLUMNS} - {"event_id"}
"""Columns that say where a row comes from."""

_WIDTH = 1040
_LEFT, _MIDDLE, _RIGHT = 24, 386, 748
_BOX = 268
_TOP, _GAP = 24, 22

_HEAD = """<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}"
  role="img" aria-labelledby="title desc">
  <title id="title">{title}</title>
  <desc id="desc">{description}</desc>
  <style>
    text {{ font-family: system-ui, -apple-system, "Segoe UI", "DejaVu Sans", Helvetica, Arial, sans-serif; \
fill: #1f2328; }}
    .page {{ fill: #ffffff; stroke: #d0d7de; }}
    .dimension {{ fill: #ddf4ff; stroke: #0969da; }}
    .fact {{ fill: #fff8c5; stroke: #bf8700; }}
    .reader {{ fill: #eaeef2; stroke: #57606a; }}
    .line {{ fill: none; stroke: #57606a; stroke-width: 1.5; }}
    .rule {{ stroke: #8c959f; }}
    .tip {{ fill: #57606a; stroke: none; }}
    .name {{ font-size: 14px; font-weight: 600; }}
    .more {{ font-size: 11.5px; fill: #57606a; }}
    .mono {{ font-size: 11.5px; font-family: ui-monospace, "SF Mono", Menlo, Consolas, "DejaVu Sans Mono", monospace; }}
    @media (prefers-color-scheme: dark) {{
      text {{ fill: #e6edf3; }}
      .page {{ fill: #0d1117; stroke: #30363d; }}
      .dimension {{ fill: #051d4d; stroke: #58a6ff; }}
      .fact {{ fill: #341a00; stroke: #e3b341; }}
      .reader {{ fill: #21262d; stroke: #8b949e; }}
      .line {{ stroke: #8b949e; }}
      .rule {{ stroke: #6e7681; }}
      .tip {{ fill: #8b949e; }}
      .more {{ fill: #9ea7b3; }}
    }}
  </style>
  <defs>
    <marker id="tip" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="7" markerHeight="7" orient="auto-start-reverse">
      <path class="tip" d="M0 0 10 5 0 10z"/>
    </marker>
  </defs>
  <rect class="page" x="0.5" y="0.5" width="{right}" height="{bottom}" rx="8"/>
"""


@dataclass(frozen=True)
class Table:
    """What a star shows of a model."""

    name: str
    grain: str
    key: list[str]
    columns: list[str]
    refs: frozenset[str]
    of_gold: bool

    @property
    def is_reader(self) -> bool:
        return self.of_gold and not self.name.startswith(("int_", "fct_", "dim_"))


@dataclass(frozen=True)
class Star:
    fact: Table
    dimensions: list[Table]
    readers: list[Table]


def stars() -> list[Star]:
    """One for each fact, in the order of their names."""
    tables = {each.name: each for each in _tables()}
    dimensions = [each for name, each in tables.items() if name.startswith("dim_")]
    found = []
    for name in sorted(filter(_FACT.fullmatch, tables)):
        fact = tables[name]
        joined = [each for each in dimensions if _joins(fact, each, version=True)]
        joined = joined or [each for each in dimensions if _joins(fact, each, version=False)]
        readers = [each for each in tables.values() if each.is_reader and _reads(each, name, tables)]
        found.append(Star(fact, joined, sorted(readers, key=lambda each: each.name)))
    return found


def _tables() -> Iterator[Table]:
    """The models of Silver and Gold."""
    for layer in ("silver", "gold"):
        folder = PROJECT_ROOT / "models" / layer
        sql = {path.stem: path.read_text(encoding="utf-8") for path in folder.rglob("*.sql")}
        for path in sorted(folder.rglob("*.yml")):
            for model in yaml.load(path.read_text(encoding="utf-8"), yaml.CSafeLoader).get("models", ()):
                yield _table(model, sql[model["name"]], layer == "gold")


def _table(model: dict[str, Any], sql: str, of_gold: bool) -> Table:
    tests = [each["row_rules"]["arguments"] for each in model.get("data_tests", ()) if "row_rules" in each]
    columns = [each["name"] for each in model["columns"] if each["name"] not in _OF_MESSAGES]
    return Table(
        model["name"],
        re.split(r"[.;:(]|, (?:with|from|the|on)\b", " ".join(model["description"].split()))[0],
        next((each["keys"][0] for each in tests if "keys" in each), columns[:1]),
        columns,
        frozenset(_REF.findall(sql)) - {model["name"]},
        of_gold,
    )


def _joins(fact: Table, dimension: Table, version: bool) -> bool:
    """Whether a fact has the key of a dimension: its first column, or the second, of what has versions."""
    if dimension.name == _CALENDAR:
        return version and any(each.endswith("_date") for each in fact.columns)
    return dimension.columns[0 if version else 1] in fact.columns


def _reads(table: Table, fact: str, tables: dict[str, Table]) -> bool:
    """Whether a model reads a fact, or a summary or a mart that does."""
    others = [tables[name] for name in table.refs if name in tables]
    summaries = [each for each in others if each.is_reader or each.name.startswith("int_")]
    return fact in table.refs or any(_reads(each, fact, tables) for each in summaries)


def draw(star: Star) -> str:
    """The picture of a star, as SVG."""
    fact = _Box("fact", star.fact)
    left = [_Box("dimension", each) for each in star.dimensions]
    right = [_Box("reader", each) for each in star.readers]
    tall = max(_height([fact]), _height(left), _height(right))
    height = _TOP + tall + 54
    dimensions, readers = (", ".join(each.name for each in side) for side in (star.dimensions, star.readers))
    parts = [
        _HEAD.format(
            width=_WIDTH,
            height=height,
            right=_WIDTH - 1,
            bottom=height - 1,
            title=f"The star of {star.fact.name}",
            description=f"{star.fact.name} joins {dimensions}; it is read by {readers or 'no mart'}.",
        )
    ]
    top = _TOP + (tall - fact.height) // 2
    parts += fact.draw(_MIDDLE, top)
    for x, side in ((_LEFT, left), (_RIGHT, right)):
        y = _TOP + (tall - _height(side)) // 2
        middles = []
        for box in side:
            parts += box.draw(x, y)
            middles.append(y + box.height // 2)
            y += box.height + _GAP
        parts += _arrows(middles, top, fact.height, to_the_left=side is left)
    parts.append(
        f'  <text class="more" x="{_LEFT}" y="{height - 18}">'
        "* key of the table. Arrows lead from a fact to the dimensions that it joins, and to what is made of it."
        "</text>\n"
    )
    return "".join([*parts, "</svg>\n"])


class _Box:
    """A table as a box: its name, what one row of it is, and the columns, but for tables that are read by people."""

    def __init__(self, kind: str, table: Table) -> None:
        self.kind, self.name = kind, table.name
        self.grain = wrap(table.grain, 38)
        others = [each for each in table.columns if each not in table.key]
        self.columns = [f"{', '.join(table.key)}  *", *wrap(", ".join(others), 33)] if kind != "reader" else []
        self.height = 36 + 16 * len(self.grain) + (12 + 18 * len(self.columns) if self.columns else 0)

    def draw(self, x: int, y: int) -> Iterator[str]:
        yield f'  <rect class="{self.kind}" x="{x}" y="{y}" width="{_BOX}" height="{self.height}" rx="8"/>\n'
        yield f'  <text class="name" x="{x + 14}" y="{y + 24}">{self.name}</text>\n'
        y += 25
        for line in self.grain:
            y += 16
            yield f'  <text class="more" x="{x + 14}" y="{y}">{escape(line)}</text>\n'
        if self.columns:
            yield f'  <path class="rule" d="M{x + 1} {y + 9}H{x + _BOX - 1}"/>\n'
            y += 9
        for line in self.columns:
            y += 18
            yield f'  <text class="mono" x="{x + 14}" y="{y}">{escape(line)}</text>\n'


def _height(boxes: list[_Box]) -> int:
    """Of boxes one above the other."""
    return sum(each.height for each in boxes) + _GAP * (len(boxes) - 1)


def _arrows(ends: list[int], top: int, height: int, to_the_left: bool) -> Iterator[str]:
    """From the fact to the boxes at one side, none across another: each goes up or down in a lane of its own."""
    start, end = (_MIDDLE - 2, _LEFT + _BOX + 4) if to_the_left else (_MIDDLE + _BOX + 2, _RIGHT - 4)
    begins = [top + height * (number + 1) // (len(ends) + 1) for number in range(len(ends))]
    downwards = [number for number, (begin, at) in enumerate(zip(begins, ends, strict=True)) if at >= begin]
    upwards = [number for number in range(len(ends)) if number not in downwards]
    for lanes in (upwards, downwards[::-1]):
        for lane, number in enumerate(lanes):
            x = start + (end - start) * (lane + 1) // (len(lanes) + 1)
            path = f"M{start} {begins[number]}H{x}V{ends[number]}H{end}"
            yield f'  <path class="line" d="{path}" marker-end="url(#tip)"/>\n'


if __name__ == "__main__":
    PICTURES.mkdir(exist_ok=True)
    wanted = {PICTURES / f"{star.fact.name}.svg": draw(star) for star in stars()}
    for old in set(PICTURES.glob("*.svg")) - wanted.keys():
        old.unlink()
    for path, text in wanted.items():
        path.write_text(text, encoding="utf-8")
