{# One row into several. #}

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
