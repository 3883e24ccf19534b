-- What a product sold in a month is the sum of its days and shops.
with months as (

    select {{ month_start('sale_date') }} as sales_month
    from {{ ref('int_sales__daily') }}
    where {{ rows_in_scope() }}
    union
    select sales_month
    from {{ ref('int_sales__monthly') }}
    where {{ rows_in_scope() }}

),

days as (

    select
        months.sales_month,
        daily.product_id,
        sum(daily.line_count) as line_count,
        sum(daily.units) as units,
        sum(daily.net_amount) as net_amount,
        sum(daily.costed_units) as costed_units,
        sum(daily.cost_amount) as cost_amount
    from {{ ref('int_sales__daily') }} as daily
    inner join months on {{ month_start('daily.sale_date') }} = months.sales_month
    group by months.sales_month, daily.product_id

),

monthly as (

    select sums.* from {{ ref('int_sales__monthly') }} as sums
    inner join months on sums.sales_month = months.sales_month

)

select
    days.sales_month,
    days.product_id,
    monthly.product_id as summed_product_id
from days
full outer join monthly on days.sales_month = monthly.sales_month and days.product_id = monthly.product_id
where
    days.product_id is null or monthly.product_id is null
    {% for column in ['line_count', 'units', 'net_amount', 'costed_units', 'cost_amount'] %}
    or {{ is_distinct('days.' ~ column, 'monthly.' ~ column) }}
    {% endfor %}
