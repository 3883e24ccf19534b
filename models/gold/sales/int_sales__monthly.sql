{{ config(
    materialized='incremental',
    incremental_strategy='merge_changed',
    unique_key=['sales_month', 'product_id'],
    partition_by=by_month('sales_month'),
) }}

{% call aggregate(
    facts=ref('int_sales__daily'),
    keys={'sales_month': month_start('sale_date'), 'product_id': 'product_id'},
    superseded=ref('sales_events_superseded'),
    superseded_keys={'sales_month': month_start('event_date')},
    only='sale_date >= first_key and sale_date < ' ~ month_start(add_days('last_key', 31)),
) %}
        cast(sum(line_count) as bigint) as line_count,
        cast(sum(units) as bigint) as units,
        cast(sum(gross_amount) as decimal(28, 2)) as gross_amount,
        cast(sum(discount_amount) as decimal(28, 2)) as discount_amount,
        cast(sum(net_amount) as decimal(28, 2)) as net_amount,
        cast(sum(costed_units) as bigint) as costed_units,
        cast(sum(costed_net_amount) as decimal(28, 2)) as costed_net_amount,
        cast(sum(cost_amount) as decimal(28, 2)) as cost_amount
{% endcall %}
