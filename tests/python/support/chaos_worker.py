"""The worker, with one fault in it: `python chaos_worker.py FAULT N` and then the arguments of `faust`.

The fault comes once, at the N-th commit of this process, inside the real code. A kill is SIGKILL.

==============  ==================================================================
before-write    killed before the data file of a batch is written
before-commit   killed when the file is written, before the catalog is asked
after-commit    killed when the catalog has taken the commit, before anybody knows
before-ack      killed when the landing is known, before it is acknowledged
lost-reply      the catalog takes the commit, its reply is lost
lost-request    the request is lost, the commit is not made
conflict        the catalog refuses the commit, as after another writer's
==============  ==================================================================
"""

from __future__ import annotations

import itertools
import os
import signal
import sys
from collections.abc import Callable
from typing import Any, NoReturn

from faust.cli.faust import cli
from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.exceptions import CommitFailedException

from ingest import lander

KILLS = ("before-write", "before-commit", "after-commit", "before-ack")
REPLIES = ("lost-reply", "lost-request", "conflict")
HIT = "chaos:"
"""What the worker prints when its fault has come."""


def install(fault: str, number: int) -> None:
    """Put the fault into the code of this process."""
    calls = itertools.count(1)
    came = False

    def come(effect: Callable[[], Any]) -> None:
        nonlocal came
        came = True
        print(HIT, fault, flush=True)
        effect()

    def before(function: Callable[..., Any], effect: Callable[[], Any]) -> Any:
        def call(*args: Any, **options: Any) -> Any:
            if next(calls) >= number and not came:
                come(effect)
            return function(*args, **options)

        return call

    def after(function: Callable[..., Any], effect: Callable[[], Any]) -> Any:
        def call(*args: Any, **options: Any) -> Any:
            answer = function(*args, **options)
            if next(calls) >= number and not came:
                come(effect)
            return answer

        return call

    def fails(error: Exception) -> Callable[[], NoReturn]:
        def fail() -> NoReturn:
            raise error

        return fail

    def die() -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    write, stage, land, commit = lander._write, lander._stage, lander.land, SqlCatalog.commit_table
    match fault:
        case "before-write":
            lander._write = before(write, die)
        case "before-commit":
            lander._stage = after(stage, die)
        case "after-commit":
            SqlCatalog.commit_table = after(commit, die)
        case "before-ack":
            lander.land = after(land, die)
        case "lost-reply":
            SqlCatalog.commit_table = after(commit, fails(TimeoutError("the reply is lost")))
        case "lost-request":
            SqlCatalog.commit_table = before(commit, fails(ConnectionError("the request is lost")))
        case "conflict":
            SqlCatalog.commit_table = before(commit, fails(CommitFailedException("a conflict")))
        case _:
            raise SystemExit(f"no such fault: {fault}")


if __name__ == "__main__":
    name, nth, *arguments = sys.argv[1:]
    install(name, int(nth))
    sys.argv = ["faust", *arguments]
    cli()
