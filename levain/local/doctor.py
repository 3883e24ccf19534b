"""What Levain needs of this machine: each check says whether it holds, and what to do if not."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import duckdb

from ingest.errors import LevainError
from ingest.settings import Settings
from levain.terminal import console, detail, errors

LOW_DISK_GB = 5.0
NO_DISK_GB = 0.5


class Finding(NamedTuple):
    """What one check found: `ok`, `warn` (a part of Levain cannot be used now) or `fail`."""

    state: str
    what: str
    to_do: str = ""


def run(settings: Settings) -> bool:
    """Print every check's finding; False if one of them is `fail`."""
    well = True
    checks = (_python, _home, _broker_program, _kafka, _registry, _catalog, _worker, _extensions, _warehouse, _spark)
    for check in checks:
        with errors.status(f"Checking {check.__name__.strip('_').replace('_', ' ')}"):
            found = _findings(check, settings)
        for finding in found:
            style = {"ok": "green", "warn": "yellow", "fail": "bold red"}[finding.state]
            console.print(f"{finding.state:<5}", style=style, end="")
            detail(finding.what)
            if finding.to_do:
                detail(f"     {finding.to_do}")
            well = well and finding.state != "fail"
    return well


def _findings(check: Callable[[Settings], Iterator[Finding]], settings: Settings) -> list[Finding]:
    """What a check finds; where a file or folder stands in its way, that is its finding."""
    try:
        return list(check(settings))
    except OSError as error:
        place = f": {os.fsdecode(error.filename)}" if error.filename else ""
        return [Finding("fail", f"{error.strerror}{place}", "Set LEVAIN_HOME to a folder you may read and write.")]


def _python(settings: Settings) -> Iterator[Finding]:
    version = ".".join(map(str, sys.version_info[:3]))
    if (3, 11) <= sys.version_info[:2] <= (3, 13):
        yield Finding("ok", f"Python {version}")
    else:
        yield Finding("fail", f"Python {version}", "Levain needs 3.11 to 3.13: make setup PYTHON=python3.12")


def _home(settings: Settings) -> Iterator[Finding]:
    place = _existing(settings.root)
    if not place.is_dir() or not os.access(place, os.W_OK):
        what = "cannot be written" if place.is_dir() else f"cannot be a folder: {place} is not one"
        yield Finding("fail", f"{settings.root} {what}", "Set LEVAIN_HOME to a folder you may write.")
        return
    free = shutil.disk_usage(place).free / 1e9
    finding = f"{free:.1f} GB free in {settings.root}"
    if free < NO_DISK_GB:
        yield Finding("fail", finding, "Free some space, or set LEVAIN_HOME to a larger disk.")
    elif free < LOW_DISK_GB:
        yield Finding("warn", finding, "Enough for the samples; set LEVAIN_HOME to a larger disk for more.")
    else:
        yield Finding("ok", finding)


def _broker_program(settings: Settings) -> Iterator[Finding]:
    from levain.local.stack import broker_binary

    if settings.kafka_bootstrap:
        return
    try:
        yield Finding("ok", f"embedded broker: {broker_binary()}")
    except LevainError as error:
        yield Finding("fail", error.message, error.hint)


def _kafka(settings: Settings) -> Iterator[Finding]:
    from ingest import kafka
    from ingest.contracts import load_contracts
    from levain import processes
    from levain.local.stack import Stack, port_is_free

    stack = Stack(settings)
    broker = processes.read(stack.broker_file)
    if not settings.kafka_bootstrap and not (broker and broker.alive):
        if broker:
            yield Finding("warn", f"the broker (pid {broker.pid}) has ended", "`levain up` starts it again.")
        if port_is_free(settings.broker_port):
            yield Finding("ok", f"port {settings.broker_port} is free for the embedded broker, which does not run")
        else:
            who = processes.listener(settings.broker_port) or "another program"
            yield Finding(
                "warn",
                f"port {settings.broker_port} of the embedded broker is taken by {who}",
                "Stop that program, or set LEVAIN_BROKER_PORT to a free port.",
            )
        return
    try:
        cluster = kafka.cluster(settings)
        missing = sorted(load_contracts().keys() - kafka.topics(settings).keys())
    except LevainError as error:
        yield Finding("fail", error.message, error.hint)
        return
    yield Finding("ok", f"Kafka at {cluster.bootstrap} answers, as {cluster.alias}")
    if missing:
        yield Finding("warn", f"Kafka has no topic {', '.join(missing)}", "`levain init` creates them.")


