"""The columns of the whole project: their types, and which columns each is computed from.

The models are compiled for a full refresh, against a warehouse that is empty and thrown away: so their SQL refers to no
earlier build, and no build has to be waited for. The tables are made of that SQL in DuckDB's memory, without rows:
names and types are those that DuckDB finds. dbt-colibri finds in both which columns each column is computed from. The
outcome is kept in the home until a file of the project changes.
"""

from __future__ import annotations

import json
import logging
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from functools import cached_property
from graphlib import TopologicalSorter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb

from ingest.errors import LevainError
from ingest.settings import PROJECT_ROOT, Settings
from levain.warehouse import changes
from levain.warehouse.dbt import one_line, parse, run_dbt

if TYPE_CHECKING:
    from dbt.contracts.graph.manifest import Manifest
    from dbt_colibri.lineage_extractor.extractor import DbtColumnLineageExtractor
    from sqlglot import exp

Column = tuple[str, str]
"""(relation, column). A relation goes by its name, which dbt keeps unique; one of Bronze is `bronze.<table>`."""

_FILTERS = ("__colibri_filter__", "__colibri_join__")
"""What colibri calls the columns that a model filters and joins by."""


@dataclass
class Relation:
    """A table or view of the project, or of Bronze.

    Attributes:
        name: see `Column`.
        table: schema and name in the warehouse.
        kind: `source`, `seed`, `snapshot` or `model`.
        path: its file in the project; empty for a source.
        description: what dbt's docs say of it.
        code: SQL of a model or snapshot, as a full refresh runs it.
        parents: relations that it reads.
        types: column -> its type in DuckDB, in order.
        texts: column -> its description, where it has one.
        sources: column -> the columns that its values are computed from.
        filters: columns that decide which rows there are, by a filter or a join.
        conditions: measure -> the condition in it and the columns that it names, over the relation `source`: rows
            that do not meet it add nothing, as in `sum(case when status = 'idle' then 1 else 0 end)`.
        rows_from: what its YAML says of where its rows come from, see docs/lineage.md; None: nothing.
    """

    name: str
    table: str
    kind: str
    path: str
    description: str
    code: str
    parents: list[str]
    texts: dict[str, str]
    rows_from: list[dict[str, Any]] | None
    types: dict[str, str] = field(default_factory=dict)
    sources: dict[str, list[Column]] = field(default_factory=dict)
    filters: list[Column] = field(default_factory=list)
    conditions: dict[str, tuple[str, list[str]]] = field(default_factory=dict)

    @property
    def is_for_users(self) -> bool:
        """Whether it is of Silver, Gold, quality or reference data, and not of what parses and judges messages."""
        return self.kind != "source" and not self.path.startswith(("models/staging", "models/messages"))


@dataclass
class Exposure:
    """Who reads tables of the project, and which."""

    name: str
    label: str
    reads: list[str]


@dataclass
class Columns:
    """Every relation and exposure of the project.

    Attributes:
        relations: name -> relation, parents first.
        exposures: who reads them.
        untraced: columns whose origin could not be found, in colibri's words.
    """

    relations: dict[str, Relation]
    exposures: list[Exposure]
    untraced: list[str]

    @cached_property
    def users(self) -> dict[Column, list[Column]]:
        """Column -> the columns that are computed from it."""
        found: dict[Column, list[Column]] = {}
        for relation in self.relations.values():
            for column, sources in relation.sources.items():
                for source in sources:
                    found.setdefault(source, []).append((relation.name, column))
        return found

    def sources(self, column: Column) -> list[Column]:
        """The columns that a column's values are computed from."""
        return self.relations[column[0]].sources.get(column[1], [])

    def origins(self, columns: Iterable[Column]) -> dict[Column, None]:
        """These columns and all that they are computed from, at any distance, each once."""
        found: dict[Column, None] = {}
        todo = list(columns)
        while todo:
            column = todo.pop(0)
            if column not in found:
                found[column] = None
                todo += self.sources(column)
        return found


