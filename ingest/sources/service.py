"""A source as a process: until SIGTERM or SIGINT, or once; its log."""

from __future__ import annotations

import logging
import random
import signal
import sys
import threading
from typing import Protocol

from ingest.errors import LevainError
from ingest.settings import Settings

LONGEST_WAIT = 60.0
"""Seconds between two tries when nothing works for long."""


class Source(Protocol):
    """What `run` runs. Both return as soon as `stop` is set, without losing what they have begun."""

    def once(self, stop: threading.Event) -> None:
        """Do what is there to be done; raises LevainError if some of it could not be done."""

    def watch(self, stop: threading.Event) -> None:
        """Do it again and again. What fails is logged and tried again."""


class Backoff:
    """How long to wait before the next try: doubles from a second to `LONGEST_WAIT`, less up to half of it by chance.

    The chance keeps sources that failed together from trying together.
    """

    def __init__(self) -> None:
        self._failures = 0

    def failed(self) -> float:
        """Seconds until the next try."""
        self._failures += 1
        doubled = 2.0 ** min(self._failures - 1, 10)  # a float overflows after a thousand failures
        return min(doubled, LONGEST_WAIT) * random.uniform(0.5, 1)  # noqa: S311 - no secret

    def worked(self) -> None:
        """Begin again with the next failure."""
        self._failures = 0


def run(source: Source, settings: Settings, *, once: bool) -> None:
    """Run a source and log to stderr, as text or JSON.

    SIGTERM and SIGINT end it within the time that a try of Kafka or of an HTTP request may take; that is no failure.

    Raises:
        LevainError: with `once`, something could not be done.
    """
    _log_to_stderr(settings)
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    if once:
        source.once(stop)
        if stop.is_set():
            raise LevainError("Stopped before all was done.", "Run it again: it goes on with what is left.")
    else:
        source.watch(stop)
        logging.getLogger(__name__).info("Stopped")


def _log_to_stderr(settings: Settings) -> None:
    handler = logging.StreamHandler(sys.stderr)
    if settings.log_format == "json":
        from ingest.logs import JsonFormatter

        handler.setFormatter(JsonFormatter())
    else:
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    log = logging.getLogger("ingest.sources")
    log.handlers, log.propagate = [handler], False
    log.setLevel(logging.INFO)
