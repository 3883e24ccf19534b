{{ config(
    materialized='incremental',
    incremental_strategy='merge_changed',
    unique_key=['equipment_key'],
) }}

{{ scd2_dimension(
    changes=ref('equipment_extracts'),
    superseded_changes=ref('equipment_extracts_superseded'),
    facts=[ref('equipment_metrics')],
    superseded_facts=[ref('equipment_metrics_superseded')],
    member='equipment_id',
    valid_from='event_time',
    attributes={
        'store_id': 'store_id',
        'equipment_type': 'equipment_type',
        'model': 'model',
        'installed_on': 'cast(installed_on as ' ~ dbt.type_string() ~ ')',
        'service_interval_days': 'cast(service_interval_days as ' ~ dbt.type_string() ~ ')',
    },
    inferred={
        'store_id': 'cast(null as ' ~ dbt.type_string() ~ ')',
        'equipment_type': "'Unknown'",
        'model': join_texts(["'Unknown equipment'", 'equipment_id'], ' '),
        'installed_on': 'cast(null as date)',
        'service_interval_days': 'cast(null as bigint)',
    },
) }}
