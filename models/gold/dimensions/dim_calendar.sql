{{ config(materialized='table') }}

with days as (

    {{ date_spine("cast('" ~ var('calendar_from') ~ "' as date)", "cast('" ~ var('calendar_to') ~ "' as date)") }}

),

holidays as (

    select * from {{ ref('public_holidays') }}

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
        holidays.holiday_date is not null as is_public_holiday,
        holidays.holiday_name
    from days
    left join holidays on days.date_day = holidays.holiday_date

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
