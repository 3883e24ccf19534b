with messages as (

    select * from {{ ref('int_messages') }}

),

final as (

    select
        kafka_cluster,
        topic,
        partition,
        cast(count(*) as bigint) as messages,
        {{ count_of("verdict = 'accepted'") }} as accepted,
        {{ count_of("verdict = 'duplicate'") }} as duplicate,
        {{ count_of("verdict = 'conflict'") }} as conflict,
        {{ count_of("verdict = 'rejected'") }} as rejected,
        {{ count_of("verdict = 'held'") }} as held
    from messages
    group by kafka_cluster, topic, partition

)

select
    kafka_cluster,
    topic,
    partition,
    messages,
    accepted,
    duplicate,
    conflict,
    rejected,
    held
from final
