"""An interrupt ends a command, wherever in it the signal arrives, and leaves no lock taken."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = """
import signal, sys, threading, time
from levain import interrupts

sent = signal.{name}
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job ignores it
interrupts.take()
{program}
except KeyboardInterrupt:
    print("interrupted", interrupts.exit_code())
"""


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP"])
@pytest.mark.parametrize(
    ("program", "before"),
    [
        ("try:\n    signal.raise_signal(sent)\n    time.sleep(9)", ""),
        (
            "import weakref\nclass Thing: pass\nthing = Thing()\n"
            "reference = weakref.ref(thing, lambda _: signal.raise_signal(sent))\n"
            "try:\n    del thing\n    time.sleep(9)",
            "",
        ),
        ("try:\n    import interrupted\n    time.sleep(9)", "imported\n"),
        (
            "class Lock:\n    def __enter__(self): signal.raise_signal(sent); print('taken')\n"
            "    def __exit__(self, *error): print('given back')\n"
            "try:\n    with Lock(): time.sleep(9)",
            "taken\ngiven back\n",
        ),
        (
            "class Lock:\n    def __enter__(self): pass\n"
            "    def __exit__(self, *error): signal.raise_signal(sent); print('given back')\n"
            "try:\n    with Lock(): pass\n    time.sleep(9)",
            "given back\n",
        ),
        (
            "import duckdb\nthreading.Timer(0.3, signal.pthread_kill, (threading.main_thread().ident, sent)).start()\n"
            "try:\n    with interrupts.restored(), duckdb.connect(config={'threads': 1}) as connection:\n"
            "        connection.execute('select count(*) from range(1000000000000)')",
            "",
        ),
    ],
    ids=["anywhere", "a collector's callback", "an import", "the begin of a with", "the end of a with", "a statement"],
)
def test_an_interrupt_ends_a_command_wherever_it_arrives(tmp_path: Path, program: str, before: str, name: str) -> None:
    (tmp_path / "interrupted.py").write_text(f"import signal\nsignal.raise_signal(signal.{name})\nprint('imported')\n")
    path = tmp_path / "program.py"
    path.write_text(PROGRAM.format(name=name, program=program))
    ran = subprocess.run([sys.executable, path], capture_output=True, text=True, check=False, timeout=60)
    assert (ran.stdout, ran.stderr) == (f"{before}interrupted {128 + signal.Signals[name]}\n", "")
