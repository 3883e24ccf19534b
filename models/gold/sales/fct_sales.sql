{{ config(
    materialized='incremental',
    incremental_strategy='merge_changed',
    unique_key=['event_id', 'sale_date'],
    partition_by=by_month('sale_date'),
) }}

-- depends_on: {{ ref('sales_events_superseded') }}
with stores as (

    select * from {{ ref('dim_store') }}

),

products as (

    select * from {{ ref('dim_product') }}

),

{% if is_incremental() %}
{% set since = last_build() %}
-- new sales, and old ones in a version of their store or product that changed
sales as (

    select * from {{ ref('sales_events') }}
    where _build > {{ since }}
    union
    select sales.* from {{ ref('sales_events') }} as sales
    inner join products
        on
            sales.product_id = products.product_id
            and products.valid_from <= sales.event_time and sales.event_time < products.valid_to
    where products._build > {{ since }}
    union
    select sales.* from {{ ref('sales_events') }} as sales
    inner join stores
        on
            sales.store_id = stores.store_id
            and stores.valid_from <= sales.event_time and sales.event_time < stores.valid_to
    where stores._build > {{ since }}

),
{% else %}
sales as (

    select * from {{ ref('sales_events') }}

),
{% endif %}

final as (

    select
        sales.event_id,
        sales.receipt_id,
        sales.line_number,
        stores.store_key,
        sales.store_id,
        products.product_key,
        sales.product_id,
        sales.promotion_id,
        sales.customer_id,
        sales.payment_method,
        sales.event_time as sold_at,
        sales.event_date as sale_date,
        sales.quantity,
        sales.unit_price,
        cast(sales.quantity * sales.unit_price as decimal(18, 2)) as gross_amount,
        sales.discount_amount,
        cast(sales.quantity * sales.unit_price - sales.discount_amount as decimal(18, 2)) as net_amount,
        cast(sales.quantity * products.unit_cost as decimal(18, 2)) as cost_amount,
        {{ this_build() }} as _build
    from sales
    left join stores
        on
            sales.store_id = stores.store_id
            and stores.valid_from <= sales.event_time and sales.event_time < stores.valid_to
    left join products
        on
            sales.product_id = products.product_id
            and products.valid_from <= sales.event_time and sales.event_time < products.valid_to

){% if is_incremental() %},

-- the merge looks for a sale on its day only; one whose accepted version is of another day now leaves the old one
moved as (

    select
        superseded.event_id,
        superseded.event_date as sale_date
    from {{ ref('sales_events_superseded') }} as superseded
    inner join final on superseded.event_id = final.event_id and superseded.event_date <> final.sale_date
    where superseded._build > {{ since }}

)
{% endif %}

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
{% if is_incremental() %}
union all
{{ rows_to_delete('final', 'moved', ['event_id', 'sale_date'], ['event_id', 'sale_date']) }}
{% endif %}
