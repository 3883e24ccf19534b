{# Lists, item by item. #}

{% macro list_has(list, item, condition) %}
    {#- Whether some item meets a condition. item: its name there. Returns a boolean, null for a null list. -#}
    {{ return(adapter.dispatch('list_has', 'levain')(list, item, condition)) }}
{% endmacro %}

{% macro duckdb__list_has(list, item, condition) %}
    {{ return('(len(list_filter(' ~ list ~ ', lambda ' ~ item ~ ': ' ~ condition ~ ')) > 0)') }}
{% endmacro %}

{% macro spark__list_has(list, item, condition) %}
    {{ return('exists(' ~ list ~ ', ' ~ item ~ ' -> coalesce(' ~ condition ~ ', false))') }}
{% endmacro %}

{% macro map_list(list, item, expression) %}
    {#- The list of what an expression makes of each item. item: its name in the expression. -#}
    {{ return(adapter.dispatch('map_list', 'levain')(list, item, expression)) }}
{% endmacro %}

{% macro duckdb__map_list(list, item, expression) %}
    {{ return('list_transform(' ~ list ~ ', lambda ' ~ item ~ ': ' ~ expression ~ ')') }}
{% endmacro %}

{% macro spark__map_list(list, item, expression) %}
    {{ return('transform(' ~ list ~ ', ' ~ item ~ ' -> ' ~ expression ~ ')') }}
{% endmacro %}

{% macro join_list(list, separator) %}
    {#- The texts of a list in one, nulls left out; empty for an empty list. separator: a text. Returns a string. -#}
    {{ return(adapter.dispatch('join_list', 'levain')(list, separator)) }}
{% endmacro %}

{% macro duckdb__join_list(list, separator) %}
    {{ return('array_to_string(' ~ list ~ ', ' ~ string_literal(separator) ~ ')') }}
{% endmacro %}

{% macro spark__join_list(list, separator) %}
    {{ return('array_join(' ~ list ~ ', ' ~ string_literal(separator) ~ ')') }}
{% endmacro %}

{% macro list_length(list) %}
    {#- How many items. Returns an integer, null for a null list. -#}
    {{ return(adapter.dispatch('list_length', 'levain')(list)) }}
{% endmacro %}

{% macro duckdb__list_length(list) %}{{ return('cast(len(' ~ list ~ ') as int)') }}{% endmacro %}

{% macro spark__list_length(list) %}{{ return('array_size(' ~ list ~ ')') }}{% endmacro %}

{% macro struct_of(values) %}
    {#- A struct. values: name -> expression. json_field reads it. -#}
    {{ return(adapter.dispatch('struct_of', 'levain')(values)) }}
{% endmacro %}

{% macro duckdb__struct_of(values) %}
    {%- set parts = [] -%}
    {%- for name, value in values.items() %}{% do parts.append("'" ~ name ~ "': " ~ value) %}{% endfor -%}
    {{- return('{' ~ parts | join(', ') ~ '}') -}}
{% endmacro %}

{% macro spark__struct_of(values) %}
    {%- set parts = [] -%}
    {%- for name, value in values.items() %}{% do parts.append("'" ~ name ~ "', " ~ value) %}{% endfor -%}
    {{- return('named_struct(' ~ parts | join(', ') ~ ')') -}}
{% endmacro %}

{% macro list_rows(relation, list) %}
    {#-
      A relation with one row per item of a list: its columns, `item_number`, an int from 1 on, and `item`. No row where
      the list is empty or null.

      relation: name of a relation; list: expression over it.
    -#}
    {{ return(adapter.dispatch('list_rows', 'levain')(relation, list)) }}
{% endmacro %}

{% macro duckdb__list_rows(relation, list) %}
    select
        *,
        cast(generate_subscripts({{ list }}, 1) as int) as item_number,
        unnest({{ list }}) as item
    from {{ relation }}
{%- endmacro %}

{% macro spark__list_rows(relation, list) %}
    select
        relation.*,
        items.place + 1 as item_number,
        items.item
    from {{ relation }} as relation
    lateral view posexplode({{ list }}) items as place, item
{%- endmacro %}
