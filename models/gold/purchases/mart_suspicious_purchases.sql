{{ config(materialized='view') }}

with risks as (

    select * from {{ ref('feat_purchase_risk') }}
    where risk_signs >= 3 or is_suspicious

),

purchases as (

    select * from {{ ref('fct_purchases') }}

),

products as (

    select * from {{ ref('dim_product') }}
    where is_current

),

final as (

    select
        risks.event_id,
        risks.purchase_id,
        risks.purchased_at,
        risks.feature_date as purchase_date,
        risks.customer_id,
        risks.product_id,
        products.product_name,
        purchases.quantity,
        risks.total_amount,
        purchases.payment_method,
        purchases.card_country,
        purchases.ip_country,
        purchases.ship_country,
        purchases.device,
        risks.risk_signs,
        {{ join_texts([
            "case when risks.is_night then 'at night' end",
            "case when risks.differing_countries > 0 then 'countries differ' end",
            "case when risks.purchases_last_hour > 0 then 'another within the hour' end",
            "case when risks.amount_ratio >= 4 then 'four times the usual amount' end",
            "case when risks.is_new_device then 'new device' end",
        ], ', ') }} as signs,
        risks.score,
        risks.is_suspicious,
        risks.model_version
    from risks
    inner join purchases on risks.event_id = purchases.event_id and risks.feature_date = purchases.purchase_date
    left join products on risks.product_id = products.product_id

)

select
    event_id,
    purchase_id,
    purchased_at,
    purchase_date,
    customer_id,
    product_id,
    product_name,
    quantity,
    total_amount,
    payment_method,
    card_country,
    ip_country,
    ship_country,
    device,
    risk_signs,
    signs,
    score,
    is_suspicious,
    model_version
from final
