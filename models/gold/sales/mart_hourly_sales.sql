{{ config(
    materialized='incremental',
    incremental_strategy='merge',
    unique_key=['store_id', 'sale_hour'],
    partition_by=by_month('sale_date'),
) }}

-- depends_on: {{ ref('silver_sales_events_conflicts') }}
with sales as (

    select
        *,
        {{ hour_start('sold_at') }} as sale_hour
    from {{ ref('fct_sales') }}

),

{% if is_incremental() %}
conflicts as (

    select * from {{ ref('silver_sales_events_conflicts') }}

),

affected as (

    {{ affected_groups(
        keys=['store_id', 'sale_date', 'sale_hour'],
        facts='sales',
        conflicts='conflicts',
        conflict_keys=['store_id', 'event_date', hour_start('event_time')],
    ) }}

),

concerned as (

    select sales.* from sales
    inner join affected
        on
            sales.sale_date = affected.sale_date
            and sales.sale_hour = affected.sale_hour
            and sales.store_id = affected.store_id

),
{% else %}
concerned as (

    select * from sales

),
{% endif %}

result as (

    select
        store_id,
        sale_hour,
        sale_date,
        cast({{ hour_of('sale_hour') }} as int) as hour_of_day,
        cast(count(distinct receipt_id) as bigint) as receipt_count,
        cast(count(*) as bigint) as line_count,
        cast(sum(quantity) as bigint) as units,
        cast(sum(net_amount) as decimal(28, 2)) as net_amount,
        {{ this_build() }} as _build
    from concerned
    group by store_id, sale_hour, sale_date

),

final as (

    select * from result
    {% if is_incremental() %}
    union all
    {{ vanished('result', 'affected', ['store_id', 'sale_hour'], ['store_id', 'sale_hour']) }}
    {% endif %}

)

select
    store_id,
    sale_hour,
    sale_date,
    hour_of_day,
    receipt_count,
    line_count,
    units,
    net_amount,
    _build
from final
