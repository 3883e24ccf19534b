{{ config(
    materialized='incremental',
    incremental_strategy='merge',
    unique_key=['heure', 'produit_id', 'pays'],
) }}

-- depends_on: {{ ref('ventes_conflicts') }}
with ventes as (

    select
        *,
        {{ hour_start('vendu_le') }} as heure
    from {{ ref('ventes_clean') }}

),

{% if is_incremental() %}
conflicts as (

    select * from {{ ref('ventes_conflicts') }}

),

affected as (

    {{ affected_groups(
        keys=['heure', 'produit_id', 'pays'],
        facts='ventes',
        conflicts='conflicts',
        conflict_keys=[hour_start('vendu_le'), 'produit_id', 'pays'],
    ) }}

),

concerned as (

    select ventes.* from ventes
    inner join affected
        on
            ventes.heure = affected.heure
            and ventes.produit_id = affected.produit_id
            and ventes.pays = affected.pays

),
{% else %}
concerned as (

    select * from ventes

),
{% endif %}

result as (

    select
        heure,
        produit_id,
        pays,
        cast(count(*) as bigint) as nombre_ventes,
        cast(sum(quantite) as bigint) as total_quantite,
        cast(sum(montant) as decimal(28, 2)) as total_montant,
        {{ this_build() }} as _build
    from concerned
    group by heure, produit_id, pays

),

final as (

    select * from result
    {% if is_incremental() %}
    union all
    {{ vanished('result', 'affected', ['heure', 'produit_id', 'pays'], ['heure', 'produit_id', 'pays']) }}
    {% endif %}

)

select
    heure,
    produit_id,
    pays,
    nombre_ventes,
    total_quantite,
    total_montant,
    _build
from final
