"""The report of `levain quality` as one HTML file: no script, no network, plots as SVG inside the page.

Every number of the page stands in an element with `data-figure`, which names it, and `data-value`, which is exact.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from levain.read.quality import LATE, RULES_SHOWN, Anomaly, Report, Rule, Series, Topic, rounded, short

BARS = 84
"""Days that a plot has at most: twelve weeks, the newest."""

TOP_RULES = 8
"""Of all topics together, shown at once."""

_WIDTH, _HEIGHT = 640, 120


@dataclass(frozen=True)
class _Scale:
    """Places values on a plot: `low` at its bottom, `high` at its top."""

    low: float
    high: float

    def y(self, value: Decimal | float) -> float:
        return round(_HEIGHT - (float(value) - self.low) / ((self.high - self.low) or 1) * _HEIGHT, 1)


def page(report: Report) -> str:
    """The report as HTML."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"short": short, "rounded": rounded, "day": _short_day}
    return environment.get_template("quality.html").render(
        report=report,
        figure=figure,
        volume=volume_plot,
        score=score_plot,
        plot=series_plot,
        anomalies_of=lambda topic: [each for each in report.anomalies if each.topic == topic.name],
        bars=BARS,
        period=lambda days: f"{_short_day(days[0].day)} – {_short_day(days[-1].day)}",
        top_rules=_top_rules(report),
        rules_shown=RULES_SHOWN,
        late_names=[(name, name.replace("_", " ")) for name in LATE],
    )


def _top_rules(report: Report) -> list[tuple[Topic, Rule]]:
    found = [(topic, rule) for topic in report.topics for rule in topic.rules]
    return sorted(found, key=lambda each: (-each[1].messages, each[0].name, each[1].name))[:TOP_RULES]


def _short_day(day: date) -> str:
    return f"{day.day} {day:%b %Y}"


def figure(name: str, value: object, text: object = None) -> Markup:
    """A number of the report: `name` tells which one, `text` is how it is shown."""
    if text is None:
        text = f"{value:,}" if isinstance(value, (int, Decimal)) else "–" if value is None else value
    exact = "" if value is None else value
    return Markup('<span class="figure" data-figure="{}" data-value="{}">{}</span>').format(name, exact, text)


def volume_plot(topic: Topic, anomalies: Sequence[Anomaly]) -> Markup:
    """Accepted events per day, a bar each; days with an anomaly of the volume are marked."""
    days = topic.days[-BARS:]
    marked = {each.day for each in anomalies if each.metric == "volume"}
    scale = _Scale(0, max((day.accepted for day in days), default=1) or 1)
    step = _WIDTH / max(len(days), 28)
    bars = [
        Markup(
            '<rect class="{}" x="{}" y="{}" width="{}" height="{}" data-figure="{}" data-value="{}">{}</rect>'
        ).format(
            "bad" if day.day in marked else "open" if not day.is_complete else "bar",
            round(number * step, 1),
            scale.y(day.accepted),
            round(step * 0.78, 1),
            round(_HEIGHT - scale.y(day.accepted), 1),
            f"{topic.name}/volume/{day.day}",
            day.accepted,
            _title(f"{day.day:%a %d %b}: {day.accepted:,} events{'' if day.is_complete else ' so far'}"),
        )
        for number, day in enumerate(days)
    ]
    return _svg(f"Accepted events per day of {topic.name}", bars)


def score_plot(topic: Topic, anomalies: Sequence[Anomaly]) -> Markup:
    """The average score per day, as a line from the lowest that a score is here, or 90, to 100."""
    days = [day for day in topic.days[-BARS:] if day.score is not None]
    marked = {each.day for each in anomalies if each.metric == "score"}
    values = [(day.day, day.score or Decimal(0)) for day in days]
    low = min([90.0, *(float(value) for _, value in values)])
    places = {day.day: number for number, day in enumerate(topic.days[-BARS:])}
    scale, step = _Scale(low, 100), _WIDTH / max(len(places), 28)
    points = [(round((places[day] + 0.39) * step, 1), scale.y(value)) for day, value in values]
    dots = [
        Markup('<path class="{}" d="M{} {}h0" data-figure="{}" data-value="{}">{}</path>').format(
            "bad" if day in marked else "dot",
            x,
            y,
            f"{topic.name}/score/{day}",
            value,
            _title(f"{day:%a %d %b}: {value}"),
        )
        for (day, value), (x, y) in zip(values, points, strict=True)
    ]
    return _svg(f"Average quality score per day of {topic.name}", [_line(points), *dots], low=True)


def series_plot(series: Series) -> Markup:
    """A metric day by day, with its anomalies and, for each, the range that was expected."""
    values = series.values[-BARS:]
    shown = {day for day, _ in values}
    anomalies = [each for each in series.anomalies if each.day in shown]
    all_values = [value for _, value in values] + [
        limit for each in anomalies for limit in (each.expected_low, each.expected_high)
    ]
    scale = _Scale(min(0.0, *map(float, all_values)), max(map(float, all_values)) * 1.04)
    step = _WIDTH / max(len(values), 28)
    places: dict[date, float] = {day: round((number + 0.5) * step, 1) for number, (day, _) in enumerate(values)}
    points = [(places[day], scale.y(value)) for day, value in values]
    parts = [
        Markup('<rect class="range" x="{}" y="{}" width="{}" height="{}" rx="2"/>').format(
            round(places[each.day] - step * 0.7, 1),
            scale.y(each.expected_high),
            round(step * 1.4, 1),
            round(scale.y(each.expected_low) - scale.y(each.expected_high), 1),
        )
        for each in anomalies
    ]
    parts.append(_line(points))
    parts += [
        Markup('<path class="bad" d="M{} {}h0">{}</path>').format(
            places[each.day],
            scale.y(each.value),
            _title(
                f"{each.day:%a %d %b %Y}: {rounded(each.value)}, expected {rounded(each.expected_low)} to "
                f"{rounded(each.expected_high)}"
            ),
        )
        for each in anomalies
    ]
    return _svg(f"{series.anomalies[0].words}, {series.topic}, day by day", parts)


def _line(points: Sequence[tuple[float, float]]) -> Markup:
    return Markup('<polyline class="line" points="{}"/>').format(" ".join(f"{x},{y}" for x, y in points))


def _title(text: str) -> Markup:
    return Markup("<title>{}</title>").format(text)


def _svg(label: str, parts: Sequence[Markup], low: bool = False) -> Markup:
    return Markup(
        '<svg class="plot{}" viewBox="-4 -6 {} {}" preserveAspectRatio="none" role="img" aria-label="{}">'
        '<line class="base" x1="0" y1="{}" x2="{}" y2="{}"/>{}</svg>'
    ).format(" low" if low else "", _WIDTH + 8, _HEIGHT + 12, label, _HEIGHT, _WIDTH, _HEIGHT, Markup("").join(parts))
