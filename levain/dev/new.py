"""`levain new`: a project of one's own beside this one, the framework with one topic and without the example company.

Each file of this repository is of one class (`classify`): the framework is copied as it is, the company is left out,
and in place of the few files that name both, the project gets its own, from `template/` or cut from the file here.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator, Mapping
from fnmatch import fnmatchcase
from importlib.metadata import version
from pathlib import Path
from string import Template

from ingest.contracts import Contract, Field, load_contract
from ingest.errors import BadInput
from ingest.settings import PROJECT_ROOT
from levain.dev.draft import Draft, from_contract
from levain.warehouse.generate import render

FRAMEWORK = (
    *(".dockerignore", ".gitignore", ".sqlfluff", ".sqlfluffignore", "Dockerfile", "LICENSE", "Makefile"),
    *("dbt_project.yml", "pyproject.toml", "profiles/*", "requirements/*"),
    *("ingest/*.py", "levain/*.py", "levain/*.html", "macros/*"),
    *("models/quality/*", "models/silver/latest_events.sql", "seeds/released_messages.csv"),
    *("tests/assert_late_arrivals_add_up.sql", "tests/assert_released_messages_have_arrived.sql"),
    *("tests/python/conftest.py", "tests/python/ingest/test_import.py", "tests/python/ingest/test_patches.py"),
    *("tests/python/support/kafka_broker.py", "tests/python/support/kafka/*", "tests/python/support/lake.py"),
    *("tests/python/support/parsed.py", "tests/python/support/spark_session.py"),
)
"""Copied as they are, but for what is of the company or the project's own."""

COMPANY = (
    *(".ci/*", ".github/*", "CHANGELOG.md", "CONTRIBUTING.md", "bench/*", "docs/*"),
    *("ingest/contracts/*", "ingest/sources/openmeteo.py", "ingest/sources/weather.py"),
    *("ingest/fraud.py", "ingest/scores.py", "levain/learn/*"),
    *(
        "levain/dev/asked.py",
        "levain/dev/draft.py",
        "levain/dev/new.py",
        "levain/dev/picture.py",
        "levain/dev/stars.py",
        "levain/dev/template/*",
    ),
    *("levain/samples/company.py", "levain/samples/events/*"),
    *(
        "models/gold/*",
        "models/messages/*",
        "models/silver/*",
        "models/staging/*",
        "models/quality/int_fields__daily.sql",
    ),
    *("macros/topics/contracts/*", "seeds/*", "snapshots/*", "tests/*"),
)
"""Left out: the company's, or about this repository."""

OWN = (
    *("README.md", "dbt-bouncer.yml", "levain/extra.py", "levain/project.py"),
    "levain/samples/events/__init__.py",
    *("models/_exposures.yml", "models/_groups.yml", "models/docs.md", "models/overview.md"),
    *("models/silver/_silver__models.yml", "seeds/_seeds.yml"),
)
"""Where a project has another file of the same name: `_own`."""

SKIPPED = {".git", ".venv", ".levain", ".cache", "target", "logs", "__pycache__", "dbt_packages"}
"""Folders beside the project's own files: environments, caches, what was built."""
_TEMPLATES = Path(__file__).parent / "template"


def classify(path: str) -> str | None:
    """The class of a file of this repository: `own`, `company` or `framework`; None: of none.

    path: relative to the repository, with `/`. A file that is named in full in `FRAMEWORK` is so in spite of a pattern
    of the company's.
    """
    if path in OWN:
        return "own"
    if path in FRAMEWORK or path in COMPANY:
        return "framework" if path in FRAMEWORK else "company"
    for patterns, name in ((("tests/python/support/kafka/*",), "framework"), (COMPANY, "company")):
        if any(fnmatchcase(path, pattern) for pattern in patterns):
            return name
    return "framework" if any(fnmatchcase(path, pattern) for pattern in FRAMEWORK) else None