def load_columns(settings: Settings, manifest: Manifest | None = None) -> Columns:
    """What is kept in the home of the project's columns; if a file has changed since, it is found out first.

    Args:
        settings: which home.
        manifest: the project, if it was read before.

    Raises:
        LevainError: the project has an error.
    """
    kept = settings.root / "target" / "columns.json"
    code = changes.checksum(settings)
    try:
        document = json.loads(kept.read_bytes())
        if code and document["code"] == code:
            return _read(document)
    except (OSError, ValueError, LookupError, TypeError):
        pass  # there is none yet, or an older version wrote it
    found = trace(settings, manifest or parse(settings))
    kept.parent.mkdir(parents=True, exist_ok=True)
    kept.write_text(json.dumps({"code": code, **asdict(found)}), encoding="utf-8")
    return found


def _read(document: Mapping[str, Any]) -> Columns:
    relations = {}
    for name, each in document["relations"].items():
        sources = {column: [(a, b) for a, b in found] for column, found in each["sources"].items()}
        conditions = {column: (sql, names) for column, (sql, names) in each["conditions"].items()}
        filters = [(a, b) for a, b in each["filters"]]
        relations[name] = Relation(**each | {"sources": sources, "conditions": conditions, "filters": filters})
    return Columns(relations, [Exposure(**each) for each in document["exposures"]], document["untraced"])


def trace(settings: Settings, manifest: Manifest) -> Columns:
    """Compile the project, make its tables without rows, and find out what each column is computed from.

    Raises:
        LevainError: a model cannot be compiled, or DuckDB refuses its SQL.
    """
    with _scratch(settings) as scratch:
        document, nodes, names, relations = _compiled(scratch, manifest)
        target = scratch.root / "target"
        (target / "catalog.json").write_text(json.dumps(_catalog(nodes, names, relations)), encoding="utf-8")
        extractor, untraced = colibri(target / "manifest.json", target / "catalog.json")
        traced = extractor.extract_project_lineage()["lineage"]["parents"]
    for node, found in traced.items():
        relation = relations[names[node]]
        for column, sources in found.items():
            sources = sorted(
                {(names[each["dbt_node"]], each["column"]) for each in sources if each["dbt_node"] in names}
            )
            if column in _FILTERS:
                relation.filters = sorted({*relation.filters, *sources})
            else:
                relation.sources[column] = sources
    for relation in relations.values():
        relation.conditions = dict(_conditions(relation.code)) if relation.kind == "model" else {}
    exposures = [
        Exposure(each["name"], each["label"] or each["name"], [names[node] for node in each["depends_on"]["nodes"]])
        for each in document["exposures"].values()
    ]
    return Columns(relations, exposures, untraced)


def compiled(settings: Settings, manifest: Manifest) -> dict[str, Relation]:
    """Every relation with its SQL and types, parents first, and not yet which columns its own are computed from.

    Raises:
        LevainError: a model cannot be compiled, or DuckDB refuses its SQL.
    """
    with _scratch(settings) as scratch:
        return _compiled(scratch, manifest)[3]


@contextmanager
def _scratch(settings: Settings) -> Iterator[Settings]:
    """An empty home that is thrown away."""
    settings.run_dir.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=settings.run_dir, prefix="compiled-") as home:
        yield Settings(home=Path(home))


def _compiled(
    scratch: Settings, manifest: Manifest
) -> tuple[dict[str, Any], dict[str, dict[str, Any]], dict[str, str], dict[str, Relation]]:
    """dbt's manifest of the compiled project, its nodes that are relations, their names, and the relations."""
    run_dbt(scratch, ["compile", "--full-refresh"], "Compiling the models", manifest)
    target = scratch.root / "target"
    document = json.loads((target / "manifest.json").read_bytes())
    nodes = {
        node: each
        for node, each in (document["sources"] | document["nodes"]).items()
        if each["resource_type"] in ("source", "seed", "snapshot", "model")
    }
    names = {
        node: f"{each['schema']}.{each['name']}" if each["resource_type"] == "source" else each["name"]
        for node, each in nodes.items()
    }
    parents = {
        node: [p for p in each.get("depends_on", {}).get("nodes", []) if p in nodes] for node, each in nodes.items()
    }
    relations = {
        names[node]: Relation(
            name=names[node],
            table=f"{nodes[node]['schema']}.{nodes[node]['name']}",
            kind=nodes[node]["resource_type"],
            path="" if nodes[node]["resource_type"] == "source" else nodes[node]["original_file_path"],
            description=nodes[node]["description"],
            code=nodes[node].get("compiled_code") or _seed(nodes[node]),
            parents=[names[parent] for parent in parents[node]],
            texts={name: each["description"] for name, each in nodes[node]["columns"].items()},
            rows_from=nodes[node]["config"].get("meta", {}).get("rows_from"),
        )
        for node in TopologicalSorter(parents).static_order()
    }
    with create_tables(relations.values()) as connection:
        for table, column, kind in connection.execute(
            "select table_schema || '.' || table_name, column_name, lower(data_type) "
            "from information_schema.columns where table_catalog = 'levain' order by ordinal_position"
        ).fetchall():
            relations[table if table in relations else table.partition(".")[2]].types[column] = kind
    return document, nodes, names, relations


