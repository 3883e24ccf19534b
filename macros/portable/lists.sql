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

{% macro list_of(value) %}
    {#- Aggregate, also over a window: the values that are not null, in no order; empty or null for none. -#}
    {{ return(adapter.dispatch('list_of', 'levain')(value)) }}
{% endmacro %}

{% macro duckdb__list_of(value) %}
    {{ return('list(' ~ value ~ ') filter (where ' ~ value ~ ' is not null)') }}
{% endmacro %}

{% macro spark__list_of(value) %}{{ return('collect_list(' ~ value ~ ')') }}{% endmacro %}

{% macro list_median(list) %}
    {#-
      The middle of a list's values, or half the sum of the two in the middle. list: of decimals with at most 20 digits
      before the point, without nulls. Returns decimal(24, 6), null for no values.
    -#}
    {{ return(adapter.dispatch('list_median', 'levain')(list)) }}
{% endmacro %}

{% macro duckdb__list_median(list) %}
    {%- set sorted = 'list_sort(' ~ list ~ ')' -%}
    cast(
            ({{ sorted }}[(len({{ list }}) + 1) // 2] + {{ sorted }}[len({{ list }}) // 2 + 1]) * 0.5 as decimal(24, 6)
        )
{%- endmacro %}

{% macro spark__list_median(list) %}
    {%- set sorted = 'sort_array(' ~ list ~ ')' -%}
    case when size({{ list }}) > 0 then cast(
            ({{ sorted }}[(size({{ list }}) - 1) div 2] + {{ sorted }}[size({{ list }}) div 2]) * 0.5 as decimal(24, 6)
        ) end
{%- endmacro %}

{% macro count_distinct(value) %}
    {#-
      Aggregate: how many values there are, nulls left out; exact. Returns a bigint.

      Spark would repeat every row for each count of distinct values in one select.
    -#}
    {{ return(adapter.dispatch('count_distinct', 'levain')(value)) }}
{% endmacro %}

{% macro duckdb__count_distinct(value) %}{{ return('count(distinct ' ~ value ~ ')') }}{% endmacro %}

{% macro spark__count_distinct(value) %}
    {{ return('cast(size(collect_set(' ~ value ~ ')) as bigint)') }}
{% endmacro %}
