"""How long a message takes from its producer until Bronze shows it, under a steady load.

`python bench/freshness.py [--rate 2000] [--minutes 2]`: one Apache Kafka broker, the worker with its default settings.
A message is readable once its commit is in the table's newest metadata. Those are looked at every 50 ms, and what is
new is counted in between, so each figure is a little too high. Printed by minute.
"""

from __future__ import annotations

import argparse
import tempfile
import threading
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
from harness import Broker, Worker, apache_kafka, create_topics, send
from pyiceberg.table import Table

from ingest.catalog import ensure_table
from ingest.contracts import contract_for
from ingest.lander import BATCH_ID
from levain.terminal import show_table

TOPIC = "sales-events"
SHARES = (0.5, 0.95, 0.99, 1.0)


def new_ages(table: Table, known: set[int], seen_at: float) -> pa.Array:
    """Ages in seconds, at the moment they were first seen, of the rows that new snapshots have added."""
    ages: list[pa.Array] = [pa.array([], pa.float64())]
    for snapshot in table.metadata.snapshots:
        if snapshot.snapshot_id in known:
            continue
        known.add(snapshot.snapshot_id)
        batch = snapshot.summary[BATCH_ID] if snapshot.summary else None
        if batch is None:  # compaction
            continue
        rows = table.scan(f"ingest_batch_id = '{batch}'", selected_fields=("kafka_timestamp",)).to_arrow()
        produced = pc.divide(rows["kafka_timestamp"].cast(pa.int64()).cast(pa.float64()), 1e6)
        ages.append(pc.subtract(seen_at, produced).combine_chunks())
    return pa.concat_arrays(ages)


def measure(broker: Broker, folder: Path, rate: int, minutes: float) -> dict[int, list[pa.Array]]:
    """Minute -> ages of the messages that were first seen in it."""
    found: dict[int, list[pa.Array]] = {}
    sent, known, read = [0], set[int](), 0
    with Worker(folder, broker) as worker:
        table = ensure_table(worker.catalog, contract_for(TOPIC))
        began = time.monotonic()
        sender = threading.Thread(target=send, args=(broker, TOPIC, rate, began + minutes * 60, sent))
        sender.start()
        while sender.is_alive() or read < sent[0]:
            worker.check()
            time.sleep(0.05)
            newest = table.metadata_location
            if table.refresh().metadata_location != newest:
                seen_at = time.time()
                minute = int((time.monotonic() - began) / 60)
                ages = new_ages(table, known, seen_at)
                found.setdefault(minute, []).append(ages)
                read += len(ages)
        sender.join()
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rate", type=int, default=2000, help="messages per second")
    parser.add_argument("--minutes", type=float, default=2)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name, apache_kafka(Path(name)) as broker:
        create_topics(broker, Path(name))
        found = measure(broker, Path(name) / "worker", options.rate, options.minutes)
    parts = [(str(minute + 1), pa.concat_arrays(ages)) for minute, ages in sorted(found.items())]
    every = pa.concat_arrays([ages for _, ages in parts])
    show_table(
        f"{len(every):,} messages at {options.rate:,} a second, from produced to readable in Bronze, in seconds",
        ("minute", "messages", "p50", "p95", "p99", "most"),
        [
            (which, len(ages), *(f"{quantile:.2f}" for quantile in pc.quantile(ages, q=SHARES).to_pylist()))
            for which, ages in [*parts, ("all", every)]
            if len(ages)
        ],
    )
    p99 = pc.quantile(every, q=0.99)[0].as_py()
    show_table("Freshness", ("", "measured", "goal"), [("p99, seconds", f"{p99:.2f}", "at most 5")])


if __name__ == "__main__":
    main()
