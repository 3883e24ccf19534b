{#
  The incremental strategy `merge_changed`, one for both engines, the writing half of incremental change tracking
  (build.sql): a row that comes out as it was is not touched and keeps its `_build`; a row whose new `_build` is null is
  deleted.
#}

{% macro merge_changed(target, source, unique_key, columns) %}
    {#-
      target, source: relations; unique_key: column or list of columns; columns: names of the target's. Returns a merge
      statement. Columns go by name.
    -#}
    {%- set keys = [unique_key] if unique_key is string else unique_key -%}
    {%- if not keys or '_build' not in columns -%}
        {% do exceptions.raise_compiler_error(
            target ~ ' is merged, so it needs a unique_key and a column _build (see macros/incremental/build.sql).'
        ) %}
    {%- endif -%}
    {%- if config.get('incremental_predicates') or config.get('predicates') -%}
        {% do exceptions.raise_compiler_error(target ~ ' has predicates, which merge_changed does not take.') %}
    {%- endif -%}
    {%- set matched = [] -%}
    {%- for key in keys -%}
        {%- do matched.append('DBT_INTERNAL_SOURCE.' ~ key ~ ' = DBT_INTERNAL_DEST.' ~ key) -%}
    {%- endfor -%}
    {%- set changed = [] -%}
    {%- for column in columns if column not in keys and column != '_build' -%}
        {% do changed.append(is_distinct('DBT_INTERNAL_DEST.' ~ column, 'DBT_INTERNAL_SOURCE.' ~ column)) %}
    {%- endfor -%}

    merge into {{ target }} as DBT_INTERNAL_DEST
    using {{ source }} as DBT_INTERNAL_SOURCE
        on {{ matched | join('\n        and ') }}
    when matched and DBT_INTERNAL_SOURCE._build is null then delete
    {% if changed -%}
    when matched and ({{ changed | join('\n        or ') }}) then update set
        {% for column in columns -%}
        {{ column }} = DBT_INTERNAL_SOURCE.{{ column }}{{ ',\n        ' if not loop.last }}
        {%- endfor %}
    {%- endif %}
    when not matched and DBT_INTERNAL_SOURCE._build is not null then
        insert ({{ columns | join(', ') }})
        values (DBT_INTERNAL_SOURCE.{{ columns | join(', DBT_INTERNAL_SOURCE.') }})
{% endmacro %}

{% macro get_incremental_merge_changed_sql(arguments) %}
    {#- dbt's name for the SQL of the strategy `merge_changed`; dbt-spark's is in macros/adapters/spark.sql. -#}
    {{ return(merge_changed(
        arguments['target_relation'], arguments['temp_relation'], arguments['unique_key'],
        arguments['dest_columns'] | map(attribute='name') | list
    )) }}
{% endmacro %}
