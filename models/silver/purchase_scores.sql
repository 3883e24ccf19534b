select
    event_id,
    event_time,
    event_date,
    purchase_event_id,
    purchase_id,
    customer_id,
    score,
    is_suspicious,
    model_version,
    trained_until,
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
from {{ ref('int_purchase_scores__verdicts') }}
where verdict = 'accepted'
