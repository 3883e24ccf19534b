with days as (

    select * from {{ ref('int_messages__daily') }}

),

final as (

    select
        kafka_cluster,
        topic,
        partition,
        cast(sum(messages) as bigint) as messages,
        cast(sum(accepted) as bigint) as accepted,
        cast(sum(duplicate) as bigint) as duplicate,
        cast(sum(conflict) as bigint) as conflict,
        cast(sum(rejected) as bigint) as rejected,
        cast(sum(held) as bigint) as held,
        cast(sum(quality_scores) as bigint) as quality_scores
    from days
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
    held,
    quality_scores
from final
