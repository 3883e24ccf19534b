{{ config(materialized='view') }}

with ventes as (

    select * from {{ ref('ventes_aggreges') }}

),

totals as (

    select
        produit_id,
        max(produit_nom) as produit_nom,
        max(categorie) as categorie,
        cast(sum(total_quantite) as bigint) as total_quantite,
        cast(sum(total_montant) as decimal(28, 2)) as total_montant
    from ventes
    group by produit_id

),

ranked as (

    select
        *,
        row_number() over (order by total_montant desc nulls last, produit_id asc nulls last) as rang
    from totals

),

final as (

    select
        cast(rang as int) as rang,
        produit_id,
        produit_nom,
        categorie,
        total_quantite,
        total_montant
    from ranked
    where rang <= 10

)

select
    rang,
    produit_id,
    produit_nom,
    categorie,
    total_quantite,
    total_montant
from final
