{#
  The incremental law.

  A build has a number. Every row of an incremental model carries `_build`, the number of the build that last changed
  it. A model reads the rows of its parents that changed since it was last built itself, works out what they touch, and
  merges the outcome: rows that come out as they were keep their number (macros/merge_changed.sql). No clock is read.

  The bookkeeping is in schema `meta` (macros/evolution.sql adds `contracts`):
    builds      build, started_at, invocation_id           one row per build
    progress    model, build                               the last build that finished each incremental model
    watermarks  model, kafka_cluster, topic, partition, next_offset    where each verdict model stands in Bronze
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
    {% if execute and flags.WHICH in ('build', 'run', 'test', 'snapshot', 'show') %}
        {% do pin_bronze() %}
    {% endif %}
    {% if is_build() %}
        {% set column_types = {
            'builds': 'build bigint, started_at ' ~ type_timestamp_utc() ~ ', invocation_id ' ~ dbt.type_string(),
            'progress': 'model ' ~ dbt.type_string() ~ ', build bigint',
            'contracts': contract_columns(),
            'watermarks': 'model ' ~ dbt.type_string() ~ ', kafka_cluster ' ~ dbt.type_string() ~ ', topic ' ~ dbt.type_string()
                ~ ', partition int, next_offset bigint',
        } %}
        {% do run_query('create schema if not exists ' ~ meta_table('builds').include(identifier=false)) %}
        {% for name, columns in column_types.items() %}
            {% do run_query(create_meta_table(meta_table(name), columns)) %}
        {% endfor %}
        {% do check_contracts() %}
        {% do run_query(
            'insert into ' ~ meta_table('builds') ~ " select coalesce(max(build), 0) + 1, cast('"
            ~ run_started_at.strftime('%Y-%m-%d %H:%M:%S.%f') ~ "' as " ~ type_timestamp_utc() ~ "), '" ~ invocation_id
            ~ "' from " ~ meta_table('builds')
        ) %}
    {% endif %}
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
    {#- on-run-end: note which incremental models this build finished; what it did not finish is read again. -#}
    {% if is_build() %}
        {% do note_contracts(results) %}
        {% set finished = [] %}
        {% for result in results if result.status == 'success' and result.node.resource_type == 'model'
            and result.node.config.materialized == 'incremental' %}
            {% do finished.append("select '" ~ result.node.name ~ "' as model") %}
        {% endfor %}
        {% if finished %}
            {% do run_query(
                'merge into ' ~ meta_table('progress') ~ ' as known using (select model, ' ~ this_build() ~ ' as build from ('
                ~ finished | join(' union all ') ~ ') as finished) as done on known.model = done.model'
                ~ ' when matched then update set build = done.build'
                ~ ' when not matched then insert (model, build) values (done.model, done.build)'
            ) %}
        {% endif %}
    {% endif %}
{% endmacro %}

{% macro this_build() %}
    {#- Number of the running build, else of the last one; 0 before the first. Returns a bigint constant. -#}
    {% set builds = meta_table('builds') %}
    {% set known = execute and load_relation(builds) is not none %}
    {% set number = run_query('select coalesce(max(build), 0) from ' ~ builds).columns[0].values()[0] if known else 0 %}
    {{ return('cast(' ~ number ~ ' as bigint)') }}
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

{% macro unjudged(verdicts) %}
    {#-
      Condition on rows of checked messages: those beyond the watermarks of a verdict model. None at all while that
      model has no table or is refreshed in full, since then it reads every message itself.
      Written so that file statistics decide it: ranges around the known clusters and partitions, never "not in".

      verdicts: name of the verdict model.
    -#}
    {% if not execute or should_full_refresh() %}{{ return('false') }}{% endif %}
    {% set node = graph.nodes.values() | selectattr('name', 'equalto', verdicts) | first %}
    {% if load_relation(this.incorporate(path={'schema': node.schema, 'identifier': verdicts})) is none %}
        {{ return('false') }}
    {% endif %}
    {% set marks = run_query(
        'select kafka_cluster, partition, next_offset from ' ~ meta_table('watermarks') ~ " where model = '" ~ verdicts
        ~ "' order by kafka_cluster nulls last, partition nulls last"
    ).rows %}
    {% if not marks %}{{ return('true') }}{% endif %}
    {% set conditions = [] %}
    {% set clusters = marks | map(attribute=0) | unique | list %}
    {% for cluster in clusters %}
        {% set above = "kafka_cluster > '" ~ clusters[loop.index0 - 1] ~ "' and " if not loop.first else '' %}
        {% do conditions.append(above ~ "kafka_cluster < '" ~ cluster ~ "'") %}
        {% set here = "kafka_cluster = '" ~ cluster ~ "' and " %}
        {% set mine = marks | selectattr(0, 'equalto', cluster) | list %}
        {% for mark in mine %}
            {% do conditions.append(here ~ 'partition = ' ~ mark[1] ~ ' and kafka_offset >= ' ~ mark[2]) %}
            {% set beyond = 'partition > ' ~ mine[loop.index0 - 1][1] ~ ' and ' if not loop.first else '' %}
            {% do conditions.append(here ~ beyond ~ 'partition < ' ~ mark[1]) %}
        {% endfor %}
        {% do conditions.append(here ~ 'partition > ' ~ mine[-1][1]) %}
    {% endfor %}
    {% do conditions.append("kafka_cluster > '" ~ clusters[-1] ~ "'") %}
    {{ return('(\n        (' ~ conditions | join(')\n        or (') ~ ')\n    )') }}
{% endmacro %}

{% macro advance_watermarks() %}
    {#- post-hook of a verdict model: it has judged every Bronze message below these offsets. -#}
    merge into {{ meta_table('watermarks') }} as known
    using (
        select '{{ model.name }}' as model, kafka_cluster, topic, partition, max(kafka_offset) + 1 as next_offset
        from {{ this }}
        where _build = {{ this_build() }}
        group by kafka_cluster, topic, partition
    ) as built
        on
            known.model = built.model and known.kafka_cluster = built.kafka_cluster
            and known.topic = built.topic and known.partition = built.partition
    when matched and built.next_offset > known.next_offset then update set next_offset = built.next_offset
    when not matched then
        insert (model, kafka_cluster, topic, partition, next_offset)
        values (built.model, built.kafka_cluster, built.topic, built.partition, built.next_offset)
{% endmacro %}

{% macro vanished(result, affected, scope, key) %}
    {#-
      Rows that must go: rows of this model within the affected scope that the new result no longer has. Their `_build`
      is null, which macros/merge_changed.sql reads as "delete".

      result, affected: names of CTEs; scope: columns of `affected` and of this model; key: the model's unique key.
    -#}
    select
        {% for column in adapter.get_columns_in_relation(this) %}
        {% if column.name == '_build' %}cast(null as bigint) as _build{% else %}old.{{ column.name }}{% endif %}{{ ',' if not loop.last }}
        {% endfor %}
    from {{ this }} as old
    where
        exists (
            select 1 from {{ affected }} as affected
            where {% for column in scope %}affected.{{ column }} = old.{{ column }}{{ ' and ' if not loop.last }}{% endfor %}
        )
        and not exists (
            select 1 from {{ result }} as result
            where {% for column in key %}result.{{ column }} = old.{{ column }}{{ ' and ' if not loop.last }}{% endfor %}
        )
{% endmacro %}
