with days as (

    select
        received_date,
        topic,
        cast(sum(messages) as bigint) as messages,
        {{ decimal_division('sum(quality_scores)', 'sum(messages)', 5, 2) }} as average_score
    from {{ ref('int_messages__daily') }}
    group by received_date, topic

),

failures as (

    select
        {{ date_of('received_at') }} as received_date,
        topic,
        {{ split_to_rows('failed_rules', ',') }} as rule
    from {{ ref('int_messages') }}
    where failed_rules <> ''

),

counted as (

    select
        received_date,
        topic,
        rule,
        cast(count(*) as bigint) as failures
    from failures
    group by received_date, topic, rule

),

final as (

    select
        days.received_date,
        days.topic,
        counted.rule,
        coalesce(counted.failures, 0) as failures,
        days.messages,
        days.average_score
    from days
    left join counted
        on
            {{ null_safe_equal('days.received_date', 'counted.received_date') }}
            and days.topic = counted.topic

)

select
    received_date,
    topic,
    rule,
    failures,
    messages,
    average_score
from final
