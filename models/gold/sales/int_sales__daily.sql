{{ config(
    materialized='incremental',
    incremental_strategy='merge_changed',
    unique_key=['sale_date', 'store_id', 'product_id'],
    partition_by=by_month('sale_date'),
) }}

{% call aggregate(
    facts=ref('fct_sales'),
    keys={'sale_date': 'sale_date', 'store_id': 'store_id', 'product_id': 'product_id'},
    superseded=ref('sales_events_superseded'),
    superseded_keys={'sale_date': 'event_date'},
) %}
        cast(count(*) as bigint) as line_count,
        cast(count(distinct receipt_id) as bigint) as receipt_count,
        cast(sum(quantity) as bigint) as units,
        cast(sum(gross_amount) as decimal(28, 2)) as gross_amount,
        cast(sum(discount_amount) as decimal(28, 2)) as discount_amount,
        cast(sum(net_amount) as decimal(28, 2)) as net_amount,
        {{ sum_of('quantity', 'cost_amount is not null') }} as costed_units,
        cast(sum(case when cost_amount is not null then net_amount else 0 end) as decimal(28, 2)) as costed_net_amount,
        cast(sum(cost_amount) as decimal(28, 2)) as cost_amount
{% endcall %}
