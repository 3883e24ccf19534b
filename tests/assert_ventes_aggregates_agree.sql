-- By hour, and by product and country: the marketplace's two aggregates hold the same sales.
with by_hour as (

    select
        coalesce(sum(total_montant), 0) as total_montant,
        coalesce(sum(total_quantite), 0) as total_quantite
    from {{ ref('hourly_sales') }}

),

by_product as (

    select
        coalesce(sum(total_montant), 0) as total_montant,
        coalesce(sum(total_quantite), 0) as total_quantite
    from {{ ref('ventes_aggreges') }}

)

select
    by_hour.total_montant,
    by_product.total_montant as total_montant_by_product
from by_hour
cross join by_product
where
    {{ is_distinct('by_hour.total_montant', 'by_product.total_montant') }}
    or {{ is_distinct('by_hour.total_quantite', 'by_product.total_quantite') }}
