-- Each aggregate holds exactly the facts: lines, units and money of every day.
with days as (

    select sale_date
    from {{ ref('fct_sales') }}
    where {{ rows_in_scope() }}
    union
    select sale_date
    from {{ ref('int_sales__daily') }}
    where {{ rows_in_scope() }}

),

facts as (

    select
        sales.sale_date,
        count(*) as line_count,
        sum(sales.quantity) as units,
        sum(sales.net_amount) as net_amount
    from {{ ref('fct_sales') }} as sales
    inner join days on sales.sale_date = days.sale_date
    group by sales.sale_date

),

daily as (

    select
        mart.sale_date,
        sum(mart.line_count) as line_count,
        sum(mart.units) as units,
        sum(mart.net_amount) as net_amount
    from {{ ref('mart_sales_performance') }} as mart
    inner join days on mart.sale_date = days.sale_date
    group by mart.sale_date

),

hourly as (

    select
        mart.sale_date,
        sum(mart.line_count) as line_count,
        sum(mart.units) as units,
        sum(mart.net_amount) as net_amount
    from {{ ref('mart_hourly_sales') }} as mart
    inner join days on mart.sale_date = days.sale_date
    group by mart.sale_date

)

select
    facts.sale_date,
    daily.sale_date as daily_date,
    hourly.sale_date as hourly_date
from facts
full outer join daily on facts.sale_date = daily.sale_date
full outer join hourly on facts.sale_date = hourly.sale_date
where
    facts.sale_date is null or daily.sale_date is null or hourly.sale_date is null
    {% for column in ['line_count', 'units', 'net_amount'] %}
    or {{ is_distinct('facts.' ~ column, 'daily.' ~ column) }}
    or {{ is_distinct('facts.' ~ column, 'hourly.' ~ column) }}
    {% endfor %}
