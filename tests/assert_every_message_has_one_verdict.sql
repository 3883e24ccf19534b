-- Per cluster, topic and partition the verdicts add up to the messages.
select *
from {{ ref('quality_messages') }}
where messages <> accepted + duplicate + conflict + rejected + held
