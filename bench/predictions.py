"""What the features know of what is coming: machines that fail, customers who leave, products that get complaints.

`python bench/predictions.py [--days 540] [--events 450000] [--readings 180000]`: a history of sample events is built,
and each prediction is compared with what was planted in it (`levain produce` writes the same as `planted`), or, for
complaints, with what happened in the week after. Whatever is learned or chosen is so from the first two thirds of
the history, and judged on the rest of it, beside something simpler.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable, Iterable
from datetime import date, datetime, timedelta
from pathlib import Path
from statistics import median
from typing import Any

import duckdb
import numpy as np
from harness import ROOT  # noqa: F401  (puts the tests' support on the path)
from lake import Lake, Record, connect
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from levain.samples import generate
from levain.samples.events import Planted
from levain.samples.producer import period
from levain.terminal import detail, show_table

LAST_DAY = date(2026, 11, 30)
MACHINES = ("equipment-metrics", "equipment-extracts")
TRADE = (
    *("sales-events", "customer-feedback", "inventory-updates", "customer-changes", "product-changes"),
    "store-extracts",
)
FADES, ABSENT = 28, 84
"""A customer is lost who does not buy from four to twelve weeks after; visits may fade out in the four weeks before."""
REGULAR = "shopping_days_13w >= 6 and days_since_purchase <= 28"
"""Whose leaving is to be predicted: who came often, and came of late."""

Numbers = np.ndarray[Any, np.dtype[np.float64]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--days", type=int, default=540, help="of history; 400 at least")
    parser.add_argument("--events", type=int, default=450_000, help="of shops and customers")
    parser.add_argument("--readings", type=int, default=180_000, help="of machines, and their register")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    history = period(1, options.days, LAST_DAY)
    with tempfile.TemporaryDirectory() as name:
        lake = Lake(Path(name))
        for topics, count in ((MACHINES, options.readings), (TRADE, options.events)):
            land(lake, generate(topics, count, options.seed, history=history))
        lake.build("--select", "+mart_equipment_health", "+mart_churn_risk", "+feat_product_quality")
        planted = Planted().found(("equipment-metrics", "sales-events"), history.start, history.days)
        split = history.start + timedelta(days=2 * options.days // 3)
        with connect(lake.settings.duckdb_file) as connection:
            show_drifts(connection, planted["equipment_drifts"], split)
            show_leavers(connection, planted["customers_left"], split)
            show_complaints(connection, split)


def land(lake: Lake, messages: Iterable[Any]) -> None:
    """Land sample messages, those of a topic in one commit."""
    places: dict[str, list[Record]] = {}
    for message in messages:
        records = places.setdefault(message.topic, [])
        sent = int(message.received.timestamp() * 1000)
        records.append(Record(len(records), sent, message.key, message.value, list(message.headers)))
    for topic, records in places.items():
        lake.land(topic, 0, records)


# Machines

ALARMS = {
    "mart_equipment_health: 6 usual deviations": "is_drifting",
    "vibration 30 % above normal": "coalesce(vibration_1d > 1.3 * vibration_normal, false)",
    "service is overdue": "coalesce(days_until_service < 0, false)",
}
"""Rule -> its SQL."""


def show_drifts(connection: duckdb.DuckDBPyConnection, planted: list[dict[str, str]], split: date) -> None:
    """Each rule raises an alarm on the first day it holds; it is true between the drift's first day and the repair."""
    drifts = [
        (each["equipment_id"], *(day_of(each[moment]) for moment in ("drifts_from", "failed_at", "repaired_at")))
        for each in planted
    ]
    rows: list[tuple[Any, ...]] = []
    for name, sql in ALARMS.items():
        days = connection.execute(
            f"""
            select equipment_id, feature_date, {sql}
            from gold.feat_equipment_maintenance
            inner join gold.mart_equipment_health as health using (equipment_id)
            where feature_date = metric_date and vibration_normal is not null
            order by equipment_id, feature_date
            """
        ).fetchall()
        judged: dict[str, list[date]] = {}
        alarms: list[tuple[str, date]] = []
        on = False
        for machine, day, flag in days:
            starts = judged.setdefault(machine, [])
            if flag and (not on or not starts):
                alarms.append((machine, day))
            starts.append(day)
            on = flag
        for part, chosen in (("first two thirds", lambda day: day < split), ("last third", lambda day: day >= split)):
            rows.append((name, part, *alarms_against(drifts, alarms, judged, chosen)))
    show_table(
        "Drifts of machines, found before they fail",
        ("rule", "of", "drifts", "found", "recall", "alarms", "false", "precision", "median days", "least days"),
        rows,
    )


