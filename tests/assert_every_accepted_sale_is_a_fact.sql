-- Silver's accepted sales and the fact table are the same events.
select
    sales.event_id,
    facts.event_id as fact_event_id
from {{ ref('silver_sales_events') }} as sales
full outer join {{ ref('fct_sales') }} as facts on sales.event_id = facts.event_id
where sales.event_id is null or facts.event_id is null
