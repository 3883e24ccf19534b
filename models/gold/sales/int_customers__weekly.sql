{{ config(
    materialized='incremental',
    incremental_strategy='merge_changed',
    unique_key=['sale_week', 'customer_id'],
    partition_by=by_month('sale_week'),
) }}

{% call aggregate(
    facts=ref('fct_sales'),
    keys={'sale_week': week_start('sale_date'), 'customer_id': 'customer_id'},
    superseded=ref('sales_events_superseded'),
    superseded_keys={'sale_week': week_start('event_date')},
    only='sale_date >= first_key and sale_date < ' ~ add_days('last_key', 7),
    where='facts.customer_id is not null',
) %}
        min(sale_date) as first_sale_date,
        max(sale_date) as last_sale_date,
        cast(count(distinct sale_date) as bigint) as shopping_days,
        cast(count(distinct receipt_id) as bigint) as receipt_count,
        cast(count(*) as bigint) as line_count,
        {{ count_of('discount_amount > 0') }} as discounted_lines,
        cast(sum(gross_amount) as decimal(28, 2)) as gross_amount,
        cast(sum(discount_amount) as decimal(28, 2)) as discount_amount,
        cast(sum(net_amount) as decimal(28, 2)) as net_amount
{% endcall %}
