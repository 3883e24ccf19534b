"""Messages at the edges of their contracts: each gets its verdict, and none of them stops a build."""

from __future__ import annotations

import edge_messages
import pytest
from lake import Lake

from levain.read.ledger import take


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Lake:
    """All cases, landed together and built with every data test."""
    lake = Lake(tmp_path_factory.mktemp("edges"))
    log: edge_messages.Log = {}
    edge_messages.append(log)
    for (topic, partition), records in log.items():
        lake.land(topic, partition, records)
    lake.build(tests=True)
    return lake


def test_each_message_gets_its_verdict(lake: Lake) -> None:
    verdicts = lake.read(
        "select kafka_cluster, topic, partition, kafka_offset, verdict, failed_rules from silver.int_messages"
    )
    assert edge_messages.wrong(edge_messages.append({}), verdicts) == {}
    assert take(lake.settings).faults == []


@pytest.mark.full
def test_later_audits_pass(lake: Lake) -> None:
    """Data tests on everything, not only on what the last build changed."""
    before = lake.contents()
    lake.build("--vars", "{audit: true}", tests=True)
    assert lake.contents() == before


@pytest.mark.slow
def test_what_an_operator_releases_stops_no_build(lake: Lake) -> None:
    """Held messages of every reason, all released: too late, in future, of an unknown client or product."""
    held = "select kafka_cluster, topic, partition, kafka_offset, 'ops', 'checked' from silver.int_messages"
    lake.write(f"insert into reference.released_messages {held} where verdict = 'held'")
    lake.build("--exclude", "released_messages", tests=True)
    assert lake.read("select count(*) from silver.int_messages where verdict = 'held'") == [(0,)]
    assert lake.read(
        "select client_id, produit_id from silver.ventes_clean where 99 = client_id or 999 = produit_id order by 1"
    ) == [(1, 999), (99, 101)]
