"""A model follows from the purchases of a snapshot, the day and the parameters, byte for byte."""

from __future__ import annotations

import json
import math
import random
import sys
from dataclasses import replace
from datetime import timedelta

import pytest
from batches import Message
from scored import QUICK, UNTIL, purchases, trained, values

from ingest import fraud
from ingest.catalog import ensure_table, open_catalog
from ingest.contracts import contract_for
from ingest.errors import BadInput, ConfigurationError
from ingest.lander import Fetch, land
from ingest.settings import Settings
from levain.learn.purchases import MOST_VALUES, History, Trained, model_of, train

PLACE = ("test", "purchases", 0)


def test_the_same_purchases_in_any_order_give_the_same_file() -> None:
    mixed = list(purchases())
    random.Random(1).shuffle(mixed)
    assert model_of(mixed, UNTIL, QUICK, {"table": "test"}) == trained()


def test_what_comes_later_is_not_seen() -> None:
    """Nor what is on the very day, to the microsecond."""
    seen = [each for each in purchases() if each.event_time.date() < UNTIL]
    assert 64 < len(seen) < len(purchases())
    assert model_of(seen, UNTIL, QUICK, {"table": "test"}) == trained()
    last = replace(seen[-1], event_id="0" * 36, event_time=seen[-1].event_time.replace(hour=23, minute=59, second=59))
    day = last.event_time.date() + timedelta(days=1)
    text = model_of([*seen, last], day, QUICK, {"table": "test"})[1]
    assert json.loads(text)["source"]["purchases"] == len(seen) + 1


def test_each_parameter_gives_another_version() -> None:
    versions = {trained()[0]}
    for other in (replace(QUICK, seed=2), replace(QUICK, trees=21), replace(QUICK, expected_rate=0.1)):
        versions.add(model_of(purchases(), UNTIL, other, {"table": "test"})[0])
    assert len(versions) == 4
    assert all(version.startswith(UNTIL.isoformat()) for version in versions)


def test_the_expected_part_of_the_purchases_reaches_the_threshold() -> None:
    few = json.loads(model_of(purchases(), UNTIL, QUICK, {})[1])
    many = json.loads(model_of(purchases(), UNTIL, replace(QUICK, expected_rate=0.3), {})[1])
    assert float(few["threshold"]) > float(many["threshold"])
    assert few["forest"] == many["forest"] and few["profile"] == many["profile"]


def test_a_purchase_is_compared_with_the_other_days_of_its_customer() -> None:
    """As one that comes later will be: its own device must not make itself known."""
    one = replace(purchases()[0], customer_id="C1", device="V1")
    days = [replace(one, event_id=f"{n:036d}", event_time=one.event_time + timedelta(days=n)) for n in range(3)]
    other = replace(days[2], event_id="b" * 36, device="V2")
    history = History([*days, other])
    assert history.profile.customers["C1"].seen["device"] == {"V1": 3, "V2": 1}
    assert (history.profile.customers["C1"].days, history.profile.customers["C1"].purchases) == (3, 4)
    without = history.without_its_day(other)
    assert (without.days, without.purchases, without.seen["device"]) == (2, 2, {"V2": 0})
    assert without.log_amount == pytest.approx(2 * math.log1p(one.total_amount))


def test_a_customer_with_ever_new_devices_does_not_make_the_model_grow() -> None:
    one = replace(purchases()[0], customer_id="C1")
    many = [replace(one, event_id=f"{n:036d}", device=f"V{n}") for n in range(10 * MOST_VALUES)]
    customers = json.loads(model_of(many, one.event_time.date() + timedelta(days=1), QUICK, {})[1])["profile"]
    assert len(customers["customers"]["C1"][3]["device"]) == MOST_VALUES


@pytest.mark.parametrize("rate", [0.0, 0.5, -1.0, math.nan])
def test_a_rate_that_cannot_be_expected_is_an_error(rate: float) -> None:
    with pytest.raises(BadInput, match="cannot be expected"):
        model_of(purchases(), UNTIL, replace(QUICK, expected_rate=rate), {})


def test_too_few_purchases_are_an_error() -> None:
    with pytest.raises(BadInput, match="There are 10 purchases before 2026-06-01, and a forest needs 64"):
        model_of(purchases()[:10], UNTIL, QUICK, {})


def test_without_scikit_learn_the_error_names_what_installs_it(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "sklearn.ensemble", None)
    with pytest.raises(ConfigurationError) as refused:
        train(settings, UNTIL)
    assert "make setup-learning" in refused.value.hint


def test_a_snapshot_gives_the_same_file_however_much_has_landed_since(settings: Settings) -> None:
    """Copies of an event, and what is no purchase, are left out; the file is where the worker looks for it."""
    with pytest.raises(BadInput, match=r"no table bronze\.purchases"):
        train(settings, UNTIL, parameters=QUICK)
    table = ensure_table(open_catalog(settings), contract_for("purchases"))
    with pytest.raises(BadInput, match="no snapshot yet"):
        train(settings, UNTIL, parameters=QUICK)
    payloads = [value.encode() for value in (*values()[:400], *values()[:5])] + [b"no purchase", b"\xff"]
    rows = [Message(offset, payload, b"C", 1_700_000_000_000 + offset) for offset, payload in enumerate(payloads)]

    def send(messages: list[Message]) -> None:
        land(table, [Fetch.of(PLACE, messages)])

    send(rows[:300])
    send(rows[300:])
    first = train(settings, UNTIL, parameters=QUICK)
    assert (first.unread, first.file) == (7, fraud.path_of(settings.models_dir, first.version))
    content = first.file.read_bytes()

    send([Message(len(rows), values()[450].encode()), Message(len(rows) + 1, values()[401].encode())])
    again = train(settings, UNTIL, first.snapshot_id, QUICK)
    assert (again, again.file.read_bytes()) == (first, content)
    newest: Trained = train(settings, UNTIL, parameters=QUICK)
    assert newest.version != first.version and newest.snapshot_id != first.snapshot_id
    assert fraud.load(settings.models_dir, first.version).source["snapshot_id"] == first.snapshot_id
    assert sorted(path.name for path in settings.models_dir.iterdir()) == sorted(
        each.file.name for each in (first, newest)
    )
    with pytest.raises(BadInput, match="no snapshot 7"):
        train(settings, UNTIL, 7, QUICK)
