"""`import ingest.app` declares the worker and does nothing else."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from ingest.settings import PROJECT_ROOT

#: Imports the app and prints what has changed, and what was done meanwhile, by Python's audit events.
PROBE = """
import gc, json, signal, socket, sqlite3, sys, threading

def state():
    handlers = {int(number): str(signal.getsignal(number)) for number in signal.valid_signals()}
    return [sorted(thread.name for thread in threading.enumerate()), handlers, gc.get_threshold()]

done = []

def watch(event, arguments):
    writes = event == "open" and isinstance(arguments[1], str) and set(arguments[1]) & set("wax+")
    asks = event in ("os.mkdir", "sqlite3.connect", "socket.connect", "socket.getaddrinfo")
    libc = event == "ctypes.dlsym" and arguments[1] == "mallopt"
    if writes or asks or libc:
        done.append([event, str(arguments)])

sys.addaudithook(watch)
before = state()
{what}
print(json.dumps([before == state(), done]))
"""


def probe(folder: Path, what: str) -> tuple[bool, list[tuple[str, str]]]:
    """Whether threads, signals and gc are as before, and what was opened, with settings that cannot be used."""
    nonsense = {
        "LEVAIN_HOME": f'{folder}/a "home"?',
        "LEVAIN_KAFKA_BOOTSTRAP": "no port",
        "LEVAIN_CATALOG_URI": "nothing",
        "LEVAIN_NO_SUCH_SETTING": "1",
    }
    places = {"HOME": str(folder), "TMPDIR": str(folder), "PYTHONPATH": str(PROJECT_ROOT)}
    run = subprocess.run(
        [sys.executable, "-B", "-c", PROBE.replace("{what}", what)],
        env={"PATH": os.environ["PATH"], **places, **nonsense},
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    unchanged, done = json.loads(run.stdout)
    return unchanged, [(event, arguments) for event, arguments in done]


def test_importing_the_app_does_nothing(tmp_path: Path) -> None:
    """Not with a home that cannot be used, either: settings are read when Faust asks for its configuration."""
    assert probe(tmp_path, "import ingest.app; assert not ingest.app.app.configured") == (True, [])
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "what",
    [
        "open('file', 'w')",
        "sqlite3.connect('file')",
        "socket.socket().connect_ex(('127.0.0.1', 9))",
        "__import__('ctypes').CDLL(None).mallopt(-8, 2)",
    ],
)
def test_what_it_may_not_do_would_be_seen(tmp_path: Path, what: str) -> None:
    assert probe(tmp_path, what)[1]


@pytest.mark.parametrize(
    "what",
    [
        "gc.set_threshold(100_000)",
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)",
        "threading.Thread(target=threading.Event().wait, daemon=True).start()",
    ],
)
def test_what_it_may_not_change_would_be_seen(tmp_path: Path, what: str) -> None:
    assert not probe(tmp_path, what)[0]


def test_settings_that_cannot_be_used_end_the_worker_with_what_to_do(tmp_path: Path) -> None:
    run = subprocess.run(
        [sys.executable, "-m", "faust", "-A", "ingest.app", "worker"],
        env={"PATH": os.environ["PATH"], "LEVAIN_HOME": str(tmp_path), "LEVAIN_KAFKA_BOOTSTRAP": "no port"},
        cwd=PROJECT_ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 1
    assert "`no port` is not host:port" in run.stderr and "Traceback" not in run.stderr
