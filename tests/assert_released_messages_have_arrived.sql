{{ config(severity='warn') }}
-- Each row of seeds/released_messages.csv is of a message that has arrived: one that is mistyped releases nothing.
select
    released.kafka_cluster,
    released.topic,
    released.partition,
    released.kafka_offset
from {{ ref('released_messages') }} as released
left join {{ ref('int_messages') }} as messages
    on
        released.kafka_cluster = messages.kafka_cluster and released.topic = messages.topic
        and released.partition = messages.partition and released.kafka_offset = messages.kafka_offset
where messages.kafka_offset is null
