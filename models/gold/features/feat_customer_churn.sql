{#-
  What is known of a customer at the end of a week: purchases, feedback, and the customer's own record as it was then. A
  record that comes later and is valid from before is not known yet: so the log is read, and not dim_customer.
-#}
{{ config(materialized='view') }}
{% set windows = [4, 13, 52] %}

with purchases as (

    select * from {{ ref('int_customers__weekly') }}

),

feedback as (

    select * from {{ ref('fct_customer_feedback') }}

),

changes as (

    select * from {{ ref('customer_changes') }}

),

-- weeks in which no known customer bought anything have no row, so that no row depends on a later week
weeks as (

    select distinct
        sale_week,
        {{ add_days('sale_week', 6) }} as feature_date,
        {{ day_start(add_days('sale_week', 7)) }} as week_end
    from purchases

),

first_purchases as (

    select
        customer_id,
        min(first_sale_date) as first_sale_date
    from purchases
    group by customer_id

),

bought as (

    select
        weeks.feature_date,
        weeks.week_end,
        purchases.customer_id,
        {% for count in windows %}
        {% set inside = 'purchases.sale_week > ' ~ add_days('weeks.feature_date', -7 * count) %}
        {{ sum_of('purchases.shopping_days', inside) }} as shopping_days_{{ count }}w,
        {{ sum_of('purchases.receipt_count', inside) }} as receipts_{{ count }}w,
        {% for amount in ['gross_amount', 'discount_amount', 'net_amount'] %}
        cast(sum(case when {{ inside }} then purchases.{{ amount }} else 0 end) as decimal(28, 2))
            as {{ amount }}_{{ count }}w,
        {% endfor %}
        {% endfor %}
        min(purchases.first_sale_date) as first_in_52w,
        max(purchases.last_sale_date) as last_sale_date
    from purchases
    inner join weeks
        on
            purchases.sale_week < weeks.feature_date
            and purchases.sale_week > {{ add_days('weeks.feature_date', -364) }}
    group by weeks.feature_date, weeks.week_end, purchases.customer_id

),

-- who has not bought for half a year has left: nothing is left to be predicted
customers as (

    select
        bought.*,
        {{ days_between('bought.last_sale_date', 'bought.feature_date') }} as days_since_purchase,
        {{ decimal_division(
            days_between('bought.first_in_52w', 'bought.last_sale_date'), 'bought.shopping_days_52w - 1', 8, 2,
        ) }} as usual_gap_days
    from bought
    where {{ days_between('bought.last_sale_date', 'bought.feature_date') }} < 182

),

answered as (

    select
        weeks.feature_date,
        feedback.customer_id,
        cast(count(feedback.rating) as bigint) as questionnaires,
        cast(sum(feedback.rating) as bigint) as rating_sum,
        {{ count_of('feedback.rating <= 2') }} as complaints
    from feedback
    inner join weeks
        on
            feedback.feedback_date <= weeks.feature_date
            and feedback.feedback_date > {{ add_days('weeks.feature_date', -91) }}
    where feedback.customer_id is not null
    group by weeks.feature_date, feedback.customer_id

),

ranked as (

    select
        customers.feature_date,
        changes.customer_id,
        changes.is_member,
        changes.segment,
        changes.signed_up_at,
        row_number() over (
            partition by changes.customer_id, customers.feature_date
            order by
                changes.valid_from desc nulls last,
                changes.event_time desc nulls last,
                changes.kafka_timestamp desc nulls last,
                changes.kafka_cluster desc nulls last,
                changes.partition desc nulls last,
                changes.kafka_offset desc nulls last
        ) as recency
    from customers
    inner join changes
        on
            customers.customer_id = changes.customer_id
            and changes.event_time < customers.week_end
            and changes.valid_from < customers.week_end

),

records as (

    select * from ranked
    where recency = 1

),

final as (

    select
        customers.feature_date,
        customers.customer_id,
        customers.days_since_purchase,
        {{ days_between('first_purchases.first_sale_date', 'customers.feature_date') }} as days_since_first_purchase,
        customers.usual_gap_days,
        {{ decimal_division('customers.days_since_purchase', 'customers.usual_gap_days', 8, 2) }} as recency_in_gaps,
        {% for count in windows %}
        customers.shopping_days_{{ count }}w,
        customers.receipts_{{ count }}w,
        customers.net_amount_{{ count }}w,
        {{ decimal_division(
            'customers.discount_amount_' ~ count ~ 'w', 'customers.gross_amount_' ~ count ~ 'w', 12, 6,
        ) }} as discount_share_{{ count }}w,
        {% endfor %}
        {{ decimal_division(
            '9 * customers.shopping_days_4w', '4 * (customers.shopping_days_13w - customers.shopping_days_4w)', 9, 4,
        ) }} as trend,
        coalesce(answered.questionnaires, 0) as questionnaires_13w,
        {{ decimal_division('answered.rating_sum', 'answered.questionnaires', 4, 2) }} as average_rating_13w,
        coalesce(answered.complaints, 0) as complaints_13w,
        records.is_member,
        records.segment,
        {{ days_between(date_of('records.signed_up_at'), 'customers.feature_date') }} as days_since_sign_up
    from customers
    inner join first_purchases on customers.customer_id = first_purchases.customer_id
    left join answered
        on customers.customer_id = answered.customer_id and customers.feature_date = answered.feature_date
    left join records
        on customers.customer_id = records.customer_id and customers.feature_date = records.feature_date

)

select
    feature_date,
    customer_id,
    days_since_purchase,
    days_since_first_purchase,
    usual_gap_days,
    recency_in_gaps,
    {% for count in windows %}
    shopping_days_{{ count }}w,
    receipts_{{ count }}w,
    net_amount_{{ count }}w,
    discount_share_{{ count }}w,
    {% endfor %}
    trend,
    questionnaires_13w,
    average_rating_13w,
    complaints_13w,
    is_member,
    segment,
    days_since_sign_up
from final
