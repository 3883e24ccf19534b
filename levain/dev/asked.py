"""What `levain new` asks for where somebody is at the terminal, and says in the end."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from pathlib import Path

import typer

from ingest.contracts import SCALARS, load_contract
from ingest.errors import BadInput
from levain.dev.draft import Choices, draft, from_contract, from_fields
from levain.dev.new import check_folder, new, read_again
from levain.terminal import detail, say, warn


def run(
    folder: Path,
    sample: Path | None,
    fields: Sequence[str],
    contract: Path | None,
    topic: str,
    system: str,
    choices: Choices,
    again: bool,
) -> None:
    """Draft the contract, write the project, and say what to do next.

    Raises:
        BadInput: see `draft` and `new`; more or less than one of sample, fields and contract is given, and nobody is
            there to ask; topic or system have a name that cannot be one.
    """
    if again:
        known = read_again(folder)
        written = new(folder, *known)
        say("written", f"{len(written)} files below {folder}; commit them on their branch, and merge it")
        return
    check_folder(folder)
    if (sample is not None) + bool(fields) + (contract is not None) > 1:
        raise BadInput("--sample, --field and --contract exclude each other.", "Give one of them.")
    there = sys.stdin.isatty()
    if sample is None and not fields and contract is None:
        if not there:
            raise BadInput(
                "Nothing says what the topic's events look like.",
                "Name a CSV or JSON file (`--sample`), fields (`--field name:type`), or a contract (`--contract`).",
            )
        answer = typer.prompt("CSV or JSON file with some events (empty: name the fields yourself)", default="")
        sample = Path(answer) if answer else None
        fields = () if answer else _fields()
    if contract is not None:
        found, topic = from_contract(contract), load_contract(contract).topic
    else:
        likely = re.sub(r"[^a-z0-9]+", "-", sample.stem.lower()).strip("-") if sample else ""
        if not topic and there:
            topic = typer.prompt("Name of the topic", default=likely or None)
        topic = _checked("topic", topic or likely, r"[a-z][a-z0-9_-]*")
        _checked("system", system, r"[a-z][a-z0-9_]*")
        if sample is not None:
            found = draft(sample, topic, system, choices, _ask if there else None)
        else:
            found = from_fields(fields, topic, system, choices)
    written = new(folder, found, sample.name if sample else None)
    if sample:
        say("sample", f"{found.rows:,} rows of {sample}")
    say("contract", f"{folder}/ingest/contracts/{topic}.odcs.yaml: read it, and say what each field means")
    say("events", f"identity {found.identity}, event time {found.event_time}, key {found.key}")
    for each in found.remarks:
        warn(each)
    say("written", f"{len(written)} files below {folder}")
    for command, purpose in (
        (f"cd {folder}", ""),
        ("make demo", "sample events from the contract, landed, built, counted"),
        ("make test", "all tests"),
    ):
        detail(f"  {command:<30} {purpose}".rstrip())


def _checked(option: str, name: str, pattern: str) -> str:
    if not re.fullmatch(pattern, name):
        raise BadInput(
            f"'{name}' cannot be the name of a {option}.", f"Write `--{option}` in lower case letters, digits and -."
        )
    return name


def _fields() -> list[str]:
    """What is entered, a field per line."""
    detail(f"A field per line, name:type, an empty line at the end. Types: {', '.join(SCALARS)}.")
    fields = []
    while text := typer.prompt("field", default="", show_default=False):
        fields.append(text)
    return fields


def _ask(question: str, names: Sequence[str], likely: str | None) -> str:
    detail(f"{question} {', '.join(names)}")
    while (answer := typer.prompt("column", default=likely)) not in names:
        detail(f"One of: {', '.join(names)}.")
    return str(answer)
