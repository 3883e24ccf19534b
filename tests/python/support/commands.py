"""`levain` as a process of its own that begins at once: forked from one that has imported what the commands import.

To import dbt, Arrow, PyIceberg and DuckDB takes a second or two, as long as most commands that tests run. What depends
on how an interpreter starts (its encodings, closed streams, a shell around it) is tested with the program itself.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

PROGRAM = str(Path(sys.executable).with_name("levain"))

_SERVER = multiprocessing.get_context("forkserver")
_SERVER.set_forkserver_preload(
    [
        "confluent_kafka",
        "dbt.adapters.duckdb",
        "dbt.cli.main",
        "levain.cli",
        "levain.warehouse.bronze",
        "levain.warehouse.dbt",
        "pyiceberg.catalog.sql",
    ]
)


def levain(
    *arguments: str, env: Mapping[str, str], cwd: Path | None = None, timeout: float = 240
) -> subprocess.CompletedProcess[str]:
    """Run a command to its end, with nothing on standard input.

    Raises:
        TimeoutError: it did not end in so many seconds, and was killed.
    """
    with tempfile.TemporaryDirectory() as folder:
        outputs = [Path(folder) / name for name in ("stdout", "stderr")]
        process = _SERVER.Process(target=_run, args=(arguments, dict(env), str(cwd or Path.cwd()), outputs))
        process.start()
        process.join(timeout)
        if process.exitcode is None:
            process.kill()
            raise TimeoutError(f"{arguments} did not end in {timeout:.0f} s: {outputs[1].read_text()[-3000:]}")
        return subprocess.CompletedProcess(
            [PROGRAM, *arguments], process.exitcode, *(path.read_bytes().decode() for path in outputs)
        )


@contextmanager
def running(command: Sequence[str], **options: Any) -> Iterator[subprocess.Popen[str]]:
    """A process, killed if it still runs at the end of the block: nothing waits for one that hangs.

    An interrupt reaches it, also where a shell has this run in the background, and so ignores interrupts.
    """
    with subprocess.Popen(command, text=True, preexec_fn=_take_interrupts, **options) as process:
        try:
            yield process
        finally:
            process.kill()


def _take_interrupts() -> None:
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def _run(arguments: Sequence[str], env: Mapping[str, str], cwd: str, outputs: Sequence[Path]) -> None:
    """What the forked process does."""
    for number, path in enumerate([Path(os.devnull), *outputs]):
        file = os.open(path, os.O_RDONLY if number == 0 else os.O_WRONLY | os.O_CREAT, 0o600)
        os.dup2(file, number)
        os.close(file)
    os.environ.clear()
    os.environ.update(env)
    os.chdir(cwd)
    sys.argv = [PROGRAM, *arguments]
    from levain.cli import main

    main()
