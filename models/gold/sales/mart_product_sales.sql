{{ config(materialized='view') }}

with sales as (

    select * from {{ ref('mart_sales_performance') }}

),

totals as (

    select
        product_id,
        max(product_name) as product_name,
        max(category) as category,
        cast(sum(line_count) as bigint) as line_count,
        cast(sum(units) as bigint) as units,
        cast(sum(gross_amount) as decimal(28, 2)) as gross_amount,
        cast(sum(discount_amount) as decimal(28, 2)) as discount_amount,
        cast(sum(net_amount) as decimal(28, 2)) as net_amount,
        cast(sum(costed_units) as bigint) as costed_units,
        cast(sum(costed_net_amount) as decimal(28, 2)) as costed_net_amount,
        cast(sum(cost_amount) as decimal(28, 2)) as cost_amount
    from sales
    group by product_id

),

final as (

    select
        cast(
            row_number() over (order by net_amount desc nulls last, product_id asc nulls last) as bigint
        ) as sales_rank,
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
        {{ decimal_division('costed_units', 'units', 7, 6) }} as costed_share,
        cost_amount,
        cast(costed_net_amount - cost_amount as decimal(28, 2)) as margin_amount
    from totals

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
