{% macro scd2_dimension(
    changes, superseded_changes, facts, superseded_facts, member, valid_from, attributes, inferred
) %}
{#
  A whole type 2 dimension: versions from the log of changes, inferred members from the facts.

  changes, superseded_changes   Silver relations: the log, and the superseded versions of its records
  facts, superseded_facts       lists of Silver relations: the events that refer to the member, and superseded versions
                                of them
  member                        natural key, such as customer_id
  valid_from                    column of `changes` from when a record holds
  attributes                    see scd2_versions
  inferred                      column -> SQL of an inferred member's attribute

  Columns: <entity>_key, member, attributes, valid_from, valid_to, is_current, is_inferred, _build.
#}
{% set key = member | replace('_id', '_key') %}
with clock as (

    select {{ as_of() }} as as_of

),

{% if is_incremental() %}
{% set since = last_build() %}
affected as (

    -- members with new changes
    {% for relation in [changes, superseded_changes] %}
    {{ 'union' if not loop.first }}
    select {{ member }} from {{ relation }}
    where _build > {{ since }}
    {% endfor %}
    union
    select {{ member }} from ({{ union_of(superseded_facts, [member, '_build']) }}) as superseded
    where _build > {{ since }} and {{ member }} is not null
    union
    -- members of which a new fact is older than all that is known
    select facts.{{ member }} from ({{ union_of(facts, [member, 'event_time', '_build']) }}) as facts
    where
        facts._build > {{ since }}
        and facts.{{ member }} is not null
        and not exists (
            select 1 from {{ this }} as known
            where
                known.{{ member }} = facts.{{ member }}
                and known.valid_from <= facts.event_time
                and facts.event_time < known.valid_to
        )
    union
    -- members whose current version does not hold at the moment of the tables
    select known.{{ member }} from {{ this }} as known
    cross join clock
    where known.is_current and not (known.valid_from <= clock.as_of and clock.as_of < known.valid_to)

),

relevant_changes as (

    select changes.* from {{ changes }} as changes
    inner join affected on changes.{{ member }} = affected.{{ member }}

),
{% else %}
relevant_changes as (

    select * from {{ changes }}

),
{% endif %}

versions as (

    {{ scd2_versions('relevant_changes', member, valid_from, attributes) | indent(4) }}

),

first_versions as (

    select {{ member }}, min(version_from) as version_from
    from versions
    group by {{ member }}

),

{% if is_incremental() %}
known as (

    select
        known.{{ member }},
        min(case when not known.is_inferred then known.valid_from end) as version_from,
        max(case when known.is_inferred then 1 else 0 end) as has_inferred
    from {{ this }} as known
    inner join affected on known.{{ member }} = affected.{{ member }}
    group by known.{{ member }}

),

-- of these the old facts count again: the first version is another, or a fact before it may be gone
reread as (

    select known.{{ member }}
    from known
    left join first_versions on known.{{ member }} = first_versions.{{ member }}
    where
        {{ is_distinct('known.version_from', 'first_versions.version_from') }}
        or (
            known.has_inferred = 1
            and known.{{ member }} in (
                select {{ member }} from ({{ union_of(superseded_facts, [member, '_build']) }}) as superseded
                where _build > {{ since }} and {{ member }} is not null
            )
        )

),

-- new facts, old ones of these members, and for all others the version that was inferred before
read_facts as (

    select
        {{ member }},
        event_time
    from ({{ union_of(facts, [member, 'event_time', '_build']) }}) as facts
    where _build > {{ since }}
    union all
    select
        facts.{{ member }},
        facts.event_time
    from ({{ union_of(facts, [member, 'event_time']) }}) as facts
    inner join reread on facts.{{ member }} = reread.{{ member }}
    union all
    select
        {{ member }},
        valid_from as event_time
    from {{ this }}
    where is_inferred and {{ member }} not in (select {{ member }} from reread)

),

{% endif %}
-- members with a fact before their first version, or without any
unknown as (

    select distinct
        facts.{{ member }},
        coalesce(first_versions.version_from, {{ far_future() }}) as version_to
    {% if is_incremental() %}
    from read_facts as facts
    inner join affected on facts.{{ member }} = affected.{{ member }}
    {% else %}
    from ({{ union_of(facts, [member, 'event_time']) }}) as facts
    {% endif %}
    left join first_versions on facts.{{ member }} = first_versions.{{ member }}
    where
        facts.{{ member }} is not null
        and facts.event_time < coalesce(first_versions.version_from, {{ far_future() }})

),

members as (

    select
        {{ member }},
        {% for attribute in attributes %}
        {{ attribute }},
        {% endfor %}
        version_from as valid_from,
        version_to as valid_to,
        false as is_inferred
    from versions
    union all
    select
        {{ member }},
        {% for attribute in attributes %}
        {{ inferred[attribute] }} as {{ attribute }},
        {% endfor %}
        {{ far_past() }} as valid_from,
        version_to as valid_to,
        true as is_inferred
    from unknown

),

dated as (

    select
        members.*,
        clock.as_of
    from members
    cross join clock

),

result as (

    select
        {{ surrogate_key([member, epoch_micros('valid_from')]) }} as {{ key }},
        {{ member }},
        {% for attribute in attributes %}
        {{ attribute }},
        {% endfor %}
        valid_from,
        valid_to,
        {{ is_current_version(member) }} as is_current,
        is_inferred,
        {{ this_build() }} as _build
    from dated

),

final as (

    {{ with_rows_to_delete('result', 'affected', [member], [key]) if is_incremental() else 'select * from result' }}

)

select
    {{ key }},
    {{ member }},
    {% for attribute in attributes %}
    {{ attribute }},
    {% endfor %}
    valid_from,
    valid_to,
    is_current,
    is_inferred,
    _build
from final
{% endmacro %}

{% macro union_of(relations, columns) %}
    {#- Query: these columns of several relations. A text and no CTE: DuckDB would copy one that is read twice. -#}
    {% set parts = [] %}
    {% for relation in relations %}
        {% do parts.append('select ' ~ columns | join(', ') ~ ' from ' ~ relation) %}
    {% endfor %}
    {{ return(parts | join(' union all ')) }}
{% endmacro %}
