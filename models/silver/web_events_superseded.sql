select
    event_id,
    event_time,
    event_date,
    session_id,
    customer_id,
    product_id,
    _build
from {{ ref('int_web_events__verdicts') }}
where verdict = 'conflict'
