"""The stack's processes: real ones, killed and repaired."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import commands
import pytest
from kafka_broker import Broker, free_port
from lake import Lake, Record
from scored import values, write_model

from ingest.catalog import open_catalog
from ingest.errors import LevainError
from ingest.settings import Settings
from ingest.sources.publish import Publisher
from levain import processes
from levain.local import doctor
from levain.local.stack import Stack, clean, init, unlanded
from levain.samples import produce
from levain.warehouse.dbt import bronze_rows, build_lock

TOPIC = "sales-events"


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[Stack]:
    """A stack of the test's own, stopped at the end."""
    stack = Stack(Settings(home=tmp_path / "home", broker_port=free_port(), commit_every_seconds=0.5))
    yield stack
    if stack.running:
        stack.down()


def pids(stack: Stack) -> list[int]:
    """Broker and worker, as their pid files say."""
    return [int(json.loads(path.read_text())["pid"]) for path in (stack.broker_file, stack.worker_file)]


def kill(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)
    deadline = time.monotonic() + 10
    while processes.started(pid) and time.monotonic() < deadline:
        time.sleep(0.02)


def publish(settings: Settings, count: int) -> None:
    with Publisher(settings, [TOPIC]) as publisher:
        for number in range(count):
            publisher.publish(TOPIC, b"S001", b"%d" % number, ())


def wait_until_landed(settings: Settings) -> None:
    deadline = time.monotonic() + 30
    while unlanded(settings):
        assert time.monotonic() < deadline, unlanded(settings)
        time.sleep(0.2)


def landed(settings: Settings) -> int:
    return dict(bronze_rows(settings))["sales_events"]


def test_a_worker_of_other_contracts_is_restarted(stack: Stack, capsys: pytest.CaptureFixture[str]) -> None:
    stack.up()
    broker, worker = pids(stack)
    facts = json.loads(stack.worker_file.read_text())
    stack.worker_file.write_text(json.dumps({**facts, "topics": facts["topics"][1:]}))  # one contract was added since
    stack.up()
    assert pids(stack)[0] == broker and pids(stack)[1] != worker
    assert not processes.started(worker)
    assert "other contracts" in capsys.readouterr().err
    assert json.loads(stack.worker_file.read_text())["topics"] == facts["topics"]


def test_up_again_changes_nothing_and_down_leaves_no_process(stack: Stack) -> None:
    stack.up()
    first = pids(stack)
    assert all(map(processes.started, first))
    other = Stack(stack.settings)
    other.up()
    assert pids(stack) == first and stack.started and not other.started
    publish(stack.settings, 500)
    assert stack.down()  # at once: what only the broker has must land before it goes
    assert landed(stack.settings) == 500
    assert not any(map(processes.started, first))
    assert not stack.broker_file.exists() and not stack.worker_file.exists()
    stack.down()


def test_purchases_are_scored_by_a_worker_beside_the_stack(stack: Stack, capsys: pytest.CaptureFixture[str]) -> None:
    """It is restarted for another model, repaired by who wants it, seen by the doctor, and stopped with the stack."""
    version = write_model(stack.settings.models_dir).version
    stack.up()
    stack.up_beside("scores", "ingest.scores", model=version)
    ((file, log),) = stack.beside()

    def pid() -> int:
        return int(json.loads(file.read_text())["pid"])

    first = pid()
    stack.up_beside("scores", "ingest.scores", model=version)
    assert pid() == first
    with Publisher(stack.settings, ["purchases"]) as publisher:
        for value in values()[:20]:
            publisher.publish("purchases", b"C1", value.encode(), ())
    deadline = time.monotonic() + 30
    while dict(bronze_rows(stack.settings))["purchase_scores"] < 20:
        assert time.monotonic() < deadline, log.read_text()[-2000:]
        time.sleep(0.2)
    stack.up_beside("scores", "ingest.scores", model="another")
    second = pid()
    assert second != first and not processes.started(first)
    kill(second)
    capsys.readouterr()
    doctor.run(stack.settings)
    assert f"the worker scores (pid {second}) has ended" in capsys.readouterr().out
    stack.up_beside("scores", "ingest.scores", model="another")
    assert f"The scores (pid {second}) has ended without being stopped" in capsys.readouterr().err
    third = pid()
    stack.down()
    assert not processes.started(third) and not file.exists()


