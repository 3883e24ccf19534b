{#-
  What is unusual, from the table's own history: a value is compared with the median of the same weekday of the weeks
  before, and how far it is from it with how far such values usually are: the median of the deviations of the four weeks
  before. Only days before it are looked at, so a day's row never changes for what comes later.
#}
{% set series = 'topic, field, metric, category' %}
with metrics as (

    select
        *,
        {{ iso_day_of_week('event_date') }} as weekday
    from {{ ref('quality_metrics') }}
    where is_complete

),

with_history as (

    select
        *,
        {{ list_of('value') }} over (
            partition by {{ series }}, weekday
            order by event_date nulls last
            rows between 8 preceding and 1 preceding
        ) as same_weekdays
    from metrics

),

with_expectation as (

    select
        *,
        case when {{ list_length('same_weekdays') }} >= 3 then {{ list_median('same_weekdays') }} end as expected
    from with_history

),

with_deviations as (

    select
        *,
        {{ list_of('abs(value - expected)') }} over (
            partition by {{ series }}
            order by event_date nulls last
            rows between 28 preceding and 1 preceding
        ) as deviations
    from with_expectation

),

-- what is never worth a look, however steady a metric is, and how many events it takes to say anything
with_tolerance as (

    select
        *,
        {{ anomaly_direction() }} as watched,
        greatest(
            cast(6 * {{ list_median('deviations') }} as decimal(30, 6)),
            cast(
                case metric
                    when 'volume' then 0.3 * expected
                    when 'freshness' then 12
                    when 'score' then 2
                    when 'distinct' then greatest(0.3 * expected, 5)
                    when 'mean' then 0.2 * abs(expected)
                    else 0.15
                end as decimal(30, 6)
            )
        ) as tolerance
    from with_deviations
    where
        {{ list_length('deviations') }} >= 14
        and case metric
            when 'volume' then expected >= 50
            when 'freshness' then true
            when 'score' then events >= 30
            else events >= 100
        end

),

with_range as (

    select
        *,
        case when metric = 'mean' or expected > tolerance then expected - tolerance else 0 end as expected_low,
        expected + tolerance as expected_high,
        case when value < expected then 'falls' else 'rises' end as direction
    from with_tolerance

),

final as (

    select
        event_date,
        topic,
        field,
        metric,
        category,
        events,
        value,
        expected,
        cast(expected_low as decimal(30, 6)) as expected_low,
        cast(expected_high as decimal(30, 6)) as expected_high,
        direction,
        coalesce(
            {{ decimal_division('least(abs(value - expected), 999 * tolerance) * 1000', 'tolerance * 1000', 10, 2) }},
            cast(999 as decimal(10, 2))
        ) as score
    from with_range
    where
        abs(value - expected) > tolerance
        and watched in ('both', direction)

)

select
    event_date,
    topic,
    field,
    metric,
    category,
    events,
    value,
    expected,
    expected_low,
    expected_high,
    direction,
    score
from final
