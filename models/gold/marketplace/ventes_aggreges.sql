{{ config(materialized='view') }}

with ventes as (

    select * from {{ ref('int_ventes__hourly') }}

),

produits as (

    select * from {{ ref('dim_marketplace_product') }}
    where is_current

),

totals as (

    select
        produit_id,
        pays,
        cast(sum(nombre_ventes) as bigint) as nombre_ventes,
        cast(sum(total_quantite) as bigint) as total_quantite,
        cast(sum(total_montant) as decimal(28, 2)) as total_montant
    from ventes
    group by produit_id, pays

),

final as (

    select
        totals.produit_id,
        coalesce(
            produits.produit_nom,
            {{ join_texts(["'Produit inconnu'", 'cast(totals.produit_id as ' ~ dbt.type_string() ~ ')'], ' ') }}
        ) as produit_nom,
        produits.categorie,
        totals.pays,
        totals.nombre_ventes,
        totals.total_quantite,
        totals.total_montant,
        {{ decimal_division('totals.total_montant', 'totals.nombre_ventes', 18, 2) }} as montant_moyen,
        case
            when totals.total_montant < 1000 then 'faible'
            when totals.total_montant < 10000 then 'moyen'
            else 'fort'
        end as segment_revenu
    from totals
    left join produits on totals.produit_id = produits.produit_id

)

select
    produit_id,
    produit_nom,
    categorie,
    pays,
    nombre_ventes,
    total_quantite,
    total_montant,
    montant_moyen,
    segment_revenu
from final
