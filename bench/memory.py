"""Whether the worker's memory stays where it is, under a steady load and with a backlog.

`python bench/memory.py [--minutes 3] [--rate 2000] [--backlog 600000]`: one Apache Kafka broker and the worker with its
default settings. First the steady load, with the worker's resident memory at the end of each minute; then all of it,
and what is missing to the backlog, is landed again by a worker that finds it waiting.
"""

from __future__ import annotations

import argparse
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from harness import Broker, Worker, apache_kafka, create_topics, fill, peak_of, resident, send

from levain.terminal import show_table

TOPIC = "sales-events"


@dataclass(frozen=True)
class Minute:
    """The end of a minute: messages sent by then, and what the worker has resident, now and at most so far (MB)."""

    number: int
    sent: int
    resident: float
    most: float


def steady(broker: Broker, folder: Path, rate: int, minutes: int) -> list[Minute]:
    found, sent = [], [0]
    with Worker(folder, broker) as worker:
        began = time.monotonic()
        sender = threading.Thread(target=send, args=(broker, TOPIC, rate, began + minutes * 60, sent))
        sender.start()
        for minute in range(1, minutes + 1):
            while time.monotonic() < began + minute * 60:
                worker.check()
                time.sleep(0.1)
            found.append(Minute(minute, sent[0], resident(worker.pid), peak_of(worker.pid)))
        sender.join()
    return found


def backlog(broker: Broker, folder: Path, messages: int) -> float:
    """The most that a worker has resident (MB) until it has landed what it found waiting."""
    with Worker(folder, broker) as worker:
        worker.wait_until(lambda: worker.landed(TOPIC) >= messages)
        return peak_of(worker.pid)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=int, default=3, help="of the steady load; the goal is about 10")
    parser.add_argument("--rate", type=int, default=2000, help="messages per second")
    parser.add_argument("--backlog", type=int, default=600_000, help="messages, at least")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name, apache_kafka(Path(name)) as broker:
        folder = Path(name)
        create_topics(broker, folder)
        minutes = steady(broker, folder / "steady", options.rate, options.minutes)
        sent = minutes[-1].sent
        fill(broker, TOPIC, options.backlog - sent)
        waiting = max(sent, options.backlog)
        most = backlog(broker, folder / "backlog", waiting)
    first, last = minutes[0], minutes[-1]
    show_table(
        f"The worker under {options.rate:,} messages a second",
        ("after minute", "messages", "resident, MB", "most so far, MB"),
        [(minute.number, minute.sent, round(minute.resident), round(minute.most)) for minute in minutes],
    )
    show_table(
        "Memory",
        ("", "measured", "goal"),
        [
            (f"minute {last.number} by minute 1", f"{last.resident / first.resident:.2f}", "at most 1.2"),
            (f"most with {waiting:,} messages waiting, MB", f"{most:,.0f}", "below 500"),
        ],
    )


if __name__ == "__main__":
    main()
