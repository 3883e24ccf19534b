{{ config(materialized='view') }}

with features as (

    select * from {{ ref('feat_customer_churn') }}

),

-- the last week that is over: an event of a later day has come, of any topic
week as (

    select max(feature_date) as feature_date
    from features
    where {{ day_start(add_days('feature_date', 1)) }} <= {{ as_of() }}

),

final as (

    select
        features.feature_date,
        features.customer_id,
        features.segment,
        features.is_member,
        features.days_since_purchase,
        features.usual_gap_days,
        features.recency_in_gaps,
        features.shopping_days_13w,
        features.trend,
        features.net_amount_52w,
        features.recency_in_gaps > 3 as is_at_risk
    from features
    inner join week on features.feature_date = week.feature_date
    where features.shopping_days_13w >= 6

)

select
    feature_date,
    customer_id,
    segment,
    is_member,
    days_since_purchase,
    usual_gap_days,
    recency_in_gaps,
    shopping_days_13w,
    trend,
    net_amount_52w,
    is_at_risk
from final
