{{ config(materialized='view') }}

with ventes as (

    select * from {{ ref('int_ventes__hourly') }}

),

final as (

    select
        heure,
        cast(sum(total_montant) as decimal(28, 2)) as total_montant,
        cast(sum(total_quantite) as bigint) as total_quantite
    from ventes
    group by heure

)

select
    heure,
    total_montant,
    total_quantite
from final
