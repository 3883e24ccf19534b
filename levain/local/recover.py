"""`levain recover`: tables that lie in the lake are registered in the catalog, each at its newest version."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

from pyiceberg.catalog import Catalog
from pyiceberg.exceptions import NoSuchNamespaceError, NoSuchTableError, TableAlreadyExistsError
from pyiceberg.table import StaticTable, Table

from ingest.catalog import DAMAGED, NAMESPACE, bronze_names, load_bronze, open_catalog
from ingest.errors import BadInput, LevainError, StateError, first_line
from ingest.lake import Found, Lake, branches, history, lacking, number, path_of
from ingest.settings import Settings
from levain.terminal import errors, say, show_table


@dataclass
class Step:
    """What is to become of one table of the lake."""

    table: Found
    what: str
    replaces: bool = False
    to_do: bool = True


def run(settings: Settings, locations: Sequence[str] = (), *, dry_run: bool) -> None:
    """Register tables that the catalog does not know, and point it to the newest version of those it knows.

    Args:
        settings: the catalog and the lake.
        locations: folders of tables, as URIs; only those. Empty: every table.
        dry_run: change nothing; print what would be done.

    Raises:
        LevainError: the stack is running; a table's files are missing or were written at another place; of several
            tables with one name it is not said which; or see `open_catalog`. What can be registered has been.
    """
    from levain.local.stack import Stack

    if Stack(settings).running:
        raise LevainError("The stack is running.", "Stop it with `levain down` first, and any other worker too.")
    if settings.catalog_type == "rest":
        raise LevainError(
            "A REST catalog keeps its own state, and says itself where tables are.",
            "Restore it by its own means. `register_table` of PyIceberg registers a table from its metadata file.",
        )
    makes_none = dry_run and settings.has_own_catalog and not settings.catalog_file.exists()
    in_memory = settings.model_copy(update={"catalog_uri": "sqlite://"})
    lake, catalog = Lake(settings), open_catalog(in_memory if makes_none else settings)
    with errors.status("Looking through the lake"):
        found = [each for each in lake.tables() if not locations or each.location in _without_slashes(locations)]
    if unknown := _without_slashes(locations) - {each.location for each in found}:
        raise BadInput(f"No table with data lies at {', '.join(sorted(unknown))}.", f"The lake is {settings.lake}.")
    by_name: dict[str, list[Found]] = defaultdict(list)
    for each in found:
        by_name[each.name].append(each)
    steps: list[Step] = []
    refused: list[str] = []
    for name, tables in sorted(by_name.items()):
        try:
            step = _step(lake, catalog, name, tables)
            if step.to_do:
                _refuse_incomplete(lake, step.table, catalog)
                if not dry_run:
                    _register(catalog, step)
            steps.append(step)
        except LevainError as error:
            refused.append(str(error))
    if not locations:
        refused += _unreadable(catalog, known=by_name)
    show_table(
        "What would be done" if dry_run else "",
        ["table", "rows", "version", "last commit (UTC)", "what"],
        [
            [s.table.name, s.table.newest.rows, s.table.newest.number, f"{s.table.newest.updated:%F %T}", s.what]
            for s in steps
        ],
    )
    if refused:
        raise StateError("\n".join(refused), "docs/troubleshooting.md says what to do about each case.")
    if not steps:
        say("recover", f"no table with data lies in {settings.lake}")


def _unreadable(catalog: Catalog, known: Collection[str]) -> Iterator[str]:
    """What the catalog knows and cannot give, where the lake has no version of it that could be taken instead."""
    for name in bronze_names(catalog):
        if f"{NAMESPACE}.{name}" not in known:
            try:
                load_bronze(catalog, name)
            except LevainError as error:
                yield f"{error.message}. The lake has no other version of it that holds anything."


def _step(lake: Lake, catalog: Catalog, name: str, tables: list[Found]) -> Step:
    """What is to become of the tables of one name.

    Raises:
        StateError: there are several of Bronze, or one that two catalogs wrote to.
    """
    known: Table | None = None
    gone = False
    try:
        known = catalog.load_table(name)
    except (NoSuchTableError, NoSuchNamespaceError):
        pass
    except (FileNotFoundError, *DAMAGED):  # the lake is older than the catalog, or the newest version damaged
        gone = True
    if known:
        for each in tables:
            if each.newest.uuid == str(known.metadata.table_uuid):
                return _newer(lake, known, each)
        if known.metadata.snapshots:
            return Step(tables[0], f"left alone: the catalog has another table, at {known.location()}", to_do=False)
    if not name.startswith(f"{NAMESPACE}."):
        # What dbt drops and creates again, as a seed in each build on Spark, leaves its files in one folder.
        tables = [max(tables, key=lambda each: each.newest.updated)]
    if len(tables) > 1:
        raise StateError(
            f"The lake has {len(tables)} tables {name}: {', '.join(map(str, tables))}. Name the one to register: "
            "`levain recover LOCATION`."
        )
    found = tables[0]
    if others := branches(lake.files, found.versions, found.newest):
        raise _branched(found, others[0].path)
    instead = ", instead of a version that is not there" if gone else ", instead of an empty table" if known else ""
    return Step(found, f"registered{instead}", replaces=gone or known is not None)


def _newer(lake: Lake, known: Table, found: Found) -> Step:
    """Point the catalog to the newest version, if that follows the one it points to."""
    mine, newest = path_of(known.metadata_location), found.newest
    if newest.number <= number(mine):
        return Step(found, "is known", to_do=False)
    if mine not in history(lake.files, newest.path, newest.before):
        raise _branched(found, mine)
    return Step(found, f"pointed to, instead of version {number(mine)}", replaces=True)


def _branched(found: Found, other: str) -> StateError:
    return StateError(
        f"{found} has two histories, of two catalogs that wrote to it: {found.newest.path} does not follow {other}. "
        "Move the metadata files of the one that is not to be kept out of the folder."
    )


def _refuse_incomplete(lake: Lake, found: Found, catalog: Catalog) -> None:
    """A table is registered only if all that its current snapshot needs is where it says."""
    written_at = str(found.newest.document["location"])
    if lake.real(path_of(written_at)) != lake.real(path_of(found.location)):
        raise StateError(
            f"{found} was written at {written_at}. Iceberg keeps absolute paths: move the lake back, or put a symbolic "
            "link at its old place that leads here, and set LEVAIN_HOME or LEVAIN_CATALOG_WAREHOUSE to the old place."
        )
    try:
        table = StaticTable.from_metadata(found.metadata_location, catalog.properties)
        data = [task.file for task in table.scan().plan_files()]
    except OSError as error:
        raise StateError(f"{found} cannot be read: {first_line(error)}. Restore what is missing.") from error
    if lacks := lacking(lake.files, data):
        raise StateError(f"{found} {lacks}.")


def _register(catalog: Catalog, step: Step) -> None:
    name = step.table.name
    catalog.create_namespace_if_not_exists(name.partition(".")[0])
    if step.replaces:
        catalog.drop_table(name)  # only the catalog's entry; killed here, the next run registers it
    try:
        catalog.register_table(name, step.table.metadata_location)
    except TableAlreadyExistsError:
        step.what = "left alone: the catalog has a view of that name"


def _without_slashes(locations: Sequence[str]) -> set[str]:
    return {location.rstrip("/") for location in locations}
