{% call fact(
    events=ref('purchases'),
    superseded=ref('purchases_superseded'),
    date='purchase_date',
    dimensions={
        'customers': (ref('dim_customer'), 'customer_id'),
        'products': (ref('dim_product'), 'product_id'),
    },
) %}
        events.purchase_id,
        customers.customer_key,
        events.customer_id,
        events.is_member,
        products.product_key,
        events.product_id,
        events.payment_method,
        events.card_country,
        events.ip_country,
        events.ship_country,
        events.device,
        events.event_time as purchased_at,
        events.quantity,
        events.unit_price,
        events.total_amount,
        cast(events.quantity * products.unit_cost as decimal(18, 2)) as cost_amount
{% endcall %}
