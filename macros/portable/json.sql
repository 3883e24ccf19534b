{# JSON payloads, parsed once into a struct of texts, with the same answer on both engines. #}

{% macro parse_json_object(text, fields) %}
    {#-
      A payload as a struct of its top-level fields' texts; null unless the text is exactly one JSON object (RFC 8259).

      text: string expression; fields: list of names. Returns a struct with one string per name.

      Strict: no single quotes, bare names, comments, NaN, trailing commas, lone surrogates or text around the object.
      Of a repeated name the first counts. A number's text went through a double (`1.10` is '1.1'): read it with
      `to_decimal` or `to_integer`. Objects with a thousand opening brackets or a thousand digits in a row are not read.
    -#}
    {{ return(adapter.dispatch('parse_json_object', 'levain')(text, fields)) }}
{% endmacro %}

{% macro duckdb__parse_json_object(text, fields) %}
    {%- set shape = [] -%}
    {%- for field in fields %}{% do shape.append('"' ~ field ~ '":"VARCHAR"') %}{% endfor -%}
    case
            when json_valid({{ text }}) and regexp_matches({{ text }}, '^\s*\{')
                {#- json_valid lets trailing commas, NaN and Infinity pass. Three cheap searches (one alternation is
                    five times slower) find candidates; only those are looked at again, without their string literals. #}
                and (
                    not (
                        regexp_matches({{ text }}, ',\s*[}\]]')
                        or regexp_matches({{ text }}, '[nN][aA][nN]')
                        or regexp_matches({{ text }}, '[iI][nN][fF]')
                    )
                    or not regexp_matches(
                        regexp_replace({{ text }}, '"(?:[^"\\]|\\.)*"', '""', 'g'), ',\s*[}\]]|[nN][aA]|[iI]'
                    )
                )
                and {{ levain._json_is_bounded(text) }}
                then json_transform({{ text }}, '{ {{- shape | join(',') -}} }')
        end
{%- endmacro %}

{% macro spark__parse_json_object(text, fields) %}
    {#- Spark's parser stops at the end of the first value. So the text goes in as `[text, mark]`, and only a result of
        two members, the second of them the mark, means that the text was one value and nothing else. The mark holds a
        hash of the text, so that no text can carry it. Maps, since a struct keeps the last of a repeated name. -#}
    {%- set mark = 'cast(xxhash64(' ~ text ~ ') as string)' -%}
    case
            when {{ levain._json_is_bounded(text) }} and not {{ levain._has_lone_surrogate(text) }}
                then transform(
                    array(from_json(
                        concat('[', {{ text }}, ',{"mark":"', {{ mark }}, '"}]'),
                        'array<map<string,string>>',
                        map('allowSingleQuotes', 'false', 'allowNonNumericNumbers', 'false')
                    )),
                    parsed -> case
                        when size(parsed) = 2 and parsed[0] is not null and parsed[1]['mark'] = {{ mark }}
                            then named_struct(
                                {%- for field in fields %}'{{ field }}', parsed[0]['{{ field }}']{{ ', ' if not loop.last }}{% endfor -%}
                            )
                    end
                )[0]
        end
{%- endmacro %}

{% macro _json_is_bounded(text) %}
    {#- Spark's parser gives up beyond a thousand levels or a thousand digits; so does this, on both engines. -#}
    (
                    length({{ text }}) < 1000
                    or (
                        length({{ text }}) - length(replace(replace({{ text }}, '[', ''), '{', '')) < 1000
                        and not {{ matches(text, '[0-9]{1000}') }}
                    )
                )
{%- endmacro %}

{% macro _has_lone_surrogate(text) %}
    {#- An escape such as \ud800 without its other half, which Spark reads as `?`. Spark's dialect. -#}
    (
                    contains({{ text }}, '\\u')
                    and {{ text }} rlike '\\\\u[dD][89a-fA-F]'
                    and regexp_replace(
                        regexp_replace({{ text }}, '\\\\\\\\', ''),
                        '\\\\u[dD][89abAB][0-9a-fA-F]{2}\\\\u[dD][c-fC-F][0-9a-fA-F]{2}', ''
                    ) rlike '\\\\u[dD][89a-fA-F]'
                )
{%- endmacro %}

{% macro json_field(struct, field) %}
    {#-
      Text of one field of a parsed object; null when it is absent or JSON null.

      struct: result of parse_json_object; field: a name given to it. Returns a string.
    -#}
    {{ return(struct ~ "['" ~ field ~ "']") }}
{% endmacro %}

{% macro is_json_string_field(payload, text, field) %}
    {#-
      Whether a field's value is a JSON string, not a number, a truth value, an object or a list.

      payload: the raw text; text: the field's text (json_field); field: its name. Returns a boolean, false when the
      text is null. Of a repeated name the first counts. Mostly decided by the text's first character; otherwise by how
      the name occurs in the payload; and only where it occurs as both (repeated, or in a nested object), or could be
      written with escapes, by parsing again.
    -#}
    {%- set as_string = '"' ~ field ~ '"[ \\t\\r\\n]*:[ \\t\\r\\n]*"' -%}
    {%- set as_other = '"' ~ field ~ '"[ \\t\\r\\n]*:[ \\t\\r\\n]*[^" \\t\\r\\n]' -%}
    case
                when {{ text }} is null then false
                when not {{ matches(text, '^([-0-9{\\[]|true|false|"-?Infinity"\\z)') }} then true
                when {{ matches(payload, '[\\\\]u00[3-7]') }} then {{ levain._json_type_is_string(payload, field) }}
                when not {{ matches(payload, as_other) }} then {{ matches(payload, as_string) }}
                when not {{ matches(payload, as_string) }} then false
                else {{ levain._json_type_is_string(payload, field) }}
            end
{%- endmacro %}

{% macro _json_type_is_string(payload, field) %}
    {{ return(adapter.dispatch('_json_type_is_string', 'levain')(payload, field)) }}
{% endmacro %}

{% macro duckdb___json_type_is_string(payload, field) %}
    {{- return('coalesce(json_type(' ~ payload ~ ", '$.\"" ~ field ~ "\"') = 'VARCHAR', false)") -}}
{% endmacro %}

{% macro spark___json_type_is_string(payload, field) %}
    {#- The parser of variants takes the last of a repeated name, and refuses some objects with one. -#}
    {{- return(
        "coalesce(startswith(" ~ json_member(json_members(mark_json_strings(payload), [field]), field) ~ ", 's'), false)"
    ) -}}
{% endmacro %}

{#
  Nested values. A marked text is JSON in which every string, names too, has an `s` in front, so that the text of any
  part of it says what it is: `{` an object, `[` an array, `s` a string, anything else a number or a truth value.
#}

{% macro mark_json_strings(text) %}
    {#- text: valid JSON. Returns it marked. -#}
    {{ return(adapter.dispatch('mark_json_strings', 'levain')(text)) }}
{% endmacro %}

{% macro duckdb__mark_json_strings(text) %}
    {%- set string = '"((?:[^"\\\\]|\\\\.)*)"' -%}
    {{- return('regexp_replace(' ~ text ~ ', ' ~ string_literal(string) ~ ", '\"s\\1\"', 'g')") -}}
{% endmacro %}

{% macro spark__mark_json_strings(text) %}
    {%- set string = '"([^"\\\\]*+(?:\\\\.[^"\\\\]*+)*+)"' -%}
    {{- return('regexp_replace(' ~ text ~ ', ' ~ string_literal(string) ~ ', ' ~ string_literal('"s$1"') ~ ')') -}}
{% endmacro %}

{% macro json_members(text, names) %}
    {#-
      Members of an object. text: marked JSON that is an object; names: list. Returns what json_member reads. Of a
      repeated name the first counts.
    -#}
    {{ return(adapter.dispatch('json_members', 'levain')(text, names)) }}
{% endmacro %}

{% macro duckdb__json_members(text, names) %}
    {%- set shape = [] -%}
    {%- for name in names %}{% do shape.append('"s' ~ name ~ '":"VARCHAR"') %}{% endfor -%}
    {{- return('json_transform(' ~ text ~ ", '{" ~ shape | join(',') ~ "}')") -}}
{% endmacro %}

{% macro spark__json_members(text, names) %}
    {%- set options = "map('allowSingleQuotes', 'false', 'allowNonNumericNumbers', 'false')" -%}
    {{- return('from_json(' ~ text ~ ", 'map<string,string>', " ~ options ~ ')') -}}
{% endmacro %}

{% macro json_member(members, name) %}
    {#- Marked text of one member; null when it is absent or JSON null. members: result of json_members. -#}
    {{ return(members ~ "['s" ~ name ~ "']") }}
{% endmacro %}

{% macro json_items(text) %}
    {#- Items of an array. text: marked JSON. Returns a list of marked texts; null unless the text is an array. -#}
    {{ return(adapter.dispatch('json_items', 'levain')(text)) }}
{% endmacro %}

{% macro duckdb__json_items(text) %}
    {{ return('case when left(' ~ text ~ ", 1) = '[' then json_transform(" ~ text ~ ", '[\"VARCHAR\"]') end") }}
{% endmacro %}

{% macro spark__json_items(text) %}
    {{ return('case when left(' ~ text ~ ", 1) = '[' then from_json(" ~ text ~ ", 'array<string>') end") }}
{% endmacro %}

{% macro is_json_object(text) %}
    {#- text: of a part of valid JSON, marked or not. Returns a boolean, null when the text is null. -#}
    {{ return('left(' ~ text ~ ", 1) = '{'") }}
{% endmacro %}

{% macro is_json_string(text) %}
    {#- text: marked JSON. Returns a boolean, null when the text is null. -#}
    {{ return('left(' ~ text ~ ", 1) = 's'") }}
{% endmacro %}

{% macro unmarked(text) %}
    {#- Content of a string; any other value as it is. text: marked JSON. Returns a string. -#}
    {{ return('case when ' ~ is_json_string(text) ~ ' then substr(' ~ text ~ ', 2) else ' ~ text ~ ' end') }}
{% endmacro %}

{% macro to_json_string(text) %}
    {#- A text as a JSON string, in quotes; null for null. text: string expression. -#}
    {{ return(adapter.dispatch('to_json_string', 'levain')(text)) }}
{% endmacro %}

{% macro duckdb__to_json_string(text) %}{{ return('cast(to_json(' ~ text ~ ') as varchar)') }}{% endmacro %}

{% macro spark__to_json_string(text) %}
    {#- Spark writes the digits of an escape in lower case: an odd number of backslashes, the last of them its own. -#}
    {%- set escape = string_literal('(?<!\\\\)((?:\\\\\\\\)*)\\\\u00') -%}
    {%- set codes = "array('0b', '0e', '0f', '1a', '1b', '1c', '1d', '1e', '1f')" -%}
    {{- return(
        'case when ' ~ text ~ ' is not null then aggregate(' ~ codes ~ ', regexp_extract(to_json(array(' ~ text ~ ")), '(?s)^.(.*).$', 1), "
        ~ '(json, code) -> regexp_replace(json, concat(' ~ escape ~ ', code), concat('
        ~ string_literal('$1\\\\u00') ~ ', upper(code)))) end'
    ) -}}
{% endmacro %}
