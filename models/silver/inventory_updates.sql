select
    event_id,
    event_time,
    event_date,
    store_id,
    product_id,
    movement_type,
    quantity,
    lot_id,
    expires_on,
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
from {{ ref('int_inventory_updates__verdicts') }}
where verdict = 'accepted'
