select
    event_id,
    event_time,
    event_date,
    store_id,
    product_id,
    forecast_date,
    units,
    units_low,
    units_high,
    model_version,
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
from {{ ref('int_demand_forecasts__verdicts') }}
where verdict = 'accepted'
