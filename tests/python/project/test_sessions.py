"""Sessions on the web site: what comes late, or is superseded, corrects exactly the sessions and days it touches."""

from __future__ import annotations

import json
import random
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from lake import Builds, Lake, own_environment

pytestmark = pytest.mark.slow

MIDNIGHT = datetime(2026, 1, 20, tzinfo=UTC)
HOURS = range(1, 48)
SESSIONS = ("--select", "+mart_user_sessions")
TABLES = ("gold.fct_web_sessions", "gold.mart_user_sessions")


def step(number: int, at: datetime, session: str, event_type: str = "page_view", **fields: Any) -> bytes:
    event = {
        "event_id": f"00000000-0000-4000-8000-{number:012d}",
        "event_time": at.isoformat(),
        "session_id": session,
        "visitor_id": f"V {session}",
        "event_type": event_type,
        "page": "/",
        "device": {"type": "mobile"},
    }
    return json.dumps(event | fields).encode()


def customer(number: int, customer_id: str, valid_from: datetime, is_member: bool) -> bytes:
    return json.dumps(
        {
            "event_id": f"00000000-0000-4000-9000-{number:012d}",
            "event_time": MIDNIGHT.isoformat(),
            "customer_id": customer_id,
            "name": "Zoe",
            "email": "zoe@mail.example",
            "country": "FR",
            "segment": "household",
            "is_member": is_member,
            "signed_up_at": valid_from.isoformat(),
            "valid_from": valid_from.isoformat(),
        }
    ).encode()


def sale(at: datetime, customer_id: str) -> bytes:
    return json.dumps(
        {
            "event_id": "00000000-0000-4000-a000-000000000001",
            "event_time": at.isoformat(),
            "receipt_id": "R1",
            "line_number": 1,
            "store_id": "S1",
            "product_id": "P1",
            "customer_id": customer_id,
            "quantity": 1,
            "unit_price": 1,
            "discount_amount": 0,
            "payment_method": "card",
        }
    ).encode()


def hours_before(hours: float) -> datetime:
    return MIDNIGHT - timedelta(hours=hours)


BEGINS = datetime(2026, 1, 10, tzinfo=UTC)
"""A midnight of days on which nothing else happens."""
DESKTOP: dict[str, Any] = {"device": {"type": "desktop"}}


def send(
    lake: Lake,
    *events: bytes,
    topic: str = "web-events",
    partition: int = 0,
    timestamp: int = 5_000,
    received_at: datetime = MIDNIGHT,
) -> None:
    lake.send(topic, events, partition=partition, timestamp=timestamp, received_at=received_at.isoformat())


def send_first(lake: Lake) -> None:
    """What the first build finds."""
    for hours in HOURS:
        calm = step(100 + hours, hours_before(hours), f"calm {hours:02d}", device={"type": "tablet"})
        send(lake, step(hours, hours_before(hours), f"late {hours:02d}"), calm)
    night = [step(200 + n, BEGINS + timedelta(minutes=5 + n), "night", **DESKTOP) for n in (0, 1)]
    send(lake, *night, received_at=BEGINS)
    send(lake, step(300, hours_before(3), "left", "product_view", product_id="P1", visitor_id="A"))
    send(lake, step(301, hours_before(2), "left", "add_to_cart", product_id="P1", quantity=2, visitor_id="A"))
    days_ago = [BEGINS - timedelta(days=days) for days in (7, 5)]
    send(lake, step(302, days_ago[0], "gone", **DESKTOP), received_at=days_ago[0])
    send(lake, step(303, days_ago[1], "long", visitor_id="L", **DESKTOP), received_at=days_ago[1])
    send(lake, step(400, hours_before(5), "known", visitor_id="K"))
    send(lake, step(401, hours_before(4), "known", visitor_id="K", customer_id="C2"))
    send(lake, step(500, hours_before(5), "signs up"), step(501, hours_before(3), "signs up", customer_id="C3"))
    joined = [customer(1, "C2", hours_before(40), True), customer(2, "C3", hours_before(4), True)]
    send(lake, *joined, topic="customer-changes")
    send(lake, sale(hours_before(10), "C3"), topic="sales-events")


