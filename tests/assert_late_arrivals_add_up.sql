-- Per topic and day of the event, each message that was not rejected is counted once.
select
    topic,
    event_date,
    messages,
    in_time,
    late_within_48_hours,
    held_too_late,
    held_in_future,
    held_for_reference,
    released
from {{ ref('quality_late_arrivals') }}
where
    {{ is_distinct(
        'messages',
        'in_time + late_within_48_hours + held_too_late + held_in_future + held_for_reference + released',
    ) }}
