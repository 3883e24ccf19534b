select
    event_id,
    equipment_id,
    _build
from {{ ref('int_equipment_extracts__verdicts') }}
where verdict = 'conflict'