def alarms_against(
    drifts: list[tuple[str, date, date, date]],
    alarms: list[tuple[str, date]],
    judged: dict[str, list[date]],
    chosen: Callable[[date], bool],
) -> tuple[Any, ...]:
    """Figures of a rule over the drifts that begin on a day that is chosen and judged, and the alarms of such days."""
    raised = [(machine, day) for machine, day in alarms if chosen(day)]
    leads, count = [], 0
    for machine, begins, fails, _ in drifts:
        if chosen(begins) and begins in judged.get(machine, []) and fails <= max(judged[machine]):
            count += 1
            found = [day for named, day in raised if named == machine and begins <= day < fails]
            leads += [(fails - found[0]).days] if found else []
    false = [
        each for each in raised if not any(each[0] == m and begins <= each[1] <= ends for m, begins, _, ends in drifts)
    ]
    return (
        *(count, len(leads), share(len(leads), count), len(raised), len(false)),
        *(share(len(raised) - len(false), len(raised)), f"{median(leads):g}" if leads else "", min(leads, default="")),
    )


def day_of(text: str) -> date:
    return datetime.fromisoformat(text).date()


def share(part: float, whole: float) -> str:
    return f"{part / whole:.2f}" if whole else ""


# Customers

CUSTOMER_FEATURES = (
    *("days_since_purchase", "recency_in_gaps", "trend", "discount_share_13w", "average_rating_13w"),
    *("cast(is_member as int)", "ln(1 + shopping_days_4w)", "ln(1 + shopping_days_13w)", "ln(1 + recency_in_gaps)"),
)


