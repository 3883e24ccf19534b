select
    event_id,
    event_time,
    event_date,
    store_id,
    product_id,
    movement_type,
    _build
from {{ ref('int_inventory_updates__verdicts') }}
where verdict = 'conflict'