def create_tables(relations: Iterable[Relation]) -> duckdb.DuckDBPyConnection:
    """All tables of the project in DuckDB's memory, without rows. Relations: of the whole project, parents first.

    Raises:
        LevainError: DuckDB refuses a model's SQL.
    """
    from pyiceberg.io.pyarrow import schema_to_pyarrow

    from ingest.catalog import BRONZE_SCHEMA

    connection = duckdb.connect()
    connection.execute("attach ':memory:' as levain; use levain; set TimeZone = 'UTC'")
    connection.register("bronze", schema_to_pyarrow(BRONZE_SCHEMA, include_field_ids=False).empty_table())
    for relation in relations:
        schema, _, _ = relation.table.partition(".")
        connection.execute(f"create schema if not exists {schema}")
        try:
            connection.execute(f"create table {relation.table} as select * from ({select_of(relation)}) with no data")
        except duckdb.Error as error:
            raise LevainError(f"{relation.path}: {one_line(error)}", "Repair the model.") from error
    return connection


def select_of(relation: Relation) -> str:
    """The query that a full refresh makes a relation of; of a source, a table `bronze` without rows."""
    if relation.kind == "source":
        return "select * from bronze"
    if relation.kind == "snapshot":
        added = ("dbt_scd_id", "dbt_updated_at", "dbt_valid_from", "dbt_valid_to")
        return f"select *, {', '.join(f'null::date as {name}' for name in added)} from ({relation.code})"
    return relation.code


def _seed(node: Mapping[str, Any]) -> str:
    """Query: a seed's rows; empty for what is no seed."""
    if node["resource_type"] != "seed":
        return ""
    path, types = PROJECT_ROOT / node["original_file_path"], node["config"]["column_types"]
    columns = "".join(f", '{name}': '{kind}'" for name, kind in types.items())
    return f"select * from read_csv({_quoted(path)}, types = {{{columns.removeprefix(', ')}}})"


def _quoted(text: object) -> str:
    return "'" + str(text).replace("'", "''") + "'"


def _catalog(
    nodes: Mapping[str, Mapping[str, Any]], names: Mapping[str, str], relations: Mapping[str, Relation]
) -> dict[str, dict[str, Any]]:
    """What `dbt docs generate` would write as catalog.json, as far as colibri reads it."""
    catalog: dict[str, dict[str, Any]] = {"nodes": {}, "sources": {}}
    for node, each in nodes.items():
        types = relations[names[node]].types
        catalog["sources" if each["resource_type"] == "source" else "nodes"][node] = {
            "unique_id": node,
            "metadata": {key: each[key] for key in ("database", "schema", "name")},
            "columns": {name: {"name": name, "type": kind} for name, kind in types.items()},
        }
    return catalog


def colibri(manifest: Path, catalog: Path) -> tuple[DbtColumnLineageExtractor, list[str]]:
    """dbt-colibri on two artifacts of dbt, which has traced them, and what it could not trace."""
    from dbt_colibri.lineage_extractor.extractor import DbtColumnLineageExtractor

    untraced: list[str] = []
    tracer = logging.getLogger("colibri")
    tracer.propagate = False
    tracer.setLevel(logging.ERROR)
    tracer.handlers = [_Collector(untraced)]
    extractor = DbtColumnLineageExtractor(str(manifest), str(catalog))
    models = [each for each in extractor.manifest["nodes"].values() if each["resource_type"] == "model"]
    codes = [each["compiled_code"] for each in models]
    for each in models:
        each["compiled_code"] = _with_flat_structs(each["compiled_code"])
    traced = extractor.extract_project_lineage()
    for each, code in zip(models, codes, strict=True):
        each["compiled_code"] = code
    extractor.extract_project_lineage = lambda: traced
    return extractor, untraced


