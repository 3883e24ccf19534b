"""Training the model that scores purchases: `levain train-scores`.

What is read is one snapshot of Bronze, so the same snapshot, day and parameters give the same file, byte for byte. No
label is used: the forest learns what purchases are like, and the threshold is where the expected part of them lies.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime, time
from decimal import Decimal
from itertools import chain
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyiceberg.exceptions import NoSuchTableError
from pyiceberg.table import Table

from ingest.catalog import load_bronze, open_catalog
from ingest.errors import BadInput, StateError
from ingest.fraud import (
    HABITS,
    UNIT,
    Customer,
    Forest,
    Node,
    NoPurchase,
    Profile,
    Purchase,
    average_path,
    features,
    model_text,
    path_of,
    read_purchase,
)
from ingest.settings import Settings
from levain import processes
from levain.learn import check_library

TABLE = "purchases"

MOST_VALUES = 32
"""Of a habit that are kept of a customer, the most frequent ones: a model stays small, whatever is sent."""


@dataclass(frozen=True)
class Parameters:
    """What a model is trained with.

    Attributes:
        expected_rate: part of the purchases that is to be called suspicious, above 0 and below 0.5.
        trees: of the forest.
        samples: purchases that each tree is grown on, drawn at random.
        seed: of what is drawn.
    """

    expected_rate: float = 0.015
    trees: int = 100
    samples: int = 256
    seed: int = 1


@dataclass(frozen=True)
class Trained:
    """A model that was written.

    Attributes:
        purchases: how many it was trained on.
        unread: messages of the snapshot that are no purchases, or copies of one.
    """

    version: str
    file: Path
    snapshot_id: int
    purchases: int
    unread: int
    threshold: Decimal


def train(
    settings: Settings, until: date, snapshot_id: int | None = None, parameters: Parameters | None = None
) -> Trained:
    """Train on the purchases of a snapshot of Bronze, and write `<home>/models/purchases-<version>.json`.

    Args:
        settings: of the home whose Bronze is read.
        until: the first day that the model does not see (UTC).
        snapshot_id: of `bronze.purchases`; None: the newest.
        parameters: None: the usual ones.

    Raises:
        BadInput: the snapshot is not there or has too few purchases, or a parameter is out of range.
        ConfigurationError: scikit-learn is not installed.
        Unavailable: the catalog or the storage does not answer.
    """
    chosen = parameters or Parameters()
    grow = grower()
    try:
        table = load_bronze(open_catalog(settings), TABLE)
    except NoSuchTableError as error:
        raise BadInput(
            f"There is no table bronze.{TABLE} in {settings.lake}.", "Create it with `levain init`, and send purchases."
        ) from error
    snapshot = table.snapshot_by_id(snapshot_id) if snapshot_id is not None else table.current_snapshot()
    if snapshot is None:
        wanted = f"no snapshot {snapshot_id}" if snapshot_id is not None else "no snapshot yet"
        raise BadInput(
            f"bronze.{TABLE} has {wanted}.",
            "Snapshots expire (LEVAIN_MAINTAIN_KEEP_HOURS): train on the newest, without --snapshot."
            if snapshot_id is not None
            else "Send purchases, and let the worker land them.",
        )
    purchases, unread = _purchases(table, snapshot.snapshot_id)
    source = {"table": f"bronze.{TABLE}", "table_uuid": str(table.metadata.table_uuid)}
    version, text, threshold, count = _model(
        purchases, until, chosen, source | {"snapshot_id": snapshot.snapshot_id}, grow
    )
    folder = settings.models_dir
    folder.mkdir(parents=True, exist_ok=True)
    file = path_of(folder, version)
    processes.write_durably(file, text)
    return Trained(version, file, snapshot.snapshot_id, count, unread, threshold)


def model_of(
    purchases: Iterable[Purchase], until: date, parameters: Parameters, source: Mapping[str, Any]
) -> tuple[str, str]:
    """Version and text of a model that is trained on these purchases; raises what `train` does."""
    return _model(list(purchases), until, parameters, source, grower())[:2]


def _purchases(table: Table, snapshot_id: int) -> tuple[list[Purchase], int]:
    """The purchases of a snapshot, the first copy of each, and how many other messages there are."""
    columns = ("kafka_cluster", "partition", "offset", "kafka_timestamp", "value")
    try:
        rows = table.scan(snapshot_id=snapshot_id, selected_fields=columns).to_arrow()
    except FileNotFoundError as error:
        raise StateError(
            f"A file of snapshot {snapshot_id} of bronze.{TABLE} is gone: {error}.",
            "Train on the newest snapshot, without --snapshot.",
        ) from error
    order = [("kafka_timestamp", "ascending"), *((name, "ascending") for name in columns[:3])]
    found: dict[str, Purchase] = {}
    for value in rows.sort_by(order)["value"].to_pylist():
        try:
            purchase = read_purchase(value)
        except NoPurchase:
            continue
        found.setdefault(purchase.event_id, purchase)
    return list(found.values()), len(rows) - len(found)


Grow = Callable[[list[Sequence[float]], Parameters], Forest]


def _model(
    purchases: list[Purchase], until: date, parameters: Parameters, source: Mapping[str, Any], grow: Grow
) -> tuple[str, str, Decimal, int]:
    if not 0 < parameters.expected_rate < 0.5:
        raise BadInput(
            f"A rate of {parameters.expected_rate} suspicious purchases cannot be expected.",
            "Say which part of the purchases is to be suspicious: above 0 and below 0.5, such as 0.015.",
        )
    end = datetime.combine(until, time(), UTC)
    # In an order that does not depend on how they landed.
    seen = sorted((each for each in purchases if each.event_time < end), key=lambda p: (p.event_time, p.event_id))
    if len(seen) < parameters.samples:
        raise BadInput(
            f"There are {len(seen)} purchases before {until}, and a forest needs {parameters.samples} at least.",
            "Train until a later day, or when more have landed.",
        )
    history = History(seen)
    rows: list[Sequence[float]] = [features(each, history.profile, history.without_its_day(each)) for each in seen]
    forest = grow(rows, parameters)
    scores = sorted((forest.score(row) for row in rows), reverse=True)
    threshold = scores[max(0, math.floor(parameters.expected_rate * len(scores)) - 1)]
    version, text = model_text(
        trained_until=until,
        threshold=threshold,
        profile=history.profile,
        forest=forest,
        source={**source, "purchases": len(seen)},
        parameters=asdict(parameters),
    )
    return version, text, threshold, len(seen)


class History:
    """What customers did, by the day.

    In training a purchase is looked at with the customer's other days only, as a purchase that comes later will be: in
    its own profile nothing would be new.
    """

    def __init__(self, purchases: Sequence[Purchase]) -> None:
        self._amounts: dict[str, dict[date, list[float]]] = defaultdict(lambda: defaultdict(list))
        self._seen: dict[str, dict[tuple[str, str], set[date]]] = defaultdict(lambda: defaultdict(set))
        hours: Counter[int] = Counter()
        for each in purchases:
            day = each.event_time.date()
            hours[each.event_time.hour] += 1
            self._amounts[each.customer_id][day].append(math.log1p(each.total_amount))
            for habit in HABITS:
                self._seen[each.customer_id][habit, getattr(each, habit)].add(day)
        amounts = chain.from_iterable(chain.from_iterable(days.values()) for days in self._amounts.values())
        self.profile = Profile(
            hours=[math.log2((len(purchases) + 24) / (hours[hour] + 1)) for hour in range(24)],
            log_amount=math.fsum(amounts) / len(purchases),
            customers={customer_id: self._customer(customer_id) for customer_id in self._amounts},
        )

    def without_its_day(self, purchase: Purchase) -> Customer:
        """A purchase's customer as known from all other days, of habits only what the purchase shows."""
        customer_id, day = purchase.customer_id, purchase.event_time.date()
        known, amounts, seen = self.profile.customers[customer_id], self._amounts[customer_id][day], {}
        for habit in HABITS:
            value = getattr(purchase, habit)
            seen[habit] = {value: len(self._seen[customer_id][habit, value]) - 1}
        return Customer(known.days - 1, known.purchases - len(amounts), known.log_amount - math.fsum(amounts), seen)

    def _customer(self, customer_id: str) -> Customer:
        days = self._amounts[customer_id]
        counts = [(habit, value, len(days)) for (habit, value), days in self._seen[customer_id].items()]
        seen: dict[str, dict[str, int]] = {}
        for habit, value, count in sorted(counts, key=lambda each: (-each[2], each[:2])):
            if len(values := seen.setdefault(habit, {})) < MOST_VALUES:
                values[value] = count
        amounts = list(chain.from_iterable(days.values()))
        return Customer(len(days), len(amounts), math.fsum(amounts), seen)


