-- Silver's accepted sales and the fact table are the same events.
with changed as (

    select
        event_id,
        event_date
    from {{ ref('sales_events') }}
    where {{ rows_in_scope() }}
    union
    select
        event_id,
        sale_date
    from {{ ref('fct_sales') }}
    where {{ rows_in_scope() }}

)

select
    changed.event_id,
    sales.event_id as sale_event_id,
    facts.event_id as fact_event_id
from changed
left join {{ ref('sales_events') }} as sales
    on changed.event_id = sales.event_id and changed.event_date = sales.event_date
left join {{ ref('fct_sales') }} as facts
    on changed.event_id = facts.event_id and changed.event_date = facts.sale_date
where sales.event_id is null or facts.event_id is null
