{{ config(
    materialized='incremental',
    incremental_strategy='merge_changed',
    unique_key=['purchase_date', 'product_id', 'is_member'],
    partition_by=by_month('purchase_date'),
) }}

{% call aggregate(
    facts=ref('fct_purchases'),
    keys={'purchase_date': 'purchase_date', 'product_id': 'product_id', 'is_member': 'is_member'},
    superseded=ref('purchases_superseded'),
    superseded_keys={'purchase_date': 'event_date'},
) %}
        cast(count(*) as bigint) as purchases,
        cast(sum(quantity) as bigint) as units,
        cast(sum(total_amount) as decimal(28, 2)) as total_amount,
        cast(sum(case when cost_amount is not null then total_amount else 0 end) as decimal(28, 2)) as costed_total_amount,
        cast(sum(cost_amount) as decimal(28, 2)) as cost_amount
{% endcall %}
