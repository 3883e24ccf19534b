"""`levain lineage --openlineage`: what the last build made of what, as OpenLineage events that other catalogs read.

One event per table, a line each (https://openlineage.io/spec/2-0-2/OpenLineage.json): its columns, the columns that
each is computed from, and those that its rows are filtered and joined by. A staging model has the fields of its topic's
contract among its inputs, under Kafka's name. Who reads the tables, an exposure, is a job with inputs alone, of which
no run is known.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from datetime import UTC
from pathlib import Path
from typing import Any

from ingest.contracts import load_contracts
from ingest.errors import LevainError
from ingest.settings import Settings
from levain.read.lineage import fields_of, json_path
from levain.terminal import errors, say
from levain.warehouse.columns import Column, Columns, Relation, load_columns
from levain.warehouse.dbt import not_built, reader, rows_of

PRODUCER = "https://levain.example/levain"
"""What OpenLineage calls the producer: a URI that stands for this program."""

SPEC = "https://openlineage.io/spec"
_FACETS = {
    "schema": "1-2-0/SchemaDatasetFacet",
    "columnLineage": "1-2-0/ColumnLineageDatasetFacet",
    "documentation": "1-1-0/DocumentationDatasetFacet",
    "parent": "1-2-0/ParentRunFacet",
    "sql": "1-1-0/SQLJobFacet",
}
JOBS = "levain"
"""Namespace of the jobs, which go by their tables' names."""


def write_events(settings: Settings, file: Path) -> None:
    """Write the events of the last build that ended, a JSON object a line.

    Raises:
        LevainError: nothing was built yet, or see `reader`.
    """
    if not settings.duckdb_file.exists():
        raise not_built(settings)
    with errors.status("Reading the models"):
        columns = load_columns(settings)
    with reader(settings) as connection:
        found = rows_of(
            connection,
            "meta",
            "outcomes",
            "select invocation_id, finished_at from {} join meta.builds using (build) "
            "where command = 'build' order by build desc, finished_at desc limit 1",
        )
    if not found or not found[1]:
        raise LevainError("No build has ended yet.", "Build the tables with `levain build`.")
    ((build, moment),) = found[1]
    lines = [json.dumps(event, ensure_ascii=False) + "\n" for event in events(settings, columns, build, _iso(moment))]
    file.write_text("".join(lines), encoding="utf-8")
    say("written", f"{len(lines)} events to {file}")


def _iso(moment: Any) -> str:
    text: str = moment.replace(tzinfo=UTC).isoformat() if moment.tzinfo is None else moment.astimezone(UTC).isoformat()
    return text


def events(settings: Settings, columns: Columns, build: str, moment: str) -> Iterator[dict[str, Any]]:
    """An event for each seed, snapshot, model and exposure.

    Args:
        settings: which home.
        columns: of the project.
        build: dbt's id of the build, a UUID.
        moment: when it ended, ISO 8601.
    """
    kafka = f"kafka://{settings.kafka_bootstrap.partition(',')[0] or settings.kafka_cluster}"
    warehouse = settings.duckdb_file.as_uri()
    contracts = {contract.staging_model: contract for contract in load_contracts().values()}

    def dataset(relation: Relation) -> dict[str, Any]:
        kinds = [
            {"name": name, "type": kind, "description": relation.texts.get(name, "")}
            for name, kind in relation.types.items()
        ]
        facets = {"schema": _facet("schema", fields=kinds)}
        if relation.description:
            facets["documentation"] = _facet("documentation", description=relation.description)
        return {"namespace": warehouse, "name": relation.table, "facets": facets}

    def inputs_of(relation: Relation, column: Column, direct: bool) -> list[dict[str, Any]]:
        name, place = column
        fields = fields_of(contracts.get(relation.name), place) if name == relation.name else []
        how = {"type": "DIRECT", "subtype": "TRANSFORMATION"} if direct else {"type": "INDIRECT", "subtype": "FILTER"}
        if fields:
            topic = contracts[relation.name].topic
            return [
                {"namespace": kafka, "name": topic, "field": json_path(each)[2:], "transformations": [how]}
                for each in fields
            ]
        found = columns.sources(column) if name == relation.name else [column]
        return [
            {
                "namespace": warehouse,
                "name": columns.relations[source].table,
                "field": each,
                "transformations": [how],
            }
            for source, each in found
        ]

    for relation in columns.relations.values():
        if relation.kind == "source":
            continue
        output = dataset(relation)
        output["facets"]["columnLineage"] = _facet(
            "columnLineage",
            fields={
                name: {"inputFields": found}
                for name in relation.types
                if (found := inputs_of(relation, (relation.name, name), True))
            },
            dataset=[each for filter in relation.filters for each in inputs_of(relation, filter, False)],
        )
        inputs = [dataset(columns.relations[name]) for name in dict.fromkeys(relation.parents)]
        if relation.name in contracts:
            contract = contracts[relation.name]
            kinds = [
                {"name": json_path(each)[2:], "type": each.logical_type, "description": each.description}
                for each in contract.columns
            ]
            inputs.append(
                {"namespace": kafka, "name": contract.topic, "facets": {"schema": _facet("schema", fields=kinds)}}
            )
        yield {
            "eventType": "COMPLETE",
            "eventTime": moment,
            "producer": PRODUCER,
            "schemaURL": f"{SPEC}/2-0-2/OpenLineage.json#/$defs/RunEvent",
            "run": {
                "runId": str(uuid.uuid5(uuid.UUID(build), relation.table)),
                "facets": {
                    "parent": _facet("parent", run={"runId": build}, job={"namespace": JOBS, "name": "levain build"})
                },
            },
            "job": {
                "namespace": JOBS,
                "name": relation.table,
                "facets": {"sql": _facet("sql", query=relation.code)} if relation.kind == "model" else {},
            },
            "inputs": inputs,
            "outputs": [output],
        }
    for exposure in columns.exposures:
        yield {
            "eventTime": moment,
            "producer": PRODUCER,
            "schemaURL": f"{SPEC}/2-0-2/OpenLineage.json#/$defs/JobEvent",
            "job": {"namespace": JOBS, "name": exposure.label},
            "inputs": [dataset(columns.relations[name]) for name in exposure.reads],
            "outputs": [],
        }


def _facet(name: str, **content: Any) -> dict[str, Any]:
    schema = _FACETS[name]
    return {"_producer": PRODUCER, "_schemaURL": f"{SPEC}/facets/{schema}.json#/$defs/{schema[6:]}", **content}
