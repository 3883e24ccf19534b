-- Silver's accepted sales and the fact table are the same events, each once.
{% set changed_only = 'where event_id in (select event_id from changed)' if passed_build() is not none else '' %}
with
{% if changed_only %}
changed as (

    select event_id
    from {{ ref('sales_events') }}
    where {{ rows_in_scope() }}
    union
    select event_id
    from {{ ref('fct_sales') }}
    where {{ rows_in_scope() }}

),

{% endif %}
events as (

    select
        event_id,
        event_date,
        1 as sales,
        0 as facts
    from {{ ref('sales_events') }}
    {{ changed_only }}
    union all
    select
        event_id,
        sale_date as event_date,
        0 as sales,
        1 as facts
    from {{ ref('fct_sales') }}
    {{ changed_only }}

)

select
    event_id,
    event_date,
    sum(sales) as sales,
    sum(facts) as facts
from events
group by event_id, event_date
having sum(sales) <> 1 or sum(facts) <> 1
