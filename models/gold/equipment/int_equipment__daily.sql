{{ config(
    materialized='incremental',
    incremental_strategy='merge_changed',
    unique_key=['metric_date', 'equipment_id'],
    partition_by=by_month('metric_date'),
) }}

{% call aggregate(
    facts=ref('equipment_metrics'),
    keys={'metric_date': 'event_date', 'equipment_id': 'equipment_id'},
    superseded=ref('equipment_metrics_superseded'),
) %}
        cast(count(*) as bigint) as readings,
        {{ count_of("status = 'running'") }} as running_readings,
        {{ count_of("status = 'fault'") }} as fault_readings,
        {{ count_of("status = 'maintenance'") }} as maintenance_readings,
        cast(sum(case when status = 'running' then vibration_mm_s else 0 end) as decimal(28, 3))
            as running_vibration_sum,
        max(case when status = 'running' then vibration_mm_s end) as running_vibration_max,
        cast(sum(case when status = 'running' then temperature_c else 0 end) as decimal(28, 3))
            as running_temperature_sum,
        max(case when status = 'running' then temperature_c end) as running_temperature_max,
        cast(sum(case when status = 'running' then power_kw else 0 end) as decimal(28, 3))
            as running_power_sum,
        max(case when status = 'running' then power_kw end) as running_power_max
{% endcall %}
