{{ config(materialized='view') }}

with history as (

    select * from {{ ref('marketplace_clients_history') }}

),

final as (

    select
        {{ surrogate_key(['client_id', 'effective_from']) }} as client_key,
        client_id,
        client_nom,
        pays,
        segment,
        cast(effective_from as {{ type_timestamp_utc() }}) as valid_from,
        coalesce(cast({{ date_of('dbt_valid_to') }} as {{ type_timestamp_utc() }}), {{ far_future() }}) as valid_to,
        dbt_valid_to is null as is_current
    from history

)

select
    client_key,
    client_id,
    client_nom,
    pays,
    segment,
    valid_from,
    valid_to,
    is_current
from final
