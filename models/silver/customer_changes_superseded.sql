select
    event_id,
    customer_id,
    _build
from {{ ref('int_customer_changes__verdicts') }}
where verdict = 'conflict'
