{{ config(
    materialized='incremental',
    incremental_strategy='merge_changed',
    unique_key=['product_key'],
) }}

{{ scd2_dimension(
    changes=ref('product_changes'),
    superseded_changes=ref('product_changes_superseded'),
    facts=[
        ref('sales_events'), ref('customer_feedback'), ref('promotion_notices'), ref('purchases'),
        ref('inventory_updates'), ref('demand_forecasts'),
    ],
    superseded_facts=[
        ref('sales_events_superseded'), ref('customer_feedback_superseded'), ref('promotion_notices_superseded'),
        ref('purchases_superseded'), ref('inventory_updates_superseded'), ref('demand_forecasts_superseded'),
    ],
    member='product_id',
    valid_from='valid_from',
    attributes={
        'product_name': 'product_name',
        'category': 'category',
        'base_price': 'cast(cast(base_price * 100 as bigint) as ' ~ dbt.type_string() ~ ')',
        'unit_cost': 'cast(cast(unit_cost * 100 as bigint) as ' ~ dbt.type_string() ~ ')',
        'is_active': "case when is_active then 'true' else 'false' end",
    },
    inferred={
        'product_name': join_texts(["'Unknown product'", 'product_id'], ' '),
        'category': "'Unknown'",
        'base_price': 'cast(null as decimal(12, 2))',
        'unit_cost': 'cast(null as decimal(12, 2))',
        'is_active': 'cast(null as boolean)',
    },
) }}
