select
    event_id,
    product_id,
    _build
from {{ ref('int_product_changes__verdicts') }}
where verdict = 'conflict'
