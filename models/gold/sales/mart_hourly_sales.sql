{{ config(
    materialized='incremental',
    incremental_strategy='merge_changed',
    unique_key=['store_id', 'sale_hour'],
    partition_by=by_month('sale_date'),
) }}

{% call aggregate(
    facts=ref('fct_sales'),
    keys={'sale_date': 'sale_date', 'store_id': 'store_id', 'sale_hour': hour_start('sold_at')},
    superseded=ref('sales_events_superseded'),
    superseded_keys={'sale_hour': hour_start('event_time'), 'sale_date': 'event_date'},
) %}
        cast({{ hour_of('sale_hour') }} as int) as hour_of_day,
        cast(count(distinct receipt_id) as bigint) as receipt_count,
        cast(count(*) as bigint) as line_count,
        cast(sum(quantity) as bigint) as units,
        cast(sum(net_amount) as decimal(28, 2)) as net_amount
{% endcall %}
