select
    event_id,
    event_time,
    event_date,
    equipment_id,
    store_id,
    _build
from {{ ref('int_equipment_metrics__verdicts') }}
where verdict = 'conflict'
