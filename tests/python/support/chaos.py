"""Chaos: workers are killed, paused, cut off and crowded while messages come; then Bronze is compared with Kafka.

`make chaos` runs 200 rounds; `python tests/python/support/chaos.py --rounds N --seed S` any other number. A seed gives
the same rounds; what happens within a round is up to the machine. Each does one thing to the workers of one consumer
group:

- a worker of `chaos_worker.py` is killed by SIGKILL at a chosen point of its commit, or the answer to it is lost;
- a worker is killed wherever it is;
- a worker is stopped for longer than its session lasts, loses its partitions to others, and goes on: a zombie;
- workers come and go, 1 to 4 of them: each time a rebalance in mid-batch;
- the broker is killed and comes back.

A worker that ends by itself is started again, as its supervisor would. At the end, and every 25 rounds, the table has
to hold every committed message once and byte for byte.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path

from chaos_worker import HIT, KILLS, REPLIES
from confluent_kafka import KafkaException, Producer
from confluent_kafka.admin import AdminClient, NewTopic
from exactness import committed, differences, holes, rows
from kafka_broker import ROOT, ApacheKafka
from pyiceberg.table import Table

from ingest import kafka
from ingest.catalog import ensure_table, open_catalog, watermarks
from ingest.contracts import contract_for, load_contracts
from ingest.settings import Settings

TOPIC = "sales-events"
PARTITIONS = 6
MOST_WORKERS = 4
CHECK_EVERY = 25
RATE = 300
"""Messages per second, a fifth of them in transactions, of which a third is aborted."""

SESSION_SECONDS = 6.0
"""After so long without a heartbeat the group gives a worker's partitions to others (ingest/transport.py)."""

_WORKER = Path(__file__).with_name("chaos_worker.py")


class Worker:
    """One worker process, plain or with a fault in it."""

    def __init__(self, home: Path, number: int, environment: dict[str, str], fault: tuple[str, int] | None) -> None:
        self.fault = fault
        self.log = home.parent / f"worker-{number}.log"
        program = [str(_WORKER), fault[0], str(fault[1])] if fault else ["-m", "faust"]
        command = [sys.executable, *program, "-A", "ingest.app", "worker", "-l", "info"]
        with self.log.open("wb") as output:
            self.process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=output, stderr=subprocess.STDOUT)

    @property
    def alive(self) -> bool:
        return self.process.poll() is None

    def says(self, text: str) -> bool:
        return text.encode() in self.log.read_bytes()

    def end(self, how: signal.Signals) -> None:
        if self.alive:
            self.process.send_signal(signal.SIGCONT)
            self.process.send_signal(how)
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                self.process.kill()
        self.process.wait()


class Sender:
    """Sends to the topic without an end; survives the broker's restarts."""

    def __init__(self, bootstrap: str, seed: int) -> None:
        self.bootstrap, self.chance = bootstrap, random.Random(seed)
        self.sent = 0
        self._paused, self._done = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def pause(self) -> None:
        """Send nothing more until `go`; returns when what was sent is acknowledged."""
        self._paused.set()
        time.sleep(1)

    def go(self) -> None:
        self._paused.clear()

    def stop(self) -> None:
        self._done.set()
        self._thread.join()

    def _run(self) -> None:
        config = {"bootstrap.servers": self.bootstrap, "linger.ms": 5, "enable.idempotence": True, "log_level": 0}
        plain = Producer({**config, "message.timeout.ms": 120_000})
        in_transactions: Producer | None = None
        while not self._done.wait(0.2):
            if self._paused.is_set():
                continue
            self._send(plain, int(RATE * 0.2 * 0.8))
            plain.flush(60)
            try:
                if in_transactions is None:
                    in_transactions = Producer(
                        {**config, "transactional.id": f"chaos-{self.sent}", "transaction.timeout.ms": 10_000}
                    )
                    in_transactions.init_transactions(30)
                in_transactions.begin_transaction()
                self._send(in_transactions, int(RATE * 0.2 * 0.2))
                in_transactions.flush(10)
                if self.chance.random() < 0.33:
                    in_transactions.abort_transaction(10)
                else:
                    in_transactions.commit_transaction(10)
            except KafkaException:  # the broker went in mid-transaction: Kafka aborts it, what is committed it knows
                in_transactions = None

    def _send(self, producer: Producer, count: int) -> None:
        for _ in range(count):
            self.sent += 1
            text = f'{{"n": {self.sent}, "text": "{"x" * self.chance.randrange(200)}"}}'.encode()
            value = self.chance.choices([text, b"\xff" + text, None], [96, 3, 1])[0]
            producer.produce(TOPIC, value, f"S{self.sent % 50:03d}", headers=[("n", str(self.sent).encode())])
            producer.poll(0)


