"""The worker: `faust -A ingest.app worker -l info` lands every contract's topic in its Bronze table.

To import this module does nothing but declare the app. Settings and contracts are read when Faust asks for its
configuration, as the `faust` command does; catalog, Kafka and the metrics' port are opened when the worker starts
(`worker.App.on_first_start`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pyarrow as pa
from faust.types import StreamT

from ingest.contracts import AVRO, load_contracts
from ingest.errors import LevainError, Unavailable
from ingest.settings import load_settings
from ingest.transport import SCHEME
from ingest.worker import SEEK_SECONDS, App, TopicBuffer

app = App(
    "levain-ingest",  # until the settings have been read: `LEVAIN_KAFKA_GROUP`
    broker=f"{SCHEME}://",
    broker_request_timeout=SEEK_SECONDS,
    store="memory://",
    stream_buffer_maxsize=16,
    stream_wait_empty=False,  # what is buffered is landed by `watermarks` and `on_stop`
    topic_allow_declare=False,
    topic_disable_leader=True,
)


@app.on_before_configured.connect
def read_settings(app: App, /, *_: Any, **__: Any) -> None:
    """Give the app its settings and contracts."""
    try:
        app.prepare(load_settings(), load_contracts())
    except LevainError as error:  # to the person who typed `faust -A ingest.app` this module is the program
        raise SystemExit(str(error)) from None


@app.on_after_configured.connect
def declare_agents(app: App, /, *_: Any, **__: Any) -> None:
    """Name the consumer group, which is Faust's id, and declare an agent per topic."""
    app.conf.id = app.settings.kafka_group
    for buffer in app.buffers.values():
        land_topic(buffer)


def land_topic(buffer: TopicBuffer) -> None:
    """Declare the agent of a topic."""
    topic = app.topic(buffer.contract.topic, key_serializer="raw", value_serializer="raw")

    @app.agent(topic, name=buffer.contract.topic)
    async def agent(fetches: StreamT[Any]) -> None:
        async for event in fetches.noack().events():  # type: ignore[attr-defined]  # Faust's interface forgets it
            if buffer.take(event):
                await app.land(buffer)


@app.task
async def commit_in_time() -> None:
    """Land what is buffered every few seconds, however little it is."""
    decoded = {topic for topic, buffer in app.buffers.items() if buffer.contract.encoding == AVRO}
    at_once = [buffer for topic, buffer in app.buffers.items() if topic not in decoded]
    # Each topic that may wait for the schema registry waits by itself.
    await asyncio.gather(_land_in_time(at_once), *(_land_in_time([app.buffers[topic]]) for topic in decoded))


async def _land_in_time(buffers: Sequence[TopicBuffer]) -> None:
    while not app.should_stop:
        await app.sleep(app.settings.commit_every_seconds)
        if not app.cluster.alive:
            app.end(Unavailable(f"The embedded broker {app.cluster.alias} has ended.", "Restart it: `levain up`."))
        await app.land(*buffers)
        # What a burst or a compaction has freed would stay with the allocator.
        await asyncio.to_thread(pa.default_memory_pool().release_unused)


@app.task
async def maintain_in_time() -> None:
    """Maintain each table after so many commits to it: what a commit costs grows with the files and snapshots."""
    while app.settings.maintain_every_commits and not app.should_stop:
        await app.sleep(app.settings.commit_every_seconds)
        for buffer in app.buffers.values():
            if buffer.commits >= app.settings.maintain_every_commits:
                await buffer.maintain()
