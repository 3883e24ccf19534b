select
    event_id,
    store_id,
    _build
from {{ ref('int_store_extracts__verdicts') }}
where verdict = 'conflict'
