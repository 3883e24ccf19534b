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

{% macro is_in_new_files(table) %}
    {#-
      Condition: messages in files that Bronze did not have when a build last judged all of it; a superset of those that
      no build has judged. table: of Bronze.
    -#}
    {{ return(adapter.dispatch('is_in_new_files', 'levain')(table)) }}
{% endmacro %}

{% macro default__is_in_new_files(table) %}{{ return('true') }}{% endmacro %}

{% macro duckdb__is_in_new_files(table) %}
    {% set found = run_query(
        "select is_judged, epoch_us(unread_from), strftime(unread_from at time zone 'UTC', '%Y-%m-%d %H:%M:%S.%f') "
        ~ "from lake.bronze_tables where table_name = '" ~ table ~ "'"
    ).rows %}
    {% if not found or not found[0][0] %}{{ return('true') }}{% endif %}
    {% if found[0][1] is none %}{{ return('false') }}{% endif %}
    {{ return('ingested_at >= ' ~ timestamp_literal(found[0][2]) | trim) }}
{% endmacro %}

{% macro note_judged(results) %}
    {#-
      on-run-end: of which Bronze tables this run has judged all messages. Both models must be of this run: verdicts over
      what an earlier one left in `__arrived` have not read Bronze as it is pinned now.
    -#}
    {{ return(adapter.dispatch('note_judged', 'levain')(results)) }}
{% endmacro %}

{% macro default__note_judged(results) %}{% endmacro %}

{% macro duckdb__note_judged(results) %}
    {% set finished = results | selectattr('status', 'equalto', 'success') | map(attribute='node.name') | list %}
    {% set read = [] %}
    {% for table in bronze_tables() if 'int_' ~ table ~ '__arrived' in finished
        and 'int_' ~ table ~ '__verdicts' in finished %}
        {% do read.append("'" ~ table ~ "'") %}
    {% endfor %}
    {% do run_query(
        'create table if not exists ' ~ meta_table('judged_snapshots')
        ~ ' (table_name varchar, table_uuid varchar, snapshot_id bigint, sequence_number bigint, committed_ms bigint)'
    ) %}
    {% do run_query(
        'alter table ' ~ meta_table('judged_snapshots') ~ ' add column if not exists metadata_location varchar'
    ) %}
    {% if read %}
        {% set these = ' where table_name in (' ~ read | join(', ') ~ ')' %}
        {% do run_query('delete from ' ~ meta_table('judged_snapshots') ~ these) %}
        {% do run_query(
            'insert into ' ~ meta_table('judged_snapshots')
            ~ ' select table_name, table_uuid, snapshot_id, sequence_number, committed_ms, metadata_location'
            ~ ' from lake.bronze_tables' ~ these
        ) %}
    {% endif %}
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
