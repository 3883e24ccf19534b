{# What the generated staging and check models are written in. Their source is ingest/contracts/. #}

{% macro by_month(column) %}
    {#- Partitioning of a table by the months of a date: Iceberg's transform; DuckDB tables have none. -#}
    {{ return(adapter.dispatch('by_month', 'levain')(column)) }}
{% endmacro %}

{% macro default__by_month(column) %}{{ return(none) }}{% endmacro %}

{% macro spark__by_month(column) %}{{ return(['months(' ~ column ~ ')']) }}{% endmacro %}

{% macro bronze_columns() %}
    kafka_cluster,
        topic,
        partition,
        {{ adapter.quote('offset') }} as kafka_offset,
        kafka_timestamp,
        {{ to_timestamp_utc(header_text('headers', 'received-at')) }} as header_received_at,
        ingested_at,
        ingest_batch_id,
        value as payload,
        value_bytes as payload_bytes
{%- endmacro %}

{% macro received_at() %}
    {#-
      When a message was received: its header `received-at` (a replay of history sets it), else the Kafka timestamp,
      else when it landed: the first of them that lies in the range of times. Returns a UTC timestamp, never null.
    -#}
    coalesce(
            case when {{ in_time_range('header_received_at') }} then header_received_at end,
            case when {{ in_time_range('kafka_timestamp') }} then kafka_timestamp end,
            ingested_at
        )
{%- endmacro %}

{% macro header_text(headers, name) %}
    {#-
      Text of the first header of that name. headers: list of (key, value, value_bytes). Returns a string, or null.
    -#}
    {{ return(adapter.dispatch('header_text', 'levain')(headers, name)) }}
{% endmacro %}

{% macro duckdb__header_text(headers, name) %}
    {{ return('list_filter(' ~ headers ~ ", lambda h: h['key'] = '" ~ name ~ "')[1].value") }}
{% endmacro %}

{% macro spark__header_text(headers, name) %}
    {{ return('try_element_at(filter(' ~ headers ~ ", h -> h.key = '" ~ name ~ "'), 1).value") }}
{% endmacro %}

{% macro json_string(payload, struct, field) %}
    {#- Text of a field whose JSON value is a string; null for any other value. Returns a string. -#}
    case
            when {{ is_json_string_field(payload, json_field(struct, field), field) }} then {{ json_field(struct, field) }}
        end
{%- endmacro %}

{% macro field_rule(field, column, required) %}
    {#- Schema rule of one field: its name when the value is missing though required, or cannot be cast. -#}
    {%- if required -%}
    case when {{ json_field('fields', field) }} is null then '{{ field }}_missing' when {{ column }} is null then '{{ field }}_invalid' end
    {%- else -%}
    case when {{ json_field('fields', field) }} is not null and {{ column }} is null then '{{ field }}_invalid' end
    {%- endif -%}
{% endmacro %}

{% macro in_range(column, minimum, maximum) %}
    {#- A number within its limits (none: no limit), else null: what a rule calculates with. Of the column's type. -#}
    {%- set limits = [] -%}
    {%- if minimum is not none %}{% do limits.append(column ~ ' >= ' ~ minimum) %}{% endif -%}
    {%- if maximum is not none %}{% do limits.append(column ~ ' <= ' ~ maximum) %}{% endif -%}
    {{ return('case when ' ~ limits | join(' and ') ~ ' then ' ~ column ~ ' end') }}
{%- endmacro %}

{% macro completeness_rule(weights, minimum) %}
    {#- Completeness rule: the weight of the fields that are present, in percent of all, is below the minimum. -#}
    {%- set present = [] -%}
    {%- for field, weight in weights.items() -%}
        {%- do present.append(
            'case when ' ~ json_field('fields', field) ~ ' is not null then ' ~ weight ~ ' else 0 end'
        ) -%}
    {%- endfor -%}
    case when 100 * ({{ present | join(' + ') }}) < {{ minimum * (weights.values() | sum) }} then 'incomplete' end
{%- endmacro %}

{% macro failed_rules(rules) %}
    {#-
      Names of the failed rules, comma-separated in the contract's order; empty when none failed.
      rules: comma-separated SQL expressions, each a rule's name or null. A message that is no JSON object has one rule.
    -#}
    case
            when payload_bytes is not null then 'message_not_utf8'
            when payload is null then 'message_tombstone'
            when fields is null then 'message_malformed'
            else concat_ws(',', {{ rules }})
        end
{%- endmacro %}

{% macro missing_fields(fields) %}
    {#- Names of the optional fields that are absent or null, comma-separated. -#}
    case when fields is null then '' else concat_ws(',', {{ fields }}) end
{%- endmacro %}

{% macro quality_score(lost, total) %}
    {#- 100 less the share of the weights lost to failed and missing parts, rounded down. Returns an integer 0-100. -#}
    case
            when fields is null then 0
            else cast(floor(cast(100 * ({{ total }} - ({{ lost }})) as double) / {{ total }}) as int)
        end
{%- endmacro %}
