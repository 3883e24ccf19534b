{{ config(
    materialized='incremental',
    incremental_strategy='merge_changed',
    unique_key=['topic'],
) }}

with messages as (

    select * from {{ ref('int_messages') }}

),

-- copies count as well: which of them is accepted may change, and this time never goes back
new_events as (

    select
        topic,
        case when event_time <= received_at then event_time else received_at end as latest_event_at
    from messages
    where
        verdict in ('accepted', 'duplicate', 'conflict')
        and _build > {{ last_build() }}

),

seen as (

    select * from new_events
    {% if is_incremental() %}
    union all
    select
        topic,
        latest_event_at
    from {{ this }}
    {% endif %}

),

final as (

    select
        topic,
        max(latest_event_at) as latest_event_at,
        {{ this_build() }} as _build
    from seen
    group by topic

)

select
    topic,
    latest_event_at,
    _build
from final
