{{ config(materialized='view') }}

{#- What is known at the end of a day: an event of a later time, whatever it says of the day, is none of it. -#}
{% set day_ends_at = day_start(add_days('days.feature_date', 1)) %}
{% set noon = add_seconds(day_start('days.feature_date'), 12 * 3600) %}
{#- Windows are of calendar days; of those without a sale of the shop there is no row. -#}
{% set shelf_days = 'partition by store_id, product_id order by day_number nulls last range between' %}
{% set last_7_days = shelf_days ~ ' 6 preceding and current row' %}
{% set last_28_days = shelf_days ~ ' 27 preceding and current row' %}

with daily as (

    select * from {{ ref('int_sales__daily') }}

),

stock as (

    select * from {{ ref('int_inventory__daily') }}

),

calendar as (

    select * from {{ ref('dim_calendar') }}

),

-- each notice says what a run is until the next one
notices as (

    select
        *,
        lag(event_time) over (
            partition by promotion_id, starts_at
            {{ latest_first() }}
        ) as superseded_at
    from {{ ref('promotion_notices') }}

),

product_changes as (

    select * from {{ ref('product_changes') }}

),

-- a shop that sells something is open
open_days as (

    select distinct
        sale_date as feature_date,
        store_id
    from daily

),

assortment as (

    select distinct
        store_id,
        product_id
    from daily

),

shelves as (

    select
        open_days.feature_date,
        open_days.store_id,
        assortment.product_id,
        {{ days_between(date_from(), 'open_days.feature_date') }} as day_number,
        coalesce(daily.units, 0) as units,
        daily.units as units_sold,
        daily.gross_amount,
        daily.discount_amount
    from open_days
    inner join assortment on open_days.store_id = assortment.store_id
    left join daily
        on
            open_days.feature_date = daily.sale_date
            and open_days.store_id = daily.store_id
            and assortment.product_id = daily.product_id

),

measured as (

    select
        *,
        count(units_sold) over ({{ last_28_days }}) as days_sold_28_days,
        cast(sum(units) over ({{ shelf_days }} 1 preceding and 1 preceding) as bigint) as units_1_day_ago,
        cast(sum(units) over ({{ shelf_days }} 7 preceding and 7 preceding) as bigint) as units_7_days_ago,
        cast(sum(units) over ({{ shelf_days }} 14 preceding and 14 preceding) as bigint) as units_14_days_ago,
        cast(sum(units) over ({{ shelf_days }} 28 preceding and 28 preceding) as bigint) as units_28_days_ago,
        cast(count(*) over ({{ last_7_days }}) as bigint) as open_days_7_days,
        cast(sum(units) over ({{ last_7_days }}) as bigint) as units_7_days,
        cast(sum(units * units) over ({{ last_7_days }}) as bigint) as squares_7_days,
        cast(count(*) over ({{ last_28_days }}) as bigint) as open_days_28_days,
        cast(sum(units) over ({{ last_28_days }}) as bigint) as units_28_days,
        cast(sum(units * units) over ({{ last_28_days }}) as bigint) as squares_28_days
    from shelves

),

rows_of_days as (

    select * from measured
    where days_sold_28_days > 0

),

days as (

    select distinct feature_date from rows_of_days

),

product_days as (

    select distinct
        product_id,
        feature_date
    from rows_of_days

),

categories as (

    select
        days.product_id,
        days.feature_date,
        {{ last_by('changes.category', ['changes.valid_from', 'changes.event_time', 'changes.event_id']) }} as category
    from product_days as days
    inner join product_changes as changes
        on
            days.product_id = changes.product_id
            and changes.event_time < {{ day_ends_at }}
            and changes.valid_from < {{ day_ends_at }}
    group by days.product_id, days.feature_date

),

running as (

    select
        days.feature_date,
        notices.promotion_id,
        notices.store_id,
        notices.product_id,
        notices.category,
        case when notices.discount_type = 'percentage' then notices.discount_value end as discount_percent,
        case when notices.discount_type = 'amount' then notices.discount_value end as discount_amount
    from days
    inner join notices
        on
            notices.event_time < {{ day_ends_at }}
            and ({{ day_ends_at }} <= notices.superseded_at or notices.superseded_at is null)
            and notices.starts_at <= {{ noon }}
            and {{ noon }} < notices.ends_at
            and (notices.status <> 'withdrawn' or {{ noon }} < notices.event_time)

),

promotions as (

    select
        days.feature_date,
        days.store_id,
        days.product_id,
        cast(count(*) as bigint) as promotions,
        cast(sum(running.discount_percent) as decimal(8, 2)) as promotion_percent,
        cast(sum(running.discount_amount) as decimal(8, 2)) as promotion_amount
    from rows_of_days as days
    inner join running on days.feature_date = running.feature_date
    left join categories on days.product_id = categories.product_id and days.feature_date = categories.feature_date
    where
        coalesce(running.store_id, days.store_id) = days.store_id
        and coalesce(running.product_id, days.product_id) = days.product_id
        and (running.category is null or running.category = categories.category)
    group by days.feature_date, days.store_id, days.product_id

),

weather as (

    select
        weather_date,
        store_id,
        sum(temperature_c) as temperature_sum,
        sum(precipitation_mm) as precipitation_sum,
        count(temperature_c) as observed_hours
    from {{ ref('dim_weather') }}
    group by weather_date, store_id

),

final as (

    select
        days.feature_date,
        days.store_id,
        days.product_id,
        categories.category,
        days.units,
        {{ decimal_division('days.gross_amount', 'days.units_sold', 12, 4) }} as unit_price,
        {{ decimal_division('days.discount_amount', 'days.gross_amount', 12, 6) }} as discount_rate,
        days.units_1_day_ago,
        days.units_7_days_ago,
        days.units_14_days_ago,
        days.units_28_days_ago,
        days.open_days_7_days,
        {{ mean_of('days.open_days_7_days', 'days.units_7_days') }} as units_mean_7_days,
        {{ standard_deviation('days.open_days_7_days', 'days.units_7_days', 'days.squares_7_days') }}
            as units_deviation_7_days,
        days.open_days_28_days,
        {{ mean_of('days.open_days_28_days', 'days.units_28_days') }} as units_mean_28_days,
        {{ standard_deviation('days.open_days_28_days', 'days.units_28_days', 'days.squares_28_days') }}
            as units_deviation_28_days,
        calendar.iso_day_of_week,
        calendar.month_number,
        calendar.is_public_holiday,
        {{ decimal_division('weather.temperature_sum', 'weather.observed_hours', 5, 2) }} as temperature_c,
        {{ decimal_division('weather.precipitation_sum', 'weather.observed_hours', 6, 2) }} as precipitation_mm,
        coalesce(promotions.promotions, 0) as promotions,
        promotions.promotion_percent,
        promotions.promotion_amount,
        stock.ran_out_at is not null as was_out_of_stock
    from rows_of_days as days
    inner join calendar on days.feature_date = calendar.calendar_date
    left join categories on days.product_id = categories.product_id and days.feature_date = categories.feature_date
    left join promotions
        on
            days.feature_date = promotions.feature_date
            and days.store_id = promotions.store_id
            and days.product_id = promotions.product_id
    left join weather on days.feature_date = weather.weather_date and days.store_id = weather.store_id
    left join stock
        on
            days.feature_date = stock.movement_date
            and days.store_id = stock.store_id
            and days.product_id = stock.product_id

)

select
    feature_date,
    store_id,
    product_id,
    category,
    units,
    unit_price,
    discount_rate,
    units_1_day_ago,
    units_7_days_ago,
    units_14_days_ago,
    units_28_days_ago,
    open_days_7_days,
    units_mean_7_days,
    units_deviation_7_days,
    open_days_28_days,
    units_mean_28_days,
    units_deviation_28_days,
    iso_day_of_week,
    month_number,
    is_public_holiday,
    temperature_c,
    precipitation_mm,
    promotions,
    promotion_percent,
    promotion_amount,
    was_out_of_stock
from final
