"""How unlike its customer, and others, a purchase is: an Isolation Forest, as a pure function of message and model.

A model is one JSON file, `<home>/models/purchases-<version>.json`, which `levain train-scores` writes: the trees, a
profile of what was usual up to the day it was trained until, and where both come from. It holds data, no code. Its
version is that day and a digest of the file, so a file that was changed is not read.

A score follows from the message and the file alone: no state, no clock, no other message. Features are rounded to
single precision, as scikit-learn's trees have them, and path lengths are added up as integers, in which no order
matters.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from array import array
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import NAMESPACE_URL, uuid5

from ingest.errors import BadInput, StateError, first_line
from ingest.jsontext import json_object, utc

FORMAT = 1
"""Of the file; another one is written when older programs could not read it any more."""

HABITS = ("device", "card_country", "ip_country", "ship_country")
"""Fields of a purchase of which a customer has few values."""

FEATURES = (
    "hour",
    *HABITS,
    "differing_countries",
    "amount",
    "amount_beside_usual",
    "quantity",
    "unit_price",
)
"""What the forest sees, in this order; `features` says what each is."""

UNIT = 1_000_000
"""Path lengths are counted in parts of a step."""

_NAMESPACE = uuid5(NAMESPACE_URL, "levain:purchase-scores")
"""Of the ids of scores."""

_VERSION = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}-[0-9a-f]{12}")
_UUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_TIME = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}[T ]([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]([.][0-9]{1,9})?"
    r"(Z|[-+](0[0-9]|1[0-3]):[0-5][0-9]|[-+]14:00)?"
)
"""As the verdicts read a timestamp: macros/portable/timestamps.sql."""

Node = tuple[int, float, int, int]
"""Of a tree: feature, threshold, next node up to the threshold, next one above it. Of a leaf: -1, 0, path length, 0."""


class NoPurchase(ValueError):
    """A message cannot be scored; its text is a word for the reason."""


@dataclass(frozen=True, slots=True)
class Purchase:
    """The fields of a purchase that are scored; `event_time` is UTC, amounts are euros."""

    event_id: str
    event_time: datetime
    purchase_id: str
    customer_id: str
    device: str
    card_country: str
    ip_country: str
    ship_country: str
    quantity: int
    unit_price: float
    total_amount: float


@dataclass(frozen=True, slots=True)
class Customer:
    """What was usual for a customer.

    Attributes:
        days: on how many days something was bought.
        purchases: how many.
        log_amount: sum of the logarithms of 1 + what each cost.
        seen: habit -> value -> on how many of the days.
    """

    days: int
    purchases: int
    log_amount: float
    seen: Mapping[str, Mapping[str, int]]


@dataclass(frozen=True, slots=True)
class Profile:
    """What was usual.

    Attributes:
        hours: of each hour of the day (UTC), how surprising a purchase is then, in bits.
        log_amount: mean logarithm of 1 + what a purchase costs.
        customers: by customer_id; of those who are not here nothing is known.
    """

    hours: Sequence[float]
    log_amount: float
    customers: Mapping[str, Customer]


NOBODY = Customer(0, 0, 0.0, {})
"""Of whom nothing is known."""


def read_purchase(value: str | bytes | None) -> Purchase:
    """The purchase of a message.

    Args:
        value: its payload; as bytes where it is not UTF-8; None: a tombstone.

    Raises:
        NoPurchase: it is no JSON object, or a field that is scored is missing or cannot be read.
    """
    if value is None:
        raise NoPurchase("empty")
    if isinstance(value, bytes):
        raise NoPurchase("not_utf8")
    try:
        event = json.loads(value, parse_constant=_refuse)
    except (ValueError, RecursionError):
        raise NoPurchase("not_json") from None
    if not isinstance(event, dict):
        raise NoPurchase("not_json")
    texts = {name: _text(event, name) for name in ("event_id", "event_time", "purchase_id", "customer_id", *HABITS)}
    if not _UUID.fullmatch(texts["event_id"]):
        raise NoPurchase("event_id")
    return Purchase(
        event_id=texts.pop("event_id").lower(),
        event_time=_time(texts.pop("event_time")),
        quantity=_units(event),
        unit_price=_number(event, "unit_price", 0),
        total_amount=_number(event, "total_amount", 0),
        **texts,
    )


def _refuse(constant: str) -> None:
    raise ValueError(constant)


def _text(event: Mapping[str, Any], name: str) -> str:
    value = event.get(name)
    if not isinstance(value, str) or not value:
        raise NoPurchase(name)
    try:
        value.encode()
    except UnicodeEncodeError:  # half of a surrogate pair, escaped: no text of another encoding could hold it
        raise NoPurchase(name) from None
    return value


def _number(event: Mapping[str, Any], name: str, least: int) -> float:
    value = event.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float) or not least <= value <= 1e9:
        raise NoPurchase(name)
    return float(value)


def _units(event: Mapping[str, Any]) -> int:
    if not isinstance(event.get("quantity"), int):
        raise NoPurchase("quantity")
    return int(_number(event, "quantity", 1))


def _time(text: str) -> datetime:
    if not _TIME.fullmatch(text):
        raise NoPurchase("event_time")
    try:
        return utc(datetime.fromisoformat(text))
    except (ValueError, OverflowError):
        raise NoPurchase("event_time") from None


def features(purchase: Purchase, profile: Profile, customer: Customer | None = None) -> array[float]:
    """What the forest sees of a purchase, in the order of `FEATURES`, in single precision.

    - `hour`: how surprising the hour of the day is, in bits;
    - each of `HABITS`: how surprising its value is for the customer, in bits: on how many of the customer's days it was
      seen. Of a customer of whom nothing is known, one bit;
    - `differing_countries`: of the three pairs of countries, how many differ;
    - `amount`: logarithm of 1 + what it costs; `amount_beside_usual`: the same less the customer's mean, to which the
      mean of all counts as two purchases;
    - `quantity`: logarithm of the units; `unit_price`: logarithm of 1 + the price of one.

    Args:
        purchase: to be scored.
        profile: what was usual.
        customer: the profile's customer without this purchase, in training; else who the profile knows.
    """
    known = customer or profile.customers.get(purchase.customer_id, NOBODY)
    habits = [
        -math.log2((known.seen.get(habit, {}).get(getattr(purchase, habit), 0) + 0.5) / (known.days + 1))
        for habit in HABITS
    ]
    card, ip, ship = purchase.card_country, purchase.ip_country, purchase.ship_country
    amount = math.log1p(purchase.total_amount)
    usual = (known.log_amount + 2 * profile.log_amount) / (known.purchases + 2)
    return array(
        "f",
        (
            profile.hours[purchase.event_time.hour],
            *habits,
            (card != ip) + (ip != ship) + (card != ship),
            amount,
            amount - usual,
            math.log(purchase.quantity),
            math.log1p(purchase.unit_price),
        ),
    )


def average_path(samples: int) -> float:
    """Average length of a path in a tree of so many samples: Liu, Ting and Zhou, Isolation Forest (2008), section 2."""
    if samples <= 1:
        return 0.0
    if samples == 2:
        return 1.0
    harmonic = math.log(samples - 1) + 0.5772156649015329
    return 2 * harmonic - 2 * (samples - 1) / samples


@dataclass(frozen=True, slots=True)
class Forest:
    """Trees that were grown on so many samples each."""

    trees: Sequence[Sequence[Node]]
    samples: int

    def score(self, values: Sequence[float]) -> Decimal:
        """How soon the trees set these values apart: above 0 and up to 1, with 6 decimals; 0.5 is average."""
        total = 0
        for tree in self.trees:
            feature, threshold, left, right = tree[0]
            while feature >= 0:
                feature, threshold, left, right = tree[left if values[feature] <= threshold else right]
            total += left
        average = total / (UNIT * len(self.trees) * average_path(self.samples))
        return Decimal(f"{2.0**-average:.6f}")


@dataclass(frozen=True, slots=True)
class Model:
    """A trained model, as its file has it.

    Attributes:
        trained_until: the first day whose purchases it has not seen (UTC).
        threshold: a purchase with at least this score is suspicious.
        source: what it was trained on: table, its uuid, snapshot, how many purchases.
        parameters: what it was trained with.
    """

    version: str
    trained_until: date
    threshold: Decimal
    profile: Profile
    forest: Forest
    source: Mapping[str, Any]
    parameters: Mapping[str, Any]

    def score(self, purchase: Purchase) -> Decimal:
        """See `Forest.score`."""
        return self.forest.score(features(purchase, self.profile))

    def event(self, purchase: Purchase) -> tuple[str, bool]:
        """The event of topic `purchase-scores`, as JSON, and whether the purchase is suspicious.

        The event's id is made from this model's version and the purchase's id.
        """
        score = self.score(purchase)
        is_suspicious = score >= self.threshold
        text = json_object(
            {
                "event_id": uuid5(_NAMESPACE, f"{self.version}/{purchase.event_id}"),
                "event_time": purchase.event_time,
                "purchase_event_id": purchase.event_id,
                "purchase_id": purchase.purchase_id,
                "customer_id": purchase.customer_id,
                "score": score,
                "is_suspicious": is_suspicious,
                "model_version": self.version,
                "trained_until": self.trained_until,
            }
        )
        return text, is_suspicious


def model_text(
    *,
    trained_until: date,
    threshold: Decimal,
    profile: Profile,
    forest: Forest,
    source: Mapping[str, Any],
    parameters: Mapping[str, Any],
) -> tuple[str, str]:
    """A model's version, and the text of its file: the same parts give the same bytes."""
    document = {
        "format": FORMAT,
        "trained_until": trained_until.isoformat(),
        "threshold": str(threshold),
        "source": dict(source),
        "parameters": dict(parameters),
        "features": FEATURES,
        "profile": {
            "hours": list(profile.hours),
            "log_amount": profile.log_amount,
            "customers": {
                customer_id: [each.days, each.purchases, each.log_amount, each.seen]
                for customer_id, each in profile.customers.items()
            },
        },
        "forest": {"samples": forest.samples, "trees": forest.trees},
    }
    text = json.dumps(document, sort_keys=True, separators=(",", ":"), allow_nan=False) + "\n"
    return _version(trained_until, text.encode()), text


