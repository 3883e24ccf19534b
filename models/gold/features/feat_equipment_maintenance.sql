{#-
  What is measured of a machine on a day, and over 7 and 28 days up to it, beside what was normal for it: the middle of
  its daily averages of four weeks that ended a fortnight before, since machines drift for days before they fail.
  Only readings of running machines are measured: what stands still is cold and does not shake.
-#}
{{ config(materialized='view') }}
{% set numbers = ['vibration', 'temperature', 'power'] %}
{#- Spark does not find the windows that a view names once another view reads it. -#}
{% set days = 'partition by equipment_id order by day_number nulls last' %}
{% set windows = {
    '7d': '(' ~ days ~ ' range between 6 preceding and current row)',
    '28d': '(' ~ days ~ ' range between 27 preceding and current row)',
} %}
{% set earlier = '(' ~ days ~ ' range between 41 preceding and 14 preceding)' %}
{% set up_to_now = '(' ~ days ~ ' rows between unbounded preceding and current row)' %}

with days as (

    select * from {{ ref('int_equipment__daily') }}

),

equipment as (

    select * from {{ ref('dim_equipment') }}

),

measured as (

    select
        *,
        {{ days_between("cast('2000-01-01' as date)", 'metric_date') }} as day_number,
        {{ decimal_division('24 * running_readings', 'readings', 6, 2) }} as running_hours,
        {% for name in numbers %}
        {{ decimal_division('running_' ~ name ~ '_sum', 'running_readings', 9, 3) }} as {{ name }}_mean,
        {% endfor %}
        lag(fault_readings) over (partition by equipment_id order by metric_date nulls last) as fault_readings_before,
        case when running_readings > 0 then 1 else 0 end as has_run
    from days

),

-- a slope is of whole numbers, in thousandths, so that it does not depend on the order of a sum
with_windows as (

    select
        *,
        {% for suffix, frame in windows.items() %}
        sum(running_readings) over {{ frame }} as readings_{{ suffix }},
        sum(running_hours) over {{ frame }} as hours_{{ suffix }},
        sum(has_run) over {{ frame }} as n_{{ suffix }},
        sum(has_run * day_number) over {{ frame }} as x_{{ suffix }},
        sum(has_run * day_number * day_number) over {{ frame }} as xx_{{ suffix }},
        {% for name in numbers %}
        sum(running_{{ name }}_sum) over {{ frame }} as {{ name }}_sum_{{ suffix }},
        max(running_{{ name }}_max) over {{ frame }} as {{ name }}_max_{{ suffix }},
        sum(cast({{ name }}_mean * 1000 as bigint)) over {{ frame }} as {{ name }}_y_{{ suffix }},
        sum(day_number * cast({{ name }}_mean * 1000 as bigint)) over {{ frame }} as {{ name }}_xy_{{ suffix }},
        {% endfor %}
        {% endfor %}
        {% for name in numbers %}
        {{ list_of(name ~ '_mean') }} over {{ earlier }} as {{ name }}_earlier,
        {% endfor %}
        sum(
            case when fault_readings > 0 and coalesce(fault_readings_before, 0) = 0 then 1 else 0 end
        ) over {{ up_to_now }} as failures,
        max(case when maintenance_readings > 0 then metric_date end) over {{ up_to_now }} as maintained_on
    from measured

),

with_normal as (

    select
        *,
        {% for name in numbers %}
        case
            when {{ list_length(name ~ '_earlier') }} >= 7
                then cast({{ list_median(name ~ '_earlier') }} as decimal(9, 3))
        end as {{ name }}_normal,
        {% endfor %}
        {{ day_start(add_days('metric_date', 1)) }} as day_end
    from with_windows

),

with_deviations as (

    select
        {% for name in numbers %}
        {{ map_list(name ~ '_earlier', 'earlier', 'abs(earlier - ' ~ name ~ '_normal)') }} as {{ name }}_deviations,
        {% endfor %}
        with_normal.*
    from with_normal

),

final as (

    select
        measures.metric_date as feature_date,
        measures.equipment_id,
        {% for name in numbers %}
        measures.{{ name }}_mean as {{ name }}_1d,
        measures.running_{{ name }}_max as highest_{{ name }}_1d,
        {% for suffix in windows %}
        {{ decimal_division('measures.' ~ name ~ '_sum_' ~ suffix, 'measures.readings_' ~ suffix, 9, 3) }}
            as {{ name }}_{{ suffix }},
        measures.{{ name }}_max_{{ suffix }} as highest_{{ name }}_{{ suffix }},
        {{ decimal_division(
            'n_' ~ suffix ~ ' * ' ~ name ~ '_xy_' ~ suffix ~ ' - x_' ~ suffix ~ ' * ' ~ name ~ '_y_' ~ suffix,
            '1000 * (n_' ~ suffix ~ ' * xx_' ~ suffix ~ ' - x_' ~ suffix ~ ' * x_' ~ suffix ~ ')', 12, 4,
        ) }} as {{ name }}_slope_{{ suffix }},
        {% endfor %}
        measures.{{ name }}_normal,
        case
            when measures.{{ name }}_normal is not null
                then cast({{ list_median('measures.' ~ name ~ '_deviations') }} as decimal(9, 3))
        end as {{ name }}_usual_deviation,
        {% endfor %}
        measures.running_hours as running_hours_1d,
        cast(measures.hours_7d as decimal(8, 2)) as running_hours_7d,
        cast(measures.hours_28d as decimal(8, 2)) as running_hours_28d,
        cast(measures.failures as bigint) as failures,
        {{ days_between('measures.maintained_on', 'measures.metric_date') }} as days_since_maintenance,
        {{ days_between('equipment.installed_on', 'measures.metric_date') }} as days_since_installation,
        equipment.service_interval_days
    from with_deviations as measures
    -- the version that was valid when the day ended
    left join equipment
        on
            measures.equipment_id = equipment.equipment_id
            and equipment.valid_from < measures.day_end
            and measures.day_end <= equipment.valid_to

)

select
    feature_date,
    equipment_id,
    {% for name in numbers %}
    {{ name }}_1d,
    {{ name }}_7d,
    {{ name }}_28d,
    highest_{{ name }}_1d,
    highest_{{ name }}_7d,
    highest_{{ name }}_28d,
    {{ name }}_slope_7d,
    {{ name }}_slope_28d,
    {{ name }}_normal,
    {{ name }}_usual_deviation,
    {% endfor %}
    running_hours_1d,
    running_hours_7d,
    running_hours_28d,
    failures,
    days_since_maintenance,
    days_since_installation,
    service_interval_days
from final
