{#
  What a data test reads.

  A test of an incremental model reads the rows that changed since the last build in which this very test passed, and the
  keys they touch. So its cost follows the new data, and a failure stays one until the rows or the test are fixed: only a
  test that passed is noted. One that failed, warned, was skipped or not selected, or whose run was killed, reads
  what it has not passed on again.

  A test reads everything
    - with `--vars '{audit: true}'` (levain build --audit);
    - in a full refresh, which writes every row again: to look the rows' keys up in themselves took twice as long;
    - if it is new, or its definition changed: its SQL, its arguments, its `where`, the macros it calls, the views, seeds
      and snapshots it reads, the project's variables;
    - if it passes by a count (warn_if, error_if, fail_calc), which says nothing about the rows it counted.

  A row that a merge removed is seen by the rows that its removal changes; what was removed by hand only an audit finds.
#}

{% macro rows_in_scope() %}
    {#- Condition: the rows a test of an incremental model looks at. -#}
    {% set since = passed_build() %}
    {{ return('true' if since is none else '_build > ' ~ since) }}
{% endmacro %}

{% macro passed_build() %}
    {#-
      The last build on whose rows the running test passed; none: it has to read everything. `levain build --audit` says
      so in the environment, since another value of a variable has dbt parse the whole project.
    -#}
    {% set is_audit = var('audit') or dbt_metadata_envs.get('AUDIT') %}
    {% if not execute or is_audit or flags.FULL_REFRESH or load_relation(meta_table('tests')) is none %}
        {{ return(none) }}
    {% endif %}
    {% set found = run_query(
        'select max(build) from ' ~ meta_table('tests') ~ ' where test = ' ~ string_literal(model.unique_id)
    ).columns[0].values()[0] %}
    {{ return(found) }}
{% endmacro %}

{% macro tests_by_scope() %}
    {#- The project's data tests that may look at a part of the rows: unique id -> checksum of their definition. -#}
    {% set checksums = {} %}
    {% for id, node in graph.nodes.items() if node.resource_type == 'test'
        and node.config.fail_calc == 'count(*)' and node.config.warn_if == '!= 0' and node.config.error_if == '!= 0' %}
        {% set code = {'vars': known_vars() | reject('equalto', 'audit') | map('string') | list} %}
        {% set values = [] %}
        {% for name in code.vars %}{% do values.append(var(name) | string) %}{% endfor %}
        {% do code.update({'values': values}) %}
        {% do collect_code(id, code) %}
        {% do checksums.update({id: local_md5(tojson(code, sort_keys=true))}) %}
    {% endfor %}
    {{ return(checksums) }}
{% endmacro %}

{% macro collect_code(id, code) %}
    {#-
      Add to `code` all that decides what a node gives: its own code, the macros it calls, and its parents up to the
      incremental models, whose rows carry the number of the build that changed them.
    -#}
    {% set node = graph.nodes.get(id) %}
    {% if node is none or id in code or node.config.materialized == 'incremental' %}{{ return('') }}{% endif %}
    {% set metadata = node.get('test_metadata') or {} %}
    {% do code.update({
        id: [node.raw_code, node.checksum.checksum, node.config.get('where'), metadata.get('kwargs') | string],
    }) %}
    {% do collect_macros(node.depends_on.macros, code) %}
    {% for parent in node.depends_on.get('nodes') or [] %}
        {% do collect_code(parent, code) %}
    {% endfor %}
{% endmacro %}

{% macro collect_macros(ids, code) %}
    {#- A loop, not a recursion, which took 0.2 s of each build. -#}
    {% set queue = ids | list %}
    {% for id in queue if id not in code %}
        {% set parts = id.split('.') %}
        {% set found = (context.get(parts[1]) or {}).get(parts[2]) or context.get('dbt').get(parts[2]) %}
        {% do code.update({id: found.macro.macro_sql if found else ''}) %}
        {% if found %}{% do queue.extend(found.macro.depends_on.macros) %}{% endif %}
    {% endfor %}
{% endmacro %}

{% macro forget_changed_tests() %}
    {#- on-run-start: what an earlier definition passed on says nothing about this one. -#}
    {% set known = run_query('select test, checksum, build from ' ~ meta_table('tests')).rows %}
    {% if not known %}{{ return('') }}{% endif %}
    {% set now = tests_by_scope() %}
    {% set newest = newest_build() %}
    {% set changed = [] %}
    {% for row in known if now.get(row[0]) != row[1] or row[2] > newest %}
        {% do changed.append(string_literal(row[0])) %}
    {% endfor %}
    {% if changed %}
        {% do run_query('delete from ' ~ meta_table('tests') ~ ' where test in (' ~ changed | join(', ') ~ ')') %}
    {% endif %}
{% endmacro %}

{% macro note_tests(results, build) %}
    {#-
      on-run-end: which tests passed, and on the rows of which build. `dbt test` makes no build: it has read those of the
      newest one, unless that one was interrupted or is still at work.
    -#}
    {% if 'test' not in results | map(attribute='node.resource_type') %}{{ return('') }}{% endif %}
    {% set now = tests_by_scope() %}
    {% set ended = is_build() or run_query(
        'select count(*) from ' ~ meta_table('outcomes') ~ ' where build = ' ~ build
    ).columns[0].values()[0] %}
    {% set tested = build if ended else build - 1 %}
    {% set passed = [] %}
    {% for result in results if result.node.unique_id in now and result.status == 'pass' %}
        {% do passed.append(
            '(' ~ string_literal(result.node.unique_id) ~ ", '" ~ now[result.node.unique_id] ~ "')"
        ) %}
    {% endfor %}
    {% if passed %}
        {% do run_query(
            'merge into ' ~ meta_table('tests') ~ ' as known using (select test, checksum, ' ~ tested
            ~ ' as build from (values ' ~ passed | join(', ') ~ ') as passed (test, checksum)) as done on known.test = done.test'
            ~ ' when matched then update set checksum = done.checksum, build = done.build'
            ~ ' when not matched then insert (test, checksum, build) values (done.test, done.checksum, done.build)'
        ) %}
    {% endif %}
{% endmacro %}
