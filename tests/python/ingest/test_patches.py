"""Changes to the inside of libraries stand in `ingest/patches`, each for one version, and nowhere else."""

from __future__ import annotations

import ast
import importlib
import inspect
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from ingest.errors import ConfigurationError
from ingest.patches import written_for
from ingest.settings import PROJECT_ROOT

FOLDER = PROJECT_ROOT / "ingest" / "patches"
PATCHES = sorted(path for path in FOLDER.glob("*.py") if path.stem != "__init__")
OTHERS = sorted(
    path for room in ("ingest", "levain") for path in (PROJECT_ROOT / room).rglob("*.py") if path not in PATCHES
)


NO_LIBRARIES = {"ingest", "levain", *sys.stdlib_module_names}


def guards(tree: ast.Module) -> list[tuple[str, str, str]]:
    """The arguments of each `written_for` of a module."""
    calls = [each.value for each in tree.body if isinstance(each, ast.Expr) and isinstance(each.value, ast.Call)]
    found = [call for call in calls if isinstance(call.func, ast.Name) and call.func.id == "written_for"]
    return [tuple(ast.literal_eval(argument) for argument in call.args) for call in found]  # type: ignore[misc]


@pytest.mark.parametrize("path", PATCHES, ids=lambda path: path.stem)
def test_each_names_the_version_that_is_pinned_and_what_to_check(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    tree = ast.parse(text)
    assert re.search(r"^Upstream: https://", ast.get_docstring(tree) or "", re.MULTILINE), "link to the code upstream"
    pins = dict(re.findall(r"^([\w.-]+)==(\S+)", (PROJECT_ROOT / "requirements/runtime.txt").read_text(), re.MULTILINE))
    assert guards(tree)
    for distribution, version, check in guards(tree):
        assert check.startswith("see "), check
        assert pins[distribution] == version, f"{path.name}: before it names {pins[distribution]}, {check}"


def test_another_version_is_refused_with_what_to_check() -> None:
    written_for("pyiceberg", "0.12.0", "see whether it is still so.")
    with pytest.raises(ConfigurationError, match=r"pyiceberg 0\.12\.0 is installed, .*pyiceberg 0\.1\.0") as refused:
        written_for("pyiceberg", "0.1.0", "see whether it is still so.")
    assert "see whether it is still so." in refused.value.hint


def assigned(tree: ast.Module) -> Iterator[str]:
    """Attributes of what was imported from a library that a module sets."""
    imported: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            libraries = [each for each in node.names if each.name.partition(".")[0] not in NO_LIBRARIES]
            imported |= {(each.asname or each.name).partition(".")[0] for each in libraries}
        elif isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] not in NO_LIBRARIES:
            imported |= {each.asname or each.name for each in node.names}
    for node in ast.walk(tree):
        targets: list[ast.expr] = []
        if isinstance(node, ast.Assign):
            targets = node.targets
        elif isinstance(node, ast.AugAssign | ast.AnnAssign):
            targets = [node.target]
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "setattr":
            targets = [ast.Attribute(node.args[0], ast.unparse(node.args[1]))]
        for target in targets:
            root = target
            while isinstance(root, ast.Attribute):
                root = root.value
            if isinstance(target, ast.Attribute) and isinstance(root, ast.Name) and root.id in imported:
                yield ast.unparse(target)


@pytest.mark.parametrize("path", OTHERS, ids=lambda path: str(path.relative_to(PROJECT_ROOT)))
def test_no_other_module_sets_an_attribute_of_a_library(path: Path) -> None:
    assert not list(assigned(ast.parse(path.read_text(encoding="utf-8"))))


def test_setting_an_attribute_of_a_library_would_be_seen() -> None:
    for change in ("faust.App.x = 1", "setattr(faust.App, 'x', 1)", "faust.y += 1"):
        assert list(assigned(ast.parse(f"import faust\n{change}\n"))), change
    assert not list(assigned(ast.parse("import faust\nfrom ingest import lake\napp = faust.App()\nlake.x = app.y\n")))


def overridden(kind: type) -> list[str]:
    """Private methods of libraries that a class of ours changes, but for those that it has to define."""
    bases = [base for base in kind.__mro__[1:] if base.__module__.partition(".")[0] not in NO_LIBRARIES]
    return [
        name
        for name, value in vars(kind).items()
        if re.match(r"_[a-z]", name)
        and callable(value)
        and any(name in vars(base) for base in bases)
        and not any(getattr(vars(base).get(name), "__isabstractmethod__", False) for base in bases)
    ]


@pytest.mark.parametrize("path", OTHERS, ids=lambda path: str(path.relative_to(PROJECT_ROOT)))
def test_no_other_module_overrides_a_private_method_of_a_library(path: Path) -> None:
    name = ".".join(path.relative_to(PROJECT_ROOT).with_suffix("").parts).removesuffix(".__init__")
    importlib.import_module(name)
    kinds = [kind for _, kind in inspect.getmembers(sys.modules[name], inspect.isclass) if kind.__module__ == name]
    assert not {kind.__name__: found for kind in kinds if (found := overridden(kind))}


def test_overriding_a_private_method_would_be_seen() -> None:
    from ingest.patches.iceberg_rest import PromptRestCatalog
    from ingest.transport import Consumer

    assert overridden(PromptRestCatalog) == ["_config_headers"]
    assert {"_to_message", "_new_consumer_thread"} <= vars(Consumer).keys() and not overridden(Consumer)
