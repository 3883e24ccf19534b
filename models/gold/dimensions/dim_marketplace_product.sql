{{ config(materialized='view') }}

with history as (

    select * from {{ ref('marketplace_produits_history') }}

),

versions as (

    select
        {{ surrogate_key(['produit_id', 'effective_from']) }} as produit_key,
        produit_id,
        produit_nom,
        categorie,
        prix,
        cast(effective_from as {{ type_timestamp_utc() }}) as valid_from,
        coalesce(cast({{ date_of('dbt_valid_to') }} as {{ type_timestamp_utc() }}), {{ far_future() }}) as valid_to,
        {{ as_of() }} as as_of
    from history

),

final as (

    select
        produit_key,
        produit_id,
        produit_nom,
        categorie,
        prix,
        valid_from,
        valid_to,
        {{ is_current_version('produit_id') }} as is_current
    from versions

)

select
    produit_key,
    produit_id,
    produit_nom,
    categorie,
    prix,
    valid_from,
    valid_to,
    is_current
from final
