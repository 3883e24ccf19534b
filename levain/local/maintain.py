"""`levain maintain`: Bronze is compacted, its snapshots expire, its orphans go."""

from __future__ import annotations

from ingest.catalog import bronze_names, full_name, is_bronze, load_bronze, open_catalog
from ingest.errors import LevainError
from ingest.lake import no_catalog_yet, refuse_unknown
from ingest.maintenance import Done
from ingest.maintenance import maintain as maintain_table
from ingest.settings import Settings
from levain.terminal import progress, say, show_table, warn
from levain.warehouse.dbt import BRONZE_HINT


def run(settings: Settings, *, dry_run: bool) -> None:
    """Maintain every Bronze table, and print what was done.

    Args:
        settings: the catalog, sizes and times.
        dry_run: change nothing; print what would be done, with the path of each orphan.

    Raises:
        LevainError: a table cannot be maintained; the others have been.
    """
    if no_catalog_yet(settings):
        raise LevainError("Bronze has no tables.", BRONZE_HINT)
    catalog = open_catalog(settings)
    for found in refuse_unknown(catalog, settings):
        warn(f"Another catalog's table lies in {settings.lake}, and is left alone: {found}.")
    names = bronze_names(catalog)
    done: list[Done] = []
    failed: list[LevainError] = []
    with progress("Maintaining") as advance:
        for number, name in enumerate(names):
            advance(number, name, len(names))
            table = load_bronze(catalog, name)
            if is_bronze(table):
                try:
                    done.append(maintain_table(table, settings, dry_run=dry_run))
                except LevainError as error:  # one table's fault is no reason to leave the others
                    failed.append(error)
            else:
                warn(f"{full_name(table)} does not have the columns of a Bronze table: it is left alone.")
    columns = ["files", "replaced", "bytes", "by", "bytes ", "snapshots", "expired", "orphans removed", "bytes  "]
    show_table(
        "What would be done" if dry_run else "",
        ["table", *columns],
        [
            [
                *(d.table, d.files, d.rewritten, d.rewritten_bytes, d.written, None if dry_run else d.written_bytes),
                *(d.snapshots, d.expired, len(d.orphans), d.orphan_bytes),
            ]
            for d in done
        ],
    )
    if dry_run:
        for path in (path for d in done for path in d.orphans):
            say("orphan", path)
    if failed:
        raise LevainError("\n".join(error.message for error in failed), failed[0].hint)
