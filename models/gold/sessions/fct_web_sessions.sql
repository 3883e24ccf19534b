{{ config(
    materialized='incremental',
    incremental_strategy='merge_changed',
    unique_key=['session_date', 'session_id'],
    partition_by=by_month('session_date'),
) }}

{# Versions of customers, the first of them from the beginning on: who signs up in a session has none at its start. #}
{% set versions %}
select
    customer_id,
    customer_key,
    is_member,
    case
        when row_number() over (partition by customer_id order by valid_from nulls last) = 1 then {{ far_past() }}
        else valid_from
    end as valid_from,
    valid_to,
    _build
from {{ ref('dim_customer') }}
{% endset %}
-- depends_on: {{ ref('web_events_superseded') }}
{% if is_incremental() %}
{% set since = last_build() %}
{# Sessions with events that are new or have left them, and those whose customer's version has changed or is another. #}
{% set touched %}
select session_id from {{ ref('web_events') }}
where _build > {{ since }}
union
select session_id from {{ ref('web_events_superseded') }}
where _build > {{ since }}
union
select sessions.session_id
from {{ this }} as sessions
left join ({{ versions | indent(4) }}) as customers
    on {{ is_version_at('sessions', 'started_at', 'customers', 'customer_id') }}
where
    customers._build > {{ since }}
    or {{ is_distinct('sessions.customer_key', 'customers.customer_key') }}
{% endset %}
{# The days on which these sessions have events: those of the new ones, and those from first to last of what was there. #}
{% set days %}
select event_date as event_day from {{ ref('web_events') }}
where _build > {{ since }}
union all
select session_date as event_day from {{ this }}
where session_id in (select session_id from ({{ touched }}) as touched)
union all
select {{ date_of('ended_at') }} as event_day from {{ this }}
where session_id in (select session_id from ({{ touched }}) as touched)
{% endset %}
{% set on_these_days = between_touched('event_date between first_key and last_key', 'event_day', days) %}
{% endif %}

with customers as (

    {{ versions | indent(4) }}

),

{% if is_incremental() %}
touched_sessions as (

    {{ touched | indent(4) }}

),

known_sessions as (

    select
        known.session_date,
        known.session_id
    from {{ this }} as known
    inner join touched_sessions on known.session_id = touched_sessions.session_id

),
{% endif %}

events as (

    select
        events.*,
        {{ struct_of({
            'event_time': 'events.event_time',
            'event_id': 'events.event_id',
            'visitor_id': 'events.visitor_id',
            'customer_id': 'events.customer_id',
            'device_type': 'events.device_type',
            'page': 'events.page',
            'referrer': 'events.referrer',
        }) }} as step
    from {{ ref('web_events') }} as events
    {% if is_incremental() %}
    inner join touched_sessions on events.session_id = touched_sessions.session_id
    where {{ on_these_days }}
    {% endif %}

),

-- the least step is the first one: a struct is ordered by its fields
measured as (

    select
        session_id,
        min(step) as first_step,
        min(case when customer_id is not null then step end) as first_known_step,
        min(event_time) as started_at,
        max(event_time) as ended_at,
        cast(count(*) as bigint) as steps,
        {{ count_of("event_type = 'page_view'") }} as page_views,
        {{ count_of("event_type = 'product_view'") }} as product_views,
        {{ count_of("event_type = 'add_to_cart'") }} as cart_additions,
        {{ count_of("event_type = 'remove_from_cart'") }} as cart_removals,
        {{ count_of("event_type = 'checkout'") }} as checkouts,
        {{ count_of("event_type = 'purchase'") }} as purchases,
        {{ sum_of('coalesce(quantity, 1)', "event_type = 'add_to_cart'") }} as added_units,
        {{ sum_of('coalesce(quantity, 1)', "event_type = 'remove_from_cart'") }} as removed_units
    from events
    group by session_id

),

carts as (

    select
        items.session_id,
        cast(sum(items.quantity) as bigint) as purchased_units,
        cast(sum(cast(items.quantity * items.unit_price as decimal(18, 2))) as decimal(28, 2)) as purchased_amount
    from {{ ref('web_cart_items') }} as items
    {% if is_incremental() %}
    inner join touched_sessions on items.session_id = touched_sessions.session_id
    {% endif %}
    where items.event_type = 'purchase' {{ 'and ' ~ on_these_days if is_incremental() }}
    group by items.session_id

),

sessions as (

    select
        measured.*,
        {{ json_field('measured.first_known_step', 'customer_id') }} as customer_id,
        carts.purchased_units,
        carts.purchased_amount
    from measured
    left join carts on measured.session_id = carts.session_id

),

final as (

    select
        sessions.session_id,
        {{ json_field('sessions.first_step', 'visitor_id') }} as visitor_id,
        customers.customer_key,
        sessions.customer_id,
        case
            when sessions.customer_id is null then 'anonymous'
            when customers.is_member then 'member'
            when not customers.is_member then 'non_member'
            else 'unknown'
        end as membership,
        {{ json_field('sessions.first_step', 'device_type') }} as device_type,
        {{ json_field('sessions.first_step', 'page') }} as landing_page,
        {{ json_field('sessions.first_step', 'referrer') }} as referrer,
        sessions.started_at,
        sessions.ended_at,
        {{ decimal_division(micros_between('sessions.started_at', 'sessions.ended_at'), '1000000', 18, 3) }}
            as duration_seconds,
        sessions.steps,
        sessions.page_views,
        sessions.product_views,
        sessions.cart_additions,
        sessions.cart_removals,
        sessions.checkouts,
        sessions.purchases,
        case
            when sessions.purchases > 0 then 'purchase'
            when sessions.checkouts > 0 then 'checkout'
            when sessions.cart_additions > 0 then 'add_to_cart'
            when sessions.product_views > 0 then 'product_view'
            else 'page_view'
        end as furthest_step,
        sessions.steps = 1 and sessions.page_views + sessions.product_views = 1 as is_bounced,
        sessions.purchases > 0 as is_converted,
        sessions.purchases = 0 and (sessions.checkouts > 0 or sessions.added_units > sessions.removed_units)
            as is_cart_abandoned,
        sessions.added_units,
        sessions.removed_units,
        sessions.purchased_units,
        sessions.purchased_amount,
        {{ date_of('sessions.started_at') }} as session_date,
        {{ this_build() }} as _build
    from sessions
    left join customers on {{ is_version_at('sessions', 'started_at', 'customers', 'customer_id') }}

)

{% if is_incremental() %}
{{ with_rows_to_delete('final', 'known_sessions', ['session_date', 'session_id'], ['session_date', 'session_id']) }}
{% else %}
select * from final
{{ in_order(['session_date', 'session_id']) }}
{% endif %}
