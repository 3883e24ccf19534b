with messages as (

    select * from {{ ref('int_messages') }}

),

final as (

    select
        topic,
        max(case when {{ in_time_range('kafka_timestamp') }} then kafka_timestamp end) as last_kafka_timestamp,
        max(received_at) as last_received_at,
        max(ingested_at) as last_ingested_at,
        max(case when verdict = 'accepted' then event_time end) as last_accepted_event_time
    from messages
    group by topic

)

select
    topic,
    last_kafka_timestamp,
    last_received_at,
    last_ingested_at,
    last_accepted_event_time
from final
