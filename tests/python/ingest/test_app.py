"""What a worker does with what it has buffered, where a running worker cannot be made to do it at will."""

from __future__ import annotations

import asyncio
import threading
import time
from types import SimpleNamespace
from typing import Any

import pytest
from batches import SALES, fetch, offsets
from pyiceberg.table import Table

from ingest import health, lander, worker
from ingest.catalog import ensure_table, open_catalog
from ingest.errors import BadInput, ConfigurationError, LevainError, StateError, Unavailable
from ingest.kafka import Cluster
from ingest.lander import Fetch, land
from ingest.settings import Settings


class Event:
    """A message as an agent gets it."""

    def __init__(self, value: Fetch) -> None:
        self.value: Any = value
        self.acknowledged = False

    def ack(self) -> None:
        self.acknowledged = True


@pytest.fixture
def app(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A worker's app as it is when it has found its table, without Kafka."""
    app: Any = worker.App("test", broker="bronze://")
    app.prepare(settings, {SALES.topic: SALES})
    monkeypatch.setattr(app, "cluster", Cluster("", "test"), raising=False)
    monkeypatch.setattr(app, "topic_ids", lambda *topics, seconds: dict.fromkeys(topics, "id"))
    buffer = app.buffers[SALES.topic]
    buffer.table, buffer.topic_id = ensure_table(open_catalog(settings), SALES), "id"
    return app


def test_a_second_rebalance_while_the_first_one_lands(
    app: Any, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The landing is not waited for any more, but goes on; where to read from is asked after it, not under it."""
    buffer = app.buffers[SALES.topic]
    table: Table = buffer.table
    begun, go_on = threading.Event(), threading.Event()
    write = lander._write

    def write_slowly(to: Table, *arguments: Any) -> Any:
        if to is table:
            begun.set()
            assert go_on.wait(30)
        return write(to, *arguments)

    monkeypatch.setattr(lander, "_write", write_slowly)

    async def rebalances() -> Event:
        event: Any = Event(fetch(0, 10))
        buffer.take(event)
        first = asyncio.create_task(app.watermarks())
        await asyncio.to_thread(begun.wait, 30)
        land(ensure_table(open_catalog(settings), SALES), [fetch(0, 4)])  # by the worker that has the partition now
        first.cancel()
        second = asyncio.create_task(asyncio.to_thread(buffer.watermarks))
        await asyncio.wait([second], timeout=1)
        go_on.set()
        assert await second == {("test", "sales-events", 0): 10}
        await app.land(buffer)
        return event

    event = asyncio.run(rebalances())
    assert offsets(table) == list(range(10))
    assert event.acknowledged


def test_a_commit_that_is_never_answered_is_not_healthy(app: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """No failure comes of it that could be shown, and other topics may land meanwhile."""
    app.health.patience_seconds = 0
    monkeypatch.setattr(health, "IDLE_SECONDS", 1)
    begun, go_on = threading.Event(), threading.Event()

    def hang(*_: Any, **__: Any) -> Any:
        begun.set()
        assert go_on.wait(30)
        raise LevainError("it was not answered", "")

    monkeypatch.setattr(lander, "land", hang)
    monkeypatch.setattr(app, "end", lambda reason: None)

    async def lands() -> list[str | None]:
        app.health.loop = asyncio.get_running_loop()
        app.health.reader = SimpleNamespace(thread_loop=app.health.loop, idle=0.0)
        app.buffers[SALES.topic].take(Event(fetch(0, 10)))
        landing = asyncio.create_task(app.land(*app.buffers.values()))
        await asyncio.to_thread(begun.wait, 30)
        said = [await asyncio.to_thread(app.health.stuck)]
        await asyncio.sleep(1.2)
        said.append(await asyncio.to_thread(app.health.stuck))
        go_on.set()
        await landing
        return [*said, await asyncio.to_thread(app.health.stuck)]

    assert asyncio.run(lands()) == [
        None,
        "A commit of sales-events has been under way for 1 s: something does not answer.",
        None,
    ]


def test_only_what_is_unavailable_is_retried(app: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A retry of anything else would find the same."""
    monkeypatch.setattr(worker, "time", SimpleNamespace(monotonic=time.monotonic, sleep=lambda seconds: None))
    buffer = app.buffers[SALES.topic]
    failures: list[LevainError] = [Unavailable("Kafka is away"), Unavailable("the catalog is away")]

    def ask() -> str:
        if failures:
            raise failures.pop()
        return "answer"

    assert buffer._patiently(ask) == "answer"
    for kind in (StateError, ConfigurationError, BadInput, LevainError):
        failures += [kind("second"), kind("first")]
        with pytest.raises(kind, match="first"):
            buffer._patiently(ask)
        assert len(failures) == 1
        failures.clear()


def test_a_commit_that_fails_by_itself_is_retried_and_one_that_never_will_land_is_not(
    app: Any, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lander, "FIRST_WAIT", 0.0)
    table = ensure_table(open_catalog(settings), SALES)
    failures: list[LevainError] = [Unavailable("the disk is full"), Unavailable("the disk is full")]
    write = lander._write

    def fail(*arguments: Any) -> Any:
        if failures:
            raise failures.pop()
        return write(*arguments)

    monkeypatch.setattr(lander, "_write", fail)
    assert land(table, [fetch(0, 10)]).rows == 10
    failures += [StateError("second"), StateError("first")]
    with pytest.raises(StateError, match="first"):
        land(table, [fetch(10, 20)])
    assert len(failures) == 1 and offsets(table) == list(range(10))
