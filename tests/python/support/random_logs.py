"""Kafka logs that are drawn at random."""

from __future__ import annotations

import random
from collections import defaultdict

from forecasts import TOPIC, forecasts
from lake import Record

from levain.samples.producer import generate

PARTITIONS = 3
Log = dict[tuple[str, int], list[Record]]


def a_log(seed: int, events: int = 450) -> Log:
    """One Kafka log: sample events with all faults, and forecasts, scattered over partitions.

    Copies of an event come to different partitions, as after a change of the number of partitions, so that the
    first copy by Kafka timestamp may well be built after the others.
    """
    rng = random.Random(seed)
    log: Log = defaultdict(list)
    for number, message in enumerate(generate(None, events, seed, "all")):
        place = (message.topic, rng.randrange(PARTITIONS))
        timestamp = 1_795_000_000_000 + number * 10 + rng.randrange(3)
        log[place].append(Record(len(log[place]), timestamp, message.key, message.value, list(message.headers)))
    sales = [record for place in range(PARTITIONS) for record in log["sales-events", place]]
    for number, (key, value, headers) in enumerate(forecasts(sales, events // 20)):
        place = (TOPIC, rng.randrange(PARTITIONS))
        timestamp = 1_795_000_000_000 + number * 10 + rng.randrange(3)
        log[place].append(Record(len(log[place]), timestamp, key, value, list(headers)))
    return dict(log)
