{{ config(
    materialized='incremental',
    incremental_strategy='merge_changed',
    unique_key=['feedback_date', 'store_id', 'channel'],
    partition_by=by_month('feedback_date'),
) }}

{% call aggregate(
    facts=ref('fct_customer_feedback'),
    keys={'feedback_date': 'feedback_date', 'store_id': 'store_id', 'channel': 'channel'},
    superseded=ref('customer_feedback_superseded'),
    superseded_keys={'feedback_date': 'event_date'},
) %}
        cast(count(*) as bigint) as questionnaires,
        cast(sum(rating) as bigint) as rating_sum,
        {{ decimal_division('sum(rating)', 'count(*)', 4, 2) }} as average_rating,
        {{ count_of('rating = 5') }} as satisfied,
        {{ count_of('rating <= 2') }} as dissatisfied
{% endcall %}
