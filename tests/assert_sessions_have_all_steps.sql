-- Each accepted step on the web site is in one session, its own.
with changed as (

    select session_id
    from {{ ref('web_events') }}
    where {{ rows_in_scope() }}
    union
    select session_id
    from {{ ref('fct_web_sessions') }}
    where {{ rows_in_scope() }}

),

steps as (

    select
        events.session_id,
        count(*) as steps,
        min(events.event_time) as started_at,
        max(events.event_time) as ended_at
    from {{ ref('web_events') }} as events
    inner join changed on events.session_id = changed.session_id
    group by events.session_id

),

sessions as (

    select sessions.* from {{ ref('fct_web_sessions') }} as sessions
    inner join changed on sessions.session_id = changed.session_id

)

select
    coalesce(steps.session_id, sessions.session_id) as session_id,
    sessions.session_date
from steps
full outer join sessions on steps.session_id = sessions.session_id
where
    steps.session_id is null or sessions.session_id is null
    {% for column in ['steps', 'started_at', 'ended_at'] %}
    or {{ is_distinct('steps.' ~ column, 'sessions.' ~ column) }}
    {% endfor %}
