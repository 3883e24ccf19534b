"""The worker that scores purchases as they come: `faust -A ingest.scores worker -l info`.

To import this module does nothing but declare the app. Settings and the model are read when Faust asks for its
configuration, as the `faust` command does; Kafka and the metrics' port are opened when the worker starts.
"""

from __future__ import annotations

from typing import Any

from faust.types import StreamT

from ingest.errors import LevainError
from ingest.scorer import PURCHASES, App
from ingest.settings import load_settings
from ingest.transport import SCHEME
from ingest.worker import SEEK_SECONDS

app = App(
    "levain-scores",  # until the settings have been read: `LEVAIN_SCORES_GROUP`
    broker=f"{SCHEME}://",
    broker_request_timeout=SEEK_SECONDS,
    store="memory://",
    stream_buffer_maxsize=16,
    stream_wait_empty=False,  # what is not acknowledged is read again
    topic_allow_declare=False,
    topic_disable_leader=True,
)


@app.on_before_configured.connect
def read_settings(app: App, /, *_: Any, **__: Any) -> None:
    """Give the app its settings and its model."""
    try:
        app.prepare(load_settings())
    except LevainError as error:  # to the person who typed `faust -A ingest.scores` this module is the program
        raise SystemExit(str(error)) from None


@app.on_after_configured.connect
def declare_agent(app: App, /, *_: Any, **__: Any) -> None:
    """Name the consumer group, which is Faust's id, and declare the agent."""
    app.conf.id = app.settings.scores_group
    topic = app.topic(PURCHASES, key_serializer="raw", value_serializer="raw")

    @app.agent(topic, name=PURCHASES)
    async def agent(fetches: StreamT[Any]) -> None:
        async for event in fetches.noack().events():  # type: ignore[attr-defined]  # Faust's interface forgets it
            await app.score(event)
