{#-
  A control chart: a day's average of a machine is compared with the machine's own normal, in usual deviations. What a
  machine usually deviates by is at least 2 % of its vibration, 0.5 % of its temperature and 0.05 degrees: where it is read
  once a day, and to a tenth of a degree, the median of some weeks may be less by chance.
-#}
{{ config(materialized='view') }}

with features as (

    select * from {{ ref('feat_equipment_maintenance') }}

),

equipment as (

    select * from {{ ref('dim_equipment') }}
    where is_current

),

with_deviations as (

    select
        *,
        {{ decimal_division(
            'vibration_1d - vibration_normal', 'greatest(vibration_usual_deviation, 0.02 * vibration_normal)', 12, 2,
        ) }} as vibration_deviations,
        {{ decimal_division(
            'temperature_1d - temperature_normal',
            'greatest(temperature_usual_deviation, 0.005 * abs(temperature_normal), 0.05)', 12, 2,
        ) }} as temperature_deviations
    from features

),

final as (

    select
        with_deviations.feature_date as metric_date,
        with_deviations.equipment_id,
        equipment.store_id,
        equipment.equipment_type,
        equipment.model,
        with_deviations.vibration_deviations,
        with_deviations.temperature_deviations,
        coalesce(with_deviations.vibration_deviations > 6 or with_deviations.temperature_deviations > 6, false)
            as is_drifting,
        with_deviations.failures,
        with_deviations.days_since_maintenance,
        cast(with_deviations.service_interval_days - with_deviations.days_since_maintenance as bigint)
            as days_until_service
    from with_deviations
    left join equipment on with_deviations.equipment_id = equipment.equipment_id

)

select
    metric_date,
    equipment_id,
    store_id,
    equipment_type,
    model,
    vibration_deviations,
    temperature_deviations,
    is_drifting,
    failures,
    days_since_maintenance,
    days_until_service
from final
