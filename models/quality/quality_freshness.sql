with days as (

    select * from {{ ref('int_messages__daily') }}

),

final as (

    select
        topic,
        max(last_kafka_timestamp) as last_kafka_timestamp,
        max(last_received_at) as last_received_at,
        max(last_ingested_at) as last_ingested_at,
        max(last_accepted_event_time) as last_accepted_event_time
    from days
    group by topic

)

select
    topic,
    last_kafka_timestamp,
    last_received_at,
    last_ingested_at,
    last_accepted_event_time
from final
