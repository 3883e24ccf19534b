{#
  Arrays in messages: kept as one column of JSON text, the same on both engines, and made rows again where a model needs
  their items.
#}

{% macro array_text(list, items) %}
    {#-
      An array as JSON text, the same on both engines: without blanks, members in the contract's order and all of them,
      what is absent as null. Null where an item is not what the contract says, limits aside.

      list: `<name>_items` of staging; items: of the array's field in the contract.
    -#}
    {%- set faults, parts = [], [] -%}
    {%- if items.type == 'object' -%}
        {%- do faults.append('item is null') -%}
        {%- for name, member in items.members.items() -%}
            {%- set text = json_member('item', name) -%}
            {%- do faults.append(text ~ ' is null') if member.required -%}
            {%- do faults.append('(' ~ text ~ ' is not null and ' ~ cast_marked(text, member.type) ~ ' is null)') -%}
            {%- do parts.append("'" ~ (',' if not loop.first) ~ '"' ~ name ~ '":\'') -%}
            {%- do parts.append(json_text(text, member.type)) -%}
        {%- endfor -%}
        {%- set item = join_texts(["'{'"] + parts + ["'}'"], '') -%}
    {%- else -%}
        {%- do faults.append(cast_marked('item', items.type) ~ ' is null') -%}
        {%- set item = json_text('item', items.type) -%}
    {%- endif -%}
    {{ return(
        'case when not ' ~ list_has(list, 'item', faults | join(' or ')) ~ ' then '
        ~ join_texts(["'['", join_list(map_list(list, 'item', item), ','), "']'"], '') ~ ' end'
    ) }}
{% endmacro %}

{% macro json_text(text, type) %}
    {#- A marked text that is of a type, as JSON: numbers as the type has them, strings quoted. Never null. -#}
    {%- set plain = unmarked(text) -%}
    {%- if type == 'string' -%}{%- set json = to_json_string('substr(' ~ text ~ ', 2)') -%}
    {%- elif type == 'uuid' -%}{%- set json = join_texts(["'\"'", to_uuid(plain), "'\"'"], '') -%}
    {%- elif type in ('timestamp', 'date') -%}{%- set json = join_texts(["'\"'", plain, "'\"'"], '') -%}
    {%- elif type == 'boolean' -%}{%- set json = plain -%}
    {%- else -%}{%- set json = 'cast(' ~ cast_text(plain, type) ~ ' as ' ~ dbt.type_string() ~ ')' -%}
    {%- endif -%}
    {{ return('case when ' ~ text ~ " is null then 'null' else " ~ json ~ ' end') }}
{% endmacro %}

{% macro array_rows(relation, contract, name, columns) %}
{#-
  A view with one row per item of an array: columns of the relation, `item_number`, from 1 on, and the items: a column
  per member where they are objects, else `item`.

  relation: one with the array's column, JSON text as staging writes it; contract: see contract_columns; name: of the
  array's field; columns: to keep, the relation's key among them.
-#}
{%- set field = contract.fields[name] -%}
{%- set items = json_items(mark_json_strings(field.column or name)) -%}
{%- set members = field.item.members or {} -%}
with lists as (

    select
        {{ columns | join(',\n        ') }},
        {{ map_list(items, 'item', members_if_object('item', members.keys() | list)) if members else items }} as items
    from {{ relation }}

),

items as (

    {{ list_rows('lists', 'items') }}

)

select
    {{ columns | join(',\n    ') }},
    item_number,
    {%- for member_name, member in members.items() %}
    {{ cast_marked(json_member('item', member_name), member.type) }} as {{ member_name }}{{ ',' if not loop.last }}
    {%- else %}
    {{ cast_marked('item', field.item.type) }} as item
    {%- endfor %}
from items
{% endmacro %}
