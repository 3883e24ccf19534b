{# One row into several, and several into one. #}

{% macro split_to_rows(text, separator) %}
    {#-
      A select-list item that makes one row per part of a text.

      text: string expression; separator: one character. Returns strings; no row for a null text.
    -#}
    {{ return(adapter.dispatch('split_to_rows', 'levain')(text, separator)) }}
{% endmacro %}

{% macro duckdb__split_to_rows(text, separator) %}
    {{ return('unnest(string_split(' ~ text ~ ", '" ~ separator ~ "'))") }}
{% endmacro %}

{% macro spark__split_to_rows(text, separator) %}
    {{ return('explode(split(' ~ text ~ ", '[" ~ separator ~ "]'))") }}
{% endmacro %}

{% macro last_by(value, order) %}
    {#-
      Aggregate: the value of the last row of a group.

      value: expression that is never null; order: list of expressions, never null, that together differ in all rows of
      the group: timestamps, numbers or strings, compared one after the other. Returns what the value is; null where the
      group has no row.
    -#}
    {%- set parts = {} -%}
    {%- for each in order -%}{%- do parts.update({'place_' ~ loop.index: each}) -%}{%- endfor -%}
    max_by({{ value }}, {{ struct_of(parts) }})
{%- endmacro %}
