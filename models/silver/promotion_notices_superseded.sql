select
    event_id,
    event_time,
    event_date,
    promotion_id,
    product_id,
    store_id,
    starts_at,
    _build
from {{ ref('int_promotions__verdicts') }}
where verdict = 'conflict'
