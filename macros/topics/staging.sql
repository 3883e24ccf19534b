{#
  A topic's staging model, written from the data of its contract (macros/topics/contracts/, by `levain generate`): every
  field is parsed once and cast so that a bad value becomes null and is known as bad.
#}

{% macro stage_messages(bronze, contract) %}
{#- bronze: relation of a topic's Bronze table; contract: see contract_columns. One row per message. -#}
{%- set members, containers = members_of(contract, ''), containers_of(contract) -%}
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
        {{ 'case when value is null then value_bytes end' if contract.get('encoding') else 'value_bytes' }} as payload_bytes,
        {{ parse_json_object('value', members) }} as fields
    from {{ bronze }}

),
{%- if containers %}

{{ nested_values('messages', contract, containers) }}
{%- endif %}

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
        {{ 'case when fields is not null then ' ~ struct_of(field_texts(contract)) ~ ' end as ' if containers }}fields
        {%- for name, field in contract.fields.items() if field.type == 'array' %},
        {{ name }}_items
        {%- endfor %}
        {%- for name, field in contract.fields.items() if field.type != 'object' %},
        {{ cast_field(name, contract) }} as {{ field.column or name }}
        {%- endfor %}
        {%- for column, name in {'event_id': contract.identity, 'event_time': contract.event_time}.items() %}
        {%- set field = contract.fields[name] %}
        {%- if (field.column or name) != column %},
        {{ cast_field(name, contract, as_text=(column == 'event_id')) }} as {{ column }}
        {%- endif %}
        {%- endfor %}
    from {{ 'with_items' if containers else 'messages' }}

)

select * from final
{% endmacro %}

