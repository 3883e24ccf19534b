{{ config(
    materialized='incremental',
    incremental_strategy='merge_changed',
    unique_key=['customer_key'],
) }}

{{ scd2_dimension(
    changes=ref('customer_changes'),
    superseded_changes=ref('customer_changes_superseded'),
    facts=[ref('sales_events'), ref('customer_feedback'), ref('purchases'), ref('web_events')],
    superseded_facts=[
        ref('sales_events_superseded'), ref('customer_feedback_superseded'), ref('purchases_superseded'),
        ref('web_events_superseded'),
    ],
    member='customer_id',
    valid_from='valid_from',
    attributes={
        'customer_name': 'customer_name',
        'email': 'email',
        'country': 'country',
        'segment': 'segment',
        'is_member': "case when is_member then 'true' else 'false' end",
        'signed_up_at': 'cast(' ~ epoch_micros('signed_up_at') ~ ' as ' ~ dbt.type_string() ~ ')',
    },
    inferred={
        'customer_name': join_texts(["'Unknown customer'", 'customer_id'], ' '),
        'email': 'cast(null as ' ~ dbt.type_string() ~ ')',
        'country': 'cast(null as ' ~ dbt.type_string() ~ ')',
        'segment': "'Unknown'",
        'is_member': 'cast(null as boolean)',
        'signed_up_at': 'cast(null as ' ~ type_timestamp_utc() ~ ')',
    },
) }}
