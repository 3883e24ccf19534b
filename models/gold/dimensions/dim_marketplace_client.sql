{{ config(materialized='view') }}

with history as (

    select * from {{ ref('marketplace_clients_history') }}

),

versions as (

    select
        {{ surrogate_key(['client_id', 'effective_from']) }} as client_key,
        client_id,
        client_nom,
        pays,
        segment,
        cast(effective_from as {{ type_timestamp_utc() }}) as valid_from,
        coalesce(cast({{ date_of('dbt_valid_to') }} as {{ type_timestamp_utc() }}), {{ far_future() }}) as valid_to,
        {{ as_of() }} as as_of
    from history

),

final as (

    select
        client_key,
        client_id,
        client_nom,
        pays,
        segment,
        valid_from,
        valid_to,
        {{ is_current_version('client_id') }} as is_current
    from versions

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