def _version(trained_until: date, content: bytes) -> str:
    return f"{trained_until.isoformat()}-{hashlib.sha256(content).hexdigest()[:12]}"


def path_of(folder: Path, version: str) -> Path:
    """The file of a version in the folder of models."""
    return folder / f"purchases-{version}.json"


def versions(folder: Path) -> list[str]:
    """Versions of which there are files, the newest last: by the day trained until, then by digest."""
    found = (path.stem.removeprefix("purchases-") for path in folder.glob("purchases-*.json"))
    return sorted(version for version in found if _VERSION.fullmatch(version))


def load(folder: Path, version: str = "") -> Model:
    """Read a model.

    Args:
        folder: of the models, `<home>/models`.
        version: empty: the newest.

    Raises:
        BadInput: there is none, or not that one; those that there are are named.
        StateError: the file was changed or cut off, cannot be read, or is of a newer format.
    """
    known = versions(folder)
    if not version and not known:
        raise BadInput(f"There is no model of purchases in {folder}.", "Train one: `levain train-scores --until DATE`.")
    path = path_of(folder, version or known[-1])
    try:
        content = path.read_bytes()
    except FileNotFoundError as error:
        raise BadInput(
            f"There is no model of purchases {version!r} in {folder}.",
            f"LEVAIN_SCORES_MODEL may name: {', '.join(known)}." if known else "Train one: `levain train-scores`.",
        ) from error
    except OSError as error:
        raise StateError(f"The model {path} cannot be read: {error.strerror}.", "Check who owns it.") from error
    hint = "Remove it and train again; the same snapshot and day give the same file."
    try:
        document = json.loads(content)
        kind = document["format"]
        if kind != FORMAT:
            raise StateError(
                f"The model {path} has format {kind}; this version of Levain reads format {FORMAT}.",
                "Run the version of Levain that wrote it, or train again with this one.",
            )
        model = _model(path.stem.removeprefix("purchases-"), document)
    except (ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
        raise StateError(f"The model {path} cannot be read: {first_line(error)}.", hint) from error
    if _version(model.trained_until, content) != model.version:
        raise StateError(f"The model {path} is not what was trained: its content has another digest.", hint)
    return model


def _model(version: str, document: Mapping[str, Any]) -> Model:
    if tuple(document["features"]) != FEATURES:
        raise ValueError(f"its features are {', '.join(document['features'])}")
    profile, forest = document["profile"], document["forest"]
    return Model(
        version=version,
        trained_until=date.fromisoformat(document["trained_until"]),
        threshold=Decimal(document["threshold"]),
        profile=Profile(
            hours=profile["hours"],
            log_amount=profile["log_amount"],
            customers={customer_id: Customer(*parts) for customer_id, parts in profile["customers"].items()},
        ),
        forest=Forest(trees=_trees(forest["trees"]), samples=forest["samples"]),
        source=document["source"],
        parameters=document["parameters"],
    )


def _trees(trees: Iterable[Iterable[Sequence[Any]]]) -> list[list[Node]]:
    return [[(int(f), float(t), int(left), int(right)) for f, t, left, right in tree] for tree in trees]
