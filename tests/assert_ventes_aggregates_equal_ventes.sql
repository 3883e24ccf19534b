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
        hours.heure,
        sum(clean.montant) as total_montant,
        sum(clean.quantite) as total_quantite
    from {{ ref('ventes_clean') }} as clean
    inner join hours on {{ hour_start('clean.vendu_le') }} = hours.heure
    group by hours.heure

),

hourly as (

    select sums.* from {{ ref('hourly_sales') }} as sums
    inner join hours on sums.heure = hours.heure

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
    or {{ is_distinct('ventes.total_montant', 'hourly.total_montant') }}
    or {{ is_distinct('ventes.total_quantite', 'hourly.total_quantite') }}
