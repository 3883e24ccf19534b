{#
  The range of times, half-open: what contracts accept, dimensions cover and the calendar lists. It is set once, by the
  vars `time_from` and `time_to` of dbt_project.yml. Only an open end lies beyond it: far_future() of macros/scd2.sql.
#}

{% macro time_from() %}{{ timestamp_literal(var('time_from') ~ ' 00:00:00') }}{% endmacro %}

{% macro time_to() %}{{ timestamp_literal(var('time_to') ~ ' 00:00:00') }}{% endmacro %}

{% macro date_from() %}cast('{{ var('time_from') }}' as date){% endmacro %}

{% macro date_to() %}cast('{{ var('time_to') }}' as date){% endmacro %}

{% macro in_time_range(timestamp) %}
    {#- timestamp: UTC timestamp. Returns a boolean, null when the timestamp is null. -#}
    ({{ time_from() }} <= {{ timestamp }} and {{ timestamp }} < {{ time_to() }})
{%- endmacro %}

{% macro in_date_range(date) %}
    {#- date: date expression. Returns a boolean, null when the date is null. -#}
    ({{ date_from() }} <= {{ date }} and {{ date }} < {{ date_to() }})
{%- endmacro %}
