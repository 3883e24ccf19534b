"""The forecast of demand: units of each product in each shop on the next days, published as events.

A forecast rests on what was known at the end of the day on which it is made: rows of `feat_demand_forecast` up to then,
promotions as they were announced by then, and the calendar. The model is gradient boosting with a Poisson loss,
relative to the mean of the last 28 days; the interval comes from the errors of the last weeks, when it is asked as of
each day without what followed. docs/forecasts.md has what it reaches, and what was tried.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any, NamedTuple
from uuid import NAMESPACE_URL, uuid5

import duckdb

from ingest.contracts import contract_for
from ingest.errors import BadInput
from ingest.settings import Settings
from ingest.sources.publish import Publisher
from ingest.sources.replay import encode
from levain.learn import check_library
from levain.terminal import errors, say, show_table
from levain.warehouse.dbt import reader

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

TOPIC = "demand-forecasts"

MOST_DAYS = 14
"""How far ahead the model is trained to see."""

COVERAGE = 0.8
"""The part of the days whose units lie in the interval."""

WINDOW_DAYS = 28
"""Days that the longest window of the features has."""

CALIBRATION_DAYS = 28
"""The last days of the history, from whose errors the interval comes."""

LEAST_DAYS = WINDOW_DAYS + 28 + CALIBRATION_DAYS
"""Days of history that are needed: for the first features, to fit a model, and to measure its errors."""

BACK_TEST_WEEKS = 8
"""Weeks of the back-test, if the history has so many."""

PARAMETERS: dict[str, Any] = {
    "loss": "poisson",
    "learning_rate": 0.05,
    "max_iter": 100,
    "max_leaf_nodes": 15,
    "min_samples_leaf": 30,
    "l2_regularization": 1.0,
    "early_stopping": False,
    "random_state": 0,
}
"""Of scikit-learn's HistGradientBoostingRegressor."""

LEAST_MEAN = 0.05
"""Units a day below which a mean of 28 days is taken for this one: nothing can be relative to 0."""

PLACES = 250
"""Shops, products or categories that the model tells apart, by their units; the others share one place more."""

NAMES = ("store", "product", "category")
"""Columns of the model that stand for a name."""

PROMOTION = (
    *("promotions", "promotion_percent", "promotion_amount"),  # as planned for the day that is asked for
    *("promotion_percent_now", "promotion_percent_then"),  # on the last known day, and on the same weekday before
)
WEATHER = ("temperature_c", "precipitation_mm")
"""Of the last known day: the weather of the day that is asked for is not known, and no forecast of it is kept."""

NUMBERS = (
    *("horizon_days", "iso_day_of_week", "month_number", "is_public_holiday", "mean_units", "open_days", "last_units"),
    *("week_mean", "deviation", "same_weekday_1", "same_weekday_2", "same_weekday_3", "same_weekday_5"),
    *PROMOTION,
    *WEATHER,
    "was_out_of_stock",
)
"""Columns of the model that are numbers; units are relative to the mean of 28 days, but for `mean_units`."""

_READ = """
create or replace temp table features as
select * from gold.feat_demand_forecast where feature_date <= $until
"""

_KNOWN = (
    """
    create or replace temp table history as
    select * from features where feature_date <= $made_on
    """,
    """
    create or replace temp table shelves as
    with stores as (
        select store_id, least(row_number() over (order by sum(units) desc, store_id) - 1, $places) as store
        from history group by store_id
    ),
    products as (
        select product_id, least(row_number() over (order by sum(units) desc, product_id) - 1, $places) as product
        from history group by product_id
    )
    select distinct store_id, product_id, stores.store, products.product
    from history join stores using (store_id) join products using (product_id)
    """,
    """
    create or replace temp table categories as
    select category, least(row_number() over (order by sum(units) desc, category) - 1, $places) as place
    from history where category is not null group by category
    """,
    # each notice holds until the next one of its run
    """
    create or replace temp table notices as
    select *, lag(event_time) over (
        partition by promotion_id, starts_at
        order by
            event_time desc, kafka_timestamp desc nulls last, kafka_cluster desc, "partition" desc, kafka_offset desc
    ) as superseded_at
    from silver.promotion_notices
    where event_time < cast($made_on + 1 as timestamp)
    """,
)
"""What is known at the end of a day; what is asked then is answered from it alone."""

