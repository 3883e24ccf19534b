"""How long a message takes from its producer until Bronze shows it, under a steady load.

`python bench/freshness.py [--rate 2000] [--minutes 5]`: one Apache Kafka broker, the worker with its default settings.
A message is readable once its commit is the table's newest snapshot; the table is looked at every 50 ms, so each figure
is at most that much too high. Printed by minute, with the worker's resident memory.
"""

from __future__ import annotations

import argparse
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
from confluent_kafka import Producer
from pyiceberg.table import Table

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests" / "python"))

from kafka_broker import Broker, apache_kafka  # noqa: E402

from ingest import kafka  # noqa: E402
from ingest.catalog import ensure_table, open_catalog  # noqa: E402
from ingest.contracts import contract_for, load_contracts  # noqa: E402
from ingest.settings import Settings  # noqa: E402
from levain.terminal import show_table  # noqa: E402

TOPIC = "sales-events"


def send(broker: Broker, rate: int, until: float, sent: list[int]) -> None:
    """So many messages a second, evenly, each with the producer's time as its Kafka timestamp."""
    producer = Producer({"bootstrap.servers": broker.bootstrap, "linger.ms": 5})
    began = time.monotonic()
    while time.monotonic() < until:
        due = int((time.monotonic() - began) * rate)
        while sent[0] < due:
            producer.produce(TOPIC, f'{{"n": {sent[0]}, "text": "{"x" * 180}"}}', f"S{sent[0] % 97:03d}")
            sent[0] += 1
        producer.poll(0)
        time.sleep(0.005)
    assert producer.flush(30) == 0


def new_ages(table: Table, known: set[int], seen_at: float) -> np.ndarray:
    """Ages in seconds, at the moment they were first seen, of the rows that new snapshots have added."""
    ages = []
    for snapshot in table.metadata.snapshots:
        if snapshot.snapshot_id in known:
            continue
        known.add(snapshot.snapshot_id)
        batch = snapshot.summary["levain.batch-id"] if snapshot.summary else None
        rows = table.scan(f"ingest_batch_id = '{batch}'", selected_fields=("kafka_timestamp",)).to_arrow()
        times = rows["kafka_timestamp"].cast("int64").to_numpy() / 1e6
        ages.append(seen_at - times)
    return np.concatenate(ages) if ages else np.empty(0)


def resident(pid: int) -> float:
    found = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    assert found
    return int(found[1]) / 1e3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rate", type=int, default=2000, help="messages per second")
    parser.add_argument("--minutes", type=float, default=5)
    options = parser.parse_args()
    by_minute: list[tuple[float, np.ndarray]] = []
    memory: dict[int, float] = {}
    with tempfile.TemporaryDirectory() as name, apache_kafka(Path(name)) as broker:
        home = Path(name) / "home"
        kafka.create_topics(Settings(home=home, kafka_bootstrap=broker.bootstrap), load_contracts().values())
        log = Path(name) / "worker.log"
        with log.open("wb") as output:
            worker = subprocess.Popen(
                [sys.executable, "-m", "faust", "-A", "ingest.app", "worker", "-l", "info"],
                cwd=ROOT,
                env={**os.environ, "LEVAIN_HOME": str(home), "LEVAIN_KAFKA_BOOTSTRAP": broker.bootstrap},
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        try:
            while b"Worker ready" not in log.read_bytes():
                assert worker.poll() is None, log.read_text()
                time.sleep(0.1)
            table = ensure_table(open_catalog(Settings(home=home)), contract_for(TOPIC))
            sent, known, read = [0], set[int](), 0
            began = time.monotonic()
            sender = threading.Thread(target=send, args=(broker, options.rate, began + options.minutes * 60, sent))
            sender.start()
            while sender.is_alive() or read < sent[0]:
                assert worker.poll() is None, log.read_text()[-3000:]
                time.sleep(0.05)
                newest, seen_at = table.metadata_location, time.time()
                if table.refresh().metadata_location != newest:
                    minute = (time.monotonic() - began) / 60
                    by_minute.append((minute, new_ages(table, known, seen_at)))
                    read += len(by_minute[-1][1])
                    memory[int(minute)] = resident(worker.pid)
            sender.join()
            worker.send_signal(signal.SIGTERM)
            worker.wait(20)
        finally:
            worker.kill()
    minutes = sorted({int(minute) for minute, _ in by_minute})
    parts = [(str(m + 1), np.concatenate([a for at, a in by_minute if int(at) == m]), memory[m]) for m in minutes]
    parts.append(("all", np.concatenate([ages for _, ages in by_minute]), max(memory.values())))
    show_table(
        f"{sent[0]:,} messages at {options.rate:,} a second, from produced to readable in Bronze, in seconds",
        ("minute", "messages", "p50", "p95", "p99", "most", "resident, MB"),
        [
            (
                which,
                f"{len(ages):,}",
                *(f"{np.percentile(ages, p):.2f}" for p in (50, 95, 99, 100)),
                f"{resident_mb:,.0f}",
            )
            for which, ages, resident_mb in parts
            if len(ages)
        ],
    )


if __name__ == "__main__":
    main()
