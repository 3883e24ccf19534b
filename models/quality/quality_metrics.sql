with daily as (

    select
        topic,
        event_day,
        cast(sum(messages) as bigint) as messages,
        cast(sum(accepted) as bigint) as accepted,
        cast(sum(quality_scores) as bigint) as quality_scores,
        max(last_accepted_event_time) as last_accepted_event_time
    from {{ ref('int_messages__daily') }}
    group by topic, event_day

),

-- a day on which nothing happened anywhere, such as a holiday of the whole company, is not a day without events
days as (

    select
        event_day,
        max(event_day) over () as newest_day
    from daily
    where accepted > 0
    group by event_day

),

topics as (

    select
        topic,
        min(event_day) as first_day
    from daily
    where accepted > 0
    group by topic

),

topic_days as (

    select
        days.event_day,
        topics.topic,
        days.event_day < days.newest_day as is_complete,
        daily.messages,
        daily.quality_scores,
        coalesce(daily.accepted, 0) as accepted,
        max(daily.last_accepted_event_time) over (
            partition by topics.topic
            order by days.event_day nulls last
            rows between unbounded preceding and current row
        ) as last_accepted_event_time
    from topics
    inner join days on topics.first_day <= days.event_day
    left join daily
        on
            topics.topic = daily.topic
            and days.event_day = daily.event_day

),

topic_metrics as (

    select
        topic_days.event_day as event_date,
        topic_days.topic,
        metrics.metric,
        case metrics.metric when 'score' then topic_days.messages else topic_days.accepted end as events,
        case metrics.metric
            when 'volume' then cast(topic_days.accepted as decimal(24, 6))
            when 'score' then {{ decimal_division('topic_days.quality_scores', 'topic_days.messages', 24, 6) }}
            when 'freshness' then {{ decimal_division(
                micros_between('topic_days.last_accepted_event_time', day_start(add_days('topic_days.event_day', 1))),
                'cast(3600000000 as bigint)', 24, 6,
            ) }}
        end as value,
        topic_days.is_complete
    from topic_days
    cross join (values ('volume'), ('score'), ('freshness')) as metrics (metric)

),

final as (

    select
        event_date,
        topic,
        cast(null as {{ dbt.type_string() }}) as field,
        metric,
        cast(null as {{ dbt.type_string() }}) as category,
        events,
        value,
        is_complete
    from topic_metrics
    where value is not null
    union all
    select
        fields.event_date,
        fields.topic,
        fields.field,
        fields.metric,
        nullif(fields.category, '') as category,
        fields.events,
        fields.value,
        days.event_day < days.newest_day as is_complete
    from {{ ref('int_fields__daily') }} as fields
    inner join days on fields.event_date = days.event_day

)

select
    event_date,
    topic,
    field,
    metric,
    category,
    events,
    value,
    is_complete
from final
