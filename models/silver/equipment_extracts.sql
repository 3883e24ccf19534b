select
    event_id,
    event_time,
    event_date,
    equipment_id,
    store_id,
    equipment_type,
    model,
    installed_on,
    service_interval_days,
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
from {{ ref('int_equipment_extracts__verdicts') }}
where verdict = 'accepted'
