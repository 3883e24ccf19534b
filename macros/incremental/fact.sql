{#
  The frame of every fact with one row per accepted event: a model is its columns.

  A build adds the events that are new, and restates those whose dimension version has changed.
#}

{% macro fact(events, superseded, date, dimensions={}) %}
{#-
  Used as a call block whose body is the columns after `event_id`, a part of the select list over `events` and the
  dimensions.

  events       Silver relation of accepted events
  superseded   Silver relation of superseded versions of them
  date         the fact's name for the day of the event, its last column but `_build`; with event_id its unique key
  dimensions   name -> (relation of a type 2 dimension, its natural key, a column of `events` too): joined under that
               name, in the version that was valid when the event happened
-#}
{{- config(
    materialized='incremental',
    incremental_strategy='merge_changed',
    unique_key=['event_id', date],
    partition_by=by_month(date),
) -}}
-- depends_on: {{ superseded }}
{%- set since = last_build() if is_incremental() %}
with
{%- for name, dimension in dimensions.items() %}
{{ name }} as (

    select * from {{ dimension[0] }}

),
{% endfor %}
events as (

    select * from {{ events }}
    {%- if is_incremental() %}
    where _build > {{ since }}
    {%- for name, dimension in dimensions.items() %}
    union
    select events.* from {{ events }} as events
    inner join {{ name }} on {{ is_version_at('events', 'event_time', name, dimension[1]) }}
    where {{ name }}._build > {{ since }}
    {%- endfor %}
    {%- endif %}

),

final as (

    select
        events.event_id,
        {{ caller() | trim }},
        events.event_date as {{ date }},
        {{ this_build() }} as _build
    from events
    {%- for name, dimension in dimensions.items() %}
    left join {{ name }} on {{ is_version_at('events', 'event_time', name, dimension[1]) }}
    {%- endfor %}

)

{{- without_moved_rows(superseded, date, since) }}
{% endmacro %}

{% macro without_moved_rows(superseded, date, since) %}
{#-
  The end of a fact's query, after its CTE `final`. The merge looks for an event on its day only: one whose accepted
  version is of another day now leaves the old one.
  superseded and date are those of fact; since is the build that the model was last in.
-#}
{%- if is_incremental() %},

moved as (

    select
        superseded.event_id,
        superseded.event_date as {{ date }}
    from {{ superseded }} as superseded
    inner join final on superseded.event_id = final.event_id and superseded.event_date <> final.{{ date }}
    where superseded._build > {{ since }}

)

{{ with_rows_to_delete('final', 'moved', [date, 'event_id'], ['event_id', date]) }}
{%- else %}

select * from final
{%- endif %}
{%- endmacro %}
