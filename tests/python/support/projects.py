"""Copies of this project, to be changed."""

from __future__ import annotations

import shutil
from pathlib import Path

from ingest.settings import PROJECT_ROOT
from levain.dev.new import SKIPPED


def copy_project(folder: Path) -> None:
    """Copy its files, without environments, caches and what was built."""
    shutil.copytree(PROJECT_ROOT, folder, ignore=shutil.ignore_patterns(*SKIPPED, "*.egg-info"))
