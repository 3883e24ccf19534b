with days as (

    select * from {{ ref('int_messages__daily') }}
    where messages > rejected

),

final as (

    select
        topic,
        event_day as event_date,
        cast(sum(messages - rejected) as bigint) as messages,
        cast(sum(in_time) as bigint) as in_time,
        cast(sum(late_within_48_hours) as bigint) as late_within_48_hours,
        cast(sum(held_too_late) as bigint) as held_too_late,
        cast(sum(held_in_future) as bigint) as held_in_future,
        cast(sum(held_for_reference) as bigint) as held_for_reference,
        cast(sum(released) as bigint) as released,
        cast(floor({{ seconds_of('max(max_micros_late)') }}) as bigint) as max_seconds_late
    from days
    group by topic, event_day

)

select
    topic,
    event_date,
    messages,
    in_time,
    late_within_48_hours,
    held_too_late,
    held_in_future,
    held_for_reference,
    released,
    max_seconds_late
from final
