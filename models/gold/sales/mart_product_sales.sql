{{ config(materialized='view') }}

with monthly as (

    select * from {{ ref('int_sales__monthly') }}

),

products as (

    select * from {{ ref('dim_product') }}
    where is_current

),

totals as (

    select
        product_id,
        cast(sum(line_count) as bigint) as line_count,
        cast(sum(units) as bigint) as units,
        cast(sum(gross_amount) as decimal(28, 2)) as gross_amount,
        cast(sum(discount_amount) as decimal(28, 2)) as discount_amount,
        cast(sum(net_amount) as decimal(28, 2)) as net_amount,
        cast(sum(costed_units) as bigint) as costed_units,
        cast(sum(costed_net_amount) as decimal(28, 2)) as costed_net_amount,
        cast(sum(cost_amount) as decimal(28, 2)) as cost_amount
    from monthly
    group by product_id

),

final as (

    select
        cast(
            row_number() over (order by totals.net_amount desc nulls last, totals.product_id asc nulls last) as bigint
        ) as sales_rank,
        totals.product_id,
        products.product_name,
        products.category,
        totals.line_count,
        totals.units,
        totals.gross_amount,
        totals.discount_amount,
        totals.net_amount,
        totals.costed_units,
        totals.costed_net_amount,
        {{ decimal_division('totals.costed_units', 'totals.units', 7, 6) }} as costed_share,
        totals.cost_amount,
        cast(totals.costed_net_amount - totals.cost_amount as decimal(28, 2)) as margin_amount
    from totals
    left join products on totals.product_id = products.product_id

)

select
    sales_rank,
    product_id,
    product_name,
    category,
    line_count,
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