def test_what_a_worker_has_buffered_lands_when_it_is_stopped(
    stack: Stack, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("levain.local.stack.LANDING_SECONDS", 1.0)
    monkeypatch.setenv("LEVAIN_COMMIT_EVERY_SECONDS", "600")
    stack.up()
    publish(stack.settings, 50)
    assert stack.down() and landed(stack.settings) == 50
    assert "lost" not in capsys.readouterr().err


def test_killed_processes_are_said_and_repaired(stack: Stack, capsys: pytest.CaptureFixture[str]) -> None:
    stack.up()
    broker, worker = pids(stack)
    publish(stack.settings, 10)
    wait_until_landed(stack.settings)

    kill(worker)
    capsys.readouterr()
    stack.up()
    said = capsys.readouterr().err
    assert f"The worker (pid {worker}) has ended" in said and "Worker ready" in said, "with its last lines"
    assert pids(stack)[0] == broker and pids(stack)[1] != worker
    worker = pids(stack)[1]

    kill(broker)
    stack.up()
    said = capsys.readouterr().err
    assert f"The broker (pid {broker}) has ended" in said and "listening on" in said, "with its last lines"
    assert "what embedded-1 had received and had not landed is lost. Bronze has of it: sales-events, partition" in said
    assert not set(pids(stack)) & {broker, worker}, "the worker of a broker that is gone is restarted"
    assert json.loads(stack.broker_file.read_text())["alias"] == "embedded-2"
    publish(stack.settings, 7)
    wait_until_landed(stack.settings)
    assert landed(stack.settings) == 17


def test_a_pid_file_whose_number_another_program_has(stack: Stack, capsys: pytest.CaptureFixture[str]) -> None:
    with commands.running([sys.executable, "-c", "import time; time.sleep(600)", "innocent"]) as other:
        stack.run.mkdir(parents=True)
        for path in (stack.broker_file, stack.worker_file):
            stale = {"pid": other.pid, "started": "tick 1", "port": 1, "alias": "embedded-1"}
            path.write_text(json.dumps(stale))
        assert not stack.running
        stack.up(wait_for_worker=False)
        said = capsys.readouterr().err
        assert said.count("belongs to another program") == 2 and "innocent" in said
        assert other.pid not in pids(stack)
        stack.down()
        assert other.poll() is None, "it is left alone"


def test_a_pid_file_cut_short_by_a_crash(stack: Stack, capsys: pytest.CaptureFixture[str]) -> None:
    stack.run.mkdir(parents=True)
    stack.broker_file.write_text('{"pid": 12')
    stack.down()
    assert "cannot be read: it is removed" in capsys.readouterr().err
    assert not stack.broker_file.exists()


def test_a_taken_port_is_named_with_who_has_it(stack: Stack, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", stack.settings.broker_port)):
        with pytest.raises(LevainError) as caught:
            stack.up()
        assert f"Port {stack.settings.broker_port}" in caught.value.message
        assert f"(pid {os.getpid()})" in caught.value.message
        assert "LEVAIN_BROKER_PORT" in caught.value.hint
        assert not stack.running and not stack.broker_file.exists()

        stack.up(any_port=True, wait_for_worker=False)
        assert json.loads(stack.broker_file.read_text())["port"] != stack.settings.broker_port
        assert f"(pid {os.getpid()})" in capsys.readouterr().err


def test_events_that_were_sent_in_part_are_said_when_they_are_sent_again(stack: Stack) -> None:
    stack.up()

    def interrupt(done: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        produce(stack.settings, 900, progress=interrupt)
    again = produce(stack.settings, 900)
    assert (again.cut_short, again.resent) == (500, 0) and "up to 500 of which were sent before" in again.again
    assert again.file is not None and json.loads(again.file.read_text())["cut_short"] == 500
    third = produce(stack.settings, 900)
    assert (third.cut_short, third.resent) == (0, 1) and "seed 1, which were sent before" in third.again
    wait_until_landed(stack.settings)
    assert sum(dict(bronze_rows(stack.settings)).values()) == 500 + 900 + 900


def test_who_listens_is_found_also_while_it_opens_and_closes_files() -> None:
    done = threading.Event()

    def churn() -> None:
        while not done.is_set():
            with Path(os.devnull).open(), Path(os.devnull).open():
                pass

    threads = [threading.Thread(target=churn) for _ in range(3)]
    before = [os.dup(0) for _ in range(10)]
    with socket.create_server(("127.0.0.1", 0)) as server:
        for descriptor in before:  # what comes and goes has lower numbers than the server, and is seen first
            os.close(descriptor)
        for thread in threads:
            thread.start()
        try:
            found = {processes.listener(server.getsockname()[1]) for _ in range(30)}
        finally:
            done.set()
            for thread in threads:
                thread.join()
    (who,) = found
    assert f"(pid {os.getpid()})" in who


def test_a_worker_that_ends_while_it_starts(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LEVAIN_COMMIT_EVERY_SECONDS", "-1")
    with pytest.raises(LevainError) as caught:
        stack.up()
    assert "The worker ended while it started" in caught.value.message
    assert "LEVAIN_COMMIT_EVERY_SECONDS" in caught.value.message, "the log's last lines"
    monkeypatch.delenv("LEVAIN_COMMIT_EVERY_SECONDS")
    stack.up()
    stack.down()


def test_messages_that_are_lost_with_the_broker_are_said(stack: Stack, capsys: pytest.CaptureFixture[str]) -> None:
    stack.up()
    kill(pids(stack)[1])
    publish(stack.settings, 12)
    assert not stack.down()
    assert "12 messages have not landed in Bronze and are lost" in capsys.readouterr().err


def test_down_stops_the_stack_also_when_the_catalog_is_away(
    stack: Stack, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    stack.up()
    running = pids(stack)
    away = LevainError("The catalog does not answer.", "Check it.")
    monkeypatch.setattr("levain.local.stack.unlanded", lambda _: (_ for _ in ()).throw(away))
    stack.down()
    assert not any(map(processes.started, running))
    said = " ".join(capsys.readouterr().err.split())
    assert "Whether every message has landed in Bronze cannot be determined" in said and "does not answer" in said


def test_down_counts_the_embedded_brokers_messages_when_another_is_named_by_now(
    stack: Stack, capsys: pytest.CaptureFixture[str]
) -> None:
    stack.up()
    kill(pids(stack)[1])
    publish(stack.settings, 12)
    Stack(stack.settings.model_copy(update={"kafka_bootstrap": "127.0.0.1:9"})).down()
    assert "12 messages have not landed in Bronze and are lost" in capsys.readouterr().err


def test_the_pid_file_of_another_process_stays(tmp_path: Path) -> None:
    """A command waits for a process in whose place another command has put its own."""
    path = tmp_path / "worker.json"
    log, environment = tmp_path / "log", dict(os.environ)
    first = processes.start(["sleep", "0"], pid_file=path, log=log, environment=environment)
    assert processes.wait_gone(first, 10)
    second = processes.start(["sleep", "60"], pid_file=path, log=log, environment=environment)
    processes.forget(first)
    assert processes.read(path) == second
    assert processes.stop(second, 10)
    assert not path.exists()


def test_an_alias_is_never_taken_twice(tmp_path: Path) -> None:
    stack = Stack(Settings(home=tmp_path / "home"))
    assert [stack._next_alias() for _ in range(3)] == ["embedded-1", "embedded-2", "embedded-3"]
    assert Stack(stack.settings)._next_alias() == "embedded-4"


def test_a_lost_counter_goes_on_above_what_has_landed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lake.CLUSTER", "embedded-7")
    lake = Lake(tmp_path / "home")
    lake.land(TOPIC, 0, [Record(0, 0, None, b"{}")])
    assert Stack(lake.settings)._next_alias() == "embedded-8"


def test_of_another_cluster_only_the_worker_is_managed(
    tmp_path: Path, embedded_broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LEVAIN_KAFKA_BOOTSTRAP", embedded_broker.bootstrap)
    monkeypatch.setenv("LEVAIN_KAFKA_CLUSTER", "elsewhere")
    stack = Stack(Settings(home=tmp_path / "home"))
    with pytest.raises(LevainError, match="Kafka has no topic"):
        stack.up()
    init(stack.settings)
    stack.up()
    assert not stack.broker_file.exists()
    stack.down()
    assert processes.started(embedded_broker.pid)


def test_clean_removes_what_is_levains_and_nothing_else(stack: Stack) -> None:
    stack.up(wait_for_worker=False)
    with pytest.raises(LevainError, match="running"):
        clean(stack.settings, yes=True)
    stack.down()
    mine = stack.settings.root / "notes.txt"
    mine.write_text("not Levain's")
    clean(stack.settings, yes=True)
    assert list(stack.settings.root.iterdir()) == [mine]


def test_clean_waits_for_no_build(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path)
    with build_lock(settings):
        command = [sys.executable, "-c", "from levain.cli import main; main()", "clean", "--yes"]
        environment = {**os.environ, "LEVAIN_HOME": str(tmp_path)}
        ran = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert ran.returncode == 1 and "Another build is running: pid" in ran.stderr
    assert (tmp_path / "run").exists()


def test_clean_keeps_the_count_of_aliases_that_another_catalog_holds(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path / "home", catalog_uri=f"sqlite:///{tmp_path}/elsewhere.db")
    open_catalog(settings)
    settings.root.mkdir(exist_ok=True)
    Stack(settings)._next_alias()
    clean(settings, yes=True)
    assert Stack(settings)._next_alias() == "embedded-2"


def test_a_port_for_the_metrics_that_is_taken_is_said_before_anything_starts(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    holder = (
        "import socket, sys; s = socket.create_server(('127.0.0.1', 0)); print(s.getsockname()[1], flush=True); "
        "sys.stdin.read()"
    )
    other = {**os.environ, "LEVAIN_HOME": "/elsewhere/.levain"}
    with commands.running(
        [sys.executable, "-c", holder], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=other
    ) as taken:
        assert taken.stdout is not None
        port = int(taken.stdout.readline())
        stack = Stack(Settings(home=tmp_path / "home", metrics_port=port, broker_port=free_port()))
        with pytest.raises(LevainError, match=rf"Port {port}, which LEVAIN_METRICS_PORT") as caught:
            stack.up()
        assert f"(pid {taken.pid}), of the Levain in /elsewhere/.levain" in caught.value.message
        assert not stack.running and capsys.readouterr().out == ""
        named = Stack(Settings(home=tmp_path / "home", broker_port=port))
        with pytest.raises(LevainError, match=r"which the embedded broker needs.* of the Levain in /elsewhere"):
            named.up()
