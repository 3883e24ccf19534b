{{ config(materialized='view') }}

with hours as (

    select * from {{ ref('int_equipment__hourly') }}

),

equipment as (

    select * from {{ ref('dim_equipment') }}

),

final as (

    select
        equipment.equipment_key,
        hours.equipment_id,
        hours.store_id,
        hours.metric_date,
        hours.metric_hour,
        hours.readings,
        hours.running_readings,
        hours.idle_readings,
        hours.fault_readings,
        hours.maintenance_readings,
        {{ decimal_division('hours.running_readings + hours.idle_readings', 'hours.readings', 7, 6) }}
            as available_share,
        {{ decimal_division('hours.temperature_sum', 'hours.readings', 8, 2) }} as average_temperature_c,
        hours.temperature_max as highest_temperature_c,
        {{ decimal_division('hours.vibration_sum', 'hours.readings', 8, 2) }} as average_vibration_mm_s,
        hours.vibration_max as highest_vibration_mm_s,
        {{ decimal_division('hours.power_sum', 'hours.readings', 9, 3) }} as average_power_kw,
        cast(hours.last_cycles - hours.first_cycles as bigint) as cycles,
        hours.last_error_code
    from hours
    -- a version that covers every reading covers the last one of the hour
    left join equipment on {{ is_version_at('hours', 'last_read_at', 'equipment', 'equipment_id') }}

)

select
    equipment_key,
    equipment_id,
    store_id,
    metric_date,
    metric_hour,
    readings,
    running_readings,
    idle_readings,
    fault_readings,
    maintenance_readings,
    available_share,
    average_temperature_c,
    highest_temperature_c,
    average_vibration_mm_s,
    highest_vibration_mm_s,
    average_power_kw,
    cycles,
    last_error_code
from final
