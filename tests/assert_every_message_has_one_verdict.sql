-- Per cluster, topic and partition the verdicts add up to the messages.
select
    kafka_cluster,
    topic,
    partition,
    messages,
    accepted,
    duplicate,
    conflict,
    rejected,
    held
from {{ ref('quality_messages') }}
where {{ is_distinct('messages', 'accepted + duplicate + conflict + rejected + held') }}
