"""Publishing to Kafka: a producer that loses and reorders nothing in silence."""

from __future__ import annotations

import time
from collections.abc import Sequence
from types import TracebackType
from typing import Self

from confluent_kafka import KafkaError, KafkaException, Producer
from confluent_kafka import Message as KafkaMessage

from ingest.errors import BadInput, Unavailable
from ingest.kafka import client_config
from ingest.kafka import topics as known_topics
from ingest.settings import Settings

RECEIVED_AT = "received-at"
"""Header with the time an event was received, where that is not the time it was published: replayed history."""

Headers = Sequence[tuple[str, bytes]]


class Publisher:
    """A producer for one run: `with Publisher(settings, topics) as publisher: publisher.publish(...)`.

    Messages with one key keep their order (one partition, acks from all replicas, no reordering by retries), and
    their timestamps never go back, even if the machine's clock does: which of two copies was first stays decidable.
    Leaving the block waits until the broker has acknowledged every message.

    Raises:
        Unavailable: the broker cannot be reached, a topic does not exist, or a message was not acknowledged.
        BadInput: a message is too large for the broker.
    """

    def __init__(self, settings: Settings, topics: Sequence[str]) -> None:
        missing = sorted(set(topics) - set(known_topics(settings)))
        if missing:
            raise Unavailable(
                f"The broker has no topic {', '.join(missing)}.", "Create the topics and tables with `levain init`."
            )
        self._failure: tuple[str, KafkaError] | None = None
        self._timestamp = 0
        self._producer = Producer(
            {
                **client_config(settings),
                # Acknowledged by all replicas, retried without doubling or reordering; the embedded broker can, too.
                "enable.idempotence": True,
                "linger.ms": 20,
                # No Python runs for a message that is well: a Ctrl-C there would be lost in the C library.
                "delivery.report.only.error": True,
                "on_delivery": self._on_failure,
                "message.timeout.ms": 30_000,
                "queue.buffering.max.kbytes": 64 * 1024,
            }
        )

    def publish(self, topic: str, key: bytes | None, value: bytes | None, headers: Headers) -> None:
        """Hand over one message; waits when the local queue is full."""
        self._timestamp = max(self._timestamp, time.time_ns() // 1_000_000)
        while True:
            try:
                self._producer.produce(topic, value, key, headers=list(headers), timestamp=self._timestamp)
                break
            except BufferError:
                self._producer.poll(0.1)
            except KafkaException as error:
                raise self._lost(topic, error.args[0]) from error
        self._producer.poll(0)
        self._check()

    def flush(self) -> None:
        """Wait until the broker has acknowledged every message that was handed over."""
        while self._producer.flush(1) and self._failure is None:
            pass
        self._check()

    def _on_failure(self, error: KafkaError, message: KafkaMessage) -> None:
        if self._failure is None:
            self._failure = (message.topic() or "?", error)

    def _check(self) -> None:
        if self._failure is not None:
            raise self._lost(*self._failure)

    def _lost(self, topic: str, error: KafkaError) -> BadInput | Unavailable:
        message = f"A message to {topic} was not acknowledged: {error.str()}."
        again = "send again: what is there already is counted as duplicate."
        if error.code() == KafkaError.MSG_SIZE_TOO_LARGE:
            return BadInput(message, f"Make the message smaller than 1,000,000 bytes, and {again}")
        return Unavailable(message, f"See whether the broker is well (`levain doctor`), and {again}")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None:
            # What was handed over before the failure still goes out, so that what arrives has no gaps.
            self._producer.flush(5)
            return
        self.flush()
