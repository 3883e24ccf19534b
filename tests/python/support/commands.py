"""Commands as processes of their own that begin at once: forked from one that has imported what they import.

To import dbt, Faust, Arrow, PyIceberg and DuckDB takes a second or two, as long as most commands that tests run. What
depends on how an interpreter starts (its encodings, closed streams, a shell around it) is tested with the programs
themselves.
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
        "faust.cli.worker",
        "ingest.worker",
        "levain.cli",
        "levain.warehouse.bronze",
        "levain.warehouse.dbt",
        "parsed",
        "pyiceberg.catalog.sql",
    ]
)


class Forked:
    """A command with nothing on standard input, used as a `subprocess.Popen`.

    Args:
        arguments: `levain ...`, or `faust ...`.
        env: its whole environment.
        cwd: where it runs.
        outputs: files that its standard output and standard error are appended to.
    """

    def __init__(
        self, arguments: Sequence[str], *, env: Mapping[str, str], cwd: Path | None = None, outputs: Sequence[Path]
    ) -> None:
        self.args = arguments
        self._process = _SERVER.Process(target=_run, args=(arguments, dict(env), str(cwd or Path.cwd()), outputs))
        self._process.start()
        assert self._process.pid is not None
        self.pid = self._process.pid

    def poll(self) -> int | None:
        """Its exit code, or the negative number of the signal that ended it; None while it runs."""
        return self._process.exitcode

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end; seconds.

        Raises:
            subprocess.TimeoutExpired: it still runs.
        """
        self._process.join(timeout)
        if self._process.exitcode is None:
            raise subprocess.TimeoutExpired(self.args, timeout or 0)
        return self._process.exitcode

    def send_signal(self, number: int) -> None:
        """Send it a signal, if it still runs."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """Send it SIGKILL, if it still runs."""
        self.send_signal(signal.SIGKILL)


def levain(
    *arguments: str, env: Mapping[str, str], cwd: Path | None = None, timeout: float = 240
) -> subprocess.CompletedProcess[str]:
    """Run a command to its end.

    Raises:
        TimeoutError: it did not end in so many seconds, and was killed.
    """
    with tempfile.TemporaryDirectory() as folder:
        outputs = [Path(folder) / name for name in ("stdout", "stderr")]
        process = Forked(["levain", *arguments], env=env, cwd=cwd, outputs=outputs)
        try:
            code = process.wait(timeout)
        except subprocess.TimeoutExpired:
            process.kill()
            raise TimeoutError(
                f"{arguments} did not end in {timeout:.0f} s: {outputs[1].read_text()[-3000:]}"
            ) from None
        return subprocess.CompletedProcess(
            [PROGRAM, *arguments], code, *(path.read_bytes().decode() for path in outputs)
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
        file = os.open(path, os.O_RDONLY if number == 0 else os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        os.dup2(file, number)
        os.close(file)
    os.environ.clear()
    os.environ.update(env)
    os.chdir(cwd)
    program, *rest = arguments
    sys.argv = [PROGRAM if program == "levain" else program, *rest]
    if program == "levain":
        import parsed

        from levain.cli import main

        parsed.share()
    else:
        from faust.cli.faust import cli as main
    main()
