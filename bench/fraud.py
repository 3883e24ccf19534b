"""How well purchases by thieves are found, and how soon a purchase has its score.

`python bench/fraud.py [--purchases 30000] [--days 365] [--seed 1] [--rate 200] [--seconds 60]`

Quality: a year of sample purchases lands in Bronze, without faults. The model is trained on the first two thirds of the
days, as `levain train-scores` does, and judged on the last third, with the thieves that were planted
(docs/sample-events.md). All else comes from the built table `feat_purchase_risk`. Beside the forest are its features
with those of bursts in a forest of their own, and rules: so many of five signs.

Latency: one Apache Kafka broker, one `faust -A ingest.scores worker` with that model, purchases at a steady rate. A
score has the Kafka timestamp of its purchase; it is taken from the clock when a consumer has the score, so the figure
is a little too high.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from datetime import date, timedelta
from pathlib import Path

from confluent_kafka import Consumer, Producer
from harness import ROOT, apache_kafka
from lake import Lake, Record
from sklearn.metrics import average_precision_score, roc_auc_score

from ingest import fraud, kafka
from ingest.contracts import contract_for
from ingest.fraud import Model
from ingest.settings import Settings
from levain.learn.purchases import History, Parameters, grower, train
from levain.samples import generate
from levain.samples.events.fraud import is_fraudulent
from levain.samples.producer import Period
from levain.terminal import show_table

LAST_DAY = date(2026, 6, 30)
GOAL_MS = 100
WARM_SECONDS = 10
"""Of the latency's beginning that do not count: broker and worker are cold."""

FOUND = """
select event_id, risk_signs, cast(score as double), is_suspicious, purchases_last_hour, purchases_last_day, feature_date
from gold.feat_purchase_risk order by purchased_at, event_id
"""


def quality(lake: Lake, values: Sequence[bytes], until: date) -> tuple[Model, list[tuple[object, ...]]]:
    """The model, and a row per way of finding thieves."""
    lake.land("purchases", 0, [Record(n, _millis(value), b"C", value) for n, value in enumerate(values)])
    trained = train(lake.settings, until)
    model = fraud.load(lake.settings.models_dir, trained.version)
    purchases = {each.event_id: each for each in map(fraud.read_purchase, map(bytes.decode, values))}
    scores = [(each, model.event(each)[0].encode()) for each in purchases.values()]
    lake.land(
        "purchase-scores",
        0,
        [Record(n, int(each.event_time.timestamp() * 1000), b"C", text) for n, (each, text) in enumerate(scores)],
    )
    lake.build("--select", "+mart_suspicious_purchases")
    found = lake.read(FOUND)
    suspicious = {event_id for (event_id,) in lake.read("select event_id from gold.mart_suspicious_purchases")}
    later = [row for row in found if row[6] >= until]
    thieves = [is_fraudulent(purchases[row[0]].purchase_id) for row in later]
    bursts = _with_bursts(model, [purchases[row[0]] for row in found], found, until)
    signs = [row[1] for row in later]
    rows = [
        _row("forest", thieves, [row[2] for row in later], [bool(row[3]) for row in later]),
        _row("forest, with bursts", thieves, *bursts),
        *(_row(f"rules: {n} of 5 signs", thieves, signs, [each >= n for each in signs]) for n in (2, 3)),
        _row("mart_suspicious_purchases", thieves, None, [row[0] in suspicious for row in later]),
    ]
    return model, rows


def _with_bursts(
    model: Model, purchases: list[fraud.Purchase], found: list[tuple[object, ...]], until: date
) -> tuple[list[float], list[bool]]:
    """Scores of a forest that also sees how many purchases of the customer came just before."""
    bursts = [(float(str(row[4])), float(str(row[5]))) for row in found]
    seen = [each for each in purchases if each.event_time.date() < until]
    history, parameters = History(seen), Parameters()
    rows: list[Sequence[float]] = []
    for purchase, burst in zip(purchases, bursts, strict=True):
        known = history.without_its_day(purchase) if purchase.event_time.date() < until else None
        rows.append([*fraud.features(purchase, model.profile, known), *burst])
    forest = grower()(rows[: len(seen)], parameters)
    scores = [float(forest.score(row)) for row in rows]
    threshold = sorted(scores[: len(seen)], reverse=True)[int(parameters.expected_rate * len(seen)) - 1]
    later = scores[len(seen) :]
    return later, [score >= threshold for score in later]


