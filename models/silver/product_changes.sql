select
    event_id,
    event_time,
    event_date,
    product_id,
    name as product_name,
    category,
    base_price,
    unit_cost,
    is_active,
    valid_from,
    quality_score,
    kafka_cluster,
    topic,
    partition,
    kafka_offset,
    kafka_timestamp,
    received_at,
    ingested_at,
    ingest_batch_id,
    _build
from {{ ref('int_product_changes__verdicts') }}
where verdict = 'accepted'
