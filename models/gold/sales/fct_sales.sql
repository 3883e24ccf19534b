{{ config(
    materialized='incremental',
    incremental_strategy='merge',
    unique_key=['event_id'],
    partition_by=by_month('sale_date'),
) }}

with sales as (

    select * from {{ ref('silver_sales_events') }}

),

stores as (

    select * from {{ ref('dim_store') }}

),

products as (

    select * from {{ ref('dim_product') }}

),

{% if is_incremental() %}
{% set since = last_build() %}
-- new sales, and old ones that fall into a version of their store or product that changed
concerned as (

    select * from sales
    where _build > {{ since }}
    union
    select sales.* from sales
    inner join products
        on
            sales.product_id = products.product_id
            and products.valid_from <= sales.event_time and sales.event_time < products.valid_to
    where products._build > {{ since }}
    union
    select sales.* from sales
    inner join stores
        on
            sales.store_id = stores.store_id
            and stores.valid_from <= sales.event_time and sales.event_time < stores.valid_to
    where stores._build > {{ since }}

),
{% else %}
concerned as (

    select * from sales

),
{% endif %}

final as (

    select
        concerned.event_id,
        concerned.receipt_id,
        concerned.line_number,
        stores.store_key,
        concerned.store_id,
        products.product_key,
        concerned.product_id,
        concerned.promotion_id,
        concerned.customer_id,
        concerned.payment_method,
        concerned.event_time as sold_at,
        concerned.event_date as sale_date,
        concerned.quantity,
        concerned.unit_price,
        cast(concerned.quantity * concerned.unit_price as decimal(18, 2)) as gross_amount,
        concerned.discount_amount,
        cast(concerned.quantity * concerned.unit_price - concerned.discount_amount as decimal(18, 2)) as net_amount,
        cast(concerned.quantity * products.unit_cost as decimal(18, 2)) as cost_amount,
        {{ this_build() }} as _build
    from concerned
    left join stores
        on
            concerned.store_id = stores.store_id
            and stores.valid_from <= concerned.event_time and concerned.event_time < stores.valid_to
    left join products
        on
            concerned.product_id = products.product_id
            and products.valid_from <= concerned.event_time and concerned.event_time < products.valid_to

)

select
    event_id,
    receipt_id,
    line_number,
    store_key,
    store_id,
    product_key,
    product_id,
    promotion_id,
    customer_id,
    payment_method,
    sold_at,
    sale_date,
    quantity,
    unit_price,
    gross_amount,
    discount_amount,
    net_amount,
    cost_amount,
    _build
from final