class Chaos:
    """One broker, one table, one consumer group of workers, and what is done to them."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.folder, self.home = folder, folder / "home"
        self.chance = random.Random(seed)
        self.broker = ApacheKafka(folder)
        self.broker.start()
        self.settings = Settings(home=self.home, kafka_bootstrap=self.broker.bootstrap, kafka_cluster="chaos")
        admin = AdminClient({"bootstrap.servers": self.broker.bootstrap})
        for made in admin.create_topics([NewTopic(TOPIC, PARTITIONS, 1)]).values():
            made.result(30)
        kafka.create_topics(self.settings, load_contracts().values())
        self.workers: list[Worker] = []
        self.started = 0
        self.done: Counter[str] = Counter()
        self.sender = Sender(self.broker.bootstrap, seed)

    def run(self, rounds: int) -> list[str]:
        """Do so many things to the workers; what differs between Kafka and Bronze afterwards."""
        for number in range(1, rounds + 1):
            self._supervise()
            kind = self._round()
            self.done[kind] += 1
            print(f"round {number}: {kind}; {len(self.workers)} workers, {self.sender.sent} messages", flush=True)
            if number % CHECK_EVERY == 0 or number == rounds:
                found = self.check()
                if found:
                    return found
        return []

    def check(self) -> list[str]:
        """Let the workers come to the end of the log, and compare."""
        self.sender.pause()
        sent = committed(self.broker.bootstrap, TOPIC)
        last: dict[int, int] = {}
        for partition, offset in sent:
            last[partition] = max(offset, last.get(partition, 0))
        deadline = time.monotonic() + 120
        while True:
            self._supervise()
            marks = {p: offset for (_, _, p), offset in watermarks(self.table()).items()}
            if all(marks.get(p, 0) > offset for p, offset in last.items()):
                break
            if time.monotonic() > deadline:
                return [f"after two minutes the table has come to {marks} of {last}"]
            time.sleep(0.2)
        table = self.table()
        landed = rows(table, "chaos")
        print(f"        {len(sent)} committed messages, {len(landed)} rows, {len(table.metadata.snapshots)} commits")
        found = differences(sent, landed) + holes(table)
        self.sender.go()
        return found

    def table(self) -> Table:
        return ensure_table(open_catalog(Settings(home=self.home)), contract_for(TOPIC))

    def close(self) -> None:
        """End every process."""
        self.sender.stop()
        for worker in self.workers:
            worker.end(signal.SIGKILL)
        self.broker.kill()

    def _round(self) -> str:
        kinds = [*KILLS, *REPLIES, "killed anywhere", "zombie", "one more", "one less", "broker restart"]
        kind = self.chance.choices(kinds, [3, 3, 3, 3, 2, 2, 2, 4, 2, 2, 2, 1])[0]
        match kind:
            case "killed anywhere":
                time.sleep(self.chance.uniform(0, 3))
                self.chance.choice(self.workers).end(signal.SIGKILL)
            case "zombie":
                self._zombie()
            case "one more" if len(self.workers) < MOST_WORKERS:
                self._start()
                time.sleep(self.chance.uniform(0, 4))
            case "one more" | "one less":
                self.chance.choice(self.workers).end(signal.SIGTERM)
            case "broker restart":
                self.broker.kill()
                time.sleep(self.chance.uniform(0, 3))
                self.broker.start()
            case _:
                self._fault(kind)
        return kind

    def _fault(self, kind: str) -> None:
        """Start a worker with a fault in the place of another, and wait until the fault has come."""
        if len(self.workers) == MOST_WORKERS:
            self.chance.choice(self.workers).end(signal.SIGTERM)
            self._supervise(least=0)
        worker = self._start((kind, self.chance.randint(1, 3)))
        deadline = time.monotonic() + 60
        while not worker.says(HIT):
            if not worker.alive or time.monotonic() > deadline:
                self.done["(its fault did not come)"] += 1
                return
            time.sleep(0.1)
        if kind in KILLS:
            worker.process.wait(20)

    def _zombie(self) -> None:
        if len(self.workers) == 1:
            self._start()
            time.sleep(8)
        worker = self.chance.choice(self.workers)
        worker.process.send_signal(signal.SIGSTOP)
        time.sleep(SESSION_SECONDS + self.chance.uniform(0.5, 3))
        worker.process.send_signal(signal.SIGCONT)

    def _start(self, fault: tuple[str, int] | None = None) -> Worker:
        self.started += 1
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(self.home),
            "LEVAIN_HOME": str(self.home),
            "LEVAIN_KAFKA_BOOTSTRAP": self.broker.bootstrap,
            "LEVAIN_KAFKA_CLUSTER": "chaos",
            "LEVAIN_COMMIT_EVERY_SECONDS": "0.3",
            "PYTHONPATH": str(ROOT),
        }
        self.workers.append(Worker(self.home, self.started, environment, fault))
        return self.workers[-1]

    def _supervise(self, least: int = 1) -> None:
        """Forget the workers that have ended; start one if too few are left."""
        self.workers = [worker for worker in self.workers if worker.alive]
        while len(self.workers) < least:
            self._start()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        chaos = Chaos(Path(folder), options.seed)
        try:
            found = chaos.run(options.rounds)
        finally:
            chaos.close()
    for kind, count in sorted(chaos.done.items()):
        print(f"{count:>5}  {kind}")
    for difference in found[:20]:
        print(difference)
    verdict = f"{len(found)} differences" if found else "every committed message is there once, byte for byte"
    print(f"{sum(chaos.done.values())} rounds in {time.monotonic() - began:.0f} s, {chaos.started} workers: {verdict}")
    return 1 if found else 0


if __name__ == "__main__":
    raise SystemExit(main())