def grower() -> Grow:
    """What grows a forest, by scikit-learn.

    Raises:
        ConfigurationError: it is not installed.
    """
    check_library("which grows the forest")
    from sklearn.ensemble import IsolationForest

    def grow(rows: list[Sequence[float]], parameters: Parameters) -> Forest:
        table = pa.array(list(chain.from_iterable(rows)), pa.float32()).to_numpy().reshape(len(rows), -1)
        forest = IsolationForest(
            n_estimators=parameters.trees, max_samples=parameters.samples, random_state=parameters.seed
        ).fit(table)
        return Forest([list(_nodes(each.tree_)) for each in forest.estimators_], parameters.samples)

    return grow


def _nodes(tree: Any) -> Iterator[Node]:
    """A tree of scikit-learn as nodes, a parent before its children."""
    depths = {0: 0}
    columns = (tree.feature, tree.threshold, tree.children_left, tree.children_right, tree.n_node_samples)
    for number, (feature, threshold, left, right, samples) in enumerate(zip(*map(list, columns), strict=True)):
        if left < 0:
            yield -1, 0.0, round(UNIT * (depths[number] + average_path(int(samples)))), 0
        else:
            depths[int(left)] = depths[int(right)] = depths[number] + 1
            yield int(feature), float(threshold), int(left), int(right)
