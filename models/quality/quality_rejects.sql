with messages as (

    select * from {{ ref('int_messages') }}

),

final as (

    select
        kafka_cluster,
        topic,
        partition,
        kafka_offset,
        kafka_timestamp,
        received_at,
        event_id,
        event_time,
        verdict,
        failed_rules,
        missing_fields,
        quality_score,
        payload,
        payload_bytes,
        ingested_at,
        ingest_batch_id,
        _build
    from messages
    where verdict <> 'accepted'

)

select
    kafka_cluster,
    topic,
    partition,
    kafka_offset,
    kafka_timestamp,
    received_at,
    event_id,
    event_time,
    verdict,
    failed_rules,
    missing_fields,
    quality_score,
    payload,
    payload_bytes,
    ingested_at,
    ingest_batch_id,
    _build
from final
