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
    {#-
      Every string of the payload, names too, is given an `s` in front, so that the field's text tells a string from any
      other value. (The parser of variants takes the last of a repeated name, and refuses some objects with one.)
    -#}
    {%- set string = '"([^"\\\\]*+(?:\\\\.[^"\\\\]*+)*+)"' -%}
    {%- set arguments = [payload, string_literal(string), string_literal('"s$1"')] -%}
    {%- set marked = 'regexp_replace(' ~ arguments | join(', ') ~ ')' -%}
    {%- set options = "map('allowSingleQuotes', 'false', 'allowNonNumericNumbers', 'false')" -%}
    {{- return(
        "coalesce(startswith(from_json(" ~ marked ~ ", 'map<string,string>', " ~ options ~ ")['s" ~ field ~ "'], 's'), false)"
    ) -}}
{% endmacro %}
