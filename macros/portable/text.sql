{# Texts: patterns, hashes, keys, comparison. #}

{% macro string_literal(text) %}
    {#- A constant string, quoted for the engine. text: any text. Returns a string literal. -#}
    {{ return(adapter.dispatch('string_literal', 'levain')(text)) }}
{% endmacro %}

{% macro duckdb__string_literal(text) %}{{ return("'" ~ text | replace("'", "''") ~ "'") }}{% endmacro %}

{% macro spark__string_literal(text) %}
    {{ return("'" ~ text | replace('\\', '\\\\') | replace("'", "\\'") ~ "'") }}
{% endmacro %}

{% macro matches(text, pattern) %}
    {#-
      Whether the pattern occurs in the text; anchor it with ^ and $ for the whole.

      text: string expression; pattern: regular expression as a Jinja string, of what RE2 and Java share (classes,
      groups, counts; no look-around or back-references). Returns a boolean, null when the text is null.
    -#}
    {{ return(adapter.dispatch('matches', 'levain')(text, pattern)) }}
{% endmacro %}

{% macro duckdb__matches(text, pattern) %}
    {{ return('regexp_matches(' ~ text ~ ', ' ~ string_literal(pattern) ~ ')') }}
{% endmacro %}

{% macro spark__matches(text, pattern) %}
    {#- Java's $ also matches before a newline at the end, and its dot excludes more than the newline. -#}
    {%- set whole = pattern[:-1] ~ '\\z' if pattern.endswith('$') and not pattern.endswith('\\$') else pattern -%}
    {%- set whole = '(?d)' ~ whole if '.' in whole else whole -%}
    {{ return('(' ~ text ~ ' rlike ' ~ string_literal(whole) ~ ')') }}
{% endmacro %}

{% macro to_uuid(text) %}
    {#- A UUID in canonical form, lower case. text: string expression. Returns a string; null for any other text. -#}
    case
            when {{ matches(text, '^[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}$') }}
                then lower({{ text }})
        end
{%- endmacro %}

{% macro md5_text(text) %}
    {#- MD5 of the UTF-8 text. text: string expression. Returns 32 lower-case hexadecimal digits, null for null. -#}
    md5({{ text }})
{%- endmacro %}

{% macro surrogate_key(values) %}
    {#-
      Key of a row from the values that identify it.

      values: list of expressions, strings, integers or dates (a timestamp by its epoch_micros; never a double, whose
      text differs). Returns 32 hexadecimal digits, never null. Each value goes in with its length, and null as a
      mark that no value has, so that no two lists share a key.
    -#}
    {%- set parts = [] -%}
    {%- for value in values -%}
        {%- set text = 'cast(' ~ value ~ ' as ' ~ dbt.type_string() ~ ')' -%}
        {%- do parts.append(
            'coalesce(cast(length(' ~ text ~ ') as ' ~ dbt.type_string() ~ "), '-'), coalesce(" ~ text ~ ", '')"
        ) -%}
    {%- endfor -%}
    md5(concat_ws('|', {{ parts | join(', ') }}))
{%- endmacro %}

{% macro join_texts(texts, separator) %}
    {#-
      Texts in one, nulls left out.

      texts: list of string expressions; separator: a text. Returns a string, empty when all are null.
    -#}
    concat_ws({{ string_literal(separator) }}, {{ texts | join(', ') }})
{%- endmacro %}

{% macro null_safe_equal(left, right) %}
    {#- Equality that calls two nulls equal. Both of one type. Returns a boolean, never null. -#}
    ({{ left }} is not distinct from {{ right }})
{%- endmacro %}

{% macro is_distinct(left, right) %}
    {#- Difference that calls two nulls equal. Both of one type. Returns a boolean, never null. -#}
    ({{ left }} is distinct from {{ right }})
{%- endmacro %}
