"""Scores and features of purchases in the tables: replays and batching change nothing, and no row looks ahead."""

from __future__ import annotations

from collections import defaultdict
from datetime import timedelta
from pathlib import Path

import pytest
from lake import Lake, Record, own_environment
from scored import UNTIL, purchases, values, write_model

from ingest import fraud

TABLES = ("--select", "+mart_suspicious_purchases")
PAST = timedelta(hours=1), timedelta(days=1)


@pytest.mark.full
def test_scores_reach_the_purchases_that_their_model_had_not_seen(tmp_path: Path) -> None:
    model = write_model(tmp_path / "models")
    sent: dict[str, list[Record]] = defaultdict(list)
    for number, (value, purchase) in enumerate(zip(values(), purchases(), strict=True)):
        millis = int(purchase.event_time.timestamp() * 1000)
        sent["purchases"].append(Record(number, millis, b"C", value.encode()))
        sent["purchase-scores"].append(
            Record(number, millis, b"C", model.event(fraud.read_purchase(value))[0].encode())
        )
    again = [Record(len(values()) + n, r.timestamp, r.key, r.value) for n, r in enumerate(sent["purchase-scores"][:50])]
    with own_environment():
        lake = Lake(tmp_path / "home")
        lake.land("purchases", 0, sent["purchases"][:350])
        lake.land("purchase-scores", 0, sent["purchase-scores"][:100])
        lake.build(*TABLES)
        lake.land("purchases", 1, [Record(n, *_parts(r)) for n, r in enumerate(sent["purchases"][450:])])
        lake.build(*TABLES)
        lake.land("purchases", 0, sent["purchases"][350:450])  # late: between those that are there
        lake.land("purchase-scores", 0, sent["purchase-scores"][100:] + again)
        lake.build(*TABLES, tests=True)
        verdicts = "select verdict, count(*) from silver.int_purchase_scores__verdicts group by all order by all"
        assert lake.read(verdicts) == [("accepted", len(values())), ("duplicate", 50)]
        found = lake.read(
            "select event_id, earlier_purchases, purchases_last_hour, purchases_last_day, is_new_device, score, "
            "is_suspicious, feature_date from gold.feat_purchase_risk"
        )
        by_increments = lake.contents()
        lake.build("--full-refresh", *TABLES)
        assert lake.contents() == by_increments
    expected = {each.event_id: each for each in purchases()}
    assert {row[0] for row in found} == expected.keys()
    for event_id, earlier, last_hour, last_day, is_new_device, score, is_suspicious, day in found:
        it = expected[event_id]
        before = [p for p in purchases() if p.customer_id == it.customer_id and p.event_time < it.event_time]
        within = [sum(it.event_time - p.event_time <= past for p in before) for past in PAST]
        assert [earlier, last_hour, last_day] == [len(before), *within], event_id
        assert is_new_device == (bool(before) and it.device not in {p.device for p in before}), event_id
        unseen = day >= UNTIL
        assert score == (model.score(it) if unseen else None), event_id
        assert is_suspicious == (model.score(it) >= model.threshold if unseen else None), event_id
    assert 0 < sum(row[5] is not None for row in found) < len(found)
    assert any(row[4] for row in found) and any(row[2] for row in found)


def _parts(record: Record) -> tuple[int, bytes | None, bytes | None]:
    return record.timestamp, record.key, record.value
