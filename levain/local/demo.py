"""`levain demo`: runs the pipeline end to end on this machine, and prints the numbers at its end."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

from ingest.errors import LevainError
from ingest.settings import Settings
from levain import interrupts, processes
from levain.local.stack import Stack, unlanded
from levain.project import CLOSING, TABLE
from levain.read import ledger
from levain.terminal import detail, errors, progress, say, show_table, warn
from levain.warehouse.dbt import VERDICTS, build, parse, reader, rows_of, verdict_counts

DAYS = 30
"""Days that the sample events are spread over, from `samples.START` on: the same whenever it runs."""
LANDING_SECONDS = 60.0
"""How long the worker may take to land the sample events."""


def run(settings: Settings, *, events: int, seed: int, faults: str) -> None:
    """Start the stack unless it runs, send sample events, land and build them, and print what became of them.

    What was started here is stopped again, whatever happens.

    Raises:
        LevainError: another demo runs in this home, or one of the steps failed; see `Stack.up`, `samples.produce`,
            `warehouse.build`.
    """
    with processes.alone(settings.run_dir / "demo.lock", "demo", 0):
        _run(settings, events, seed, faults)


def _run(settings: Settings, events: int, seed: int, faults: str) -> None:
    from levain.samples import START, produce

    began = time.monotonic()
    stack = Stack(settings)
    pool = ThreadPoolExecutor(max_workers=1)
    try:
        with interrupts.restored():
            stack.up(any_port=True, wait_for_worker=False)
            # dbt takes seconds to read the project: it does while the worker waits for its partitions.
            project = pool.submit(parse, settings)
            with progress("Sending sample events") as advance:
                outcome = produce(
                    settings,
                    events,
                    0,
                    seed,
                    faults,
                    progress=lambda done: advance(done, "", events),
                    history=DAYS,
                    until=START + timedelta(days=DAYS - 1),
                )
            say(
                "sent",
                f"{events:,} sample events of {DAYS} days, some faulty on purpose; "
                f"the expected outcome of each: {outcome.file}",
            )
            if outcome.again:
                warn(outcome.again)
            stack.wait_for_worker()
            _wait_until_landed(settings, stack)
            build(settings, manifest=project.result())
            _summary(settings)
    finally:
        with interrupts.held(lambda: warn("Still stopping: this takes a few seconds.")):
            if isinstance(sys.exception(), KeyboardInterrupt):
                warn("Interrupted: stopping what was started.")
            pool.shutdown(wait=False, cancel_futures=True)
            if stack.started:
                stack.down()
    _next(settings, time.monotonic() - began, stack.started)


def _wait_until_landed(settings: Settings, stack: Stack) -> None:
    patience = LANDING_SECONDS + settings.commit_every_seconds
    deadline = time.monotonic() + patience
    with errors.status("Waiting until every message is in Bronze"):
        while missing := unlanded(settings):
            worker = processes.read(stack.worker_file)
            left = sum(missing.values())
            if worker is None or not worker.alive:
                raise LevainError(
                    f"The worker ended before {left} messages had landed. Last lines of its log:\n"
                    f"{processes.last_lines(stack.worker_log)}",
                    f"Whole log: {stack.worker_log}",
                )
            if time.monotonic() > deadline:
                raise LevainError(f"{left} messages did not land within {patience:.0f} s.", f"See {stack.worker_log}.")
            time.sleep(0.2)
    say("landed", "every message is in Bronze")


def _summary(settings: Settings) -> None:
    """Account for every message, and print verdicts and the project's closing table."""
    with errors.status("Accounting for every message"):
        taken = ledger.take(settings)
    if taken.faults or taken.not_built:
        faults = taken.faults or [f"{taken.not_built} messages are in Bronze, and the build has not judged them"]
        raise LevainError(f"The ledger does not add up: {'; '.join(faults)}.", "See `levain ledger`.")
    with reader(settings) as connection:
        verdicts = verdict_counts(connection)
        closing = rows_of(
            connection,
            "gold",
            CLOSING.table,
            CLOSING.sql,
        )
    show_table("\nWhat became of each message", ("topic", *VERDICTS, "messages"), _with_sum(verdicts))
    if closing:
        show_table(f"\n{CLOSING.title}", CLOSING.headings, closing[1])
    detail()
    say("adds up", taken.sums)


def _with_sum(rows: Sequence[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    return [*rows, ("all", *(sum(column) for column in list(zip(*rows, strict=True))[1:]))] if rows else []


def _next(settings: Settings, seconds: float, stopped: bool) -> None:
    say("done", f"in {seconds:.0f} s; the tables are in {settings.root}{', nothing is left running' * stopped}")
    for command, purpose in (
        ("show", "row counts, verdicts, freshness"),
        ("ledger", "every message accounted for, by partition"),
        (f'query "select * from gold.{TABLE} limit 5"', "any table"),
        ("docs", "every table described, with column lineage"),
        ("up", "start the stack and keep it running"),
    ):
        detail(f"  .venv/bin/levain {command:<54} {purpose}")