def new(folder: Path, draft: Draft, sample: str | None = None, name: str = "") -> list[str]:
    """Write a project.

    Args:
        folder: of the project; is made, or is empty but for `.git`.
        draft: its contract, and the query that replays the sample, if there is one.
        sample: name of the file that the contract was drafted from.
        name: of the project, in what it says of itself; empty: that of its folder.

    Returns:
        the files that were written, relative to the folder.

    Raises:
        BadInput: the folder has something in it, or lies in this repository.
    """
    check_folder(folder)
    folder.mkdir(parents=True, exist_ok=True)
    topic = re.search(r"^  *physicalName: (\S+)$", draft.contract, re.MULTILINE)
    assert topic
    path = folder / "ingest" / "contracts" / f"{topic[1]}.odcs.yaml"
    path.parent.mkdir(parents=True)
    path.write_text(draft.contract, encoding="utf-8")
    contract = load_contract(path)
    files = {file: (PROJECT_ROOT / file).read_bytes() for file in framework()}
    own = render([contract]) | _models(contract) | _own(name or folder.resolve().name, contract, draft, sample)
    own["models/docs.md"] = _docs({*own.values(), *_texts(files)})
    for file, content in {**files, **{file: text.encode() for file, text in own.items()}}.items():
        target = folder / file
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)
    return sorted([*files, *own, str(path.relative_to(folder))])


def check_folder(folder: Path) -> None:
    """See that a project can be written there.

    Raises:
        BadInput: it cannot.
    """
    if folder.resolve().is_relative_to(PROJECT_ROOT.resolve()):
        raise BadInput(
            f"{folder} lies in this project.", f"Name a folder beside it, such as ../{folder.name or 'mine'}."
        )
    if folder.exists() and (not folder.is_dir() or {each.name for each in folder.iterdir()} - {".git"}):
        raise BadInput(f"{folder} has something in it.", "Name a folder that is not there yet, or is empty.")


def read_again(folder: Path) -> tuple[Draft, str | None, str]:
    """What a project was written from: draft, name of the sample, name of the project. Its files are removed.

    Raises:
        BadInput: the folder is none that `new` wrote, with one topic, or has changes that git does not know.
    """
    contracts = sorted((folder / "ingest" / "contracts").glob("*.odcs.yaml"))
    git = ("git", "-C", str(folder))
    status = subprocess.run([*git, "status", "--porcelain", "."], capture_output=True, text=True)
    if len(contracts) != 1 or not (folder / ".git").exists() or status.returncode or status.stdout:
        raise BadInput(
            f"{folder} is not the work tree of a branch that has only what `levain new` wrote, all of it committed.",
            "Check it out with `git worktree add ../upgrade levain`; the project's README has all steps.",
        )
    topic = load_contract(contracts[0]).topic
    replay = folder / "replay" / f"{topic}.sql"
    query = replay.read_text(encoding="utf-8") if replay.exists() else ""
    sample = re.match(r"-- The rows of (.*) as events of ", query)
    draft = from_contract(contracts[0], query)
    name = (folder / "README.md").read_text(encoding="utf-8").partition("\n")[0].removeprefix("# ")
    subprocess.run([*git, "rm", "-rq", "."], check=True)
    return draft, sample[1] if sample else None, name


def framework() -> list[str]:
    """The files of the framework, relative to this repository."""
    return [path for path in _files() if classify(path) == "framework"]


def _files() -> Iterator[str]:
    for place, folders, names in os.walk(PROJECT_ROOT):
        folders[:] = sorted(each for each in folders if each not in SKIPPED and not each.endswith(".egg-info"))
        yield from (str((Path(place) / name).relative_to(PROJECT_ROOT).as_posix()) for name in sorted(names))


def _texts(files: Mapping[str, bytes]) -> Iterator[str]:
    return (content.decode() for name, content in files.items() if name.startswith(("models/", "seeds/")))


