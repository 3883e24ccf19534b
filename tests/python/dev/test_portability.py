"""The lint against one engine's own SQL: it sees each thing it knows, and nothing in what is portable."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from ingest.settings import PROJECT_ROOT
from levain.dev.portability import FUNCTIONS, Finding, findings, findings_in, main

CLEAN = """
{# target.type in a comment; md5(x); a || b #}
{{ config(materialized='incremental', post_hook="{{ advance_watermarks() }}", tags=["nightly"]) }}

with events as (

    select * from {{ ref('sales_events') }}  -- date_trunc('day', x)

),

/* a::int "quoted" */
final as (

    select
        {{ surrogate_key(['store_id', 'product_id']) }} as sale_key,
        {{ date_of('event_time') }} as sale_date,
        {{ to_integer(json_field('fields', 'quantity')) }} as quantity,
        coalesce(note, 'it''s a || b :: "c" now() // ->') as note,
        cast(sum(amount) as decimal(18, 2)) as amount,
        count(distinct receipt_id) as receipts,
        max(case when is_current then valid_from end) as day,
        row_number() over (partition by store_id order by event_time nulls last, kafka_offset nulls last) as position
    from events
    where {{ matches('store_id', '^S[0-9]+$') }} and year_week <> 'x'
    group by store_id

)

select * from final
"""

WORDS = {
    "select a::int from t": "::",
    "select a || b from t": "||",
    "select a // b from t": "//",
    "select a ->> '$.b' from t": "->>",
    'select "a" from t': '"',
    "select `a` from t": "`",
    "select a from t qualify row_number() over (order by a) = 1": "qualify",
    "select a, count(*) from t group by all": "group by all",
    "select a from t order by all": "order by all",
    "select a from t where a ilike 'x'": "ilike",
    "select a from t where a RLIKE 'x'": "RLIKE",
    "select * exclude (a) from t": "* exclude",
    "select * except (a) from t": "* except",
    "select a + interval 1 day from t": "interval",
    "select a from t asof join u on t.a = u.a": "asof join",
    "select current_date as today from t": "current_date",
    "select a at time zone 'UTC' from t": "at time zone",
    "pivot t on a": "pivot",
    "select a <=> b from t": "<=>",
    "select {{ 'a' if target.type == 'spark' else 'b' }} from t": "target.type",
    "{% if target.name == 'spark' %} select 1 {% endif %}": "target.name",
}


def concrete(name: str) -> str:
    """A function that a pattern of the table stands for."""
    return re.sub(r"\\w[+*]", "x", name)


@pytest.mark.parametrize("name", [concrete(name) for names in FUNCTIONS.values() for name in names])
def test_a_function_is_seen(name: str) -> None:
    for text in (
        f"select {name}(a) from t",
        f"select {name.upper()} (a)",
        f'select {{{{ add_days("{name}(a)", 1) }}}}',
    ):
        assert [found.what.lower() for found in findings_in(text, "x.sql")] == [name], text


@pytest.mark.parametrize(("text", "what"), WORDS.items())
def test_a_word_is_seen(text: str, what: str) -> None:
    assert what in [found.what for found in findings_in(text, "x.sql")]


def test_portable_sql_passes() -> None:
    assert findings_in(CLEAN, "x.sql") == []


ORDERS = {
    "select row_number() over (order by a) from t": ["order by a"],
    "select row_number() over (partition by b order by a desc nulls last, b) from t": ["order by b"],
    "select lag(a) over (ORDER BY\n    a asc,\n    b nulls first) from t": ["order by a asc", "order by b nulls first"],
    "select first_value(a) over (order by coalesce(a, b), {{ f('c') }} nulls last) from t": ["order by coalesce(a, b)"],
    "select a from t order by {{ keys | join(', ') }}": ["order by _"],
    "select a from t order by a limit 10": ["order by a"],
    "{% do run_query('select a from ' ~ t ~ ' order by a') %}": ["order by a"],
    "{{ f('row_number() over (order by a) = 1') }}": ["order by a"],
    "select row_number() over (order by {{ f('a, b') }} desc nulls last, 'it, s' nulls last) from t": [],
    "select sum(a) over (order by a nulls last, b nulls last rows between 1 preceding and current row) from t": [],
    "select a from t {% if x %} order by a nulls last limit 10 {% endif %}": [],
    "{% do run_query('select a from ' ~ t ~ ' order by a nulls last') %}, {{ f('b', 'c') }}": [],
    "-- order by a\nselect 'order by a' as note from t": [],
}


@pytest.mark.parametrize(("text", "found"), ORDERS.items())
def test_an_order_says_where_nulls_go(text: str, found: list[str]) -> None:
    wanted = [(what, "nulls last after each key") for what in found]
    assert [(each.what, each.instead) for each in findings_in(text, "x.sql")] == wanted


def test_set_operations_are_no_column_lists() -> None:
    assert findings_in("select * from a except select * from b", "x.sql") == []


def test_the_place_is_named() -> None:
    text = "{{ config(\n    tags=['a'],\n) }}\n\nselect\n    a,\n    b::int\nfrom t\n"
    assert [str(found) for found in findings_in(text, "models/x.sql")] == ["models/x.sql:7: ::, use cast(... as ...)"]


def test_macros_of_one_engine_are_left_alone(tmp_path: Path) -> None:
    own = "{% macro duckdb__f(x) %}{{ x }}::int{% endmacro %}\n{% macro f(x) -%}\nmd5({{ x }})\n{%- endmacro %}\n"
    for name in (
        "macros/portable/a.sql",
        "macros/adapters/b.sql",
        "macros/c.sql",
        "models/d.sql",
        "snapshots/e.sql",
        "tests/f.sql",
    ):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(own)
    assert findings(tmp_path) == [
        Finding(path, 3, "md5", "md5_text or surrogate_key")
        for path in ("macros/c.sql", "models/d.sql", "snapshots/e.sql", "tests/f.sql")
    ]


def test_the_exit_code_says_whether_something_was_found(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    assert main([Finding("models/x.sql", 3, "md5", "md5_text")]) == 1
    assert capsys.readouterr().out == "models/x.sql:3: md5, use md5_text\n"


def test_this_project_is_portable() -> None:
    run = subprocess.run(
        [sys.executable, "-m", "levain.dev.portability"], cwd=PROJECT_ROOT, capture_output=True, text=True
    )
    assert (run.returncode, run.stdout, run.stderr) == (0, "", "")
