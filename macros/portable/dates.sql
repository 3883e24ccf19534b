{# Calendar dates. #}

{% macro to_date(text) %}
    {#- `yyyy-mm-dd` to a date. text: string expression. Returns a date; null for other texts and for no such day. -#}
    case
            when {{ matches(text, '^[0-9]{4}-[0-9]{2}-[0-9]{2}$') }} and substr({{ text }}, 1, 4) <> '0000'
                then try_cast({{ text }} as date)
        end
{%- endmacro %}

{% macro add_days(date, days) %}
    {#- date: date expression; days: whole number, negative to go back. Returns a date. -#}
    {{ return(adapter.dispatch('add_days', 'levain')(date, days)) }}
{% endmacro %}

{% macro duckdb__add_days(date, days) %}{{ return('(' ~ date ~ ' + cast(' ~ days ~ ' as integer))') }}{% endmacro %}

{% macro spark__add_days(date, days) %}{{ return('date_add(' ~ date ~ ', cast(' ~ days ~ ' as int))') }}{% endmacro %}

{% macro days_between(start, finish) %}
    {#- finish - start, negative when it comes first. Both dates. Returns a bigint of days. -#}
    {{ return(adapter.dispatch('days_between', 'levain')(start, finish)) }}
{% endmacro %}

{% macro duckdb__days_between(start, finish) %}
    {{ return('cast(' ~ finish ~ ' - ' ~ start ~ ' as bigint)') }}
{% endmacro %}

{% macro spark__days_between(start, finish) %}
    {{ return('cast(datediff(' ~ finish ~ ', ' ~ start ~ ') as bigint)') }}
{% endmacro %}

{% macro month_start(date) %}
    {#- First day of its month. date: date expression. Returns a date. -#}
    cast(date_trunc('month', {{ date }}) as date)
{%- endmacro %}

{% macro week_start(date) %}
    {#- Monday of its week. date: date expression. Returns a date. -#}
    cast(date_trunc('week', {{ date }}) as date)
{%- endmacro %}

{% macro year_of(date) %}
    {#- date: date expression. Returns an integer. -#}
    cast(year({{ date }}) as int)
{%- endmacro %}

{% macro quarter_of(date) %}
    {#- 1 to 4. date: date expression. Returns an integer. -#}
    cast(quarter({{ date }}) as int)
{%- endmacro %}

{% macro month_of(date) %}
    {#- 1 to 12. date: date expression. Returns an integer. -#}
    cast(month({{ date }}) as int)
{%- endmacro %}

{% macro day_of_month(date) %}
    {#- 1 to 31. date: date expression. Returns an integer. -#}
    cast(day({{ date }}) as int)
{%- endmacro %}

{% macro iso_day_of_week(date) %}
    {#- Monday is 1, Sunday 7. date: date expression. Returns an integer. -#}
    {{ return(adapter.dispatch('iso_day_of_week', 'levain')(date)) }}
{% endmacro %}

{% macro duckdb__iso_day_of_week(date) %}{{ return('cast(isodow(' ~ date ~ ') as int)') }}{% endmacro %}

{% macro spark__iso_day_of_week(date) %}{{ return('(weekday(' ~ date ~ ') + 1)') }}{% endmacro %}

{% macro iso_week(date) %}
    {#-
      Week of ISO 8601, 1 to 53: the first holds the year's first Thursday. date: date expression.
      Returns an integer.
    -#}
    cast(weekofyear({{ date }}) as int)
{%- endmacro %}

{% macro day_name(date) %}
    {#- `Monday` to `Sunday`. date: date expression. Returns a string. -#}
    {{ return(adapter.dispatch('day_name', 'levain')(date)) }}
{% endmacro %}

{% macro duckdb__day_name(date) %}{{ return('dayname(' ~ date ~ ')') }}{% endmacro %}

{% macro spark__day_name(date) %}{{ return('date_format(' ~ date ~ ", 'EEEE')") }}{% endmacro %}

{% macro month_name(date) %}
    {#- `January` to `December`. date: date expression. Returns a string. -#}
    {{ return(adapter.dispatch('month_name', 'levain')(date)) }}
{% endmacro %}

{% macro duckdb__month_name(date) %}{{ return('monthname(' ~ date ~ ')') }}{% endmacro %}

{% macro spark__month_name(date) %}{{ return('date_format(' ~ date ~ ", 'MMMM')") }}{% endmacro %}

{% macro date_spine(start, finish) %}
    {#-
      A query of every day from start to finish, both included; no row when finish comes first.

      start, finish: date expressions without columns. Returns a select with one column, date_day (date).
    -#}
    {{ return(adapter.dispatch('date_spine', 'levain')(start, finish)) }}
{% endmacro %}

{% macro duckdb__date_spine(start, finish) -%}
    select cast(unnest(generate_series({{ start }}, {{ finish }}, interval 1 day)) as date) as date_day
{%- endmacro %}

{% macro spark__date_spine(start, finish) -%}
    select date_day
    from (select explode(sequence({{ start }}, greatest({{ start }}, {{ finish }}))) as date_day) as days
    where date_day <= {{ finish }}
{%- endmacro %}
