select
    event_id,
    event_time,
    event_date,
    customer_id,
    product_id,
    is_member,
    _build
from {{ ref('int_purchases__verdicts') }}
where verdict = 'conflict'
