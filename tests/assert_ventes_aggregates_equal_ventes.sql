-- The marketplace's aggregates hold exactly the accepted sales.
with ventes as (

    select
        coalesce(sum(montant), 0) as total_montant,
        coalesce(sum(quantite), 0) as total_quantite
    from {{ ref('ventes_clean') }}

),

aggregates as (

    select
        coalesce(sum(total_montant), 0) as total_montant,
        coalesce(sum(total_quantite), 0) as total_quantite
    from {{ ref('ventes_aggreges') }}

),

hours as (

    select
        coalesce(sum(total_montant), 0) as total_montant,
        coalesce(sum(total_quantite), 0) as total_quantite
    from {{ ref('hourly_sales') }}

)

select
    ventes.total_montant,
    aggregates.total_montant as aggregated_montant,
    hours.total_montant as hourly_montant
from ventes
cross join aggregates
cross join hours
where
    ventes.total_montant <> aggregates.total_montant
    or ventes.total_montant <> hours.total_montant
    or ventes.total_quantite <> aggregates.total_quantite
    or ventes.total_quantite <> hours.total_quantite
