{#
  A build reads Bronze as it was when the build began: on-run-start makes one view per Bronze table over one Iceberg
  snapshot. What a worker lands meanwhile is the next build's.
#}

{% macro pin_bronze() %}
    {{ return(adapter.dispatch('pin_bronze', 'levain')(bronze_tables())) }}
{% endmacro %}

{% macro bronze_tables() %}
    {% set tables = [] %}
    {% for source in graph.sources.values() if source.source_name == 'bronze' %}
        {% do tables.append(source.name) %}
    {% endfor %}
    {{ return(tables | sort) }}
{% endmacro %}

{% macro duckdb__pin_bronze(tables) %}
    {#- lake.bronze_tables is the catalog's listing, by levain/duckdb_plugin.py. -#}
    {% set found = run_query('select table_name, metadata_location from lake.bronze_tables') %}
    {% set locations = dict(zip(found.columns[0].values(), found.columns[1].values())) %}
    {% do run_query('create schema if not exists bronze') %}
    {% for table in tables %}
        {% if table not in locations %}{% do no_bronze(table) %}{% endif %}
        {% do run_query(
            'create or replace view bronze.' ~ table ~ " as select * from iceberg_scan('"
            ~ dbt.escape_single_quotes(locations[table]) ~ "')"
        ) %}
    {% endfor %}
{% endmacro %}

{% macro spark__pin_bronze(tables) %}
    {% do run_query('create namespace if not exists bronze_pinned') %}
    {% set landed = run_query('show tables in bronze').columns['tableName'].values() | list
        if 'bronze' in run_query('show namespaces').columns[0].values() else [] %}
    {% for table in tables %}
        {% if table not in landed %}{% do no_bronze(table) %}{% endif %}
        {% set snapshot = run_query(
            'select snapshot_id from bronze.' ~ table ~ ".refs where name = 'main'"
        ).columns[0].values() %}
        {% do run_query(
            'create or replace view bronze_pinned.' ~ table ~ ' as select * from bronze.' ~ table
            ~ (' version as of ' ~ snapshot[0] if snapshot else ' where false')
        ) %}
    {% endfor %}
{% endmacro %}

{% macro no_bronze(table) %}
    {% do exceptions.raise_compiler_error(
        "Bronze has no table '" ~ table ~ "': nothing was landed yet.\nRun `levain init` to create topics and tables, "
        ~ "then `levain up` or `faust -A ingest.app worker` to land events. Catalog: LEVAIN_HOME or LEVAIN_CATALOG_URI."
    ) %}
{% endmacro %}
