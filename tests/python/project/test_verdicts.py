"""Every message ends with the verdict and the rules its producer meant it to have."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

from lake import Lake, Record

from ingest.contracts import load_contracts
from levain.samples.events import WITHOUT_EVENTS
from levain.samples.producer import generate


def test_verdicts_and_rules_of_all_faults(tmp_path: Path) -> None:
    lake = Lake(tmp_path)
    log: dict[str, list[Record]] = defaultdict(list)
    meant: dict[tuple[str, int], tuple[str, str, str]] = {}
    for number, message in enumerate(generate(None, 3000, 7, "all")):
        offset = len(log[message.topic])
        log[message.topic].append(
            Record(offset, 1_795_000_000_000 + number, message.key, message.value, list(message.headers))
        )
        meant[message.topic, offset] = (message.fault, message.verdict, ",".join(message.rules))
    for topic, records in log.items():
        lake.land(topic, 0, records)
    lake.build("--select", "+int_messages")

    judged = {
        (topic, offset): (verdict, rules)
        for topic, offset, verdict, rules in lake.read(
            "select topic, kafka_offset, verdict, failed_rules from silver.int_messages"
        )
    }
    assert judged.keys() == meant.keys()
    wrong = {place: (meant[place], judged[place]) for place in meant if meant[place][1:] != judged[place]}
    assert not wrong

    faults = {fault for fault, _, _ in meant.values() if fault}
    assert len(faults) >= 15
    assert {topic for topic, _ in meant} == set(load_contracts()) - WITHOUT_EVENTS