_QUESTIONS = """
with days as (
    select cast(unnest(generate_series($first, $last, interval 1 day)) as date) as made_on
),
-- where not $every, each day is asked for from one of the days before it: as good, and so much faster
asked as (
    select
        days.made_on,
        horizons.horizon_days,
        days.made_on + cast(horizons.horizon_days as integer) as target_date,
        shelves.*
    from days
    cross join (select unnest(range(1, $days + 1)) as horizon_days) as horizons
    cross join shelves
    where $every or horizon_days = 1 + (
        datediff('day', date '2000-01-03', target_date) + datediff('day', date '2000-01-03', target_date) // 7
        + shelves.store + shelves.product
    ) % $days
),
-- a shop's last day of the week before, and the newest day of the same weekday
known as (
    select
        asked.*,
        history.* exclude (store_id, product_id),
        greatest(cast(history.units_mean_28_days as double), $least_mean) as mean,
        target_date - cast(horizon_days + 6 - (horizon_days + 6) % 7 as integer) as same_weekday
    from asked asof join history
        on
            asked.store_id = history.store_id
            and asked.product_id = history.product_id
            and asked.made_on >= history.feature_date
    where history.feature_date > asked.made_on - 7
),
planned as (
    select
        asked.made_on,
        asked.target_date,
        notices.store_id,
        notices.product_id,
        notices.category,
        case when notices.discount_type = 'percentage' then notices.discount_value end as percent,
        case when notices.discount_type = 'amount' then notices.discount_value end as amount
    from (select distinct made_on, target_date from asked) as asked
    join notices
        on
            notices.event_time < cast(asked.made_on + 1 as timestamp)
            and (notices.superseded_at is null or notices.superseded_at >= cast(asked.made_on + 1 as timestamp))
            and notices.status <> 'withdrawn'
            and notices.starts_at <= cast(asked.target_date as timestamp) + interval 12 hour
            and cast(asked.target_date as timestamp) + interval 12 hour < notices.ends_at
),
promoted as (
    select
        known.made_on,
        known.target_date,
        known.store_id,
        known.product_id,
        count(*) as promotions,
        sum(planned.percent) as percent,
        sum(planned.amount) as amount
    from known
    join planned
        on
            known.made_on = planned.made_on
            and known.target_date = planned.target_date
            and coalesce(planned.store_id, known.store_id) = known.store_id
            and coalesce(planned.product_id, known.product_id) = known.product_id
            and (planned.category is null or planned.category = known.category)
    group by known.made_on, known.target_date, known.store_id, known.product_id
),
-- what happened, if it has: the answers
answers as (select distinct store_id, feature_date from features)
select
    known.store_id,
    known.product_id,
    known.made_on,
    known.target_date,
    known.mean,
    known.store,
    known.product,
    coalesce(categories.place, $places) as category,
    known.horizon_days,
    calendar.iso_day_of_week,
    calendar.month_number,
    cast(calendar.is_public_holiday as integer) as is_public_holiday,
    known.mean as mean_units,
    known.open_days_28_days as open_days,
    known.units / known.mean as last_units,
    known.units_mean_7_days / known.mean as week_mean,
    known.units_deviation_28_days / known.mean as deviation,
    before.units / known.mean as same_weekday_1,
    before.units_7_days_ago / known.mean as same_weekday_2,
    before.units_14_days_ago / known.mean as same_weekday_3,
    before.units_28_days_ago / known.mean as same_weekday_5,
    coalesce(promoted.promotions, 0) as promotions,
    coalesce(promoted.percent, 0) as promotion_percent,
    coalesce(promoted.amount, 0) as promotion_amount,
    coalesce(known.promotion_percent, 0) as promotion_percent_now,
    case when before.store_id is not null then coalesce(before.promotion_percent, 0) end as promotion_percent_then,
    known.temperature_c,
    known.precipitation_mm,
    cast(known.was_out_of_stock as integer) as was_out_of_stock,
    case when before_days.store_id is not null then coalesce(before.units, 0) end as naive_units,
    case when answers.store_id is not null then coalesce(answer.units, 0) end as units,
    exists (
        select 1 from history as earlier
        where
            earlier.store_id = known.store_id
            and earlier.feature_date
            in (known.same_weekday, known.same_weekday - 7, known.same_weekday - 14, known.same_weekday - 21)
    ) as opens
from known
join gold.dim_calendar as calendar on known.target_date = calendar.calendar_date
left join categories on known.category = categories.category
left join promoted
    on
        known.made_on = promoted.made_on
        and known.target_date = promoted.target_date
        and known.store_id = promoted.store_id
        and known.product_id = promoted.product_id
left join history as before
    on
        known.store_id = before.store_id
        and known.product_id = before.product_id
        and known.same_weekday = before.feature_date
left join (select distinct store_id, feature_date from history) as before_days
    on known.store_id = before_days.store_id and known.same_weekday = before_days.feature_date
left join features as answer
    on
        known.store_id = answer.store_id
        and known.product_id = answer.product_id
        and known.target_date = answer.feature_date
left join answers on known.store_id = answers.store_id and known.target_date = answers.feature_date
order by known.made_on, known.target_date, known.store_id, known.product_id
"""


