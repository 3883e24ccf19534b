{{ config(
    materialized='incremental',
    incremental_strategy='merge_changed',
    unique_key=['heure', 'produit_id', 'pays'],
) }}

{% call aggregate(
    facts=ref('ventes_clean'),
    keys={'heure': hour_start('vendu_le'), 'produit_id': 'produit_id', 'pays': 'pays'},
    superseded=ref('ventes_superseded'),
) %}
        cast(count(*) as bigint) as nombre_ventes,
        cast(sum(quantite) as bigint) as total_quantite,
        cast(sum(montant) as decimal(28, 2)) as total_montant
{% endcall %}
