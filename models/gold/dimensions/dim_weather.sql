{{ config(
    materialized='incremental',
    incremental_strategy='merge_changed',
    unique_key=['weather_date', 'store_id', 'weather_hour'],
    partition_by=by_month('weather_date'),
) }}

-- depends_on: {{ ref('weather_observations_superseded') }}, {{ ref('sales_events_superseded') }}
{% set keys = ['weather_date', 'store_id', 'weather_hour'] %}
{% if is_incremental() %}
{% set touched %}
select distinct
    event_date as weather_date,
    store_id,
    {{ hour_start('event_time') }} as weather_hour
from (
    {{ union_of(
        [
            ref('weather_observations'), ref('weather_observations_superseded'),
            ref('sales_events'), ref('sales_events_superseded'),
        ],
        ['event_date', 'store_id', 'event_time', '_build'],
    ) }}
) as events
where _build > {{ last_build() }}
{% endset %}
{% set on_these_days = between_touched('event_date between first_key and last_key', 'weather_date', touched) %}
{% endif %}

with observations as (

    select
        *,
        event_date as weather_date,
        {{ hour_start('event_time') }} as weather_hour
    from {{ ref('weather_observations') }}
    {{ 'where ' ~ on_these_days if is_incremental() }}

),

sales as (

    select
        event_date as weather_date,
        store_id,
        {{ hour_start('event_time') }} as weather_hour
    from {{ ref('sales_events') }}
    {{ 'where ' ~ on_these_days if is_incremental() }}

),

{% if is_incremental() %}
touched_hours as (

    {{ touched | indent(4) }}

),
{% endif %}

ranked as (

    select
        observations.*,
        row_number() over (
            partition by observations.store_id, observations.weather_hour
            order by observations.event_time desc nulls last, observations.event_id desc nulls last
        ) as recency
    from observations
    {% if is_incremental() %}
    inner join touched_hours
        on
            {% for key in keys %}
            {{ 'and ' if not loop.first }}observations.{{ key }} = touched_hours.{{ key }}
            {% endfor %}
    {% endif %}

),

observed as (

    select * from ranked
    where recency = 1

),

-- hours that a fact may name, though nothing was observed in them
sold_in as (

    select distinct
        sales.weather_date,
        sales.store_id,
        sales.weather_hour
    from sales
    {% if is_incremental() %}
    inner join touched_hours
        on
            {% for key in keys %}
            {{ 'and ' if not loop.first }}sales.{{ key }} = touched_hours.{{ key }}
            {% endfor %}
    {% endif %}

),

hours as (

    select
        {% for key in keys %}
        coalesce(observed.{{ key }}, sold_in.{{ key }}) as {{ key }},
        {% endfor %}
        observed.event_time as observed_at,
        observed.temperature_c,
        observed.humidity_pct,
        observed.precipitation_mm,
        observed.wind_kmh,
        coalesce(observed.condition, 'Unknown') as condition,
        observed.event_id is null as is_inferred
    from observed
    full outer join sold_in on observed.store_id = sold_in.store_id and observed.weather_hour = sold_in.weather_hour

),

final as (

    select
        {{ surrogate_key(['store_id', epoch_micros('weather_hour')]) }} as weather_key,
        store_id,
        weather_date,
        weather_hour,
        observed_at,
        temperature_c,
        humidity_pct,
        precipitation_mm,
        wind_kmh,
        condition,
        is_inferred,
        {{ this_build() }} as _build
    from hours

)

{% if is_incremental() %}
{{ with_rows_to_delete('final', 'touched_hours', keys, keys) }}
{% else %}
select * from final
{{ in_order(keys) }}
{% endif %}
