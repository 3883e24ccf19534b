{# Texts to numbers, and arithmetic that both engines round alike. #}

{% macro to_integer(text) %}
    {#- Integer of at most 18 digits. text: string expression. Returns a bigint; null for any other text. -#}
    case when {{ matches(text, '^-?[0-9]{1,18}$') }} then try_cast({{ text }} as bigint) end
{%- endmacro %}

{% macro to_decimal(text, precision, scale) %}
    {#-
      Number as a fixed decimal, exponents included; null for any other text, and for a number with more digits than
      the type has: nothing is rounded away.

      text: string expression; precision: at most 15, since JSON numbers come through a double; scale: decimals.
      Returns decimal(precision, scale).
    -#}
    {%- if precision > 15 -%}
        {%- do exceptions.raise_compiler_error('to_decimal: a precision above 15 is not exact: ' ~ precision) -%}
    {%- endif -%}
    {%- set double = 'try_cast(' ~ text ~ ' as double)' -%}
    {%- set decimal = 'try_cast(' ~ double ~ ' as decimal(' ~ precision ~ ', ' ~ scale ~ '))' -%}
    case
            when {{ matches(text, '^-?[0-9]+([.][0-9]+)?([eE][-+]?[0-9]+)?$') }} and cast({{ decimal }} as double) = {{ double }}
                then {{ decimal }}
        end
{%- endmacro %}

{% macro to_boolean(text) %}
    {#- The texts `true` and `false`, as JSON writes them. text: string expression. Returns a boolean, else null. -#}
    case {{ text }} when 'true' then true when 'false' then false end
{%- endmacro %}

{% macro decimal_division(dividend, divisor, precision, scale) %}
    {#-
      Quotient rounded half away from zero; null when the divisor is 0 or null.

      dividend, divisor: decimals or integers with at most 4 decimals, the divisor below 10^10; scale: at most 6.
      Returns decimal(precision, scale).
    -#}
    {%- if scale > 6 -%}
        {%- do exceptions.raise_compiler_error('decimal_division: at most 6 decimals, not ' ~ scale) -%}
    {%- endif -%}
    {{ return(adapter.dispatch('decimal_division', 'levain')(dividend, divisor, precision, scale)) }}
{%- endmacro %}

{% macro duckdb__decimal_division(dividend, divisor, precision, scale) %}
    {#-
      DuckDB divides decimals as doubles, so integers do it: twice the quotient, plus one, halved, is the rounding.
    -#}
    {%- set up = '(cast(cast(' ~ dividend ~ ' as decimal(22, 4)) * 10000 as hugeint))' -%}
    {%- set down = '(cast(cast(' ~ divisor ~ ' as decimal(22, 4)) * 10000 as hugeint))' -%}
    cast(
            cast(
                sign({{ up }}) * sign({{ down }})
                * ((abs({{ up }}) * {{ 2 * 10 ** scale }} + abs({{ down }})) // nullif(abs({{ down }}) * 2, 0))
                as decimal({{ precision }}, 0)
            ) * cast({{ '0.' ~ '0' * (scale - 1) ~ '1' if scale else '1' }} as decimal({{ scale + 1 }}, {{ scale }}))
            as decimal({{ precision }}, {{ scale }})
        )
{%- endmacro %}

{% macro spark__decimal_division(dividend, divisor, precision, scale) -%}
    cast(
            cast({{ dividend }} as decimal(18, 4)) / nullif(cast({{ divisor }} as decimal(18, 4)), 0)
            as decimal({{ precision }}, {{ scale }})
        )
{%- endmacro %}
