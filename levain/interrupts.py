"""Interrupts: Ctrl-C, and what a closed terminal, `timeout` or a service manager sends."""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import current_thread, main_thread
from types import FrameType

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGALRM)
"""What is an interrupt; SIGALRM is one that comes again."""

REPEATED_SECONDS = 0.05
"""After this an interrupt comes again that came where it could not end the command."""

_received: list[int] = []


def take() -> None:
    """Let SIGTERM and SIGHUP end this process as Ctrl-C does, by KeyboardInterrupt, so that it stops what it started.

    A signal that is ignored, as SIGHUP below `nohup`, stays so. An interrupt comes again a moment later if it arrives

    - in a finalizer or a callback of the garbage collector, where Python can only report an exception;
    - in an import, or at the beginning or the end of a `with`: an exception there would leave a lock taken, for which
      another thread that imports, or the command itself when it stops what it started, would wait forever.
    """
    for number, default in (
        (signal.SIGINT, signal.default_int_handler),
        (signal.SIGTERM, signal.SIG_DFL),
        (signal.SIGHUP, signal.SIG_DFL),
    ):
        if signal.getsignal(number) is default:
            signal.signal(number, _interrupt)
    signal.signal(signal.SIGALRM, _interrupt)
    report = sys.unraisablehook

    def repeat_or_report(unraisable: sys.UnraisableHookArgs) -> None:
        if issubclass(unraisable.exc_type, KeyboardInterrupt):
            _repeat()
        else:
            report(unraisable)

    sys.unraisablehook = repeat_or_report


def exit_code() -> int:
    """Of an interrupted command: 128 and the number of the signal that came first; 130 after Ctrl-C."""
    return 128 + (_received[0] if _received else signal.SIGINT)


def _interrupt(number: int, frame: FrameType | None) -> None:
    if number != signal.SIGALRM:
        _received.append(number)
    if _would_leave_a_lock(frame):
        _repeat()
    else:
        raise KeyboardInterrupt


def _would_leave_a_lock(frame: FrameType | None) -> bool:
    """Whether an exception in this frame could skip the release of a lock."""
    if frame is not None and frame.f_code.co_name in ("__enter__", "__exit__"):
        return True
    while frame is not None:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            return True
        frame = frame.f_back
    return False


def _repeat() -> None:
    signal.setitimer(signal.ITIMER_REAL, REPEATED_SECONDS)


@contextmanager
def restored() -> Iterator[None]:
    """Raise KeyboardInterrupt where DuckDB, interrupted in a statement, has made an error of its own of it."""
    try:
        yield
    except RuntimeError as error:
        if isinstance(error.__cause__, KeyboardInterrupt):
            raise KeyboardInterrupt from error
        raise


@contextmanager
def noted() -> Iterator[list[float]]:
    """When interrupts arrived in the block (`time.monotonic`), even those that a library swallows."""
    seen: list[float] = []
    with _handled(lambda: seen.append(time.monotonic()), goes_on=True):
        yield seen


@contextmanager
def held(answer: Callable[[], None]) -> Iterator[None]:
    """Let no interrupt end the block, which leaves nothing running; each is answered."""
    with _handled(answer, goes_on=False):
        yield


@contextmanager
def _handled(do: Callable[[], None], goes_on: bool) -> Iterator[None]:
    """Do something at each interrupt in the block, before or instead of what is done at it outside.

    Only the main thread is interrupted: in another one nothing is changed.
    """
    if current_thread() is not main_thread():
        yield
        return
    before = {number: found for number in _SIGNALS if callable(found := signal.getsignal(number))}

    def handle(number: int, frame: FrameType | None) -> None:
        do()
        if goes_on:
            before[signal.Signals(number)](number, frame)

    for number in before:
        signal.signal(number, handle)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