{% macro nested_values(messages, contract, containers) %}
{#-
  CTEs, the last one `with_items`: `containers`, the members of the event's object that are objects or arrays; for each
  object `<name>_members`, for each array `<name>_items`: marked texts, or their members where an item is an object.

  messages: name of a CTE with `payload` and `fields`; containers: see containers_of.
-#}
with_containers as (

    select
        *,
        case when fields is not null then {{ json_members(mark_json_strings('payload'), containers) }} end as containers
    from {{ messages }}

),
{% set objects, depths = [], [] -%}
{% for name, field in contract.fields.items() if field.type == 'object' -%}
{% do objects.append(name) -%}
{% do depths.append(field.path | length if field.path else 1) -%}
{% endfor -%}
{% for depth in depths | unique | sort %}
with_members_{{ depth }} as (

    select
        *
        {%- for name in objects if depths[loop.index0] == depth %},
        {{ members_if_object(field_text(name, contract), members_of(contract, name)) }} as {{ name }}_members
        {%- endfor %}
    from {{ 'with_containers' if loop.first else 'with_members_' ~ (depth - 1) }}

),
{% endfor %}
with_items as (

    select
        *
        {%- for name, field in contract.fields.items() if field.type == 'array' %}
        {%- set items = json_items(field_text(name, contract)) %},
        {{ map_list(items, 'item', members_if_object('item', field.item.members.keys() | list))
            if field.item.type == 'object' else items }} as {{ name }}_items
        {%- endfor %}
    from {{ 'with_members_' ~ (depths | max) if depths else 'with_containers' }}

),
{%- endmacro %}

{% macro members_if_object(text, names) %}
    {{ return('case when ' ~ is_json_object(text) ~ ' then ' ~ json_members(text, names) ~ ' end') }}
{% endmacro %}

{% macro parent_of(field) %}
    {#- Name of the object that holds a field; empty: the event's own. -#}
    {{ return(field.path[:-1] | join('_') if field.path else '') }}
{% endmacro %}

{% macro members_of(contract, parent) %}
    {#- Names, within it, of the fields that an object holds. parent: its name; empty: the event's own. -#}
    {% set found = [] %}
    {% for name, field in contract.fields.items() if parent_of(field) == parent %}
        {% do found.append(field.path[-1] if field.path else name) %}
    {% endfor %}
    {{ return(found) }}
{% endmacro %}

{% macro containers_of(contract) %}
    {#- Names of the members of the event's own object that are objects or arrays. -#}
    {% set found = [] %}
    {% for name, field in contract.fields.items() if field.type in ('object', 'array') and not field.path %}
        {% do found.append(name) %}
    {% endfor %}
    {{ return(found) }}
{% endmacro %}

{% macro field_text(name, contract) %}
    {#- A field's text, where staging has parsed it: marked, but for scalar members of the event's own object. -#}
    {% set field = contract.fields[name] %}
    {% if field.path %}{{ return(json_member(parent_of(field) ~ '_members', field.path[-1])) }}{% endif %}
    {% if field.type in ('object', 'array') %}{{ return(json_member('containers', name)) }}{% endif %}
    {{ return(json_field('fields', name)) }}
{% endmacro %}

{% macro field_texts(contract) %}
    {#- Name -> text of every field, at any depth. -#}
    {% set found = {} %}
    {% for name in contract.fields %}{% do found.update({name: field_text(name, contract)}) %}{% endfor %}
    {{ return(found) }}
{% endmacro %}

{% macro contract_columns(contract) %}
    {#-
      The warehouse's columns of a contract's fields, without event_id and event_time, which all messages have.

      contract: a dict as macros/topics/contracts/ have it: topic, version, key, identity, event_time (names of fields),
      minimum_completeness, where it is said `encoding`, `fields` by name (type, required, weight; where they are said:
      path, column, minimum, maximum, min_items, max_items, values, pattern, strict; of an array `item`, whose `members`
      are said where they are objects) and `rules` by name (condition, weight, `sql`: the condition as it is calculated).
    -#}
    {% set columns = [] %}
    {% for name, field in contract.fields.items()
        if field.type != 'object' and (field.column or name) not in ('event_id', 'event_time') %}
        {% do columns.append(field.column or name) %}
    {% endfor %}
    {{ return(columns) }}
{% endmacro %}

{% macro topic_columns(contract) %}
    {#- Columns of a topic's messages from check_messages() on: what every message has, then the contract's fields. -#}
    {{ return(message_columns() + contract_columns(contract)) }}
{% endmacro %}

{% macro cast_field(name, contract, as_text=false) %}
    {#- A parsed field as its contract's type; null where it is not of that type. as_text: cast to a string then. -#}
    {%- set field = contract.fields[name] -%}
    {%- set text = field_text(name, contract) -%}
    {%- if field.type == 'array' %}{{ return(array_text(name ~ '_items', field.item)) }}{% endif -%}
    {%- if field.path %}{{ return(cast_marked(text, field.type)) }}{% endif -%}
    {%- if field.type == 'string' %}{{ return(json_string('payload', 'fields', name)) }}{% endif -%}
    {%- set cast = cast_text(text, field.type) -%}
    {{ return('cast(' ~ cast ~ ' as ' ~ dbt.type_string() ~ ')' if as_text and field.type != 'uuid' else cast) }}
{% endmacro %}

{% macro cast_text(text, type) %}
    {#- A text as a contract's type, but for `string`; null where it is not of that type. -#}
    {%- if type == 'uuid' %}{{ return(to_uuid(text)) }}{% endif -%}
    {%- if type == 'integer' %}{{ return(to_integer(text)) }}{% endif -%}
    {%- if type == 'boolean' %}{{ return(to_boolean(text)) }}{% endif -%}
    {%- if type == 'date' %}{{ return(to_date(text)) }}{% endif -%}
    {%- if type == 'timestamp' %}{{ return(to_timestamp_utc(text)) }}{% endif -%}
    {%- set digits = modules.re.findall('[0-9]+', type) -%}
    {{ return(to_decimal(text, digits[0] | int, digits[1] | int)) }}
{% endmacro %}

{% macro cast_marked(text, type) %}
    {#- A marked text as a contract's type; null where it is not of that type. -#}
    {%- if type == 'string' -%}
        {{ return('case when ' ~ is_json_string(text) ~ ' then substr(' ~ text ~ ', 2) end') }}
    {%- endif -%}
    {{ return(cast_text(unmarked(text), type)) }}
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
