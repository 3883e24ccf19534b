"""A plain Faust worker that only counts, as Faust's documentation writes one: a part of landing.py."""

from __future__ import annotations

import os
import resource
import time
from typing import Any

import faust

app = faust.App(
    f"stock-{os.getpid()}",
    broker=f"kafka://{os.environ['BENCH_BOOTSTRAP']}",
    store="memory://",
    topic_disable_leader=True,
    web_enabled=False,
    consumer_auto_offset_reset="earliest",
    stream_wait_empty=False,
)
topic = app.topic(os.environ["BENCH_TOPIC"], key_serializer="raw", value_serializer="raw")
last = int(os.environ["BENCH_MESSAGES"])


@app.agent(topic)
async def count(events: Any) -> None:
    began, cpu, seen = 0.0, 0.0, 0
    async for batch in events.take(1000, within=1):
        if not seen:
            began, cpu = time.monotonic(), time.process_time()
        seen += len(batch)
        if seen >= last:
            memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6
            found = f"counted {seen} {time.monotonic() - began} {time.process_time() - cpu} {memory}\n"
            os.write(1, found.encode())  # Faust turns prints into log lines
            os._exit(0)
