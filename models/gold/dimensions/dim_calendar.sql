{{ config(materialized='table') }}

with days as (

    {{ date_spine(date_from(), add_days(date_to(), -1)) }}

),

holidays as (

    select * from {{ ref('public_holidays') }}

),

covered_years as (

    select distinct {{ year_of('holiday_date') }} as year_number
    from holidays

),

final as (

    select
        days.date_day as calendar_date,
        cast({{ year_of('days.date_day') }} as int) as year_number,
        cast({{ month_of('days.date_day') }} as int) as month_number,
        cast({{ day_of_month('days.date_day') }} as int) as day_number,
        {{ month_start('days.date_day') }} as month_start,
        cast({{ iso_week('days.date_day') }} as int) as iso_week,
        cast({{ iso_day_of_week('days.date_day') }} as int) as iso_day_of_week,
        {{ iso_day_of_week('days.date_day') }} in (6, 7) as is_weekend,
        case when covered_years.year_number is not null then holidays.holiday_date is not null end as is_public_holiday,
        holidays.holiday_name
    from days
    left join holidays on days.date_day = holidays.holiday_date
    left join covered_years on {{ year_of('days.date_day') }} = covered_years.year_number

)

select
    calendar_date,
    year_number,
    month_number,
    day_number,
    month_start,
    iso_week,
    iso_day_of_week,
    is_weekend,
    is_public_holiday,
    holiday_name
from final
