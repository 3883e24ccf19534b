{{ config(materialized='view') }}

with forecasts as (

    -- the last day of the same weekday that was known when the forecast was made
    select
        *,
        {{ add_days('forecast_date', '(horizon_days + 6) % 7 - horizon_days - 6') }} as naive_date
    from {{ ref('fct_demand_forecast') }}

),

daily as (

    select * from {{ ref('int_sales__daily') }}

),

-- a shop that sells something is open
open_days as (

    select distinct
        sale_date,
        store_id
    from daily

),

stores as (

    select * from {{ ref('dim_store') }}
    where is_current

),

products as (

    select * from {{ ref('dim_product') }}
    where is_current

),

compared as (

    select
        forecasts.*,
        case when open_days.store_id is not null then coalesce(sold.units, 0) end as actual_units,
        case when naive_days.store_id is not null then coalesce(naive.units, 0) end as naive_units
    from forecasts
    left join open_days
        on forecasts.forecast_date = open_days.sale_date and forecasts.store_id = open_days.store_id
    left join daily as sold
        on
            forecasts.forecast_date = sold.sale_date
            and forecasts.store_id = sold.store_id
            and forecasts.product_id = sold.product_id
    left join open_days as naive_days
        on forecasts.naive_date = naive_days.sale_date and forecasts.store_id = naive_days.store_id
    left join daily as naive
        on
            forecasts.naive_date = naive.sale_date
            and forecasts.store_id = naive.store_id
            and forecasts.product_id = naive.product_id

),

final as (

    select
        compared.event_id,
        compared.made_on,
        compared.forecast_date,
        compared.horizon_days,
        compared.store_id,
        stores.store_name,
        compared.product_id,
        products.product_name,
        products.category,
        compared.model_version,
        compared.units,
        compared.units_low,
        compared.units_high,
        compared.actual_units,
        cast(compared.units - compared.actual_units as decimal(18, 2)) as error_units,
        cast(abs(compared.units - compared.actual_units) as decimal(18, 2)) as absolute_error_units,
        compared.actual_units between compared.units_low and compared.units_high as is_covered,
        compared.naive_units,
        cast(abs(compared.naive_units - compared.actual_units) as bigint) as naive_absolute_error_units
    from compared
    left join stores on compared.store_id = stores.store_id
    left join products on compared.product_id = products.product_id

)

select
    event_id,
    made_on,
    forecast_date,
    horizon_days,
    store_id,
    store_name,
    product_id,
    product_name,
    category,
    model_version,
    units,
    units_low,
    units_high,
    actual_units,
    error_units,
    absolute_error_units,
    is_covered,
    naive_units,
    naive_absolute_error_units
from final
