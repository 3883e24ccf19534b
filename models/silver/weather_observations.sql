select
    event_id,
    event_time,
    event_date,
    store_id,
    temperature_c,
    humidity_pct,
    precipitation_mm,
    wind_kmh,
    condition,
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
from {{ ref('int_weather_data__verdicts') }}
where verdict = 'accepted'