class Forecast(NamedTuple):
    """Units of a product that a shop is expected to sell on a day, and the interval around them."""

    store_id: str
    product_id: str
    forecast_date: date
    units: Decimal
    units_low: Decimal
    units_high: Decimal


class Score(NamedTuple):
    """How good forecasts so many days ahead were.

    Attributes:
        forecasts: how many were compared.
        units: what was sold, in all.
        error: sum of the absolute errors.
        naive_error: the same, had the last known day of the same weekday been the forecast.
        mean_error: the same, had the mean of the last 28 days been the forecast.
        bias: sum of what was expected less what was sold.
        covered: how many lay in their interval.
    """

    horizon_days: int
    forecasts: int
    units: float
    error: float
    naive_error: float
    mean_error: float
    bias: float
    covered: int


@dataclass(frozen=True)
class Questions:
    """Questions to the model, one a row: how much of a product does a shop sell on a day, asked some days before.

    Attributes:
        columns: name -> values, as `_QUESTIONS` selects them; a number that is unknown is NaN. `units` is the answer.
    """

    columns: Mapping[str, Any]

    def __len__(self) -> int:
        return len(self.columns["store_id"])

    def where(self, condition: Any) -> Questions:
        """Those that meet a condition, an array of booleans."""
        return Questions({name: values[condition] for name, values in self.columns.items()})

    def answered(self) -> Questions:
        """Those whose answer is known: the shop sold something on that day."""
        return self.where(self.columns["units"] == self.columns["units"])

    def matrix(self, without: Sequence[str] = ()) -> Floats:
        """The columns of the model, NAMES before NUMBERS, but for those left out."""
        import numpy as np

        return np.column_stack([self.columns[name] for name in (*NAMES, *NUMBERS) if name not in without])


class Model:
    """A forecast of the units, and of their interval.

    Args:
        questions: whose answers are known. The model is fitted to all of them; the interval comes from the errors of
            one that is fitted without the newest CALIBRATION_DAYS of answers, asked for these.
        without: columns of NUMBERS that it does not see.
    """

    def __init__(self, questions: Questions, without: Sequence[str] = ()) -> None:
        import numpy as np

        self._without = without
        began = questions.columns["target_date"].max() - np.timedelta64(CALIBRATION_DAYS, "D")
        self._fit(questions.where(questions.columns["target_date"] <= began))
        newest = questions.where(questions.columns["made_on"] >= began)
        expected = self.units(newest)
        residuals = (newest.columns["units"] - expected) / _spread(expected)
        self._low, self._high = np.quantile(residuals, [(1 - COVERAGE) / 2, (1 + COVERAGE) / 2])
        self._fit(questions)

    def _fit(self, questions: Questions) -> None:
        from sklearn.ensemble import HistGradientBoostingRegressor

        mean = questions.columns["mean"]
        self._boosted = HistGradientBoostingRegressor(**PARAMETERS, categorical_features=list(range(len(NAMES))))
        with _one_thread():
            self._boosted.fit(questions.matrix(self._without), questions.columns["units"] / mean, sample_weight=mean)

    def units(self, questions: Questions) -> Floats:
        """What is expected."""
        with _one_thread():
            found: Floats = self._boosted.predict(questions.matrix(self._without)) * questions.columns["mean"]
        return found

    def interval(self, expected: Floats) -> tuple[Floats, Floats]:
        """The ends of the interval around what is expected; neither is below 0."""
        import numpy as np

        low = np.clip(expected + self._low * _spread(expected), 0, expected)
        return low, np.maximum(expected + self._high * _spread(expected), expected)


def _spread(expected: Floats) -> Floats:
    """What errors are relative to: those of counts grow as their root."""
    import numpy as np

    root: Floats = np.sqrt(expected + 0.25)
    return root


@contextmanager
def _one_thread() -> Iterator[None]:
    """Sums of doubles depend on how many threads share them; with one they do not depend on the cores."""
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1):
        yield


