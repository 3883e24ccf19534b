{#
  The frame of every incremental aggregate: a model is its keys and its measures.

  A build recomputes the groups that it touches from all of their facts, and replaces them; a group that no fact is left
  of is deleted. Touched are the groups of facts that are new or have changed, and those that a superseded version of an
  event was in, since the event may have moved to another group.
#}

{% macro aggregate(facts, keys, superseded=none, superseded_keys={}, only=none, where=none) %}
{#-
  Used as a call block whose body is the measures, a part of the select list.

  facts            relation with one row per fact, and `_build`
  keys             column -> SQL over `facts` that gives it, best the date first; together the model's groups, and its
                   unique key
  superseded       relation of superseded versions of events, with `_build`; none: a fact never leaves its group
  superseded_keys  column -> SQL over `superseded` that gives it, where it is another one than over `facts`
  only             where the first key is a date that `facts` does not have as a column: the condition on `facts` that it
                   lies between `first_key` and `last_key`. Both become constants, the first and the last of the touched
                   groups, so that files and row groups of other dates are not read
  where            condition on `facts`, whose others are in no group, such as those without a key: null equals nothing
-#}
with
{%- if is_incremental() %}
{%- set touched = touched_groups(facts, keys, superseded, superseded_keys) %}
touched_groups as (

    {{ touched | indent(4) }}

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
    {%- set conditions = ([between_touched(only, keys | first, touched)] if only and is_incremental() else [])
        + ([where] if where else []) %}
    {%- if conditions %}
    where {{ conditions | join(' and ') }}
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

{%- if is_incremental() and superseded %}
{{ with_rows_to_delete('measured', 'touched_groups', keys | list, keys | list) }}
{%- else %}
select * from measured
{{ in_order(keys) if not is_incremental() }}
{%- endif %}
{% endmacro %}

{% macro touched_groups(facts, keys, superseded, superseded_keys) %}
    {#- Query: keys of the groups that changes since this model's last build touch. The arguments are aggregate's. -#}
    {%- set since = last_build() -%}
select{{ ' distinct' if not superseded }}
    {%- for key, sql in keys.items() %}
    {{ sql }}{{ ' as ' ~ key if sql != key }}{{ ',' if not loop.last }}
    {%- endfor %}
from {{ facts }}
where _build > {{ since }}
    {%- if superseded %}
union
select
    {%- for key, sql in dict(keys, **superseded_keys).items() %}
    {{ sql }}{{ ' as ' ~ key if sql != key }}{{ ',' if not loop.last }}
    {%- endfor %}
from {{ superseded }}
where _build > {{ since }}
    {%- endif %}
{%- endmacro %}

{% macro between_touched(condition, key, touched) %}
    {#- The condition `only` of aggregate, with its constants. key: the first key; touched: of touched_groups(). -#}
    {% set found = run_query('select min(' ~ key ~ '), max(' ~ key ~ ') from (' ~ touched ~ ') as touched').rows[0] %}
    {% if found[0] is none %}{{ return('false') }}{% endif %}
    {% set first, last = "cast('" ~ found[0] ~ "' as date)", "cast('" ~ found[1] ~ "' as date)" %}
    {{ return(condition | replace('first_key', first) | replace('last_key', last)) }}
{% endmacro %}

{% macro count_of(condition) %}
    {#- Measure: how many rows meet a condition. Returns a bigint. -#}
    {{ return(sum_of('1', condition)) }}
{% endmacro %}

{% macro sum_of(number, condition) %}
    {#- Measure: sum of a whole number over the rows that meet a condition, 0 where none does. Returns a bigint. -#}
    {{ return('cast(sum(case when ' ~ condition ~ ' then ' ~ number ~ ' else 0 end) as bigint)') }}
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

{% macro with_rows_to_delete(result, affected, scope, key) %}
    {#-
      Query: the new result, and those rows of this model within the affected scope that the result no longer has, with
      a `_build` that is null: merge_changed.sql deletes them.

      result, affected: names of CTEs; scope: columns of `affected` and of this model, best the date first; key: the
      model's unique key.

      The result is named once, since Spark calculates a CTE each time it is named. The bounds of a date no planner can
      miss: DuckDB may take `affected` for larger than it is, and read all of the model for the join.
    -#}
    {%- set existing = {} -%}
    {%- for column in adapter.get_columns_in_relation(this) -%}
        {%- do existing.update({column.name: column.dtype | lower}) -%}
    {%- endfor -%}
    {%- set columns = existing.keys() | list -%}
    select
        {{ select_list(columns, replaced={'_build': 'case when is_old = 0 then _build end'}) }}
    from (
        select
            versions.*,
            row_number() over (partition by {{ key | join(', ') }} order by is_old nulls last) as place
        from (
            select
                {{ select_list(columns) | indent(8) }},
                0 as is_old
            from {{ result }}
            union all
            select
                {{ select_list(columns, 'old') | indent(8) }},
                1 as is_old
            from (
                select * from {{ this }}
                {%- if existing[scope | first] == 'date' %}
                where
                    {{ scope | first }} >= (select coalesce(min({{ scope | first }}), {{ date_to() }}) from {{ affected }})
                    and {{ scope | first }}
                    <= (select coalesce(max({{ scope | first }}), {{ date_from() }}) from {{ affected }})
                {%- endif %}
            ) as old
            inner join (select distinct {{ scope | join(', ') }} from {{ affected }}) as affected
                on
                    {%- for column in scope %}
                    {{ 'and ' if not loop.first }}affected.{{ column }} = old.{{ column }}
                    {%- endfor %}
        ) as versions
    ) as ranked
    where place = 1
{%- endmacro %}
