"""Faust: a worker that prints nothing past its log, for logs of JSON.

`faust worker` prints a banner, and the worker where it stands with signs of progress. Only the second has an option.

Not on import: `apply` makes the change, for this process.

Upstream: https://github.com/faust-streaming/faust/blob/v0.15.3/faust/cli/worker.py (`on_worker_created`)
"""

from __future__ import annotations

from faust.cli.worker import worker as worker_command

from ingest.patches import written_for

written_for(
    "faust-streaming", "0.15.3", "see whether the banner is still printed by `on_worker_created`, and by nothing else."
)


def apply() -> None:
    """Have `faust worker` print no banner."""
    worker_command.on_worker_created = lambda self, worker: None  # type: ignore[method-assign]
