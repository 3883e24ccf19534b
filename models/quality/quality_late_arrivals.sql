{% set an_hour = 3600 * 1000000 %}
with messages as (

    select * from {{ ref('int_messages') }}
    where verdict <> 'rejected'

),

timed as (

    select
        messages.topic,
        messages.event_date,
        messages.verdict = 'held' as is_held,
        {{ is_too_late('messages') }} as is_too_late,
        {{ is_in_future('messages') }} as is_in_future,
        {{ micros_between('messages.event_time', 'messages.received_at') }} as micros_late
    from messages

),

final as (

    select
        topic,
        event_date,
        cast(count(*) as bigint) as messages,
        cast(
            sum(case when not (is_held or is_in_future) and micros_late <= {{ an_hour }} then 1 else 0 end) as bigint
        ) as in_time,
        cast(
            sum(case when not (is_held or is_too_late) and micros_late > {{ an_hour }} then 1 else 0 end) as bigint
        ) as late_within_48_hours,
        cast(sum(case when is_held and is_too_late then 1 else 0 end) as bigint) as held_too_late,
        cast(sum(case when is_held and is_in_future then 1 else 0 end) as bigint) as held_in_future,
        cast(
            sum(case when is_held and not (is_too_late or is_in_future) then 1 else 0 end) as bigint
        ) as held_for_reference,
        cast(
            sum(case when not is_held and (is_too_late or is_in_future) then 1 else 0 end) as bigint
        ) as released,
        cast(floor({{ seconds_of('max(micros_late)') }}) as bigint) as max_seconds_late
    from timed
    group by topic, event_date

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
