{#
  One verdict for every message (docs/data-model.md tells the rules):

    rejected    a rule failed
    held        event time too far from the time of receipt, or an unknown strict reference
    accepted    of the valid messages with one event_id, the first by (kafka_timestamp, kafka_cluster, partition, offset)
    duplicate   valid, not the first, payload equal to the first's
    conflict    valid, not the first, payload different

  A verdict depends on the message, on the other valid messages with its event_id, and on the reference data: never on
  when or in what batches it was built. Acceptance is monotone: more messages can change which copy of an event wins,
  never that one of them does.
#}

{% macro message_columns() %}
    {{ return([
        'kafka_cluster', 'topic', 'partition', 'kafka_offset', 'kafka_timestamp', 'received_at', 'ingested_at', 'ingest_batch_id',
        'event_id', 'event_time', 'event_date', 'payload_md5', 'payload', 'payload_bytes', 'failed_rules', 'missing_fields',
        'quality_score',
    ]) }}
{% endmacro %}

{% macro is_too_late(message) %}
    {#- Whether a message was received more than 48 hours after its event. message: name of a relation. -#}
    {{ seconds_between(message ~ '.event_time', message ~ '.received_at') }} > 48 * 3600
{%- endmacro %}

{% macro is_in_future(message) %}
    {#- Whether a message was received more than 10 minutes before its event. message: name of a relation. -#}
    {{ seconds_between(message ~ '.received_at', message ~ '.event_time') }} > 600
{%- endmacro %}

{% macro verdicts(checked, arrived, fields, references=[]) %}
{#
  checked     relation, one row per message: message_columns() and the contract's fields
  arrived     relation, those of them that no build has judged yet
  fields      the contract's columns that are not among message_columns()
  references  strict references: dicts of column, rule, relation, key
#}
{% set columns = message_columns() + fields %}
{% set coordinates = ['kafka_cluster', 'topic', 'partition', 'kafka_offset'] %}
with arrived as (

    select {{ columns | join(', ') }}
    from {{ arrived if is_incremental() else checked }}

),

{% if is_incremental() %}
-- held messages are judged again: their reference or an operator's entry may have come
waiting as (

    select
        {% for column in columns %}
        {{ "'' as failed_rules" if column == 'failed_rules' else 'old.' ~ column }}{{ ',' if not loop.last }}
        {% endfor %}
    from {{ this }} as old
    where old.verdict = 'held'

),

candidates as (

    select * from arrived
    union all
    select * from waiting

),
{% else %}
candidates as (

    select * from arrived

),
{% endif %}

released as (

    select distinct kafka_cluster, topic, partition, kafka_offset
    from {{ ref('released_messages') }}

),

{% for reference in references %}
known_{{ reference.column }} as (

    select distinct {{ reference.key }} as member
    from {{ reference.relation }}

),

{% endfor %}
weighed as (

    select
        candidates.*,
        {{ join_texts([
            "case when " ~ is_too_late('candidates') ~ " then 'event_too_late' end",
            "case when " ~ is_in_future('candidates') ~ " then 'event_in_future' end",
        ] + reference_reasons(references), ',') }} as _hold_reasons,
        released.kafka_offset is not null as _is_released
    from candidates
    left join released
        on
            candidates.kafka_cluster = released.kafka_cluster and candidates.topic = released.topic
            and candidates.partition = released.partition and candidates.kafka_offset = released.kafka_offset
    {% for reference in references %}
    left join known_{{ reference.column }}
        on candidates.{{ reference.column }} = known_{{ reference.column }}.member
    {% endfor %}

),

placed as (

    select
        {% for column in columns %}
        {% if column == 'failed_rules' %}
        case
            when failed_rules = '' and _hold_reasons <> '' and not _is_released then _hold_reasons
            else failed_rules
        end as failed_rules,
        {% else %}
        {{ column }},
        {% endif %}
        {% endfor %}
        case
            when failed_rules <> '' then 'rejected'
            when _hold_reasons <> '' and not _is_released then 'held'
        end as verdict
    from weighed

),

{% if is_incremental() %}
touched as (

    select distinct event_id from placed
    where verdict is null

),

-- what was judged before under the same event_ids
judged as (

    select
        {% for column in columns %}
        old.{{ column }},
        {% endfor %}
        old.verdict
    from {{ this }} as old
    inner join touched on old.event_id = touched.event_id
    where
        old.verdict in ('accepted', 'duplicate', 'conflict')
        and not exists (
            select 1 from candidates
            where {% for column in coordinates %}candidates.{{ column }} = old.{{ column }}{{ ' and ' if not loop.last }}{% endfor %}
        )

),

{% endif %}
contenders as (

    select {{ columns | join(', ') }}, verdict, cast(null as {{ dbt.type_string() }}) as _old_verdict
    from placed
    {% if is_incremental() %}
    union all
    select {{ columns | join(', ') }}, cast(null as {{ dbt.type_string() }}) as verdict, verdict as _old_verdict
    from judged
    {% endif %}

),

-- rejected and held messages rank among themselves, to no effect
ranked as (

    select
        contenders.*,
        row_number() over (
            partition by event_id, verdict
            order by
                kafka_timestamp nulls last, kafka_cluster nulls last, partition nulls last, kafka_offset nulls last
        ) as _place,
        first_value(payload_md5) over (
            partition by event_id, verdict
            order by
                kafka_timestamp nulls last, kafka_cluster nulls last, partition nulls last, kafka_offset nulls last
        ) as _first_payload_md5
    from contenders

),

decided as (

    select
        {% for column in columns %}
        {{ column }},
        {% endfor %}
        _old_verdict,
        case
            when verdict is not null then verdict
            when _place = 1 then 'accepted'
            when payload_md5 = _first_payload_md5 then 'duplicate'
            else 'conflict'
        end as verdict
    from ranked

),

{% if is_incremental() %}
changed as (

    select * from decided
    where _old_verdict is null or _old_verdict <> verdict

),

-- an accepted message's payload is only in Bronze; one that is superseded gets it back
superseded as (

    select {{ coordinates | join(', ') }}, ingested_at from changed
    where _old_verdict = 'accepted'

),

-- the bounds have only the files read that hold them: none, mostly
payloads as (

    select messages.kafka_cluster, messages.topic, messages.partition, messages.kafka_offset, messages.payload
    from {{ checked }} as messages
    inner join superseded
        on
            {% for column in coordinates %}{{ 'and ' if not loop.first }}messages.{{ column }} = superseded.{{ column }} {% endfor %}

    where
        messages.ingested_at >= (select coalesce(min(ingested_at), {{ far_future() }}) from superseded)
        and messages.ingested_at <= (select coalesce(max(ingested_at), {{ far_past() }}) from superseded)

),

{% endif %}
final as (

    select
        {% for column in columns %}
        {% if column == 'payload' and is_incremental() %}
        case when changed.verdict <> 'accepted' then coalesce(changed.payload, payloads.payload) end as payload,
        {% elif column == 'payload' %}
        case when verdict <> 'accepted' then payload end as payload,
        {% else %}
        {{ 'changed.' if is_incremental() }}{{ column }},
        {% endif %}
        {% endfor %}
        verdict
    {% if is_incremental() %}
    from changed
    left join payloads
        on
            {% for column in coordinates %}{{ 'and ' if not loop.first }}payloads.{{ column }} = changed.{{ column }} {% endfor %}

    {% else %}
    from decided
    {% endif %}

)

select
    {{ columns | join(',\n    ') }},
    verdict,
    {{ this_build() }} as _build
from final
{% endmacro %}

{% macro reference_reasons(references) %}
    {#- A reference that is not given (an optional field) is not unknown. -#}
    {% set reasons = [] %}
    {% for reference in references %}
        {% do reasons.append(
            'case when candidates.' ~ reference.column ~ ' is not null and known_' ~ reference.column
            ~ ".member is null then '" ~ reference.rule ~ "' end"
        ) %}
    {% endfor %}
    {{ return(reasons) }}
{% endmacro %}
