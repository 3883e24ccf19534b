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

      dividend, divisor: decimals or integers with at most 4 decimals, below 10^26; scale: at most 6; precision: at
      most 18. Returns decimal(precision, scale).

      Engines divide decimals as doubles, or round twice. So integers do it, in ten-thousandths: twice the quotient, plus
      one, halved, is the rounding.
    -#}
    {%- if scale > 6 -%}
        {%- do exceptions.raise_compiler_error('decimal_division: at most 6 decimals, not ' ~ scale) -%}
    {%- endif -%}
    {%- set up = levain._ten_thousandths(dividend) -%}
    {%- set down = levain._ten_thousandths(divisor) -%}
    cast(
            cast(
                case when ({{ dividend }} < 0) = ({{ divisor }} < 0) then 1 else -1 end
                * {{ levain._whole_quotient('abs(' ~ up ~ ') * ' ~ 2 * 10 ** scale ~ ' + abs(' ~ down ~ ')', 'abs(' ~ down ~ ') * 2') }}
                as decimal({{ precision }}, 0)
            ) * cast({{ '0.' ~ '0' * (scale - 1) ~ '1' if scale else '1' }} as decimal({{ scale + 1 }}, {{ scale }}))
            as decimal({{ precision }}, {{ scale }})
        )
{%- endmacro %}

{% macro _ten_thousandths(number) %}{{ return(adapter.dispatch('_ten_thousandths', 'levain')(number)) }}{% endmacro %}

{% macro duckdb___ten_thousandths(number) %}
    {{- return('cast(cast(' ~ number ~ ' as decimal(30, 4)) * 10000 as hugeint)') -}}
{% endmacro %}

{% macro spark___ten_thousandths(number) %}
    {{- return('cast(cast(' ~ number ~ ' as decimal(30, 4)) * 10000 as decimal(30, 0))') -}}
{% endmacro %}

{% macro _whole_quotient(dividend, divisor) %}
    {{ return(adapter.dispatch('_whole_quotient', 'levain')(dividend, divisor)) }}
{% endmacro %}

{% macro duckdb___whole_quotient(dividend, divisor) %}
    {{- return('((' ~ dividend ~ ') // nullif(' ~ divisor ~ ', 0))') -}}
{% endmacro %}

{% macro spark___whole_quotient(dividend, divisor) %}
    {{- return('((' ~ dividend ~ ') div nullif(' ~ divisor ~ ', 0))') -}}
{% endmacro %}

{% macro mean_of(count, total) %}
    {#-
      Mean of whole numbers, rounded half away from zero; null for none.

      count: how many there are; total: their sum, below 10^11; bigints. Returns decimal(12, 4).

      Sums are exact, so it does not depend on the order of the rows; a division of two doubles is rounded alike by every
      engine (IEEE 754), and costs a tenth of decimal_division.
    -#}
    cast(
            cast(round(cast({{ total }} * 10000 as double) / nullif({{ count }}, 0)) as bigint)
            * cast(0.0001 as decimal(5, 4)) as decimal(12, 4)
        )
{%- endmacro %}

{% macro standard_deviation(count, total, squares) %}
    {#-
      Standard deviation of a sample of whole numbers, rounded to hundredths; null for fewer than two.

      count: how many there are; total: their sum; squares: the sum of their squares; bigints. Returns decimal(12, 2).

      Exact sums, then a quotient and a root that every engine rounds alike, as mean_of.
    -#}
    cast(
            cast(round(
                100 * sqrt(
                    cast({{ count }} * {{ squares }} - {{ total }} * {{ total }} as double)
                    / nullif({{ count }} * ({{ count }} - 1), 0)
                )
            ) as bigint)
            * cast(0.01 as decimal(3, 2)) as decimal(12, 2)
        )
{%- endmacro %}
