"""The project parsed once for all homes of the tests: dbt goes on from what it kept when it parsed for another home.

dbt keeps that in each home, and throws it away if the profile names another place of the tables, which no model reads.
"""

from __future__ import annotations

import fcntl
import shutil
import tempfile
from pathlib import Path
from typing import Any

from dbt.adapters.duckdb.credentials import DuckDBCredentials
from dbt.config.runtime import RuntimeConfig
from dbt.constants import PARTIAL_PARSE_FILE_NAME
from dbt.contracts.graph.manifest import Manifest
from dbt.parser.manifest import ManifestLoader

from ingest.settings import PROJECT_ROOT

KEPT = PROJECT_ROOT / ".cache" / "parsed"

_parse = ManifestLoader.get_full_manifest
_keys = DuckDBCredentials._connection_keys


def share() -> None:
    """Have every dbt of this process begin with what was kept, for each of the profile's targets."""
    ManifestLoader.get_full_manifest = staticmethod(_parse_what_changed)  # type: ignore[method-assign, assignment]
    DuckDBCredentials._connection_keys = lambda self: [key for key in _keys(self) if key != "attach"]  # type: ignore[method-assign]


def _parse_what_changed(config: RuntimeConfig, **options: Any) -> Manifest:
    own = Path(config.project_target_path) / PARTIAL_PARSE_FILE_NAME
    kept = KEPT / config.target_name / PARTIAL_PARSE_FILE_NAME
    ours = Path(config.project_root) == PROJECT_ROOT  # and no copy that a test changes
    kept.parent.mkdir(parents=True, exist_ok=True)
    own.parent.mkdir(parents=True, exist_ok=True)
    with kept.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # who comes second waits for what the first one keeps
        if kept.exists():
            fcntl.flock(lock, fcntl.LOCK_UN)
            if ours or not own.exists():
                shutil.copyfile(kept, own)
        begun = own.read_bytes() if own.exists() else b""
        manifest = _parse(config, **options)
        ended = own.read_bytes() if own.exists() else begun
        if ours and ended != begun:
            with tempfile.NamedTemporaryFile(dir=kept.parent, delete=False) as copy:
                copy.write(ended)
            Path(copy.name).replace(kept)
    return manifest
