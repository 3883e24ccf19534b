{# Moments in UTC, to the microsecond: `timestamptz` on DuckDB, `timestamp` (with the session's zone UTC) on Spark. #}

{% macro type_timestamp_utc() %}
    {#- Name of the type of a moment, for casts; contracts in YAML write `timestamptz` for both engines. -#}
    {{ return(adapter.dispatch('type_timestamp_utc', 'levain')()) }}
{% endmacro %}

{% macro duckdb__type_timestamp_utc() %}{{ return('timestamptz') }}{% endmacro %}

{% macro spark__type_timestamp_utc() %}{{ return('timestamp') }}{% endmacro %}

{% macro to_timestamp_utc(text) %}
    {#-
      ISO 8601 date and time to a UTC timestamp; without a zone it is UTC.

      text: string expression: `2025-12-22T10:30:45`, `T` or a blank, up to 9 decimals (cut to 6), `Z` or `+02:00` or
      nothing. Returns a UTC timestamp; null for any other text, dates that do not exist, years outside 0001 to 9999.
    -#}
    {%- set day = '[0-9]{4}-[0-9]{2}-[0-9]{2}' -%}
    {%- set time = '([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]([.][0-9]{1,9})?' -%}
    {%- set zone = '(Z|[-+](0[0-9]|1[0-3]):[0-5][0-9]|[-+]14:00)?' -%}
    {%- set type = type_timestamp_utc() -%}
    case
            when
                {{ matches(text, '^' ~ day ~ '[T ]' ~ time ~ zone ~ '$') }}
                {#- The first and the last day could leave the years through their offset. #}
                and substr({{ text }}, 1, 4) <> '0000'
                and substr({{ text }}, 1, 10) not in ('0001-01-01', '9999-12-31')
                then try_cast({{ text }} as {{ type }})
        end
{%- endmacro %}

{% macro timestamp_literal(text) %}
    {#- A constant moment. text: `yyyy-mm-dd hh:mm:ss`, in UTC. Returns a UTC timestamp. -#}
    cast('{{ text }}+00:00' as {{ type_timestamp_utc() }})
{%- endmacro %}

{% macro epoch_micros(timestamp) %}
    {#- Microseconds since 1970. timestamp: UTC timestamp. Returns a bigint. -#}
    {{ return(adapter.dispatch('epoch_micros', 'levain')(timestamp)) }}
{% endmacro %}

{% macro duckdb__epoch_micros(timestamp) %}{{ return('epoch_us(' ~ timestamp ~ ')') }}{% endmacro %}

{% macro spark__epoch_micros(timestamp) %}{{ return('unix_micros(' ~ timestamp ~ ')') }}{% endmacro %}

{% macro from_epoch_micros(micros) %}
    {#- The moment that many microseconds after 1970. micros: bigint expression. Returns a UTC timestamp. -#}
    {{ return(adapter.dispatch('from_epoch_micros', 'levain')(micros)) }}
{% endmacro %}

{% macro duckdb__from_epoch_micros(micros) %}{{ return('make_timestamptz(' ~ micros ~ ')') }}{% endmacro %}

{% macro spark__from_epoch_micros(micros) %}{{ return('timestamp_micros(' ~ micros ~ ')') }}{% endmacro %}

{% macro micros_between(start, finish) %}
    {#- finish - start, negative when it comes first. Both UTC timestamps. Returns a bigint of microseconds. -#}
    ({{ epoch_micros(finish) }} - {{ epoch_micros(start) }})
{%- endmacro %}

{% macro seconds_of(micros) %}
    {#- Microseconds as seconds. micros: bigint expression. Returns decimal(18, 6), exact, and slow: compare micros. -#}
    cast({{ micros }} * cast(0.000001 as decimal(7, 6)) as decimal(18, 6))
{%- endmacro %}

{% macro add_seconds(timestamp, seconds) %}
    {#- timestamp: UTC timestamp; seconds: whole number, negative to go back. Returns a UTC timestamp. -#}
    {{ return(from_epoch_micros(epoch_micros(timestamp) ~ ' + cast(' ~ seconds ~ ' as bigint) * 1000000')) }}
{% endmacro %}

{% macro date_of(timestamp) %}
    {#- Calendar date in UTC. timestamp: UTC timestamp. Returns a date. -#}
    {{ return(adapter.dispatch('date_of', 'levain')(timestamp)) }}
{% endmacro %}

{#-
  DuckDB's own functions for timestamptz follow the session's zone and are slow; through the epoch they are neither.
#}
{% macro duckdb__date_of(timestamp) %}
    {{ return('cast(make_timestamp(epoch_us(' ~ timestamp ~ ')) as date)') }}
{% endmacro %}

{% macro spark__date_of(timestamp) %}{{ return('cast(' ~ timestamp ~ ' as date)') }}{% endmacro %}

{% macro hour_of(timestamp) %}
    {#- Hour of the day in UTC, 0 to 23. timestamp: UTC timestamp. Returns an integer. -#}
    {{ return(adapter.dispatch('hour_of', 'levain')(timestamp)) }}
{% endmacro %}

{% macro duckdb__hour_of(timestamp) %}
    {{ return('cast(hour(make_timestamp(epoch_us(' ~ timestamp ~ '))) as integer)') }}
{% endmacro %}

{% macro spark__hour_of(timestamp) %}{{ return('hour(' ~ timestamp ~ ')') }}{% endmacro %}

{% macro hour_start(timestamp) %}
    {#- Beginning of its hour. timestamp: UTC timestamp. Returns a UTC timestamp. -#}
    {{ return(adapter.dispatch('hour_start', 'levain')(timestamp)) }}
{% endmacro %}

{% macro duckdb__hour_start(timestamp) %}
    {{ return("make_timestamptz(epoch_us(date_trunc('hour', make_timestamp(epoch_us(" ~ timestamp ~ ')))))') }}
{% endmacro %}

{% macro spark__hour_start(timestamp) %}{{ return("date_trunc('hour', " ~ timestamp ~ ')') }}{% endmacro %}

{% macro day_start(date) %}
    {#- Midnight in UTC. date: date expression. Returns a UTC timestamp. -#}
    {{ return(adapter.dispatch('day_start', 'levain')(date)) }}
{% endmacro %}

{% macro duckdb__day_start(date) %}
    {{ return('make_timestamptz(epoch_us(cast(' ~ date ~ ' as timestamp)))') }}
{% endmacro %}

{% macro spark__day_start(date) %}{{ return('cast(' ~ date ~ ' as timestamp)') }}{% endmacro %}
