{{ config(materialized='view') }}

with daily as (

    select * from {{ ref('int_purchases__daily') }}

),

products as (

    select * from {{ ref('dim_product') }}
    where is_current

),

months as (

    select
        {{ month_start('purchase_date') }} as purchase_month,
        product_id,
        is_member,
        cast(sum(purchases) as bigint) as purchases,
        cast(sum(units) as bigint) as units,
        cast(sum(total_amount) as decimal(28, 2)) as total_amount,
        cast(sum(costed_total_amount) as decimal(28, 2)) as costed_total_amount,
        cast(sum(cost_amount) as decimal(28, 2)) as cost_amount
    from daily
    group by {{ month_start('purchase_date') }}, product_id, is_member

),

final as (

    select
        months.purchase_month,
        months.product_id,
        products.product_name,
        products.category,
        months.is_member,
        months.purchases,
        months.units,
        months.total_amount,
        months.costed_total_amount,
        months.cost_amount,
        cast(months.costed_total_amount - months.cost_amount as decimal(28, 2)) as margin_amount,
        {{ decimal_division('months.costed_total_amount - months.cost_amount', 'months.costed_total_amount', 18, 6) }}
            as margin_share
    from months
    left join products on months.product_id = products.product_id

)

select
    purchase_month,
    product_id,
    product_name,
    category,
    is_member,
    purchases,
    units,
    total_amount,
    costed_total_amount,
    cost_amount,
    margin_amount,
    margin_share
from final
