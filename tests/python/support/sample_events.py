"""Sample events as tests look at them: messages of a run, their bodies, times."""

from __future__ import annotations

import json
from collections import defaultdict
from datetime import datetime
from decimal import Decimal
from typing import Any

from ingest.contracts import load_contracts
from ingest.jsontext import utc
from levain.samples import Message, generate
from levain.samples.company import PARIS
from levain.samples.producer import Period

CONTRACTS = load_contracts()


def sample(
    events: int = 3000,
    seed: int = 1,
    faults: str = "none",
    topics: list[str] | None = None,
    history: Period | None = None,
) -> list[Message]:
    return list(generate(topics, events, seed, faults, history))


def body(message: Message) -> dict[str, Any]:
    assert message.value is not None
    content = json.loads(message.value, parse_float=Decimal)
    assert isinstance(content, dict)
    return content


def rows(messages: list[Message], topic: str) -> list[dict[str, Any]]:
    return [body(message) for message in messages if message.topic == topic]


def moment(text: str) -> datetime:
    return utc(datetime.fromisoformat(text))


def local(text: str) -> datetime:
    return moment(text).astimezone(PARIS)


def stock(messages: list[Message]) -> dict[tuple[str, str], list[dict[str, Any]]]:
    """(store, product) -> its movements, in order, each with the `level` after it."""
    logs = defaultdict(list)
    for row in rows(messages, "inventory-updates"):
        logs[row["store_id"], row["product_id"]].append(row)
    for log in logs.values():
        log.sort(key=lambda row: moment(row["event_time"]))
        level = 0
        for row in log:
            expected, level = level, row["quantity"] + (0 if row["movement_type"] == "stocktake" else level)
            row["level"], row["lost"] = level, expected - level if row["movement_type"] == "stocktake" else 0
    return logs
