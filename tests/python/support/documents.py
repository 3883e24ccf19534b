"""What the documentation shows to be written into files."""

from __future__ import annotations

import re

from ingest.settings import PROJECT_ROOT


def documented() -> list[str]:
    """The files of docs/adding-a-topic.md, in order; the last one is the contract of a registry-encoded topic."""
    text = (PROJECT_ROOT / "docs/adding-a-topic.md").read_text(encoding="utf-8")
    return re.findall(r"```(?:yaml|sql)\n(.*?)```", text, re.DOTALL)
