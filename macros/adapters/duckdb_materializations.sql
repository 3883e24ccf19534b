{#
  Materializations on DuckDB. dbt's own make a view or a table beside the old one, rename both and drop the old. DuckDB
  replaces either in one statement; dbt's way took more of the time of a small build than the models themselves.
#}
{% macro duckdb__create_view_as(relation, sql) %}
    {% if config.get('contract').enforced %}{{ get_assert_columns_equivalent(sql) }}{% endif %}
    {{ config.get('sql_header', '') }}
    create or replace view {{ relation }} as (
        {{ sql }}
    )
{% endmacro %}

{% macro replace_table_as(relation, sql) %}
    {#- Statements that make a table of a query's rows, with the columns of its contract if it has one. -#}
    {{ config.get('sql_header', '') }}
    {%- if config.get('contract').enforced %}
    {{ get_assert_columns_equivalent(sql) }}
    create or replace table {{ relation }} {{ get_table_columns_and_constraints() }};
    insert into {{ relation }} {{ get_column_names() }} (
        {{ get_select_subquery(sql) }}
    )
    {%- else %}
    create or replace table {{ relation }} as (
        {{ sql }}
    )
    {%- endif %}
{% endmacro %}

{% macro drop_if_no_table(relation) %}
    {#- A model that was a view is one no more. relation: as the cache has it, or none. -#}
    {% if relation is not none and not relation.is_table %}{% do adapter.drop_relation(relation) %}{% endif %}
{% endmacro %}

{% macro finish_table(target_relation) %}
    {#- The end of a materialization as a table: what it returns to dbt. -#}
    {% do persist_docs(target_relation, model) %}
    {{ run_hooks(post_hooks, inside_transaction=True) }}
    {% do adapter.commit() %}
    {{ run_hooks(post_hooks, inside_transaction=False) }}
    {{ return({'relations': [target_relation]}) }}
{% endmacro %}

{% materialization view, adapter='duckdb' %}
    {{ run_hooks(pre_hooks, inside_transaction=False) }}
    {% set outcome = create_or_replace_view() %}
    {% do persist_docs(outcome.relations[0], model) %}
    {% do adapter.commit() %}
    {{ run_hooks(post_hooks, inside_transaction=False) }}
    {{ return(outcome) }}
{% endmaterialization %}

{% materialization table, adapter='duckdb' %}
    {% set target_relation = this.incorporate(type='table') %}
    {{ run_hooks(pre_hooks, inside_transaction=False) }}
    {{ run_hooks(pre_hooks, inside_transaction=True) }}
    {% do drop_if_no_table(load_cached_relation(this)) %}
    {% call statement('main') %}{{ replace_table_as(target_relation, compiled_code) }}{% endcall %}
    {{ return(finish_table(target_relation)) }}
{% endmaterialization %}

{% materialization incremental, adapter='duckdb' %}
    {#- New rows go to a temporary table, which is small: columns are compared there, and the query is planned once. -#}
    {% set existing = load_cached_relation(this) %}
    {% set target_relation = this.incorporate(type='table') %}
    {{ run_hooks(pre_hooks, inside_transaction=False) }}
    {{ run_hooks(pre_hooks, inside_transaction=True) }}
    {% if existing is none or not existing.is_table or should_full_refresh() %}
        {% do drop_if_no_table(existing) %}
        {% call statement('main') %}{{ replace_table_as(target_relation, compiled_code) }}{% endcall %}
    {% else %}
        {% set new_rows = make_temp_relation(target_relation).include(database=false, schema=false) %}
        {% call statement('new_rows', auto_begin=False) %}
            {{ config.get('sql_header', '') }}
            create or replace temporary table {{ new_rows }} as (
                {{ compiled_code }}
            )
        {% endcall %}
        {% if config.get('contract').enforced %}
            {{ get_assert_columns_equivalent('select * from ' ~ new_rows) }}
        {% endif %}
        {% set merge = adapter.get_incremental_strategy_macro(context, config.get('incremental_strategy') or 'default') %}
        {% call statement('main') %}
            {{ merge({
                'target_relation': target_relation,
                'temp_relation': new_rows,
                'unique_key': config.get('unique_key'),
                'dest_columns': columns_that_match(new_rows, target_relation),
                'incremental_predicates': config.get('incremental_predicates'),
            }) }}
        {% endcall %}
        {% call statement('drop_new_rows') %}drop table {{ new_rows }}{% endcall %}
    {% endif %}
    {{ return(finish_table(target_relation)) }}
{% endmaterialization %}

{% macro columns_that_match(new_rows, target_relation) %}
    {#-
      The columns of a table, which are also those of its new rows; else dbt's `on_schema_change` acts, and gives what
      the table then has.
    -#}
    {% set columns = adapter.get_column_schema_from_query('select * from ' ~ target_relation) %}
    {% set new_columns = adapter.get_column_schema_from_query('select * from ' ~ new_rows) %}
    {% if columns | sort(attribute='name') | string != new_columns | sort(attribute='name') | string %}
        {% set columns = process_schema_changes(config.get('on_schema_change'), new_rows, target_relation) or columns %}
    {% endif %}
    {{ return(columns) }}
{% endmacro %}
