{% call fact(
    events=ref('sales_events'),
    superseded=ref('sales_events_superseded'),
    date='sale_date',
    dimensions={
        'stores': (ref('dim_store'), 'store_id'),
        'products': (ref('dim_product'), 'product_id'),
        'customers': (ref('dim_customer'), 'customer_id'),
    },
) %}
        events.receipt_id,
        events.line_number,
        stores.store_key,
        events.store_id,
        products.product_key,
        events.product_id,
        events.promotion_id,
        customers.customer_key,
        events.customer_id,
        {{ surrogate_key(['events.store_id', epoch_micros(hour_start('events.event_time'))]) }} as weather_key,
        events.payment_method,
        events.event_time as sold_at,
        events.quantity,
        events.unit_price,
        cast(events.quantity * events.unit_price as decimal(18, 2)) as gross_amount,
        events.discount_amount,
        cast(events.quantity * events.unit_price - events.discount_amount as decimal(18, 2)) as net_amount,
        cast(events.quantity * products.unit_cost as decimal(18, 2)) as cost_amount
{% endcall %}
