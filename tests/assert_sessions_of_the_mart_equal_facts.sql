-- The mart holds exactly the sessions of each day.
with days as (

    select session_date
    from {{ ref('fct_web_sessions') }}
    where {{ rows_in_scope() }}
    union
    select session_date
    from {{ ref('mart_user_sessions') }}
    where {{ rows_in_scope() }}

),

facts as (

    select
        sessions.session_date,
        count(*) as sessions,
        sum(sessions.page_views) as page_views,
        sum(sessions.duration_seconds) as total_seconds
    from {{ ref('fct_web_sessions') }} as sessions
    inner join days on sessions.session_date = days.session_date
    group by sessions.session_date

),

mart as (

    select
        mart.session_date,
        sum(mart.sessions) as sessions,
        sum(mart.page_views) as page_views,
        sum(mart.total_seconds) as total_seconds
    from {{ ref('mart_user_sessions') }} as mart
    inner join days on mart.session_date = days.session_date
    group by mart.session_date

)

select
    facts.session_date,
    mart.session_date as mart_date
from facts
full outer join mart on facts.session_date = mart.session_date
where
    facts.session_date is null or mart.session_date is null
    {% for column in ['sessions', 'page_views', 'total_seconds'] %}
    or {{ is_distinct('facts.' ~ column, 'mart.' ~ column) }}
    {% endfor %}
