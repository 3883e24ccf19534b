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

{% macro is_too_late(message) %}
    {#- Whether a message was received more than 48 hours after its event. message: name of a relation. -#}
    {{ micros_between(message ~ '.event_time', message ~ '.received_at') }} > {{ 48 * 3600 * 1000000 }}
{%- endmacro %}

{% macro is_in_future(message) %}
    {#- Whether a message was received more than 10 minutes before its event. message: name of a relation. -#}
    {{ micros_between(message ~ '.received_at', message ~ '.event_time') }} > {{ 600 * 1000000 }}
{%- endmacro %}

{% macro verdicts(checked, arrived, contract, references={}) %}
{#
  A verdict model: all of it in a full refresh, what new messages change in an incremental build.

  checked     relation of check_messages(): every message of the topic
  arrived     relation of new_messages(): those that no build has judged yet
  contract    see contract_columns
  references  field -> relation of its strict reference, whose column the contract names
#}
{{- config(
    materialized='incremental',
    incremental_strategy='merge_changed',
    unique_key=message_coordinates(),
    partition_by=by_month('event_date'),
    post_hook="{{ advance_watermarks() }}",
) -}}
{%- set columns = topic_columns(contract) -%}
with candidates as (

    {{ candidates(arrived, columns) if is_incremental() else every_message(checked, columns) }}

),

{{ classified('candidates', columns, contract, references) }},

{% if is_incremental() -%}
{{ changed_verdicts('classified', checked, columns) }},

{% endif -%}
-- an accepted message's payload is only in Bronze
final as (

    select
        {{ select_list(columns, replaced={'payload': "case when verdict <> 'accepted' then payload end"}) }},
        verdict,
        {{ this_build() }} as _build
    from {{ 'changed' if is_incremental() else 'classified' }}

)

select * from final
{% endmacro %}

{% macro every_message(checked, columns) %}
    select
        {{ select_list(columns) }},
        cast(null as {{ dbt.type_string() }}) as old_verdict
    from {{ checked }}
{%- endmacro %}

{% macro candidates(arrived, columns) %}
    {#-
      The messages whose verdicts an incremental build works out: new ones; held ones, since their reference or an
      operator's entry may have come; and the valid copies of their events that were judged before (old_verdict).
    -#}
    with judged_again as (

        select
            {{ select_list(columns) | indent(4) }}
        from {{ arrived }}
        union all
        select
            {{ select_list(columns, replaced={'failed_rules': "''"}) | indent(4) }}
        from {{ this }}
        where verdict = 'held'

    )

    select
        {{ select_list(columns) }},
        cast(null as {{ dbt.type_string() }}) as old_verdict
    from judged_again
    union all
    select
        {{ select_list(columns, 'old') }},
        old.verdict as old_verdict
    from {{ this }} as old
    where
        old.verdict in ('accepted', 'duplicate', 'conflict')
        and old.event_id in (select event_id from judged_again where failed_rules = '')
        and not exists (select 1 from judged_again where {{ same_message('judged_again', 'old') }})
{%- endmacro %}

{% macro classified(candidates, columns, contract, references) %}
{#-
  CTEs, the last one `classified`: a verdict for every candidate, from the candidate, the other candidates with its
  event_id and the reference data; of no build. A copy that was valid before (old_verdict) stays so.

  candidates: name of a CTE with the columns and old_verdict.
-#}
released as (

    select distinct {{ message_coordinates() | join(', ') }}
    from {{ ref('released_messages') }}

),

{% for name, relation in references.items() -%}
known_{{ name }} as (

    select distinct {{ contract.fields[name].strict.split('.')[1] }} as member
    from {{ relation }}

),

{% endfor -%}
with_hold_reasons as (

    select
        candidates.*,
        case
            when released.kafka_offset is null
                then {{ join_texts(hold_reasons(contract, references), ',') }}
            else ''
        end as hold_reasons
    from {{ candidates }} as candidates
    left join released on {{ same_message('candidates', 'released') }}
    {%- for name in references %}
    left join known_{{ name }}
        on candidates.{{ contract.fields[name].column or name }} = known_{{ name }}.member
    {%- endfor %}

),

screened as (

    select
        {{ select_list(columns, replaced={
            'failed_rules': "case when old_verdict is null and failed_rules = '' then hold_reasons else failed_rules end",
        }) }},
        old_verdict,
        case
            when old_verdict is not null then 'valid'
            when failed_rules <> '' then 'rejected'
            when hold_reasons <> '' then 'held'
            else 'valid'
        end as screening
    from with_hold_reasons

),

ranked as (

    select
        screened.*,
        row_number() over copies as place,
        first_value(payload_md5) over copies as first_payload_md5
    from screened
    window
        copies as (
            partition by event_id, screening
            order by
                kafka_timestamp nulls last, kafka_cluster nulls last, partition nulls last, kafka_offset nulls last
        )

),

classified as (

    select
        {{ select_list(columns) }},
        old_verdict,
        case
            when screening <> 'valid' then screening
            when place = 1 then 'accepted'
            when payload_md5 = first_payload_md5 then 'duplicate'
            else 'conflict'
        end as verdict
    from ranked

)
{%- endmacro %}

{% macro hold_reasons(contract, references) %}
    {#- SQL over `candidates`, each why a message is held, or null. A reference that is not given is not unknown. -#}
    {% set reasons = [
        'case when ' ~ is_too_late('candidates') ~ " then 'event_too_late' end",
        'case when ' ~ is_in_future('candidates') ~ " then 'event_in_future' end",
    ] %}
    {% for name in references %}
        {% do reasons.append(
            'case when candidates.' ~ (contract.fields[name].column or name) ~ ' is not null and known_' ~ name
            ~ ".member is null then '" ~ name ~ "_unknown' end"
        ) %}
    {% endfor %}
    {{ return(reasons) }}
{% endmacro %}

{% macro changed_verdicts(classified, checked, columns) %}
{#-
  CTEs, the last one `changed`: the candidates whose verdict is new or another than it was. One that was accepted and is
  superseded by another copy gets its payload back from Bronze.
-#}
superseded as (

    select
        {{ select_list(message_coordinates() + ['ingested_at']) }}
    from {{ classified }}
    where old_verdict = 'accepted' and verdict <> 'accepted'

),

-- the bounds have only those files read that hold them: none, mostly
payloads as (

    select
        {{ select_list(message_coordinates() + ['payload'], 'messages') }}
    from {{ checked }} as messages
    inner join superseded on {{ same_message('messages', 'superseded') }}
    where
        messages.ingested_at >= (select coalesce(min(ingested_at), {{ far_future() }}) from superseded)
        and messages.ingested_at <= (select coalesce(max(ingested_at), {{ far_past() }}) from superseded)

),

changed as (

    select
        {{ select_list(columns, 'classified', {
            'payload': 'coalesce(classified.payload, payloads.payload)',
        }) }},
        classified.verdict
    from {{ classified }} as classified
    left join payloads on {{ same_message('classified', 'payloads') }}
    where classified.old_verdict is null or classified.old_verdict <> classified.verdict

)
{%- endmacro %}