def _with_flat_structs(code: str) -> str:
    """SQL whose columns that are structs are a column per field, which is traced by itself.

    The fields of a struct say which one is the least, too; that is the choice of a row, as a filter is.
    """
    import sqlglot
    from sqlglot import exp

    if "': " not in code:
        return code
    tree = sqlglot.parse_one(code, dialect="duckdb")
    fields: dict[str, list[str]] = {}

    def parts(each: exp.Expr) -> list[exp.Expr]:
        """A column of a select list, or the columns that take its place."""
        value, name = each.unalias(), each.alias
        if name and isinstance(value, exp.Struct):
            fields[name] = [part.name for part in value.expressions]
            return [exp.alias_(part.expression, f"{name}__{part.name}") for part in value.expressions]
        whole = [column for column in value.find_all(exp.Column) if column.name in fields and not in_bracket(column)]
        if not name or name in fields or not whole:
            return [each]
        fields[name] = fields[whole[0].name]
        found = []
        for part in fields[name]:
            copy = value.copy()
            for column in copy.find_all(exp.Column):
                if column.name in fields:
                    column.this.set("this", f"{column.name}__{part}")
            found.append(exp.alias_(copy, f"{name}__{part}"))
        return found

    def in_bracket(column: exp.Column) -> bool:
        return isinstance(column.parent, exp.Bracket) and column.parent.this is column

    before = -1
    while before != len(fields):  # a struct may be read before it is found
        before = len(fields)
        for select in tree.find_all(exp.Select):
            select.set("expressions", [part for each in select.expressions for part in parts(each)])
    for bracket in list(tree.find_all(exp.Bracket)):
        if isinstance(bracket.this, exp.Column) and bracket.this.name in fields:
            bracket.replace(exp.column(f"{bracket.this.name}__{bracket.expressions[0].name}", table=bracket.this.table))
    return tree.sql(dialect="duckdb") if fields else code


class _Collector(logging.Handler):
    """Keeps the messages it is given."""

    def __init__(self, messages: list[str]) -> None:
        super().__init__()
        self.messages = messages

    def emit(self, record: logging.LogRecord) -> None:
        self.messages.append(record.getMessage())


def _conditions(code: str) -> Iterator[tuple[str, tuple[str, list[str]]]]:
    """See `Relation.conditions`: columns that are a conditional sum, minimum or maximum, and only passed on after."""
    import sqlglot
    from sqlglot import exp

    measures: dict[str, list[exp.Expr]] = {}
    for select in sqlglot.parse_one(code, dialect="duckdb").find_all(exp.Select):
        for each in select.expressions:
            value = each.unalias()
            if not (isinstance(value, exp.Column) and value.name == each.alias_or_name):
                measures.setdefault(each.alias_or_name, []).append(value)
    for name, values in measures.items():
        condition = _condition(values[0]) if len(values) == 1 else None
        if condition is not None:
            used = sorted({column.name for column in condition.find_all(exp.Column)})
            for column in condition.find_all(exp.Column):
                column.set("table", exp.to_identifier("source"))
            yield name, (condition.sql(dialect="duckdb"), used)


def _condition(value: exp.Expr) -> exp.Expr | None:
    """The condition of `sum(case when condition then x else 0 end)`, of max and min alike; None if it has none."""
    from sqlglot import exp

    while isinstance(value, exp.Cast):
        value = value.this
    if not isinstance(value, exp.Sum | exp.Max | exp.Min) or not isinstance(value.this, exp.Case):
        return None
    case = value.this
    otherwise = case.args.get("default")
    adds_nothing = otherwise is None or (isinstance(value, exp.Sum) and otherwise.sql() == "0")
    return case.args["ifs"][0].this.copy() if len(case.args["ifs"]) == 1 and not case.this and adds_nothing else None
