with messages as (

    select * from {{ ref('int_messages') }}

),

final as (

    select
        kafka_cluster,
        topic,
        partition,
        cast(count(*) as bigint) as messages,
        cast(sum(case when verdict = 'accepted' then 1 else 0 end) as bigint) as accepted,
        cast(sum(case when verdict = 'duplicate' then 1 else 0 end) as bigint) as duplicate,
        cast(sum(case when verdict = 'conflict' then 1 else 0 end) as bigint) as conflict,
        cast(sum(case when verdict = 'rejected' then 1 else 0 end) as bigint) as rejected,
        cast(sum(case when verdict = 'held' then 1 else 0 end) as bigint) as held
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
