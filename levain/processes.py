"""Child processes that outlive the command that started them: start, recognise, stop.

A number in a pid file may by now belong to another program. So a pid file also keeps when the process started, as the
operating system tells it, and a process counts as ours only if both agree.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, BinaryIO

from ingest.errors import LevainError

_PROC = Path("/proc")


@dataclass(frozen=True)
class PidFile:
    """What a pid file says: a process, and facts about it."""

    path: Path
    pid: int
    started: str
    facts: Mapping[str, Any]

    @property
    def alive(self) -> bool:
        """The process runs, and is the one that was started."""
        child = _children.get(self.pid)
        if child is not None:
            child.poll()  # reaps it: else it would stay as our zombie
        return started(self.pid) == self.started != ""

    @property
    def reused_by(self) -> str:
        """Command line of another program that has the number now; empty if nobody has."""
        return "" if self.alive or not started(self.pid) else command_line(self.pid)


def started(pid: int) -> str:
    """When a process started, in the system's own words; empty if there is none, or only its zombie."""
    if (_PROC / "self/stat").exists():
        try:
            fields = (_PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            return ""
        return "" if fields[0] in "ZX" else f"tick {fields[19]}"
    found = subprocess.run(["ps", "-o", "stat=,lstart=", "-p", str(pid)], capture_output=True, text=True, check=False)
    state, _, when = found.stdout.strip().partition(" ")
    return "" if not state or state.startswith("Z") else " ".join(when.split())


def command_line(pid: int) -> str:
    """A process's command line; empty if it cannot be told."""
    try:
        raw = (_PROC / str(pid) / "cmdline").read_bytes()
        return raw.replace(b"\0", b" ").decode(errors="replace").strip()
    except OSError:
        found = subprocess.run(["ps", "-o", "command=", "-p", str(pid)], capture_output=True, text=True, check=False)
        return found.stdout.strip()


def read(path: Path) -> PidFile | None:
    """Read a pid file; None if there is none, or it was cut short by a crash."""
    try:
        facts = json.loads(path.read_text())
        return PidFile(path, int(facts["pid"]), str(facts.get("started", "")), facts)
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None


@contextmanager
def alone(path: Path, what: str, patience: float) -> Iterator[None]:
    """Be the only process that does something, by a lock on a file that also says who has it.

    Args:
        path: the file.
        what: is done, for the error: "build".
        patience: how long to wait for one that is about to end, in seconds.

    Raises:
        LevainError: another process does it; says which, and since when.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+") as file:
        deadline = time.monotonic() + patience
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    file.seek(0)
                    raise LevainError(
                        f"Another {what} is running: {file.read().strip() or 'it has just begun'}.",
                        "Run this again when it has ended.",
                    ) from None
                time.sleep(0.2)
        file.truncate(0)
        file.write(f"pid {os.getpid()}, since {datetime.now().astimezone():%Y-%m-%d %H:%M:%S %z}")
        file.flush()
        try:
            yield
        finally:
            file.truncate(0)


def start(
    command: Sequence[str], *, pid_file: Path, log: Path, environment: Mapping[str, str], **facts: Any
) -> PidFile:
    """Start a process in a session of its own, its output in `log`; the log of the one before is kept as `log.1`."""
    pid_file.parent.mkdir(parents=True, exist_ok=True)
    if log.exists():
        log.replace(log.with_name(log.name + ".1"))
    with log.open("wb") as output:
        child = _spawn(command, output, environment)
    try:
        content = {"pid": child.pid, "started": started(child.pid), **facts}
        write_durably(pid_file, json.dumps(content))
    except BaseException:  # also Ctrl-C: a process without a pid file would run for ever
        child.kill()
        raise
    _children[child.pid] = child
    return PidFile(pid_file, child.pid, str(content["started"]), content)


def stop(process: PidFile, timeout: float) -> bool:
    """End a process: SIGTERM, and SIGKILL after `timeout` seconds. Removes its pid file.

    Returns:
        True if it went by itself, False if it had to be killed.
    """
    gentle = True
    if process.alive:
        _signal(process.pid, signal.SIGTERM)
        gentle = wait_gone(process, timeout)
        if not gentle:
            _signal(process.pid, signal.SIGKILL)
            wait_gone(process, timeout)
    forget(process)
    return gentle


def forget(process: PidFile) -> None:
    """Remove its pid file, unless that is of another process by now."""
    found = read(process.path)
    if found is None or (found.pid, found.started) == (process.pid, process.started):
        process.path.unlink(missing_ok=True)


def wait_gone(process: PidFile, timeout: float) -> bool:
    """Wait until a process has ended; False if it has not within `timeout` seconds."""
    deadline = time.monotonic() + timeout
    while process.alive:
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def last_lines(log: Path, count: int = 8) -> str:
    """The end of a log, indented; at most `count` lines."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - 8192))
            lines = file.read().decode(errors="replace").splitlines()
    except FileNotFoundError:
        return "    (no log)"
    return "\n".join(f"    {line}" for line in [line for line in lines if line.strip()][-count:]) or "    (nothing)"


def write_durably(path: Path, text: str) -> None:
    """Replace a file so that after a power cut it holds the old text or the new one."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    with temporary.open("w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def listener(port: int) -> str:
    """Who listens on a TCP port of this machine: `name (pid 123)`, of a Levain with its home; empty if unknown."""
    inodes = set()
    for family in ("tcp", "tcp6"):
        try:
            lines = (_PROC / "net" / family).read_text().splitlines()[1:]
        except OSError:
            continue
        for fields in map(str.split, lines):
            if fields[3] == "0A" and int(fields[1].rpartition(":")[2], 16) == port:
                inodes.add(f"socket:[{fields[9]}]")
    for process in _PROC.glob("[0-9]*") if inodes else ():
        try:
            if not inodes.isdisjoint(_open_files(process)):
                name = (process / "comm").read_text().strip()
                of = re.search(rb"(?:^|\0)LEVAIN_HOME=([^\0]*)", (process / "environ").read_bytes())
                whose = f", of the Levain in {os.fsdecode(of[1])}" if of else ""
                return f"{name} (pid {process.name}){whose}"
        except OSError:  # it ended, or it is another user's
            continue
    return "" if _PROC.exists() else _lsof(port)


def _open_files(process: Path) -> Iterator[str]:
    """What the file descriptors of a process lead to; of those that are closed meanwhile nothing."""
    for descriptor in (process / "fd").iterdir():
        with suppress(FileNotFoundError):
            yield str(descriptor.readlink())


_children: dict[int, subprocess.Popen[bytes]] = {}
"""Children of this very process, to be reaped."""


def _spawn(command: Sequence[str], output: BinaryIO, environment: Mapping[str, str]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.STDOUT,
        env=dict(environment),
        start_new_session=True,  # a Ctrl-C at the terminal is not meant for it
    )


def _signal(pid: int, number: signal.Signals) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return  # gone by itself: what was wanted


def _lsof(port: int) -> str:
    try:
        found = subprocess.run(
            ["lsof", "-nP", f"-iTCP:{port}", "-sTCP:LISTEN", "-Fcp"], capture_output=True, text=True, check=False
        )
    except FileNotFoundError:
        return ""
    facts = {line[0]: line[1:] for line in found.stdout.splitlines() if line}
    return f"{facts['c']} (pid {facts['p']})" if {"c", "p"} <= facts.keys() else ""
