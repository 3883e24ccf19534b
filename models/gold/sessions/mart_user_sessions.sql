{{ config(
    materialized='incremental',
    incremental_strategy='merge_changed',
    unique_key=['session_date', 'device_type', 'membership'],
    partition_by=by_month('session_date'),
) }}

-- depends_on: {{ ref('web_events_superseded') }}, {{ ref('dim_calendar') }}
{% if is_incremental() %}
{% set since = last_build() %}
{#
  A session that has changed began, before, with an event that it still has or with one that has left it: on a day
  between its first and its last, or on the day of a superseded version.
#}
{% set touched %}
select calendar.calendar_date as session_date
from (
    select distinct
        session_date as first_day,
        {{ date_of('ended_at') }} as last_day
    from {{ ref('fct_web_sessions') }}
    where _build > {{ since }}
) as changed
inner join {{ ref('dim_calendar') }} as calendar
    on calendar.calendar_date >= changed.first_day and calendar.calendar_date <= changed.last_day
union
select event_date as session_date from {{ ref('web_events_superseded') }}
where _build > {{ since }}
{% endset %}
{% endif %}
with
{% if is_incremental() %}
touched_days as (

    {{ touched | indent(4) }}

),
{% endif %}

sessions as (

    select sessions.* from {{ ref('fct_web_sessions') }} as sessions
    {% if is_incremental() %}
    inner join touched_days on sessions.session_date = touched_days.session_date
    where {{ between_touched('sessions.session_date between first_key and last_key', 'session_date', touched) }}
    {% endif %}

),

measured as (

    select
        session_date,
        device_type,
        membership,
        cast(count(*) as bigint) as sessions,
        cast(count(distinct visitor_id) as bigint) as visitors,
        {{ count_of("furthest_step <> 'page_view'") }} as product_view_sessions,
        {{ count_of("furthest_step in ('add_to_cart', 'checkout', 'purchase')") }} as add_to_cart_sessions,
        {{ count_of("furthest_step in ('checkout', 'purchase')") }} as checkout_sessions,
        {{ count_of('is_converted') }} as converted_sessions,
        {{ count_of('is_cart_abandoned') }} as abandoned_carts,
        {{ count_of('is_bounced') }} as bounced_sessions,
        cast(sum(page_views) as bigint) as page_views,
        cast(sum(product_views) as bigint) as product_views,
        cast(sum(duration_seconds) as decimal(28, 3)) as total_seconds
    from sessions
    group by session_date, device_type, membership

),

final as (

    select
        session_date,
        device_type,
        membership,
        sessions,
        visitors,
        product_view_sessions,
        add_to_cart_sessions,
        checkout_sessions,
        converted_sessions,
        abandoned_carts,
        bounced_sessions,
        page_views,
        product_views,
        total_seconds,
        {{ decimal_division('converted_sessions', 'sessions', 7, 6) }} as conversion_rate,
        {{ decimal_division('bounced_sessions', 'sessions', 7, 6) }} as bounce_rate,
        {{ decimal_division('total_seconds', 'sessions', 18, 3) }} as average_seconds,
        {{ this_build() }} as _build
    from measured

)

{% if is_incremental() %}
{{ with_rows_to_delete('final', 'touched_days', ['session_date'], ['session_date', 'device_type', 'membership']) }}
{% else %}
select * from final
{{ in_order(['session_date', 'device_type', 'membership']) }}
{% endif %}
