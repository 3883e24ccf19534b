"""Tables of the warehouse, computed again over other messages in one DuckDB connection, without dbt."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager

import duckdb
from lake import Lake

from levain.read.explain import COORDINATES
from levain.warehouse.bronze import UNSIGNED, load_extensions
from levain.warehouse.columns import Relation

AS_BUILT = ("latest_events", "dim_calendar")
"""Models without coordinates that a rebuild takes as they are: no row of theirs is one message's."""


@contextmanager
def beside(lake: Lake) -> Iterator[duckdb.DuckDBPyConnection]:
    """A connection to the built tables, beside which others can be made in memory."""
    with duckdb.connect(config={"threads": 1, **UNSIGNED}) as connection:
        load_extensions(connection)
        connection.execute(f"attach '{lake.settings.duckdb_file}' as levain (read_only)")
        connection.execute("use levain; set timezone = 'UTC'")
        yield connection


def has_coordinates(relation: Relation) -> bool:
    """Whether each of its rows names the message that it is made of."""
    return set(COORDINATES) <= relation.types.keys()


def is_given(relation: Relation, as_built: Collection[str] = AS_BUILT) -> bool:
    """Whether a rebuild takes it as it is: what has messages for rows, and what no message of the test changes."""
    return relation.kind != "model" or relation.name in as_built or has_coordinates(relation)


def needed(relations: Mapping[str, Relation], name: str, as_built: Collection[str] = AS_BUILT) -> set[str]:
    """A relation, and all that a rebuild makes or takes for it."""
    relation = relations[name]
    parents = () if is_given(relation, as_built) else relation.parents
    return {name}.union(*(needed(relations, parent, as_built) for parent in parents))


@contextmanager
def rebuilt(
    built: duckdb.DuckDBPyConnection,
    relations: Mapping[str, Relation],
    names: Iterable[str],
    given: Mapping[str, str],
    as_built: Collection[str] = AS_BUILT,
) -> Iterator[None]:
    """These tables, computed again in the database `again` by the SQL of a full refresh.

    Args:
        built: see `beside`.
        relations: name -> relation, all of the project, parents first.
        names: of the tables; what they need is made, too.
        given: relation -> query for its rows, instead of those that were built.
        as_built: models that are taken as they are.
    """
    wanted = set().union(*(needed(relations, name, as_built) for name in names))
    built.execute("attach ':memory:' as again")
    try:
        for name, relation in relations.items():
            if name in wanted:
                built.execute(f"create schema if not exists again.{relation.table.partition('.')[0]}")
                code = relation.code.replace('"levain".', '"again".')
                if is_given(relation, as_built):
                    code = given.get(name, f"select * from {relation.table}")
                built.execute(f"create table again.{relation.table} as select * from ({code})")
        yield
    finally:
        built.execute("detach again")
