{{ config(
    materialized='incremental',
    incremental_strategy='merge_changed',
    unique_key=['promotion_date', 'promotion_id', 'starts_at', 'store_id'],
    partition_by=by_month('promotion_date'),
) }}

-- depends_on: {{ ref('promotion_notices_superseded') }}
with notices as (

    select * from {{ ref('promotion_notices') }}

),

stores as (

    select * from {{ ref('dim_store') }}

),

products as (

    select * from {{ ref('dim_product') }}

),

calendar as (

    select * from {{ ref('dim_calendar') }}

),

{% if is_incremental() %}
{% set since = last_build() %}
touched_runs as (

    select promotion_id, starts_at from notices
    where _build > {{ since }}
    union
    select promotion_id, starts_at from {{ ref('promotion_notices_superseded') }}
    where _build > {{ since }}
    union
    -- runs in shops, or of products, whose versions changed
    select notices.promotion_id, notices.starts_at from notices
    inner join stores
        on
            coalesce(notices.store_id, stores.store_id) = stores.store_id
            and stores.valid_from < notices.ends_at and notices.starts_at < stores.valid_to
    where stores._build > {{ since }}
    union
    select notices.promotion_id, notices.starts_at from notices
    inner join products
        on
            notices.product_id = products.product_id
            and products.valid_from < notices.ends_at and notices.starts_at < products.valid_to
    where products._build > {{ since }}

),
{% endif %}

-- the last notice says what a run is; from a withdrawal on it no longer runs
runs as (

    select
        promotion_id,
        starts_at,
        promotion_name,
        discount_type,
        discount_value,
        product_id,
        category,
        store_id,
        case when status = 'withdrawn' then least(event_time, ends_at) else ends_at end as ended_at
    from (
        select
            notices.*,
            row_number() over (
                partition by notices.promotion_id, notices.starts_at
                {{ latest_first('notices') }}
            ) as recency
        from notices
        {% if is_incremental() %}
        inner join touched_runs
            on notices.promotion_id = touched_runs.promotion_id and notices.starts_at = touched_runs.starts_at
        {% endif %}
    ) as ranked
    where recency = 1

),

days as (

    select
        runs.*,
        calendar.calendar_date as promotion_date,
        greatest(runs.starts_at, {{ day_start('calendar.calendar_date') }}) as first_moment
    from runs
    inner join calendar
        on
            {{ date_of('runs.starts_at') }} <= calendar.calendar_date
            and {{ day_start('calendar.calendar_date') }} < runs.ended_at
    where runs.starts_at < runs.ended_at

),

final as (

    select
        days.promotion_date,
        days.promotion_id,
        days.starts_at,
        stores.store_key,
        coalesce(days.store_id, stores.store_id) as store_id,
        products.product_key,
        days.product_id,
        days.category,
        days.promotion_name,
        days.discount_type,
        days.discount_value,
        days.ended_at as ends_at,
        {{ this_build() }} as _build
    from days
    left join stores
        on
            coalesce(days.store_id, stores.store_id) = stores.store_id
            and stores.valid_from <= days.first_moment and days.first_moment < stores.valid_to
    left join products on {{ is_version_at('days', 'first_moment', 'products', 'product_id') }}
    -- a run in all shops is one in each of those that an extract names
    where days.store_id is not null or not coalesce(stores.is_inferred, true)

)

{% if is_incremental() %}
{{ with_rows_to_delete(
    'final', 'touched_runs', ['promotion_id', 'starts_at'], ['promotion_date', 'promotion_id', 'starts_at', 'store_id']
) }}
{% else %}
select * from final
{% endif %}
