{#
  A topic's staging model, written from the data of its contract (macros/topics/contracts/, by `levain generate`): every
  field is parsed once and cast so that a bad value becomes null and is known as bad.
#}

{% macro stage_messages(bronze, contract) %}
{#- bronze: relation of a topic's Bronze table; contract: see contract_columns. One row per message. -#}
with messages as (

    select
        kafka_cluster,
        topic,
        partition,
        {{ adapter.quote('offset') }} as kafka_offset,
        kafka_timestamp,
        {{ to_timestamp_utc(header_text('headers', 'received-at')) }} as header_received_at,
        ingested_at,
        ingest_batch_id,
        value as payload,
        value_bytes as payload_bytes,
        {{ parse_json_object('value', contract.fields.keys() | list) }} as fields
    from {{ bronze }}

),

final as (

    select
        kafka_cluster,
        topic,
        partition,
        kafka_offset,
        kafka_timestamp,
        {{ received_at() }} as received_at,
        ingested_at,
        ingest_batch_id,
        payload,
        payload_bytes,
        fields
        {%- for name, field in contract.fields.items() %},
        {{ cast_field(name, field.type) }} as {{ field.column or name }}
        {%- endfor %}
        {%- for column, name in {'event_id': contract.identity, 'event_time': contract.event_time}.items() %}
        {%- set field = contract.fields[name] %}
        {%- if (field.column or name) != column %},
        {{ cast_field(name, field.type, as_text=(column == 'event_id')) }} as {{ column }}
        {%- endif %}
        {%- endfor %}
    from messages

)

select * from final
{% endmacro %}

{% macro contract_columns(contract) %}
    {#-
      The warehouse's columns of a contract's fields, without event_id and event_time, which all messages have.

      contract: a dict as macros/topics/contracts/ have it: topic, version, key, identity, event_time (names of fields),
      minimum_completeness, `fields` by name (type, required, weight; where they are said: column, minimum, maximum,
      values, pattern, strict) and `rules` by name (condition, weight, `sql`: the condition as it is calculated).
    -#}
    {% set columns = [] %}
    {% for name, field in contract.fields.items() if (field.column or name) not in ('event_id', 'event_time') %}
        {% do columns.append(field.column or name) %}
    {% endfor %}
    {{ return(columns) }}
{% endmacro %}

{% macro topic_columns(contract) %}
    {#- Columns of a topic's messages from check_messages() on: what every message has, then the contract's fields. -#}
    {{ return(message_columns() + contract_columns(contract)) }}
{% endmacro %}

{% macro cast_field(name, type, as_text=false) %}
    {#- A parsed field as its contract's type; null where it is not of that type. as_text: cast to a string then. -#}
    {%- set text = json_field('fields', name) -%}
    {%- if type == 'string' %}{{ return(json_string('payload', 'fields', name)) }}{% endif -%}
    {%- if type == 'uuid' %}{{ return(to_uuid(text)) }}{% endif -%}
    {%- if type == 'integer' -%}{% set cast = to_integer(text) %}
    {%- elif type == 'boolean' -%}{% set cast = to_boolean(text) %}
    {%- elif type == 'date' -%}{% set cast = to_date(text) %}
    {%- elif type == 'timestamp' -%}{% set cast = to_timestamp_utc(text) %}
    {%- else -%}
    {%- set digits = modules.re.findall('[0-9]+', type) -%}
    {% set cast = to_decimal(text, digits[0] | int, digits[1] | int) %}
    {%- endif -%}
    {{ return('cast(' ~ cast ~ ' as ' ~ dbt.type_string() ~ ')' if as_text else cast) }}
{% endmacro %}

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
    {{ return(
        'case when ' ~ is_json_string_field(payload, json_field(struct, field), field) ~ ' then '
        ~ json_field(struct, field) ~ ' end'
    ) }}
{%- endmacro %}
