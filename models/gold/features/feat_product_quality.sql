{#- What customers said of a product, and what became of its units, in all shops over the days up to a day. -#}
{{ config(materialized='view') }}
{#- Spark does not find the windows that a view names once another view reads it. -#}
{% set days = 'partition by product_id order by day_number nulls last' %}
{% set windows = {
    '7d': '(' ~ days ~ ' range between 6 preceding and current row)',
    '28d': '(' ~ days ~ ' range between 27 preceding and current row)',
    '91d': '(' ~ days ~ ' range between 90 preceding and current row)',
} %}
{% set up_to_now = '(' ~ days ~ ' rows between unbounded preceding and current row)' %}
{% set counts = [
    'questionnaires', 'rating_sum', 'complaints', 'complaint_days', 'sold_units', 'wasted_units', 'sold_from_stock',
    'available_units', 'shelf_days', 'days_out_of_stock',
] %}

with feedback as (

    select * from {{ ref('int_feedback__daily') }}

),

stock as (

    select * from {{ ref('int_inventory__daily') }}

),

counted as (

    select
        feedback_date as feature_date,
        product_id,
        questionnaires,
        rating_sum,
        dissatisfied as complaints,
        case when dissatisfied > 0 then 1 else 0 end as complaint_days,
        0 as sold_units,
        0 as wasted_units,
        0 as sold_from_stock,
        0 as available_units,
        0 as shelf_days,
        0 as days_out_of_stock
    from feedback
    union all
    select
        movement_date as feature_date,
        product_id,
        0 as questionnaires,
        0 as rating_sum,
        0 as complaints,
        0 as complaint_days,
        sold_units,
        wasted_units,
        -- a level below zero says that a movement is missing: what was available is not known
        case when closing_level >= 0 then sold_units else 0 end as sold_from_stock,
        case when closing_level >= 0 then closing_level + sold_units + wasted_units else 0 end as available_units,
        1 as shelf_days,
        case when ran_out_at is not null then 1 else 0 end as days_out_of_stock
    from stock

),

days as (

    select
        {% for count in counts %}
        cast(sum({{ count }}) as bigint) as {{ count }},
        {% endfor %}
        feature_date,
        product_id,
        {{ days_between("cast('2000-01-01' as date)", 'feature_date') }} as day_number
    from counted
    group by feature_date, product_id

),

with_windows as (

    select
        *,
        {% for suffix, frame in windows.items() %}
        {% for count in counts %}
        cast(sum({{ count }}) over {{ frame }} as bigint) as {{ count }}_{{ suffix }},
        {% endfor %}
        {% endfor %}
        max(case when complaints > 0 then feature_date end) over {{ up_to_now }} as complained_on
    from days

),

final as (

    select
        feature_date,
        product_id,
        {% for suffix in windows %}
        questionnaires_{{ suffix }},
        {{ decimal_division('rating_sum_' ~ suffix, 'questionnaires_' ~ suffix, 4, 2) }}
            as average_rating_{{ suffix }},
        complaints_{{ suffix }},
        {{ decimal_division('complaints_' ~ suffix, 'questionnaires_' ~ suffix, 7, 6) }}
            as complaint_rate_{{ suffix }},
        complaint_days_{{ suffix }},
        sold_units_{{ suffix }},
        {{ decimal_division('wasted_units_' ~ suffix, 'sold_units_' ~ suffix ~ ' + wasted_units_' ~ suffix, 7, 6) }}
            as waste_rate_{{ suffix }},
        {{ decimal_division('sold_from_stock_' ~ suffix, 'available_units_' ~ suffix, 7, 6) }}
            as sell_through_{{ suffix }},
        {{ decimal_division('days_out_of_stock_' ~ suffix, 'shelf_days_' ~ suffix, 7, 6) }}
            as out_of_stock_share_{{ suffix }},
        {% endfor %}
        {{ days_between('complained_on', 'feature_date') }} as days_since_complaint
    from with_windows

)

select
    feature_date,
    product_id,
    {% for suffix in windows %}
    questionnaires_{{ suffix }},
    average_rating_{{ suffix }},
    complaints_{{ suffix }},
    complaint_rate_{{ suffix }},
    complaint_days_{{ suffix }},
    sold_units_{{ suffix }},
    waste_rate_{{ suffix }},
    sell_through_{{ suffix }},
    out_of_stock_share_{{ suffix }},
    {% endfor %}
    days_since_complaint
from final
