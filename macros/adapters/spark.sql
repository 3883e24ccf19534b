{# Where dbt-spark falls short of Iceberg's catalog. #}

{% macro spark__list_relations_without_caching(relation) %}
    {#-
      dbt-spark asks for tables only, and an Iceberg catalog keeps its views apart: unseen, a view that becomes a table
      (or the other way) fails. Returns rows of schema, name, is_temporary, information.
    -#}
    {%- set found = [] -%}
    {%- for row in run_query('show table extended in ' ~ relation.schema ~ " like '*'").rows -%}
        {%- do found.append((row[0], row[1], row[2], row[3])) -%}
    {%- endfor -%}
    {%- for row in run_query('show views in ' ~ relation.schema).rows if row[0] == relation.schema -%}
        {%- do found.append((row[0], row[1], row[2], 'Type: VIEW')) -%}
    {%- endfor -%}
    {{ return(found) }}
{% endmacro %}

{% macro spark__get_empty_schema_sql(columns) %}
    {#- Contracts are written once, in DuckDB's words; only the name of a moment's type differs. -#}
    {%- set here = {} -%}
    {%- for name, column in columns.items() -%}
        {%- set type = type_timestamp_utc() if column.data_type == 'timestamptz' else column.data_type -%}
        {%- do here.update({name: dict(column, data_type=type)}) -%}
    {%- endfor -%}
    {{ return(default__get_empty_schema_sql(here)) }}
{% endmacro %}

{% macro dbt_spark_validate_get_incremental_strategy(raw_strategy, file_format) %}
    {#- dbt-spark knows its own strategies only, whatever macros a project has. -#}
    {% if raw_strategy == 'merge_changed' %}{{ return(raw_strategy) }}{% endif %}
    {{ return(dbt_spark.dbt_spark_validate_get_incremental_strategy(raw_strategy, file_format)) }}
{% endmacro %}

{% macro dbt_spark_get_incremental_sql(strategy, source, target, existing, unique_key, incremental_predicates) %}
    {% if strategy == 'merge_changed' %}
        {% set columns = adapter.get_columns_in_relation(target) | map(attribute='name') | list %}
        {{ return(merge_changed(target, source, unique_key, columns)) }}
    {% endif %}
    {{ return(dbt_spark.dbt_spark_get_incremental_sql(
        strategy, source, target, existing, unique_key, incremental_predicates
    )) }}
{% endmacro %}
