{#
  Slowly changing dimensions of type 2, as a pure function of a log of changes.

  A member's time line has no gap and no overlap: half-open intervals [valid_from, valid_to), the last one open to
  9999-12-31. A record that repeats the state before it makes no version. Of several records of one member with
  the same valid_from, the latest counts (event_time, then Kafka timestamp and coordinates). Records may come in any order.

  Facts older than a member's first version, or of a member without a change record, get one inferred version that
  ends where the first real one starts.

  One version of each member is current: the one valid at as_of(), or the first where all begin later. No clock is read.
#}

{% macro far_past() %}{{ time_from() }}{% endmacro %}

{% macro far_future() %}{{ timestamp_literal('9999-12-31 00:00:00') }}{% endmacro %}

{% macro as_of() %}
    {#- The moment of the tables: the newest event time of the log. Returns a UTC timestamp, never null. -#}
    coalesce((select max(latest_event_at) from {{ ref('latest_events') }}), {{ far_past() }})
{%- endmacro %}

{% macro is_current_version(member) %}
    {#-
      Whether a version is its member's current one, among all versions of the member.
      member: column. Needs columns valid_from, valid_to and as_of. Returns a boolean, never null.
    -#}
    (
        as_of < valid_to
        and (valid_from <= as_of or valid_from = min(valid_from) over (partition by {{ member }}))
    )
{%- endmacro %}

{% macro scd2_versions(changes, member, valid_from, attributes) %}
    {#-
      Subquery: one row per member and version.

      changes     name of a CTE with one row per change: member, valid_from, attributes, event_time, Kafka coordinates
      attributes  column -> SQL text that is equal exactly when the attribute is (strings, integers, dates; cast others)

      Returns the member, the attributes, version_from, version_to.
    -#}
    select
        {{ member }},
        {{ attributes.keys() | join(',\n        ') }},
        version_from,
        coalesce(
            lead(version_from) over (partition by {{ member }} order by version_from nulls last), {{ far_future() }}
        ) as version_to
    from (
        select
            compared.*,
            lag(state) over (partition by {{ member }} order by version_from nulls last) as previous_state
        from (
            select
                {{ member }},
                {{ attributes.keys() | join(',\n                ') }},
                {{ valid_from }} as version_from,
                {{ surrogate_key(attributes.values() | list) }} as state,
                row_number() over (
                    partition by {{ member }}, {{ valid_from }}
                    {{ latest_first() }}
                ) as recency
            from {{ changes }}
        ) as compared
        where recency = 1
    ) as versions
    where previous_state is null or previous_state <> state
{%- endmacro %}

{% macro is_version_at(rows, moment, dimension, member) %}
    {#-
      Join condition: a dimension's version of the member that a row names, the one that was valid at a moment.

      rows, dimension: names of relations; moment, member: columns of `rows`; member is one of `dimension`, too.
    -#}
    {{ rows }}.{{ member }} = {{ dimension }}.{{ member }}
        and {{ dimension }}.valid_from <= {{ rows }}.{{ moment }} and {{ rows }}.{{ moment }} < {{ dimension }}.valid_to
{%- endmacro %}

{% macro latest_first(rows='') %}
    {#- Order of records of one thing: the latest by event time, then by when and where it came. rows: a relation. -#}
    {%- set of = rows ~ '.' if rows -%}
    order by
        {{ of }}event_time desc nulls last,
        {{ of }}kafka_timestamp desc nulls last,
        {{ of }}kafka_cluster desc nulls last,
        {{ of }}partition desc nulls last,
        {{ of }}kafka_offset desc nulls last
{%- endmacro %}
