{{ config(
    materialized='incremental',
    incremental_strategy='merge_changed',
    unique_key=['received_date', 'kafka_cluster', 'topic', 'partition', 'event_day'],
    partition_by=by_month('received_date'),
) }}
{% set an_hour = 3600 * 1000000 %}
{% set micros_late = micros_between('event_time', 'received_at') %}
{% set valid, held = "verdict <> 'rejected'", "verdict = 'held'" %}
{% set too_late, in_future = is_too_late('facts'), is_in_future('facts') %}

{% call aggregate(
    facts=ref('int_messages'),
    keys={
        'received_date': date_of('received_at'),
        'kafka_cluster': 'kafka_cluster',
        'topic': 'topic',
        'partition': 'partition',
        'event_day': 'coalesce(event_date, ' ~ date_of('received_at') ~ ')',
    },
    only='received_at >= ' ~ day_start('first_key') ~ ' and received_at < ' ~ day_start(add_days('last_key', 1)),
) %}
        cast(count(*) as bigint) as messages,
        {{ count_of("verdict = 'accepted'") }} as accepted,
        {{ count_of("verdict = 'duplicate'") }} as duplicate,
        {{ count_of("verdict = 'conflict'") }} as conflict,
        {{ count_of("verdict = 'rejected'") }} as rejected,
        {{ count_of(held) }} as held,
        cast(sum(quality_score) as bigint) as quality_scores,
        {{ count_of(valid ~ ' and not (' ~ held ~ ' or ' ~ in_future ~ ') and ' ~ micros_late ~ ' <= ' ~ an_hour) }} as in_time,
        {{ count_of(valid ~ ' and not (' ~ held ~ ' or ' ~ too_late ~ ') and ' ~ micros_late ~ ' > ' ~ an_hour) }}
            as late_within_48_hours,
        {{ count_of(held ~ ' and ' ~ too_late) }} as held_too_late,
        {{ count_of(held ~ ' and ' ~ in_future) }} as held_in_future,
        {{ count_of(held ~ ' and not (' ~ too_late ~ ' or ' ~ in_future ~ ')') }} as held_for_reference,
        {{ count_of(valid ~ ' and not ' ~ held ~ ' and (' ~ too_late ~ ' or ' ~ in_future ~ ')') }} as released,
        max(case when {{ valid }} then {{ micros_late }} end) as max_micros_late,
        max(case when {{ in_time_range('kafka_timestamp') }} then kafka_timestamp end) as last_kafka_timestamp,
        max(received_at) as last_received_at,
        max(ingested_at) as last_ingested_at,
        max(case when verdict = 'accepted' then event_time end) as last_accepted_event_time
{% endcall %}
