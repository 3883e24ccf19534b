{{ config(materialized='view') }}
{% set available = 'daily.closing_level + daily.sold_units + daily.wasted_units' %}

with daily as (

    select * from {{ ref('int_inventory__daily') }}

),

stores as (

    select * from {{ ref('dim_store') }}
    where is_current

),

products as (

    select * from {{ ref('dim_product') }}
    where is_current

),

final as (

    select
        daily.movement_date,
        daily.store_id,
        stores.store_name,
        stores.city,
        daily.product_id,
        products.product_name,
        products.category,
        daily.movements,
        daily.opening_level,
        daily.delivered_units,
        daily.produced_units,
        daily.transferred_in_units,
        daily.transferred_out_units,
        daily.stocktakes,
        daily.stocktake_difference,
        cast({{ available }} as bigint) as available_units,
        daily.sold_units,
        daily.wasted_units,
        daily.closing_level,
        {{ decimal_division('daily.wasted_units', 'daily.sold_units + daily.wasted_units', 7, 6) }} as waste_rate,
        -- a level below zero says that a movement is missing: what was available is not known
        {{ decimal_division(
            'daily.sold_units', 'case when daily.closing_level >= 0 then ' ~ available ~ ' end', 7, 6,
        ) }} as sell_through,
        daily.ran_out_at is not null as was_out_of_stock,
        daily.ran_out_at
    from daily
    left join stores on daily.store_id = stores.store_id
    left join products on daily.product_id = products.product_id

)

select
    movement_date,
    store_id,
    store_name,
    city,
    product_id,
    product_name,
    category,
    movements,
    opening_level,
    delivered_units,
    produced_units,
    transferred_in_units,
    transferred_out_units,
    stocktakes,
    stocktake_difference,
    available_units,
    sold_units,
    wasted_units,
    closing_level,
    waste_rate,
    sell_through,
    was_out_of_stock,
    ran_out_at
from final