def _registry(settings: Settings) -> Iterator[Finding]:
    from ingest.registry import Registry

    if not settings.schema_registry_url:
        return
    try:
        Registry(settings).check()
    except LevainError as error:
        yield Finding("fail", error.message, error.hint)
        return
    yield Finding("ok", f"the schema registry at {settings.schema_registry_url} answers")


def _catalog(settings: Settings) -> Iterator[Finding]:
    from ingest import lake
    from ingest.catalog import bronze_names, full_name, load_bronze, open_catalog
    from ingest.patches.iceberg_times import in_order
    from levain.local import state

    try:
        if lake.no_catalog_yet(settings):
            yield Finding("ok", f"no catalog yet at {settings.catalog_file}: `levain init` makes it")
            return
        remarks = state.check(settings)
        catalog = open_catalog(settings)
        tables = [load_bronze(catalog, name) for name in bronze_names(catalog)]
        yield Finding("ok", f"the catalog opens, and the metadata of {len(tables)} Bronze tables is there")
        yield from (Finding("warn", remark) for remark in remarks)
        for table in tables:
            files, _ = lake.filesystem(table.io, table.location())
            if lacks := lake.lacking(files, lake.data_files(table)):
                yield Finding(
                    "fail",
                    f"{full_name(table)} {lacks}",
                    "Restore them from a backup; docs/troubleshooting.md says what to do without one.",
                )
            if not in_order(table.metadata):
                yield Finding(
                    "warn",
                    f"the times of {full_name(table)} run backwards, after a commit by a fast clock: Iceberg's "
                    "Java library, and Spark with it, may refuse the table",
                    "The next commit puts them in order.",
                )
    except LevainError as error:
        yield Finding("fail", error.message, error.hint)


def _worker(settings: Settings) -> Iterator[Finding]:
    from levain import processes
    from levain.local.stack import Stack

    stack = Stack(settings)
    workers = [(stack.worker_file, stack.worker_log, "the worker", "`levain up` starts it again.")]
    for file, log in stack.beside():
        workers.append((file, log, f"the worker {log.stem}", "The command that started it starts it again."))
    for file, log, name, to_do in workers:
        worker = processes.read(file)
        if worker is None:
            continue
        if worker.alive:
            yield Finding("ok", f"{name} runs (pid {worker.pid})")
        else:
            last = processes.last_lines(log)
            yield Finding("warn", f"{name} (pid {worker.pid}) has ended; last lines of {log}:\n{last}", to_do)


def _extensions(settings: Settings) -> Iterator[Finding]:
    from levain.warehouse.bronze import EXTENSIONS, load_extensions

    try:
        with duckdb.connect() as connection:
            load_extensions(connection)
        yield Finding("ok", f"DuckDB {duckdb.__version__} loads {', '.join(EXTENSIONS)}")
    except (duckdb.Error, OSError, RuntimeError, ImportError) as error:
        yield Finding("fail", f"DuckDB does not load its extensions: {error}", "Set up again: rm -r .venv; make setup")


def _warehouse(settings: Settings) -> Iterator[Finding]:
    from levain.warehouse.dbt import reader, was_built

    if not was_built(settings):
        yield Finding("ok", "nothing was built yet: `levain build`")
        return
    try:
        with reader(settings):
            yield Finding("ok", f"{settings.duckdb_file} can be read")
    except LevainError as error:
        yield Finding("warn", error.message, error.hint)


def _spark(settings: Settings) -> Iterator[Finding]:
    from levain.warehouse import spark

    try:
        spark.prepare()
        yield Finding("ok", f"Spark: Java in {os.environ['JAVA_HOME']}, jars in {spark.jars_folder()}")
    except LevainError as error:
        yield Finding("warn", f"{error.message} Only the Spark target needs it.", error.hint)


def _existing(path: Path) -> Path:
    return path if path.exists() else _existing(path.parent)
