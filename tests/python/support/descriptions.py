"""What the project's YAML files say of models, seeds and snapshots."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import yaml

from ingest.settings import PROJECT_ROOT


@cache
def document(path: Path) -> dict[str, Any]:
    """A YAML file."""
    content: dict[str, Any] = yaml.load(path.read_text(encoding="utf-8"), yaml.CSafeLoader)
    return content


@cache
def descriptions() -> dict[str, dict[str, Any]]:
    """Name -> description of every model, seed and snapshot."""
    return {
        each["name"]: each
        for folder in ("models", "seeds", "snapshots")
        for path in sorted((PROJECT_ROOT / folder).rglob("*.yml"))
        for kind in ("models", "seeds", "snapshots")
        for each in document(path).get(kind) or []
    }
