select
    event_id,
    vendu_le,
    produit_id,
    pays,
    _build
from {{ ref('int_ventes_stream__verdicts') }}
where verdict = 'conflict'
