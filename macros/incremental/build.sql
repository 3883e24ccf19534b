{#
  Incremental change tracking.

  A build has a number. Every row of an incremental model carries `_build`, the number of the build that last changed
  it. A model reads the rows of its parents that changed since it was last built itself, works out what they touch, and
  merges the outcome: rows that come out as they were keep their number (merge_changed.sql). No clock is read.

  The bookkeeping is in schema `meta` (macros/topics/evolution.sql adds `contracts`):
    builds      build, started_at, invocation_id           one row per build
    outcomes    build, command, finished_at, outcome, is_complete, failed    one row per build or `dbt test` that ended;
                a build without one was interrupted
    progress    model, build                               the last build that finished each model
    watermarks  model, kafka_cluster, topic, partition, next_offset    where each verdict model stands in Bronze
    bronze      table_name, identity                       the Bronze tables that the builds have read
    tests       test, checksum, build                      the last build whose rows each data test passed on, and the
                checksum of the test's definition then (macros/tests/scope.sql)
    failures    node, kind, name, status, build            what failed or was skipped, and has not passed since
    code        build, code, relations                     builds after which every table stood for all of Bronze and
                every test had passed: the checksum of the project that built them, and what they are (JSON). Only
                `levain build` notes them; it decides by them what its next build can leave out (levain/warehouse/changes.py)
#}

{% macro meta_table(name) %}
    {#- Relation of a bookkeeping table. -#}
    {{ return(api.Relation.create(database=target.get('database'), schema='meta', identifier=name, type='table')) }}
{% endmacro %}

{% macro is_build() %}
    {{ return(execute and flags.WHICH in ('build', 'run', 'snapshot', 'seed')) }}
{% endmacro %}

{% macro start_build() %}
    {#- on-run-start: pin Bronze, take the next build number. -#}
    {% if execute and flags.WHICH in ('build', 'run', 'test', 'snapshot', 'seed', 'show') %}
        {% do check_vars() %}
    {% endif %}
    {% if execute and flags.WHICH in ('build', 'run', 'test', 'snapshot', 'show', 'freshness') %}
        {% do pin_bronze() %}
    {% endif %}
    {% if is_build() and (flags.EMPTY or flags.SAMPLE) %}
        {% do exceptions.raise_compiler_error(
            'Levain cannot be built with --empty or --sample: a model that has read only a part of its parents would be '
            ~ 'noted as one that has read all.\nBuild without it; `--select` builds a part of the models.'
        ) %}
    {% endif %}
    {% if is_build() or (execute and flags.WHICH == 'test') %}
        {% do create_meta_tables() %}
        {% do forget_changed_tests() %}
    {% endif %}
    {% if is_build() %}
        {% do check_contracts() %}
        {% do check_state() %}
        {% do run_query(
            'insert into ' ~ meta_table('builds') ~ ' select coalesce(max(build), 0) + 1, '
            ~ moment(run_started_at) ~ ", '" ~ invocation_id ~ "' from " ~ meta_table('builds')
        ) %}
    {% endif %}
{% endmacro %}

{% macro check_vars() %}
    {#- A variable that the project does not know would be ignored in silence. -#}
    {% for name in invocation_args_dict.get('vars') or {} if name not in known_vars() %}
        {% do exceptions.raise_compiler_error(
            "The project has no variable '" ~ name ~ "'.\nIt has: " ~ known_vars() | join(', ') ~ '.'
        ) %}
    {% endfor %}
{% endmacro %}

{% macro known_vars() %}
    {#- The variables of dbt_project.yml, which Jinja cannot list by itself. -#}
    {{ return(['audit', 'time_from', 'time_to']) }}
{% endmacro %}

{% macro create_meta_tables() %}
    {% set text = dbt.type_string() %}
    {% set column_types = {
        'builds': 'build bigint, started_at ' ~ type_timestamp_utc() ~ ', invocation_id ' ~ text,
        'outcomes': 'build bigint, command ' ~ text ~ ', finished_at ' ~ type_timestamp_utc() ~ ', outcome ' ~ text
            ~ ', is_complete boolean, failed ' ~ text,
        'progress': 'model ' ~ text ~ ', build bigint',
        'bronze': 'table_name ' ~ text ~ ', identity ' ~ text,
        'contracts': meta_contracts_columns(),
        'watermarks': 'model ' ~ text ~ ', kafka_cluster ' ~ text ~ ', topic ' ~ text ~ ', partition int, next_offset bigint',
        'tests': 'test ' ~ text ~ ', checksum ' ~ text ~ ', build bigint',
        'code': 'build bigint, code ' ~ text ~ ', relations ' ~ text,
        'failures': 'node ' ~ text ~ ', kind ' ~ text ~ ', name ' ~ text ~ ', status ' ~ text ~ ', build bigint',
    } %}
    {% do run_query('create schema if not exists ' ~ meta_table('builds').include(identifier=false)) %}
    {% set there = meta_tables() %}
    {% for name, columns in column_types.items() if name not in there %}
        {% do run_query(create_meta_table(meta_table(name), columns)) %}
    {% endfor %}
    {# Builds from before outcomes were noted: how they ended is not known. #}
    {% do run_query(
        'insert into ' ~ meta_table('outcomes') ~ " select build, 'build', started_at, 'unknown', true, '' from "
        ~ meta_table('builds') ~ ' where not exists (select 1 from ' ~ meta_table('outcomes')
        ~ ') and exists (select 1 from ' ~ meta_table('progress') ~ ')'
    ) %}
{% endmacro %}

{% macro meta_tables() %}
    {#- Names of the bookkeeping tables that are there. -#}
    {{ return(adapter.dispatch('meta_tables', 'levain')()) }}
{% endmacro %}

{% macro duckdb__meta_tables() %}
    {{ return(run_query(
        "select table_name from information_schema.tables where table_schema = 'meta' and table_catalog = '"
        ~ target.database ~ "'"
    ).columns[0].values() | list) }}
{% endmacro %}

{% macro spark__meta_tables() %}
    {{ return(run_query('show tables in meta').columns['tableName'].values() | list) }}
{% endmacro %}

{% macro moment(when) %}
    {#- A Python datetime in UTC as a timestamp constant. -#}
    {{ return(timestamp_literal(when.strftime('%Y-%m-%d %H:%M:%S.%f'))) }}
{% endmacro %}

{% macro create_meta_table(relation, columns) %}
    {{ return(adapter.dispatch('create_meta_table', 'levain')(relation, columns)) }}
{% endmacro %}

{% macro default__create_meta_table(relation, columns) %}
    {{ return('create table if not exists ' ~ relation ~ ' (' ~ columns ~ ')') }}
{% endmacro %}

{% macro spark__create_meta_table(relation, columns) %}
    {{ return('create table if not exists ' ~ relation ~ ' (' ~ columns ~ ') using iceberg') }}
{% endmacro %}

{% macro finish_build(results) %}
    {#-
      on-run-end: note what this run finished, which tests passed, and what failed. What it did not finish is read again
      by the next one. A run that does not get here was interrupted, and notes nothing.
    -#}
    {% if is_build() or (execute and flags.WHICH == 'test') %}
        {% do checkpoint() %}
        {% set build = newest_build() %}
        {% if is_build() %}{% do note_contracts(results, build) %}{% endif %}
        {% do note_progress(results, build) %}
        {% do note_judged(results) %}
        {% do note_tests(results, build) %}
        {% do note_failures(results, build) %}
        {% do say_broken_rules(results) %}
        {% if note_outcome(results, build) %}{% do note_code(build) %}{% endif %}
        {% do checkpoint() %}
    {% endif %}
{% endmacro %}

{% macro note_progress(results, build) %}
    {% set finished = [] %}
    {% for result in results if result.status == 'success' and result.node.resource_type == 'model' %}
        {% do finished.append("('" ~ result.node.name ~ "')") %}
    {% endfor %}
    {% if finished %}
        {% do run_query(
            'merge into ' ~ meta_table('progress') ~ ' as known using (select model, ' ~ build ~ ' as build from (values '
            ~ finished | join(', ') ~ ') as finished (model)) as done on known.model = done.model'
            ~ ' when matched then update set build = done.build'
            ~ ' when not matched then insert (model, build) values (done.model, done.build)'
        ) %}
    {% endif %}
{% endmacro %}

{% macro failed_statuses() %}
    {{ return(['error', 'fail', 'runtime error', 'partial success']) }}
{% endmacro %}

{% macro note_failures(results, build) %}
    {#- What failed or was skipped stays noted until it passes, whatever other runs do meanwhile. -#}
    {% set failed = {} %}
    {% set settled = [] %}
    {% for result in results %}
        {% if result.status in failed_statuses() + ['skipped'] %}
            {% do failed.update({result.node.unique_id: result}) %}
        {% else %}
            {% do settled.append(result.node.unique_id) %}
        {% endif %}
    {% endfor %}
    {% set known = run_query('select node, kind from ' ~ meta_table('failures')).rows %}
    {% set gone = [] %}
    {% for row in known if row[0] in settled or row[0] in failed
        or (row[0] not in graph.nodes and (row[1] != 'unit_test' or flags.WHICH == 'build')) %}
        {% do gone.append(string_literal(row[0])) %}
    {% endfor %}
    {% set rows = [] %}
    {% for id, result in failed.items() %}
        {% do rows.append(
            '(' ~ string_literal(id) ~ ", '" ~ result.node.resource_type ~ "', " ~ string_literal(result.node.name)
            ~ ", '" ~ result.status ~ "', " ~ build ~ ')'
        ) %}
    {% endfor %}
    {% if gone %}
        {% do run_query('delete from ' ~ meta_table('failures') ~ ' where node in (' ~ gone | join(', ') ~ ')') %}
    {% endif %}
    {% if rows %}
        {% do run_query('insert into ' ~ meta_table('failures') ~ ' values ' ~ rows | join(', ')) %}
    {% endif %}
{% endmacro %}

{% macro note_outcome(results, build) %}
    {#- Returns whether the build was complete, and nothing failed, was skipped or warned. -#}
    {% set failed, skipped, warned, done, missing = [], [], [], [], [] %}
    {% for result in results %}
        {% if result.status == 'skipped' %}
            {% do skipped.append(result.node.name) %}
        {% elif result.status in failed_statuses() %}
            {% do failed.append(result.node.resource_type ~ ' ' ~ result.node.name) %}
        {% elif result.status == 'warn' %}
            {% do warned.append(result.node.name) %}
        {% endif %}
        {% do done.append(result.node.unique_id) %}
    {% endfor %}
    {#- `levain build` says so when what it leaves out is as it would come out. -#}
    {% set rest_is_current = dbt_metadata_envs.get('REST_IS_CURRENT') %}
    {% for id, node in graph.nodes.items() if node.resource_type in ('model', 'seed', 'snapshot') and id not in done
        and node.config.materialized != 'ephemeral' and not rest_is_current %}
        {% do missing.append(id) %}
    {% endfor %}
    {% set words = failed[:5] | join(', ') ~ (' and ' ~ (failed | length - 5) ~ ' more' if failed | length > 5 else '')
        ~ ('; ' ~ skipped | length ~ ' that need them were skipped' if skipped else '') %}
    {% do run_query(
        'insert into ' ~ meta_table('outcomes') ~ ' select ' ~ build ~ ", '" ~ flags.WHICH ~ "', "
        ~ moment(modules.datetime.datetime.now(modules.pytz.utc)) ~ ", '" ~ ('failed' if failed or skipped else 'passed')
        ~ "', " ~ (not missing) | string | lower ~ ', ' ~ string_literal(words)
    ) %}
    {{ return(not (failed or skipped or warned or missing)) }}
{% endmacro %}

{% macro note_code(build) %}
    {#- What `levain build` says the project is, when it builds all that has to be built, with all tests. -#}
    {% set code = dbt_metadata_envs.get('PROJECT_CODE') %}
    {% if code and flags.WHICH == 'build' %}
        {% set relations = [] %}
        {% for node in graph.nodes.values() if node.resource_type in ('model', 'seed', 'snapshot')
            and node.config.materialized != 'ephemeral' %}
            {% do relations.append(node.schema ~ '.' ~ node.alias) %}
        {% endfor %}
        {% for source in graph.sources.values() if source.source_name == 'bronze' %}
            {% do relations.append(source.schema ~ '.' ~ source.identifier) %}
        {% endfor %}
        {% do run_query(
            'insert into ' ~ meta_table('code') ~ ' values (' ~ build ~ ", '" ~ code ~ "', "
            ~ string_literal(tojson(relations | sort)) ~ ')'
        ) %}
    {% endif %}
{% endmacro %}

{% macro checkpoint() %}
    {#- Have the engine put on disk what was built: a disk that is full must fail the build that filled it. -#}
    {{ return(adapter.dispatch('checkpoint', 'levain')()) }}
{% endmacro %}

{% macro default__checkpoint() %}{% endmacro %}

{% macro duckdb__checkpoint() %}
    {% do run_query('checkpoint') %}
{% endmacro %}

{% macro this_build() %}
    {#- Number of the running build, else of the last one; 0 before the first. Returns a bigint constant. -#}
    {% set builds = meta_table('builds') %}
    {% set known = execute and load_relation(builds) is not none %}
    {{ return('cast(' ~ (newest_build() if known else 0) ~ ' as bigint)') }}
{% endmacro %}

{% macro newest_build() %}
    {#-
      Number of the newest build, in the run's hooks: there `load_relation` must not be used, for it opens a transaction
      that dbt rolls back after the hook, with all that was written in it.
    -#}
    {{ return(run_query('select coalesce(max(build), 0) from ' ~ meta_table('builds')).columns[0].values()[0]) }}
{% endmacro %}

{% macro last_build() %}
    {#-
      Number of the build that last finished this model: parents' rows with a higher `_build` are new to it.
      A constant, so that both engines prune files and row groups by it. Returns a bigint literal.
    -#}
    {% if not (execute and is_incremental()) %}{{ return('0') }}{% endif %}
    {% set found = run_query(
        'select coalesce(max(build), 0) from ' ~ meta_table('progress') ~ " where model = '" ~ model.name ~ "'"
    ) %}
    {{ return(found.columns[0].values()[0] | string) }}
{% endmacro %}
