{{ config(materialized='view') }}

with sales as (

    select
        *,
        {{ month_start('sale_date') }} as sales_month
    from {{ ref('mart_sales_performance') }}

),

monthly as (

    select
        sales_month,
        product_id,
        max(product_name) as product_name,
        max(category) as category,
        cast(sum(units) as bigint) as units,
        cast(sum(net_amount) as decimal(28, 2)) as net_amount
    from sales
    group by sales_month, product_id

),

ranked as (

    select
        *,
        row_number() over (
            partition by sales_month order by net_amount desc nulls last, product_id asc nulls last
        ) as product_rank
    from monthly

),

final as (

    select
        sales_month,
        cast(product_rank as int) as product_rank,
        product_id,
        product_name,
        category,
        units,
        net_amount
    from ranked
    where product_rank <= 10

)

select
    sales_month,
    product_rank,
    product_id,
    product_name,
    category,
    units,
    net_amount
from final