def _own(name: str, contract: Contract, draft: Draft, sample: str | None) -> dict[str, str]:
    """The project's own of the files in `OWN`, its tests, and the query that replays its sample."""
    table, topic, group = contract.table, contract.topic, _group(contract)
    keys = ["event_date", *([group.column] if group else [])]
    measures = ["event_count", *(f"total_{each.column}" for each in _measured(contract)[:2])]
    replay_file = f"replay/{topic}.sql"
    words = {
        "title": name,
        "topic": topic,
        "table": table,
        "version": version("levain"),
        "fact": f"fct_{table}",
        "mart": f"mart_{table}_daily",
        "measure": measures[-1],
        "columns": ", ".join((*keys, *measures)),
        "headings": repr(tuple(each.removeprefix("total_").replace("_", " ") for each in (*keys, *measures))).replace(
            "'", '"'
        ),
        "also": f", {group.column}" if group else "",
        "grain": f"day and {group.column}" if group else "day",
        "replayed": f"| `{replay_file}` | the sample's rows as events |\n" if draft.query else "",
        "replay": f"\nThe rows of `{sample}`, between `make start` and `make batch-etl`, from its folder:\n\n"
        f"```sh\n/path/to/{name}/.venv/bin/levain replay --topic {topic} --sql "
        f"/path/to/{name}/{replay_file}\n```\n"
        if draft.query and sample
        else "",
    }
    files = {
        file: Template((_TEMPLATES / f"{template}.in").read_text(encoding="utf-8")).substitute(words)
        for file, template in (
            ("README.md", "README.md"),
            ("levain/extra.py", "extra.py"),
            ("levain/project.py", "project.py"),
            ("levain/samples/events/__init__.py", "events.py"),
            ("models/overview.md", "overview.md"),
            ("tests/python/project/test_topic.py", "test_topic.py"),
        )
    }
    if draft.query:
        files[replay_file] = draft.query
    commands = ("levain_demo", "levain_show", "levain_ledger", "levain_quality")
    exposures = _entries(_here("models/_exposures.yml"), commands).replace("mart_product_sales", words["mart"])
    exposures = exposures.replace("the best-selling products", "the last days").replace("Sales analytics", "Analytics")
    files["snapshots/.gitkeep"] = ""
    files["models/_exposures.yml"] = exposures.replace("sales-analytics@", "analytics@")
    files["models/_groups.yml"] = _entries(_here("models/_groups.yml"), ("ingestion", "conformance")) + (
        "  - name: analytics\n"
        f"    description: Facts and marts of {topic}.\n"
        "    owner: {name: Analytics, email: analytics@levain.example}\n"
    )
    files["seeds/_seeds.yml"] = _entries(_here("seeds/_seeds.yml"), ("released_messages",))
    bouncer = _here("dbt-bouncer.yml").replace("(?!dimensions|marketplace)", "(?!dimensions)")
    bouncer = re.sub(r" The marketplace's own.*", "", bouncer)
    files["dbt-bouncer.yml"] = re.sub(r"\n    exclude: \S*ventes.*", "", bouncer)
    return files


def _here(name: str) -> str:
    return (PROJECT_ROOT / name).read_text(encoding="utf-8")


def _entries(text: str, names: tuple[str, ...]) -> str:
    """The entries of these names of a dbt YAML file, below its heading."""
    heading, *entries = re.split(r"(?m)^(?=  - name: )", text)
    return heading + "".join(each for each in entries if each.split(maxsplit=3)[2] in names)


def _docs(texts: set[str]) -> str:
    """The doc blocks of models/docs.md that the project's files name."""
    named = {name for text in texts for name in re.findall(r"doc\('(\w+)'\)", text)}
    blocks = re.findall(r"\{% docs (\w+) %\}.*?\{% enddocs %\}", _here("models/docs.md"), re.DOTALL)
    texts_of = re.findall(r"(\{% docs \w+ %\}.*?\{% enddocs %\})", _here("models/docs.md"), re.DOTALL)
    return "\n\n".join(text for name, text in zip(blocks, texts_of, strict=True) if name in named) + "\n"


def _group(contract: Contract) -> Field | None:
    """The field that a day's events are counted by: the first that has few values and is always there."""
    able = (each for each in contract.columns if each.allowed and contract.is_always_there(each))
    return next(able, None)


def _measured(contract: Contract) -> list[Field]:
    """The fields that are added up."""
    return [
        each
        for each in contract.columns
        if each.logical_type == "number" or (each.logical_type == "integer" and not each.identifier)
    ]


