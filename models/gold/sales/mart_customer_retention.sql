{{ config(materialized='view') }}

with customer_months as (

    select distinct
        customer_id,
        {{ month_start('sale_date') }} as sales_month
    from {{ ref('fct_sales') }}
    where customer_id is not null

),

customers as (

    select
        sales_month,
        {{ month_start(add_days('sales_month', -1)) }} as previous_month,
        cast(count(*) as bigint) as customers
    from customer_months
    group by sales_month

),

-- the first day of a month and 31 days lie in the next one
retained as (

    select
        later.sales_month,
        cast(count(*) as bigint) as customers
    from customer_months as earlier
    inner join customer_months as later
        on
            earlier.customer_id = later.customer_id
            and {{ month_start(add_days('earlier.sales_month', 31)) }} = later.sales_month
    group by later.sales_month

),

final as (

    select
        customers.sales_month,
        customers.customers,
        coalesce(previous.customers, 0) as previous_customers,
        coalesce(retained.customers, 0) as retained_customers,
        {{ decimal_division('coalesce(retained.customers, 0)', 'previous.customers', 7, 6) }} as retention_rate
    from customers
    left join customers as previous on customers.previous_month = previous.sales_month
    left join retained on customers.sales_month = retained.sales_month

)

select
    sales_month,
    customers,
    previous_customers,
    retained_customers,
    retention_rate
from final