def run(settings: Settings, as_of: date | None = None, days: int = 7) -> None:
    """Forecast the days after a day, and publish the forecasts as events.

    The same tables give the same forecasts, and the same event ids whatever the tables: a second run changes nothing.

    Args:
        settings: which home, and which broker.
        as_of: the day; None: the last full one, which is the day before that of the newest event.
        days: how many, 1 to MOST_DAYS.

    Raises:
        ConfigurationError: scikit-learn is not installed.
        BadInput: the day is not over in what was built, or the history before it is too short.
        LevainError: nothing was built, the broker cannot be reached or has no such topic, or an event was not
            acknowledged.
    """
    check_library("which forecasts are made with")
    with reader(settings) as connection:
        made_on = _day(connection, as_of)
        read(connection, made_on)
        known, asked = learned(connection, made_on), questions(connection, made_on, made_on, days, every=True)
    with Publisher(settings, [TOPIC]) as publisher:
        with errors.status("Learning from the history"):
            found = forecasts(Model(known), asked)
        contract, version = contract_for(TOPIC), model_version()
        for number, each in enumerate(found, 1):
            publisher.publish(TOPIC, *encode(contract, event(each, made_on, version), number))
    say("made on", f"{made_on}, with {version}")
    say("published", f"{len(found):,} forecasts to {TOPIC}")
    by_day: dict[date, list[Forecast]] = {}
    for each in found:
        by_day.setdefault(each.forecast_date, []).append(each)
    show_table(
        "",
        ("day", "shops", "products", "units"),
        [
            (day, len({each.store_id for each in of}), len({each.product_id for each in of}),
             sum(each.units for each in of))
            for day, of in by_day.items()
        ],
    )  # fmt: skip


def _day(connection: duckdb.DuckDBPyConnection, as_of: date | None) -> date:
    """The day after which all is forecast."""
    ((last,),) = connection.execute(
        "select cast(max(latest_event_at) as date) - 1 from silver.latest_events"
    ).fetchall()
    if last is None:
        raise BadInput("No event was built yet.", "`levain produce --history 180 --events 200000` sends some.")
    if as_of is not None and as_of > last:
        raise BadInput(
            f"{as_of} is not over: the last full day of what was built is {last}.", f"Take {last} or an earlier day."
        )
    return as_of or last


def read(connection: duckdb.DuckDBPyConnection, until: date, least: int = LEAST_DAYS) -> date:
    """Read the features up to a day, which are then asked about, and return the first day that they have.

    Raises:
        BadInput: they are of fewer than so many days.
    """
    connection.execute(_READ, {"until": until})
    ((first,),) = connection.execute("select min(feature_date) from features").fetchall()
    days = 0 if first is None else (until - first).days + 1
    if days < least:
        raise BadInput(
            f"The history of sales has {days} days up to {until}, and {least} are needed.",
            "Build more of it, such as `levain produce --history 180 --events 200000` gives.",
        )
    return until - timedelta(days=days - 1)


def know(connection: duckdb.DuckDBPyConnection, made_on: date) -> None:
    """Take what is known at the end of a day for what questions are asked with."""
    for statement in _KNOWN:
        given = {"made_on": made_on, "places": PLACES}
        connection.execute(statement, {name: value for name, value in given.items() if f"${name}" in statement})


def questions(
    connection: duckdb.DuckDBPyConnection, first: date, last: date, days: int = MOST_DAYS, *, every: bool
) -> Questions:
    """Questions that are asked on each of some days, with what `know` took.

    Args:
        connection: to the built tables, after `read` and `know`.
        first: the first day on which they are asked.
        last: the last one.
        days: how far ahead they ask.
        every: for each day ahead; else each day is asked for from one of the days before it.
    """
    import numpy as np

    given = {"first": first, "last": last, "days": days, "every": every, "places": PLACES, "least_mean": LEAST_MEAN}
    found = connection.execute(_QUESTIONS, given).fetchnumpy()
    texts = ("store_id", "product_id", "made_on", "target_date", "opens")
    return Questions(
        {
            name: values if name in texts else np.ma.filled(values.astype(np.float64), np.nan)
            for name, values in found.items()
        }
    )


def learned(connection: duckdb.DuckDBPyConnection, made_on: date) -> Questions:
    """All questions whose answers are known at the end of a day, with what is known then."""
    import numpy as np

    know(connection, made_on)
    ((first,),) = connection.execute("select min(feature_date) from history").fetchall()
    found = questions(connection, first + timedelta(days=WINDOW_DAYS), made_on - timedelta(days=1), every=False)
    return found.where(found.columns["target_date"] <= np.datetime64(made_on)).answered()


def run_back_test(settings: Settings, as_of: date | None = None) -> None:
    """Print how good forecasts of the last weeks would have been, beside those of the same weekday before.

    Raises:
        LevainError: see `run`; no broker is asked.
    """
    check_library("which forecasts are made with")
    with reader(settings) as connection, errors.status("Asking as of each week"):
        scores = back_test(connection, _day(connection, as_of))
    show_scores("Forecasts of the last weeks, each made without what followed", scores)


