{% call fact(
    events=ref('demand_forecasts'),
    superseded=ref('demand_forecasts_superseded'),
    date='made_on',
    dimensions={'stores': (ref('dim_store'), 'store_id'), 'products': (ref('dim_product'), 'product_id')},
) %}
        stores.store_key,
        events.store_id,
        products.product_key,
        events.product_id,
        events.model_version,
        events.forecast_date,
        {{ days_between('events.event_date', 'events.forecast_date') }} as horizon_days,
        events.units,
        events.units_low,
        events.units_high
{% endcall %}