def _row(
    name: str, thieves: list[bool], scores: Sequence[float] | None, suspicious: Sequence[bool]
) -> tuple[object, ...]:
    hits = sum(t and s for t, s in zip(thieves, suspicious, strict=True))
    rated = (
        (f"{roc_auc_score(thieves, scores):.3f}", f"{average_precision_score(thieves, scores):.2f}")
        if scores is not None
        else ("", "")
    )
    return name, sum(suspicious), f"{hits / max(1, sum(suspicious)):.2f}", f"{hits / sum(thieves):.2f}", *rated


def _millis(value: bytes) -> int:
    return int(fraud.read_purchase(value.decode()).event_time.timestamp() * 1000)


def latency(folder: Path, values: Sequence[bytes], rate: int, seconds: float) -> list[float]:
    """Milliseconds from each purchase's Kafka timestamp until its score was read."""
    log = folder / "scores.log"
    (folder / "broker").mkdir()
    with apache_kafka(folder / "broker") as broker:
        settings = Settings(home=folder, kafka_bootstrap=broker.bootstrap)
        kafka.create_topics(settings, [contract_for("purchases"), contract_for("purchase-scores")])
        environment = {**os.environ, "LEVAIN_HOME": str(folder), "LEVAIN_KAFKA_BOOTSTRAP": broker.bootstrap}
        command = [sys.executable, "-m", "faust", "-A", "ingest.scores", "worker", "-l", "info"]
        with log.open("wb") as output:
            worker = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=output, stderr=subprocess.STDOUT)
        try:
            deadline = time.monotonic() + 60
            while b"Worker ready" not in log.read_bytes():
                assert worker.poll() is None and time.monotonic() < deadline, log.read_text()[-3000:]
                time.sleep(0.1)
            consumer = Consumer(
                {"bootstrap.servers": broker.bootstrap, "group.id": "reads", "auto.offset.reset": "earliest"}
            )
            consumer.subscribe(["purchase-scores"])
            while not consumer.assignment():
                consumer.poll(0.1)
            count = int(rate * seconds)
            sender = threading.Thread(target=_send, args=(broker.bootstrap, values, rate, count))
            sender.start()
            found: list[float] = []
            while len(found) < count:
                message = consumer.poll(1.0)
                assert worker.poll() is None, log.read_text()[-3000:]
                if message is not None and message.error() is None:
                    found.append(time.time() * 1000 - message.timestamp()[1])
            sender.join()
            consumer.close()
        finally:
            worker.terminate()
            worker.wait(30)
    return found[rate * WARM_SECONDS :]


def _send(bootstrap: str, values: Sequence[bytes], rate: int, count: int) -> None:
    producer = Producer({"bootstrap.servers": bootstrap, "linger.ms": 0})
    began = time.monotonic()
    for number in range(count):
        time.sleep(max(0.0, began + number / rate - time.monotonic()))
        producer.produce("purchases", values[number % len(values)], f"C{number % 997}")
        producer.poll(0)
    assert producer.flush(30) == 0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--purchases", type=int, default=30_000)
    parser.add_argument("--days", type=int, default=365)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--rate", type=int, default=200, help="purchases a second")
    parser.add_argument("--seconds", type=float, default=60)
    options = parser.parse_args()
    period = Period(LAST_DAY - timedelta(days=options.days - 1), options.days)
    messages = generate(["purchases"], options.purchases, options.seed, history=period)
    values = [message.value for message in messages if message.value]
    until = period.start + timedelta(days=options.days * 2 // 3)
    with tempfile.TemporaryDirectory() as name:
        lake = Lake(Path(name) / "home")
        model, rows = quality(lake, values, until)
        show_table(
            f"Purchases by thieves from {until} to {LAST_DAY}, with a model of what came before",
            ("found by", "suspicious", "precision", "recall", "area under ROC", "average precision"),
            rows,
        )
        found = sorted(latency(lake.settings.root, values, options.rate, options.seconds))
        p50, p99 = (found[int(len(found) * share)] for share in (0.5, 0.99))
        show_table(
            f"{len(found):,} purchases at {options.rate} a second, from message to score by {model.version}, in ms",
            ("p50", "p99", "most", "goal"),
            [(f"{p50:.0f}", f"{p99:.0f}", f"{found[-1]:.0f}", f"p99 below {GOAL_MS}")],
        )


if __name__ == "__main__":
    main()
