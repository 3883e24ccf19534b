{{ config(
    materialized='incremental',
    incremental_strategy='merge_changed',
    unique_key=['feedback_date', 'product_id'],
    partition_by=by_month('feedback_date'),
) }}

{% call aggregate(
    facts=ref('fct_customer_feedback'),
    keys={'feedback_date': 'feedback_date', 'product_id': 'product_id'},
    superseded=ref('customer_feedback_superseded'),
    superseded_keys={'feedback_date': 'event_date'},
    where='facts.product_id is not null',
) %}
        cast(count(*) as bigint) as questionnaires,
        cast(sum(rating) as bigint) as rating_sum,
        {{ count_of('rating <= 2') }} as dissatisfied
{% endcall %}
