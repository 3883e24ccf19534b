{{ config(
    materialized='incremental',
    incremental_strategy='merge',
    unique_key=['sale_date', 'store_id', 'product_id'],
    partition_by=by_month('sale_date'),
) }}

-- depends_on: {{ ref('silver_sales_events_conflicts') }}
with sales as (

    select * from {{ ref('fct_sales') }}

),

{% if is_incremental() %}
conflicts as (

    select * from {{ ref('silver_sales_events_conflicts') }}

),

affected as (

    {{ affected_groups(
        keys=['sale_date', 'store_id', 'product_id'],
        facts='sales',
        conflicts='conflicts',
        conflict_keys=['event_date', 'store_id', 'product_id'],
    ) }}

),

concerned as (

    select sales.* from sales
    inner join affected
        on
            sales.sale_date = affected.sale_date
            and sales.store_id = affected.store_id
            and sales.product_id = affected.product_id

),
{% else %}
concerned as (

    select * from sales

),
{% endif %}

result as (

    select
        sale_date,
        store_id,
        product_id,
        cast(count(*) as bigint) as line_count,
        cast(count(distinct receipt_id) as bigint) as receipt_count,
        cast(sum(quantity) as bigint) as units,
        cast(sum(gross_amount) as decimal(28, 2)) as gross_amount,
        cast(sum(discount_amount) as decimal(28, 2)) as discount_amount,
        cast(sum(net_amount) as decimal(28, 2)) as net_amount,
        cast(sum(case when cost_amount is not null then quantity else 0 end) as bigint) as costed_units,
        cast(sum(case when cost_amount is not null then net_amount else 0 end) as decimal(28, 2)) as costed_net_amount,
        cast(sum(cost_amount) as decimal(28, 2)) as cost_amount,
        {{ this_build() }} as _build
    from concerned
    group by sale_date, store_id, product_id

),

final as (

    select * from result
    {% if is_incremental() %}
    union all
    {{ vanished(
        'result', 'affected',
        scope=['sale_date', 'store_id', 'product_id'],
        key=['sale_date', 'store_id', 'product_id'],
    ) }}
    {% endif %}

)

select
    sale_date,
    store_id,
    product_id,
    line_count,
    receipt_count,
    units,
    gross_amount,
    discount_amount,
    net_amount,
    costed_units,
    costed_net_amount,
    cost_amount,
    _build
from final
