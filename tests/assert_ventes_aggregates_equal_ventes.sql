-- The marketplace's aggregates hold exactly the accepted sales: number, money and quantity of every hour.
with hours as (

    select {{ hour_start('vendu_le') }} as heure
    from {{ ref('ventes_clean') }}
    where {{ rows_in_scope() }}
    union
    select heure
    from {{ ref('int_ventes__hourly') }}
    where {{ rows_in_scope() }}

),

ventes as (

    select
        {{ hour_start('vendu_le') }} as heure,
        sum(montant) as total_montant,
        sum(quantite) as total_quantite
    from {{ ref('ventes_clean') }}
    where {{ hour_start('vendu_le') }} in (select heure from hours)
    group by {{ hour_start('vendu_le') }}

),

hourly as (

    select * from {{ ref('hourly_sales') }}
    where heure in (select heure from hours)

)

select
    ventes.heure,
    hourly.heure as aggregated_heure,
    ventes.total_montant,
    hourly.total_montant as aggregated_montant
from ventes
full outer join hourly on ventes.heure = hourly.heure
where
    ventes.heure is null or hourly.heure is null
    or ventes.total_montant <> hourly.total_montant or ventes.total_quantite <> hourly.total_quantite
