select
    event_id,
    event_time,
    event_date,
    customer_id,
    name as customer_name,
    email,
    country,
    segment,
    is_member,
    signed_up_at,
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
from {{ ref('int_customer_changes__verdicts') }}
where verdict = 'accepted'
