{{ config(materialized='view') }}

with hours as (

    select * from {{ ref('int_equipment__hourly') }}

),

equipment as (

    select * from {{ ref('dim_equipment') }}
    where is_current

),

days as (

    select
        metric_date,
        equipment_id,
        store_id,
        cast(sum(readings) as bigint) as readings,
        cast(sum(running_readings) as bigint) as running_readings,
        cast(sum(idle_readings) as bigint) as idle_readings,
        cast(sum(fault_readings) as bigint) as fault_readings,
        cast(sum(maintenance_readings) as bigint) as maintenance_readings,
        cast(sum(power_sum) as decimal(28, 3)) as power_sum,
        max(temperature_max) as highest_temperature_c,
        max(vibration_max) as highest_vibration_mm_s,
        cast(max(last_cycles) - min(first_cycles) as bigint) as cycles
    from hours
    group by metric_date, equipment_id, store_id

),

final as (

    select
        days.metric_date,
        days.equipment_id,
        days.store_id,
        equipment.equipment_type,
        equipment.model,
        days.readings,
        days.running_readings,
        days.fault_readings,
        days.maintenance_readings,
        {{ decimal_division('days.running_readings', 'days.readings', 7, 6) }} as running_share,
        {{ decimal_division('days.running_readings + days.idle_readings', 'days.readings', 7, 6) }}
            as available_share,
        {{ decimal_division('days.power_sum', 'days.readings', 9, 3) }} as average_power_kw,
        days.highest_temperature_c,
        days.highest_vibration_mm_s,
        days.cycles
    from days
    left join equipment on days.equipment_id = equipment.equipment_id

)

select
    metric_date,
    equipment_id,
    store_id,
    equipment_type,
    model,
    readings,
    running_readings,
    fault_readings,
    maintenance_readings,
    running_share,
    available_share,
    average_power_kw,
    highest_temperature_c,
    highest_vibration_mm_s,
    cycles
from final
