{{ config(
    materialized='incremental',
    incremental_strategy='merge_changed',
    unique_key=['metric_date', 'metric_hour', 'equipment_id', 'store_id'],
    partition_by=by_month('metric_date'),
) }}

{% call aggregate(
    facts=ref('equipment_metrics'),
    keys={
        'metric_date': 'event_date',
        'metric_hour': hour_start('event_time'),
        'equipment_id': 'equipment_id',
        'store_id': 'store_id',
    },
    superseded=ref('equipment_metrics_superseded'),
) %}
        max(event_time) as last_read_at,
        cast(count(*) as bigint) as readings,
        {{ count_of("status = 'running'") }} as running_readings,
        {{ count_of("status = 'idle'") }} as idle_readings,
        {{ count_of("status = 'fault'") }} as fault_readings,
        {{ count_of("status = 'maintenance'") }} as maintenance_readings,
        cast(sum(temperature_c) as decimal(28, 2)) as temperature_sum,
        max(temperature_c) as temperature_max,
        cast(sum(vibration_mm_s) as decimal(28, 2)) as vibration_sum,
        max(vibration_mm_s) as vibration_max,
        cast(sum(power_kw) as decimal(28, 3)) as power_sum,
        min(cycles) as first_cycles,
        max(cycles) as last_cycles,
        max(error_code) as last_error_code
{% endcall %}