def _plain(contract: Contract) -> list[Field]:
    """The columns of a fact beside those that every event has."""
    return [each for each in contract.columns if each.column not in ("event_id", "event_time")]


def _data_type(field: Field) -> str:
    match field.logical_type:
        case "integer":
            return "bigint"
        case "number":
            return f"decimal({field.precision},{field.scale})"
        case "timestamp":
            return "timestamptz"
        case "boolean" | "date" as kind:
            return kind
    return "string"


def _column(name: str, description: str, data_type: str | None = None) -> str:
    kind = f"\n        data_type: {data_type}" if data_type else ""
    return f"      - name: {name}{kind}\n        description: {description}\n"


def _doc(name: str) -> str:
    return f"\"{{{{ doc('{name}') }}}}\""


def _said(field: Field) -> str:
    return '"' + field.description.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _select(columns: list[str], table: str, verdict: str) -> str:
    selected = "".join(f"    {name},\n" for name in columns).removesuffix(",\n")
    return f"select\n{selected}\nfrom {{{{ ref('int_{table}__verdicts') }}}}\nwhere verdict = '{verdict}'\n"


def _models(contract: Contract) -> dict[str, str]:
    """Silver and Gold of the topic: accepted and superseded events, a fact, a mart of its days."""
    table, group, topic = contract.table, _group(contract), contract.topic
    plain, measured = _plain(contract), _measured(contract)
    head, by = ["event_id", "event_time", "event_date"], [group.column] if group else []
    fact, mart, keys = f"fct_{table}", f"mart_{table}_daily", ["event_date", *by]
    tail = ["quality_score", "kafka_cluster", "topic", "partition", "kafka_offset", "received_at", "_build"]
    tails = "".join(_column(name, _doc(name)) for name in tail)
    heads = "".join(_column(name, _doc(name)) for name in head)
    silver = (
        "models:\n"
        f"  - name: {table}\n"
        f"    description: One row per accepted event of {topic}.\n"
        "    data_tests:\n"
        "      - row_rules:\n"
        "          arguments: {not_null: [event_id, event_time, event_date]}\n"
        f"    columns:\n{heads}"
        + "".join(_column(each.column, _said(each)) for each in plain)
        + tails
        + f"  - name: {table}_superseded\n"
        f"    description: One row per superseded version of an event of {topic}, of which another is accepted.\n"
        f"    columns:\n{heads}"
        + "".join(_column(group.column, _said(group)) for _ in by if group)
        + tails
        + _entries(_here("models/silver/_silver__models.yml"), ("latest_events",)).partition("\n")[2]
    )
    selected = ",\n".join(f"        events.{name}" for name in ("event_time", *(each.column for each in plain)))
    fact_sql = (
        "{% call fact(\n"
        f"    events=ref('{table}'),\n"
        f"    superseded=ref('{table}_superseded'),\n"
        "    date='event_date',\n"
        f") %}}\n{selected}\n{{% endcall %}}\n"
    )
    measures = ["        cast(count(*) as bigint) as event_count"]
    kinds = {"event_count": ("bigint", f"Accepted events of {topic}.")}
    for each in measured:
        kind = f"decimal(28, {each.scale})" if each.logical_type == "number" else "bigint"
        measures.append(f"        cast(sum({each.column}) as {kind}) as total_{each.column}")
        kinds[f"total_{each.column}"] = (kind.replace(" ", ""), f"Sum of {each.column}.")
    by_key = ", ".join(f"'{key}': '{key}'" for key in keys)
    mart_sql = (
        "{{ config(\n"
        "    materialized='incremental',\n"
        "    incremental_strategy='merge_changed',\n"
        f"    unique_key=[{', '.join(repr(key) for key in keys)}],\n"
        "    partition_by=by_month('event_date'),\n"
        ") }}\n\n"
        "{% call aggregate(\n"
        f"    facts=ref('{fact}'),\n"
        f"    keys={{{by_key}}},\n"
        f"    superseded=ref('{table}_superseded'),\n"
        ") %}\n" + ",\n".join(measures) + "\n{% endcall %}\n"
    )
    always = ["event_id", "event_date", *(each.column for each in plain if contract.is_always_there(each)), "_build"]
    key_list = ", ".join(keys)
    gold = (
        "models:\n"
        f"  - name: {fact}\n"
        f"    description: One row per accepted event of {topic}.\n"
        "    config:\n"
        "      group: analytics\n"
        f"      meta: {{rows_from: [{{from: {table}, by: [event_id]}}]}}\n"
        "    data_tests:\n"
        "      - row_rules:\n"
        "          arguments:\n"
        "            keys: [[event_id]]\n"
        f"            not_null: [{', '.join(always)}]\n"
        f"      - each_event_is_one_fact: {{name: every_accepted_event_of_{table}_is_a_fact,\n"
        f"          arguments: {{events: ref('{table}'), date: event_date}}}}\n"
        "    columns:\n"
        + _column("event_id", _doc("event_id"), "string")
        + _column("event_time", _doc("event_time"), "timestamptz")
        + "".join(_column(each.column, _said(each), _data_type(each)) for each in plain)
        + _column("event_date", _doc("event_date"), "date")
        + _column("_build", _doc("_build"), "bigint")
        + f"  - name: {mart}\n"
        f"    description: One row per day{f' and {group.column}' if group else ''} with accepted events of {topic}.\n"
        "    config:\n"
        "      group: analytics\n"
        f"      meta: {{rows_from: [{{from: {fact}, by: [{key_list}]}}]}}\n"
        "    data_tests:\n"
        "      - row_rules:\n"
        "          arguments:\n"
        f"            keys: [[{key_list}]]\n"
        f"            not_null: [{key_list}, event_count, _build]\n"
        "            conditions: [event_count > 0]\n"
        "    columns:\n"
        + _column("event_date", _doc("event_date"), "date")
        + "".join(_column(group.column, _said(group), "string") for _ in by if group)
        + "".join(_column(name, description, kind) for name, (kind, description) in kinds.items())
        + _column("_build", _doc("_build"), "bigint")
        + "\n"
        + _unit_test(contract, keys, measured)
    )
    return {
        f"models/silver/{table}.sql": _select([*head, *(each.column for each in plain), *tail], table, "accepted"),
        f"models/silver/{table}_superseded.sql": _select([*head, *by, *tail], table, "conflict"),
        "models/silver/_silver__models.yml": silver,
        f"models/gold/{table}/{fact}.sql": fact_sql,
        f"models/gold/{table}/{mart}.sql": mart_sql,
        f"models/gold/{table}/_{table}__models.yml": gold,
    }


