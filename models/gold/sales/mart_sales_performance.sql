{{ config(materialized='view') }}

with daily as (

    select * from {{ ref('int_sales__daily') }}

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
        daily.sale_date,
        daily.store_id,
        stores.store_name,
        stores.city,
        daily.product_id,
        products.product_name,
        products.category,
        daily.line_count,
        daily.receipt_count,
        daily.units,
        daily.gross_amount,
        daily.discount_amount,
        daily.net_amount,
        daily.costed_units,
        daily.costed_net_amount,
        {{ decimal_division('daily.costed_units', 'daily.units', 7, 6) }} as costed_share,
        daily.cost_amount,
        cast(daily.costed_net_amount - daily.cost_amount as decimal(28, 2)) as margin_amount
    from daily
    left join stores on daily.store_id = stores.store_id
    left join products on daily.product_id = products.product_id

)

select
    sale_date,
    store_id,
    store_name,
    city,
    product_id,
    product_name,
    category,
    line_count,
    receipt_count,
    units,
    gross_amount,
    discount_amount,
    net_amount,
    costed_units,
    costed_net_amount,
    costed_share,
    cost_amount,
    margin_amount
from final
