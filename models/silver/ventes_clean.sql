select
    event_id,
    event_time,
    event_date,
    vente_id,
    client_id,
    produit_id,
    vendu_le,
    quantite,
    montant,
    client_nom,
    produit_nom,
    categorie,
    pays,
    segment,
    case
        when montant < 50 then 'petit'
        when montant < 500 then 'moyen'
        else 'grand'
    end as tranche_montant,
    quality_score,
    kafka_cluster,
    topic,
    partition,
    kafka_offset,
    kafka_timestamp,
    received_at,
    ingested_at,
    ingest_batch_id,
    _build
from {{ ref('int_ventes_stream__verdicts') }}
where verdict = 'accepted'