def back_test(
    connection: duckdb.DuckDBPyConnection, last: date, weeks: int = BACK_TEST_WEEKS, without: Sequence[str] = ()
) -> list[Score]:
    """How good forecasts were that are made at the end of each of the last weeks, with a model that is fitted then.

    Args:
        connection: to the built tables.
        last: the last day that is forecast.
        weeks: how many, if the history has so many.
        without: columns of NUMBERS that the model does not see.

    Raises:
        BadInput: the history has no week for it.
    """
    import numpy as np

    first = read(connection, last, LEAST_DAYS + 7)
    weeks = min(weeks, ((last - first).days + 1 - LEAST_DAYS) // 7)
    parts = []
    for week in range(weeks, 0, -1):
        made_on = last - timedelta(days=7 * week)
        model = Model(learned(connection, made_on), without)
        asked = questions(connection, made_on, made_on, 7, every=True).answered()
        asked = asked.where(~np.isnan(asked.columns["naive_units"]))
        expected = model.units(asked)
        sold, naive = asked.columns["units"], asked.columns["naive_units"]
        low, high = model.interval(expected)
        covered = (low <= sold) & (sold <= high)
        columns = (
            asked.columns["horizon_days"],
            sold,
            abs(expected - sold),
            abs(naive - sold),
            abs(asked.columns["mean"] - sold),
            expected - sold,
            covered,
        )
        parts.append(np.column_stack(columns))
    rows = np.concatenate(parts)
    return [
        Score._make([horizon, len(these), *these[:, 1:6].sum(axis=0).tolist(), int(these[:, 6].sum())])
        for horizon in range(1, 8)
        if len(these := rows[rows[:, 0] == horizon])
    ]


def total(scores: Sequence[Score]) -> Score:
    """One of all days ahead, which are 0 in it."""
    return Score._make([0, *(sum(each) for each in list(zip(*scores, strict=True))[1:])])


def show_scores(title: str, scores: Sequence[Score]) -> None:
    """Print scores by days ahead, and of all; absolute errors as a part of what was sold (WAPE)."""
    show_table(
        title,
        ("days ahead", "forecasts", "units sold", "WAPE", "naive", "mean", "MAE", "bias", "in the interval"),
        [
            (
                each.horizon_days or "all",
                each.forecasts,
                round(each.units),
                f"{each.error / each.units:.1%}",
                f"{each.naive_error / each.units:.1%}",
                f"{each.mean_error / each.units:.1%}",
                f"{each.error / each.forecasts:.2f}",
                f"{each.bias / each.units:+.1%}",
                f"{each.covered / each.forecasts:.1%}",
            )
            for each in (*scores, total(scores))
        ],
    )


def forecasts(model: Model, asked: Questions) -> list[Forecast]:
    """The answers of a model, of the shops that open on that weekday, by day, shop and product."""
    opening = asked.where(asked.columns["opens"])
    expected = model.units(opening)
    low, high = model.interval(expected)
    days = opening.columns["target_date"].astype("datetime64[D]").tolist()
    rows = zip(opening.columns["store_id"], opening.columns["product_id"], days, expected, low, high, strict=True)
    found = [
        Forecast(store, product, day, *(Decimal(f"{each:.2f}") for each in ends)) for store, product, day, *ends in rows
    ]
    return sorted(found, key=lambda each: (each.forecast_date, each.store_id, each.product_id))


def event(forecast: Forecast, made_on: date, version: str) -> dict[str, Any]:
    """A forecast as an event of the last second of the day on which it was made."""
    what = f"levain:{TOPIC}/{version}/{made_on}/{forecast.store_id}/{forecast.product_id}/{forecast.forecast_date}"
    return {
        "event_id": uuid5(NAMESPACE_URL, what),
        "event_time": datetime.combine(made_on, time(23, 59, 59), UTC),
        **forecast._asdict(),
        "model_version": version,
    }


def model_version() -> str:
    """Name of the model and a digest of all that a forecast depends on beside the tables."""
    from sklearn import __version__

    parts = [__version__, PARAMETERS, NAMES, NUMBERS, COVERAGE, CALIBRATION_DAYS, LEAST_MEAN, PLACES, MOST_DAYS]
    text = json.dumps([*parts, _KNOWN, _QUESTIONS])
    return f"demand-{hashlib.sha256(text.encode()).hexdigest()[:8]}"
