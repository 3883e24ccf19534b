"""Imports point downwards: the rooms of docs/architecture.md, from the ground up."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping

import pytest

from ingest.settings import PROJECT_ROOT

#: Rooms by floor, from the ground up: modules, or packages with all that is in them. A room imports from floors below
#: it and from itself, not from its neighbours.
FLOORS = (
    ("ingest.errors",),
    ("ingest.settings", "ingest.rules", "ingest.jsontext", "ingest.values", "ingest.patches"),
    ("ingest.contracts", "ingest.avrotext", "ingest.fraud"),
    ("ingest.catalog", "ingest.kafka", "ingest.registry"),
    ("ingest.lake", "ingest.lander"),
    ("ingest.maintenance", "ingest.metrics", "ingest.logs"),
    ("ingest.health", "ingest.sources"),
    ("ingest.transport",),
    ("ingest.worker",),
    ("ingest.app", "ingest.scores"),
    ("levain.project", "levain.terminal", "levain.interrupts", "levain.processes"),
    ("levain.samples", "levain.warehouse"),
    ("levain.read", "levain.dev", "levain.learn"),
    ("levain.local",),
    ("levain.extra",),
    ("levain.cli",),
)
FLOOR = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}
MODULES = {
    ".".join(path.relative_to(PROJECT_ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for package in ("ingest", "levain")
    for path in (PROJECT_ROOT / package).rglob("*.py")
}
BARE = {"ingest", "levain"}
"""The packages themselves, which hold nothing to import."""


def room_of(module: str) -> str | None:
    return next((room for room in FLOOR if module == room or module.startswith(f"{room}.")), None)


def imports(text: str, modules: Mapping[str, object] = MODULES) -> Iterator[tuple[int, str]]:
    """Line and module of each import of our own, wherever in the text it stands."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, each.name) for each in node.names if each.name.partition(".")[0] in BARE)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno}: imports are written in full"
            source = node.module or ""
            if source.partition(".")[0] in BARE:
                for each in node.names:
                    inner = f"{source}.{each.name}"
                    yield node.lineno, inner if inner in modules else source


def upwards(module: str, text: str) -> list[str]:
    """What a module imports from above, or from a neighbour."""
    here = room_of(module)
    assert here, f"{module} is in no room: give it one in FLOORS and in docs/architecture.md"
    found = []
    for line, target in imports(text):
        there = room_of(target)
        assert there or target in BARE, f"{module}, line {line}: {target} is in no room"
        if there and there != here and FLOOR[there] >= FLOOR[here]:
            found.append(f"line {line}: {target}")
    return found


@pytest.mark.parametrize("module", sorted(MODULES.keys() - BARE))
def test_imports_point_downwards(module: str) -> None:
    assert upwards(module, MODULES[module].read_text(encoding="utf-8")) == []


def test_an_import_that_points_up_would_be_seen() -> None:
    for line in (
        "from levain.local import demo",
        "from levain.local.stack import Stack",
        "import levain.cli",
        "def f():\n    from levain.read.ledger import take",
        "from levain.dev.parity import run",  # the floor above
    ):
        assert upwards("levain.warehouse.dbt", line), line
    assert not upwards("levain.warehouse.dbt", "from levain import terminal\nfrom levain.warehouse import spark")


def test_what_lands_data_knows_nothing_of_what_reads_it() -> None:
    """Whatever its floor: a worker needs nothing of `levain`."""
    for module, path in MODULES.items():
        if module.startswith("ingest"):
            assert not [target for _, target in imports(path.read_text(encoding="utf-8")) if target[:6] == "levain"]


def test_the_picture_shows_every_room() -> None:
    page = (PROJECT_ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`((?:ingest|levain)[a-z_./]*)`", page))
    rooms = {room.replace(".", "/") for room in FLOOR}
    assert {name.removesuffix("/").removesuffix(".py") for name in named} >= rooms
