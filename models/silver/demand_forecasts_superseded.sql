select
    event_id,
    event_time,
    event_date,
    store_id,
    product_id,
    _build
from {{ ref('int_demand_forecasts__verdicts') }}
where verdict = 'conflict'
