{{ config(
    materialized='incremental',
    incremental_strategy='merge_changed',
    unique_key=['store_key'],
) }}

{{ scd2_dimension(
    changes=ref('store_extracts'),
    superseded_changes=ref('store_extracts_superseded'),
    facts=[
        ref('sales_events'), ref('customer_feedback'), ref('promotion_notices'), ref('inventory_updates'),
        ref('demand_forecasts'),
    ],
    superseded_facts=[
        ref('sales_events_superseded'), ref('customer_feedback_superseded'), ref('promotion_notices_superseded'),
        ref('inventory_updates_superseded'), ref('demand_forecasts_superseded'),
    ],
    member='store_id',
    valid_from='event_time',
    attributes={
        'store_name': 'store_name',
        'city': 'city',
        'country': 'country',
        'latitude': 'cast(cast(latitude * 1000000 as bigint) as ' ~ dbt.type_string() ~ ')',
        'longitude': 'cast(cast(longitude * 1000000 as bigint) as ' ~ dbt.type_string() ~ ')',
        'opened_on': 'cast(opened_on as ' ~ dbt.type_string() ~ ')',
        'size_m2': 'cast(size_m2 as ' ~ dbt.type_string() ~ ')',
        'manager': 'manager',
        'opening_hours': 'opening_hours',
    },
    inferred={
        'store_name': join_texts(["'Unknown store'", 'store_id'], ' '),
        'city': "'Unknown'",
        'country': 'cast(null as ' ~ dbt.type_string() ~ ')',
        'latitude': 'cast(null as decimal(9, 6))',
        'longitude': 'cast(null as decimal(9, 6))',
        'opened_on': 'cast(null as date)',
        'size_m2': 'cast(null as bigint)',
        'manager': 'cast(null as ' ~ dbt.type_string() ~ ')',
        'opening_hours': 'cast(null as ' ~ dbt.type_string() ~ ')',
    },
) }}