def send_late(lake: Lake) -> None:
    """What the second one finds: late steps, and copies with an earlier Kafka timestamp, which win."""
    for hours in HOURS:
        at = hours_before(hours) + timedelta(seconds=90)
        send(lake, step(600 + hours, at, f"late {hours:02d}", "checkout", page="/commande"))
    send(lake, step(202, BEGINS - timedelta(minutes=5), "night", **DESKTOP), received_at=BEGINS + timedelta(days=1))
    send(lake, step(304, hours_before(1), "long", visitor_id="L", **DESKTOP))
    cart = [{"product_id": "P1", "quantity": 2, "unit_price": 3.5}]
    order = step(301, hours_before(2), "entered", "purchase", product_id="P1", visitor_id="B", cart=cart, **DESKTOP)
    send(lake, order, step(302, hours_before(2), "entered", **DESKTOP), partition=1, timestamp=1_000)
    send(lake, step(402, hours_before(4.5), "known", visitor_id="K", customer_id="C1"))
    send(lake, sale(hours_before(10), "C4"), topic="sales-events", partition=1, timestamp=1_000)


@pytest.fixture(scope="module")
def builds(tmp_path_factory: pytest.TempPathFactory) -> Builds:
    """The rows of a query after each of two builds, and, as the third, after a full refresh."""
    with own_environment():
        lake = Lake(tmp_path_factory.mktemp("sessions"))
        builds = Builds(lake)
        send_first(lake)
        builds.build(*SESSIONS)
        send_late(lake)
        builds.build(*SESSIONS)
        builds.build(*SESSIONS, "--full-refresh")
        return builds


def test_any_corrected_session_is_as_after_a_full_refresh(builds: Builds) -> None:
    for table in TABLES:
        rows = f"select columns(c -> c <> '_build') from {table} order by all"
        assert builds(2, rows) == builds(3, rows) != builds(1, rows), table


def test_a_step_that_is_hours_late_corrects_exactly_its_session_and_day(builds: Builds) -> None:
    changed = "select session_id from gold.fct_web_sessions where _build = {} and visitor_id like 'V %' order by all"
    ((before,),) = builds(1, "select max(build) from meta.builds")
    ((after,),) = builds(2, "select max(build) from meta.builds")
    late = [(f"late {hours:02d}",) for hours in HOURS]
    assert len(builds(1, changed.format(before))) == 2 * len(late) + 3
    assert [row for row in builds(2, changed.format(after)) if row[0][:4] in ("late", "calm")] == late
    measures = "select distinct steps, furthest_step, duration_seconds::varchar from gold.fct_web_sessions"
    of_late = f"{measures} where session_id like 'late%'"
    assert builds(1, of_late) == [(1, "page_view", "0.000")]
    assert builds(2, of_late) == [(2, "checkout", "90.000")]
    days = "select session_date::varchar, sessions, _build from gold.mart_user_sessions where device_type = 'tablet'"
    assert builds(1, f"{days} order by all") == [("2026-01-18", 23, before), ("2026-01-19", 24, before)]
    assert builds(2, f"{days} order by all") == builds(1, f"{days} order by all")
    anonymous = (
        "select session_date::varchar, sessions, checkout_sessions, abandoned_carts, total_seconds::varchar "
        "from gold.mart_user_sessions where device_type = 'mobile' and membership = 'anonymous' order by all"
    )
    assert builds(1, anonymous) == [("2026-01-18", 23, 0, 0, "0.000"), ("2026-01-19", 25, 0, 1, "3600.000")]
    assert builds(2, anonymous) == [("2026-01-18", 23, 23, 23, "2070.000"), ("2026-01-19", 25, 24, 24, "2160.000")]


DAYS_OF_DESKTOPS = (
    "select session_date::varchar, sessions, converted_sessions "
    "from gold.mart_user_sessions where device_type = 'desktop' order by all"
)


def test_a_late_first_step_before_midnight_moves_the_session_to_the_day_before(builds: Builds) -> None:
    measures = "session_date::varchar, steps, duration_seconds::int"
    session = f"select {measures} from gold.fct_web_sessions where session_id = 'night'"
    assert builds(1, session) == [("2026-01-10", 2, 60)]
    assert builds(2, session) == [("2026-01-09", 3, 660)]
    assert builds(1, DAYS_OF_DESKTOPS) == [("2026-01-03", 1, 0), ("2026-01-05", 1, 0), ("2026-01-10", 1, 0)]
    assert builds(2, DAYS_OF_DESKTOPS) == [("2026-01-05", 1, 0), ("2026-01-09", 1, 0), ("2026-01-19", 1, 1)]


