select
    event_id,
    event_time,
    event_date,
    store_id,
    product_id,
    customer_id,
    channel,
    kafka_cluster,
    topic,
    partition,
    kafka_offset,
    _build
from {{ ref('int_customer_feedback__verdicts') }}
where verdict = 'conflict'
