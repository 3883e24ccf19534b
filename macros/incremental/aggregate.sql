{#
  The frame of every incremental aggregate: a model is its keys and its measures.

  A build recomputes the groups that it touches from all of their facts, and replaces them; a group that no fact is left
  of is deleted. Touched are the groups of facts that are new or have changed, and those that a superseded version of an
  event was in, since the event may have moved to another group.
#}

{% macro aggregate(facts, keys, superseded, superseded_keys={}) %}
{#-
  Used as a call block whose body is the measures, a part of the select list.

  facts            relation with one row per fact, and `_build`
  keys             column -> SQL over `facts` that gives it, best the date first; together the model's groups, and its
                   unique key
  superseded       relation of superseded versions of events, with `_build`
  superseded_keys  column -> SQL over `superseded` that gives it, where it is another one than over `facts`
-#}
with
{%- if is_incremental() %}
{%- set since = last_build() %}
touched_groups as (

    select
        {%- for key, sql in keys.items() %}
        {{ sql }}{{ ' as ' ~ key if sql != key }}{{ ',' if not loop.last }}
        {%- endfor %}
    from {{ facts }}
    where _build > {{ since }}
    union
    select
        {%- for key, sql in keys.items() %}
        {{ superseded_keys.get(key, sql) }}{{ ' as ' ~ key if superseded_keys.get(key, sql) != key }}{{ ',' if not loop.last }}
        {%- endfor %}
    from {{ superseded }}
    where _build > {{ since }}

),
{%- else %}

{%- endif %}

facts as (

    select
        facts.*
        {%- for key, sql in keys.items() if sql != key %},
        {{ sql }} as {{ key }}
        {%- endfor %}
    from {{ facts }} as facts
    {%- if is_incremental() %}
    inner join touched_groups
        on
            {%- for key, sql in keys.items() %}
            {{ 'and ' if not loop.first }}{{ 'facts.' ~ sql if sql == key else sql }} = touched_groups.{{ key }}
            {%- endfor %}
    {%- endif %}

),

measured as (

    select
        {{ keys | join(',\n        ') }},
        {{ caller() | trim }},
        {{ this_build() }} as _build
    from facts
    group by {{ keys | join(', ') }}

)

select * from measured
{%- if is_incremental() %}
union all
{{ rows_to_delete('measured', 'touched_groups', keys | list, keys | list) }}
{%- else %}
{{ in_order(keys) }}
{%- endif %}
{% endmacro %}

{% macro in_order(columns) %}
    {#-
      The order in which a refresh writes a table's rows, so that what later builds change of it lies together: DuckDB
      rewrites every row group that has a changed row. Spark has partitions for that.
    -#}
    {{ return(adapter.dispatch('in_order', 'levain')(columns)) }}
{% endmacro %}

{% macro default__in_order(columns) %}{{ return('') }}{% endmacro %}

{% macro duckdb__in_order(columns) %}{{ return('order by ' ~ columns | join(', ')) }}{% endmacro %}

{% macro rows_to_delete(result, affected, scope, key) %}
    {#-
      Rows of this model within the affected scope that the new result no longer has, with a `_build` that is null:
      merge_changed.sql deletes them. Joins, since DuckDB's plan for `exists` and `not exists` in one condition takes
      seconds for every million rows of the model.

      result, affected: names of CTEs; scope: columns of `affected` and of this model; key: the model's unique key.
    -#}
    {%- set columns = adapter.get_columns_in_relation(this) | map(attribute='name') | list -%}
    select
        {{ select_list(columns, 'old', {'_build': 'cast(null as bigint)'}) }}
    from {{ this }} as old
    inner join (select distinct {{ scope | join(', ') }} from {{ affected }}) as affected
        on {% for column in scope %}affected.{{ column }} = old.{{ column }}{{ ' and ' if not loop.last }}{% endfor %}
    left join {{ result }} as result
        on {% for column in key %}result.{{ column }} = old.{{ column }}{{ ' and ' if not loop.last }}{% endfor %}
    where result.{{ key | first }} is null
{%- endmacro %}