def show_leavers(connection: duckdb.DuckDBPyConnection, planted: list[dict[str, str]], split: date) -> None:
    """Regular customers week by week: who has begun to leave (planted), and who is lost (seen in the sales later).

    The regression learns who is lost, which a company knows after twelve weeks; so it learns from weeks that are twelve
    weeks before the first that is judged.
    """
    connection.execute("create temp table leavers (customer_id varchar, left_on date)")
    connection.executemany(
        "insert into leavers values (?, ?)", [(each["customer_id"], each["left_on"]) for each in planted]
    )
    ((first, last),) = connection.execute("select min(sale_date), max(sale_date) from gold.fct_sales").fetchall()
    listed = ", ".join(f"cast({each} as double)" for each in CUSTOMER_FEATURES)

    def weeks(condition: str) -> tuple[Numbers, Numbers]:
        """Features, and the columns left, lost, days_since_purchase, recency_in_gaps and is_at_risk."""
        rows = connection.execute(
            f"""
            select
                {listed}, cast(coalesce(left_on <= feature_date, false) as int),
                cast(not exists (
                    select 1 from gold.int_customers__weekly as later
                    where later.customer_id = features.customer_id
                        and later.last_sale_date > feature_date + {FADES}
                        and later.first_sale_date <= feature_date + {ABSENT}
                ) as int),
                days_since_purchase, recency_in_gaps, cast(recency_in_gaps > 3 as int)
            from gold.feat_customer_churn as features left join leavers using (customer_id)
            where {REGULAR} and {condition}
            order by feature_date, customer_id
            """
        ).fetchall()
        table = np.array(rows, dtype=float)
        return table[:, : len(CUSTOMER_FEATURES)], table[:, len(CUSTOMER_FEATURES) :]

    learned, outcomes = weeks(f"feature_date between date '{first}' + 91 and date '{split}' - {ABSENT}")
    model = regression().fit(learned, outcomes[:, 1])
    rows = []
    for title, column, until in (("has begun to leave", 0, last), ("is lost", 1, last - timedelta(days=ABSENT))):
        features, found = weeks(f"feature_date > date '{split}' and feature_date <= date '{until}'")
        truth = found[:, column]
        scores = {
            "days since the last purchase": found[:, 2],
            "the same in usual gaps (mart_churn_risk)": found[:, 3],
            "logistic regression on the features": model.predict_proba(features)[:, 1],
        }
        for name, score in scores.items():
            top = np.argsort(-score, kind="stable")[: len(score) // 10]
            hits = truth[top].sum()
            rows.append(
                (title, name, len(truth), share(truth.sum(), len(truth)), f"{roc_auc_score(truth, score):.2f}",
                 share(hits, len(top)), share(hits, truth.sum()))
            )  # fmt: skip
        flagged = found[:, 4] == 1
        hits = truth[flagged].sum()
        rows.append(
            (title, "is_at_risk (mart_churn_risk)", len(truth), share(truth.sum(), len(truth)), "",
             f"{share(hits, flagged.sum())} of {int(flagged.sum())}", share(hits, truth.sum()))
        )  # fmt: skip
    show_table(
        f"Regular customers, week by week; {len(learned):,} to learn from",
        ("who", "by", "customers", "part", "AUC", "precision of the top tenth", "recall"),
        rows,
    )


def regression() -> Pipeline:
    """Logistic regression over what is scaled; what is not known is taken to be the median."""
    return make_pipeline(SimpleImputer(strategy="median"), StandardScaler(), LogisticRegression(C=0.1, max_iter=1000))


# Products

PRODUCT_FEATURES = (
    *("average_rating_28d", "average_rating_91d", "complaint_rate_28d", "complaint_rate_91d", "complaint_days_28d"),
    *("waste_rate_7d", "waste_rate_28d", "sell_through_7d", "sell_through_28d", "out_of_stock_share_28d"),
    *("days_since_complaint", "questionnaires_91d"),
)


def show_complaints(connection: duckdb.DuckDBPyConnection, split: date) -> None:
    """Nothing is planted: how many of the next week's questionnaires about a product are complaints."""
    listed = ", ".join(f"cast({each} as double)" for each in PRODUCT_FEATURES)

    def weeks(condition: str) -> tuple[Numbers, Numbers]:
        """Features, and the columns complaints and other questionnaires of the week after, and complaint_rate_91d."""
        rows = connection.execute(
            f"""
            select {listed}, sum(dissatisfied), sum(later.questionnaires - dissatisfied), any_value(complaint_rate_91d)
            from gold.feat_product_quality as features
            inner join gold.int_feedback__daily as later
                on later.product_id = features.product_id
                and later.feedback_date > feature_date and later.feedback_date <= feature_date + 7
            where isodow(feature_date) = 7 and questionnaires_91d >= 10 and {condition}
            group by all
            order by all
            """
        ).fetchall()
        table = np.array(rows, dtype=float)
        return table[:, : len(PRODUCT_FEATURES)], table[:, len(PRODUCT_FEATURES) :]

    def one_by_one(features: Numbers, outcomes: Numbers) -> tuple[Numbers, Numbers, Numbers]:
        """A row for the complaints of a week and one for the others, whether it is the complaints, and how many."""
        yes_and_no = np.r_[np.ones(len(features)), np.zeros(len(features))]
        return np.r_[features, features], yes_and_no, np.r_[outcomes[:, 0], outcomes[:, 1]]

    learned, before = weeks(f"feature_date <= date '{split}' - 7")
    rows_of, answers, counts = one_by_one(learned, before)
    model = regression().fit(rows_of, answers, logisticregression__sample_weight=counts)
    mean = float(before[:, 0].sum() / before[:, :2].sum())
    features, after = weeks(f"feature_date >= date '{split}'")
    _, truth, weights = one_by_one(features, after)
    pulled = (after[:, 2] * features[:, -1] + mean * 50) / (features[:, -1] + 50)
    predictions = {
        "the rate of all products so far": np.full(len(features), mean),
        "the product's own rate of 91 days": after[:, 2],
        "the same, as if 50 more had the rate of all": pulled,
        "logistic regression on the features": model.predict_proba(features)[:, 1],
    }
    rows = []
    for name, found in predictions.items():
        twice = np.r_[found, found]
        error = float((weights * (twice - truth) ** 2).sum() / weights.sum())
        rows.append((name, f"{error:.5f}", f"{roc_auc_score(truth, twice, sample_weight=weights):.2f}"))
    show_table(
        f"Complaints among the {int(weights.sum()):,} questionnaires of the next week", ("by", "Brier", "AUC"), rows
    )
    detail(f"{after[:, 0].sum() / after[:, :2].sum():.3f} of them are complaints")


if __name__ == "__main__":
    main()
