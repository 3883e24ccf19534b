with messages as (

    select
        topic,
        event_date,
        verdict,
        failed_rules,
        {{ seconds_between('event_time', 'received_at') }} as seconds_late
    from {{ ref('int_messages') }}
    where verdict <> 'rejected'

),

final as (

    select
        topic,
        event_date,
        cast(count(*) as bigint) as messages,
        cast(
            sum(case when verdict <> 'held' and seconds_late > 3600 then 1 else 0 end) as bigint
        ) as late_within_48_hours,
        cast(sum(case when verdict = 'held' and seconds_late > 48 * 3600 then 1 else 0 end) as bigint) as held_too_late,
        cast(sum(case when verdict = 'held' and seconds_late < -600 then 1 else 0 end) as bigint) as held_in_future,
        cast(floor(max(seconds_late)) as bigint) as max_seconds_late
    from messages
    group by topic, event_date

)

select
    topic,
    event_date,
    messages,
    late_within_48_hours,
    held_too_late,
    held_in_future,
    max_seconds_late
from final
