{# What every message has, whatever its topic: said here once. #}

{% macro message_coordinates() %}
    {#- Columns that identify a message; unique in every model with one row per message. -#}
    {{ return(['kafka_cluster', 'topic', 'partition', 'kafka_offset']) }}
{% endmacro %}

{% macro message_columns() %}
    {#- Columns of every checked message: MESSAGE_COLUMNS of ingest/contracts.py. -#}
    {{ return(message_coordinates() + [
        'kafka_timestamp', 'received_at', 'ingested_at', 'ingest_batch_id', 'event_id', 'event_time', 'event_date',
        'payload_md5', 'payload', 'payload_bytes', 'failed_rules', 'missing_fields', 'quality_score',
    ]) }}
{% endmacro %}

{% macro verdict_names() %}
    {#- What a message can become: macros/topics/verdicts.sql says when. -#}
    {{ return(['accepted', 'duplicate', 'conflict', 'rejected', 'held']) }}
{% endmacro %}

{% macro is_verdict(column) %}
    {#- column: string expression. Returns a boolean, null when the column is null. -#}
    {{ return(column ~ " in ('" ~ verdict_names() | join("', '") ~ "')") }}
{% endmacro %}

{% macro select_list(columns, relation='', replaced={}) %}
    {#- A select list. relation: name that the columns are read from; replaced: column -> SQL in its place. -#}
    {% set items = [] %}
    {% for column in columns %}
        {% do items.append(
            replaced[column] ~ ' as ' ~ column if column in replaced else (relation ~ '.' if relation) ~ column
        ) %}
    {% endfor %}
    {{ return(items | join(',\n        ')) }}
{% endmacro %}

{% macro same_message(one, other) %}
    {#- Join condition: two relations' rows are the same message. one, other: names of relations. -#}
    {% set equal = [] %}
    {% for column in message_coordinates() %}
        {% do equal.append(one ~ '.' ~ column ~ ' = ' ~ other ~ '.' ~ column) %}
    {% endfor %}
    {{ return(equal | join(' and ')) }}
{% endmacro %}

{% macro new_messages(checked, verdicts, contract) %}
{#-
  The messages of a topic that no build has judged yet; none while the verdict model has no table or is refreshed in
  full, since it reads every message itself then. A table, so that their JSON is parsed once per build.

  checked: relation of check_messages(); verdicts: name of the verdict model; contract: see contract_columns.
-#}
{{ config(materialized='table', schema='staging') }}

select
    {{ topic_columns(contract) | join(',\n    ') }}
from {{ checked }}
where {{ is_new_message(verdicts) }}
{% endmacro %}

{% macro all_messages(verdicts) %}
{#- The messages of all topics, with their verdicts. verdicts: relations of verdict models. -#}
{%- for relation in verdicts %}
{{ 'union all' if not loop.first }}
select
    {{ (message_columns() + ['verdict', '_build']) | join(',\n    ') }}
from {{ relation }}
{%- endfor %}
{% endmacro %}

{% macro by_month(column) %}
    {#- Partitioning of a table by the months of a date: Iceberg's transform; DuckDB tables have none. -#}
    {{ return(adapter.dispatch('by_month', 'levain')(column)) }}
{% endmacro %}

{% macro default__by_month(column) %}{{ return(none) }}{% endmacro %}

{% macro spark__by_month(column) %}{{ return(['months(' ~ column ~ ')']) }}{% endmacro %}
