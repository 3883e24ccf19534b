select
    event_id,
    event_time,
    event_date,
    equipment_id,
    store_id,
    temperature_c,
    vibration_mm_s,
    power_kw,
    cycles,
    status,
    error_code,
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
from {{ ref('int_equipment_metrics__verdicts') }}
where verdict = 'accepted'