def test_a_session_that_goes_on_after_days_has_its_first_steps_still(builds: Builds) -> None:
    session = "select session_date::varchar, ended_at, steps from gold.fct_web_sessions where session_id = 'long'"
    assert builds(1, session) == [("2026-01-05", BEGINS - timedelta(days=5), 1)]
    assert builds(2, session) == [("2026-01-05", hours_before(1), 2)]


def test_a_winning_copy_takes_a_step_to_another_session(builds: Builds) -> None:
    """The session that it leaves is put right, and is gone where no step is left of it."""
    sessions = (
        "select session_id, steps, furthest_step, is_cart_abandoned, purchased_units, purchased_amount::varchar "
        "from gold.fct_web_sessions where session_id in ('left', 'gone', 'entered') order by all"
    )
    assert builds(1, sessions) == [
        ("gone", 1, "page_view", False, None, None),
        ("left", 2, "add_to_cart", True, None, None),
    ]
    assert builds(2, sessions) == [
        ("entered", 2, "purchase", False, 2, "7.00"),
        ("left", 1, "product_view", False, None, None),
    ]


def test_the_customer_of_a_session_is_the_first_that_a_step_names(builds: Builds) -> None:
    session = "select customer_id, membership from gold.fct_web_sessions where session_id = 'known'"
    assert builds(1, session) == [("C2", "member")]
    assert builds(2, session) == [("C1", "unknown")]


def test_who_signs_up_in_a_session_has_its_first_version(builds: Builds) -> None:
    """At its start there is an inferred version first, for an older sale, and none once the sale is another's."""
    session = (
        "select sessions.membership, versions.is_inferred from gold.fct_web_sessions as sessions "
        "join gold.dim_customer as versions using (customer_key) where session_id = 'signs up'"
    )
    assert builds(1, session) == [("unknown", True)]
    assert builds(2, session) == [("member", False)]


@pytest.mark.full
@pytest.mark.timeout(900)
@pytest.mark.parametrize("seed", range(3))
def test_any_history_of_sessions_gives_the_tables_of_a_full_refresh(tmp_path: Path, seed: int) -> None:
    """Few sessions and customers, of which copies and late records change everything: ids, times, who it was."""
    rng, lake = random.Random(seed), Lake(tmp_path)
    for _ in range(4):
        for _ in range(60):
            at = MIDNIGHT - timedelta(days=rng.choice((0, 0, 1, 1, 2, 5, 30)), minutes=rng.randrange(1440))
            event_type = rng.choice(("page_view", "product_view", "add_to_cart", "remove_from_cart", "purchase"))
            fields: dict[str, Any] = {"product_id": "P1", "device": {"type": rng.choice(("mobile", "tablet"))}}
            if rng.random() < 0.4:
                fields["customer_id"] = f"C{rng.randrange(6)}"
            if event_type == "purchase":
                fields["cart"] = [{"product_id": "P1", "quantity": rng.randint(1, 3), "unit_price": 1.5}]
            event = step(rng.randrange(90), at, f"session {rng.randrange(20)}", event_type, **fields)
            place = {"partition": rng.randrange(3), "timestamp": rng.randrange(1, 10_000)}
            lake.send("web-events", [event], received_at=at.isoformat(), **place)
        for _ in range(4):
            since = MIDNIGHT - timedelta(days=rng.randrange(40))
            record = customer(rng.randrange(8), f"C{rng.randrange(6)}", since, rng.random() < 0.5)
            send(lake, record, topic="customer-changes", timestamp=rng.randrange(1, 10_000))
        shopper, stamp = f"C{rng.randrange(6)}", rng.randrange(1, 10_000)
        send(lake, sale(hours_before(rng.randrange(48)), shopper), topic="sales-events", timestamp=stamp)
        lake.build("--select", "+mart_user_sessions")
    incremental = lake.contents()
    lake.build("--select", "+mart_user_sessions", "--full-refresh")
    refreshed = lake.contents()
    for table in TABLES:
        assert len(refreshed[table]) > 10
        assert incremental[table] == refreshed[table], table