def _unit_test(contract: Contract, keys: list[str], measured: list[Field]) -> str:
    """Two events of one group and one of another day."""
    by = ", ".join(f"{key}: a" for key in keys[1:])
    given = [("a", "2026-01-05", 2), ("b", "2026-01-05", 3), ("c", "2026-01-06", 4)]
    lines = [
        "{" + ", ".join([f"event_id: {id}", f'event_date: "{day}"', *([by] if by else []),
                         *(f"{each.column}: {number}" for each in measured)]) + "}"
        for id, day, number in given
    ]  # fmt: skip
    expected = [
        "{" + ", ".join([f'event_date: "{day}"', *([by] if by else []), f"event_count: {count}",
                         *(f"total_{each.column}: {number}" for each in measured)]) + "}"
        for day, count, number in (("2026-01-05", 2, 5), ("2026-01-06", 1, 4))
    ]  # fmt: skip
    return (
        "unit_tests:\n"
        f"  - name: events_of_{contract.table}_add_up_by_day\n"
        "    description: Events of a day are counted and summed together, those of another day are not.\n"
        f"    model: mart_{contract.table}_daily\n"
        "    overrides:\n"
        "      macros: {is_incremental: false, this_build: 1}\n"
        "    given:\n"
        f"      - input: ref('{contract.table}_superseded')\n"
        "        rows: []\n"
        f"      - input: ref('fct_{contract.table}')\n"
        "        rows:\n"
        + "".join(f"          - {line}\n" for line in lines)
        + "    expect:\n      rows:\n"
        + "".join(f"        - {line}\n" for line in expected)
    )
