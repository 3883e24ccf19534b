"""A score is a function of the message and the model's file, and of nothing else."""

from __future__ import annotations

import json
import random
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from scored import UNTIL, purchases, trained, values, write_model

from ingest import fraud
from ingest.contracts import contract_for
from ingest.errors import BadInput, LevainError, StateError
from ingest.fraud import Forest, Model, NoPurchase


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    return write_model(tmp_path_factory.mktemp("models"))


def test_no_order_and_no_repetition_changes_a_score(model: Model, tmp_path: Path) -> None:
    """Neither does another process: it reads the file again."""
    expected = {value: model.event(fraud.read_purchase(value)) for value in values()}
    again = write_model(tmp_path)
    mixed = [*values(), *values()[:200]]
    random.Random(1).shuffle(mixed)
    assert [again.event(fraud.read_purchase(value)) for value in mixed] == [expected[value] for value in mixed]


def test_scores_differ_and_some_are_suspicious(model: Model) -> None:
    """Else the tests of this module would compare nothing with nothing."""
    scores = {model.score(each) for each in purchases()}
    assert len(scores) > 100
    assert 0 < sum(model.score(each) >= model.threshold for each in purchases()) < 100


def test_the_forest_scores_as_scikit_learn_does() -> None:
    ensemble = pytest.importorskip("sklearn.ensemble")
    from levain.learn import purchases as learn

    rng = random.Random(2)
    rows = [fraud.array("f", (rng.gauss(0, 1) for _ in fraud.FEATURES)) for _ in range(300)]
    parameters = learn.Parameters(trees=10, samples=128, seed=3)
    forest: Forest = learn.grower()(rows, parameters)
    theirs = ensemble.IsolationForest(n_estimators=10, max_samples=128, random_state=3)
    table = [list(row) for row in rows]
    expected = -theirs.fit(table).score_samples(table)
    assert [float(forest.score(row)) for row in rows] == pytest.approx(list(expected), abs=2e-6)


def test_an_event_has_the_fields_of_its_contract(model: Model) -> None:
    contract = contract_for("purchase-scores")
    purchase = purchases()[0]
    event = json.loads(model.event(purchase)[0])
    assert list(event) == [field.name for field in contract.members]
    assert (event["purchase_event_id"], event["customer_id"]) == (purchase.event_id, purchase.customer_id)
    assert re.fullmatch(str(contract.by_name["model_version"].pattern), event["model_version"])
    assert event["trained_until"] == UNTIL.isoformat()
    assert 0 < event["score"] <= 1


def test_the_id_of_a_score_is_of_the_purchase_and_the_version(model: Model) -> None:
    def identity(of: Model, purchase: fraud.Purchase) -> str:
        return str(json.loads(of.event(purchase)[0])["event_id"])

    one, other = purchases()[:2]
    assert identity(model, one) == identity(model, replace(one, total_amount=1.0)) != identity(model, other)
    assert identity(model, one) != identity(replace(model, version="2026-06-02-000000000000"), one)


def test_what_is_usual_for_a_customer_is_less_surprising(model: Model) -> None:
    known = next(each for each in purchases() if model.profile.customers.get(each.customer_id, fraud.NOBODY).days > 3)
    usual = max(model.profile.customers[known.customer_id].seen["device"].items(), key=lambda each: each[1])[0]

    def surprise(device: str) -> float:
        return fraud.features(replace(known, device=device), model.profile)[fraud.FEATURES.index("device")]

    assert surprise("a new one") > surprise(usual)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"event_id": "7"}, "event_id"),
        ({"event_id": None}, "event_id"),
        ({"event_time": "2026-02-30T10:00:00Z"}, "event_time"),
        ({"event_time": "0001-01-01T00:00:00+14:00"}, "event_time"),
        ({"event_time": "12:00:00"}, "event_time"),
        ({"customer_id": 7}, "customer_id"),
        ({"customer_id": ""}, "customer_id"),
        ({"purchase_id": "\ud800"}, "purchase_id"),
        ({"device": None}, "device"),
        ({"ship_country": ["FR"]}, "ship_country"),
        ({"quantity": 0}, "quantity"),
        ({"quantity": 1.5}, "quantity"),
        ({"quantity": True}, "quantity"),
        ({"quantity": 10**400}, "quantity"),
        ({"unit_price": -0.01}, "unit_price"),
        ({"total_amount": "12.00"}, "total_amount"),
        ({"total_amount": 1e300}, "total_amount"),
    ],
)
def test_what_cannot_be_scored_says_which_field_is_to_blame(change: dict[str, Any], reason: str) -> None:
    with pytest.raises(NoPurchase, match=f"^{reason}$"):
        fraud.read_purchase(json.dumps(json.loads(values()[0]) | change))


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (None, "empty"),
        (b"\xff", "not_utf8"),
        ("", "not_json"),
        ("[]", "not_json"),
        ("{", "not_json"),
        ('{"quantity": NaN}', "not_json"),
        ("[" * 100_000, "not_json"),
    ],
)
def test_what_is_no_object_cannot_be_scored(value: str | bytes | None, reason: str) -> None:
    with pytest.raises(NoPurchase, match=f"^{reason}$"):
        fraud.read_purchase(value)


def test_the_newest_model_is_read_unless_one_is_named(tmp_path: Path) -> None:
    model = write_model(tmp_path)
    later, text = fraud.model_text(
        trained_until=UNTIL.replace(day=2),
        threshold=model.threshold,
        profile=model.profile,
        forest=model.forest,
        source={},
        parameters={},
    )
    fraud.path_of(tmp_path, later).write_text(text)
    (tmp_path / "purchases-notes.json").write_text("{}")
    assert fraud.versions(tmp_path) == [model.version, later]
    assert fraud.load(tmp_path).version == later
    assert fraud.load(tmp_path, model.version).version == model.version


def _refused(folder: Path, version: str = "") -> LevainError:
    with pytest.raises(LevainError) as refused:
        fraud.load(folder, version)
    return refused.value


def test_a_model_that_is_not_there_is_an_error_that_names_those_that_are(tmp_path: Path) -> None:
    error = _refused(tmp_path)
    assert isinstance(error, BadInput) and "levain train-scores" in error.hint
    version = write_model(tmp_path).version
    error = _refused(tmp_path, "2026-01-01-000000000000")
    assert isinstance(error, BadInput) and "2026-01-01-000000000000" in error.message and version in error.hint


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda text: text[:-100], "cannot be read"),
        (lambda text: "", "cannot be read"),
        (lambda text: text.replace('"threshold":"0.', '"threshold":"0.0', 1), "another digest"),
        (lambda text: text.replace('"format":1', '"format":2'), "format 2"),
        (lambda text: "[]", "cannot be read"),
        (lambda text: '{"format":1}', "cannot be read"),
    ],
)
def test_a_model_that_was_changed_is_not_read(tmp_path: Path, damage: Any, said: str) -> None:
    version, text = trained()
    assert damage(text) != text
    path = fraud.path_of(tmp_path, version)
    path.write_text(damage(text))
    error = _refused(tmp_path)
    assert isinstance(error, StateError) and said in error.message and str(path) in error.message and error.hint
