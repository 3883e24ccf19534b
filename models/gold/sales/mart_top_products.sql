{{ config(materialized='view') }}

with monthly as (

    select * from {{ ref('int_sales__monthly') }}

),

products as (

    select * from {{ ref('dim_product') }}
    where is_current

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
        ranked.sales_month,
        cast(ranked.product_rank as int) as product_rank,
        ranked.product_id,
        products.product_name,
        products.category,
        ranked.units,
        ranked.net_amount
    from ranked
    left join products on ranked.product_id = products.product_id
    where ranked.product_rank <= 10

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
