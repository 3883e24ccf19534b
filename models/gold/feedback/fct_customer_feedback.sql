{% call fact(
    events=ref('customer_feedback'),
    superseded=ref('customer_feedback_superseded'),
    date='feedback_date',
    dimensions={
        'stores': (ref('dim_store'), 'store_id'),
        'products': (ref('dim_product'), 'product_id'),
        'customers': (ref('dim_customer'), 'customer_id'),
    },
) %}
        events.feedback_id,
        stores.store_key,
        events.store_id,
        products.product_key,
        events.product_id,
        customers.customer_key,
        events.customer_id,
        events.channel,
        events.language,
        events.visited_on,
        events.receipt_id,
        events.rating,
        events.event_time as submitted_at
{% endcall %}
