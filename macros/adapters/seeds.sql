{% macro duckdb__load_csv_rows(model, agate_table) %}
    {#-
      dbt-duckdb's own fills a table that is there by position, whatever order the file's columns have; lets DuckDB guess
      formats, so that 03/04/2024 becomes some date; and puts the path between quotes as it is. Here columns go by
      their names, the format is that of RFC 4180 with ISO 8601 dates, and anything else is an error.
    -#}
    {% set columns = agate_table.column_names | map('tojson') | join(', ') %}
    {% set file = adapter.get_seed_file_path(model) | replace("'", "''") %}
    {% set sql %}
        copy {{ this.render() }} ({{ columns }}) from '{{ file }}' (
            format csv, header true, auto_detect false, delimiter ',', quote '"', escape '"', comment '',
            dateformat '%Y-%m-%d', timestampformat '%Y-%m-%d %H:%M:%S'
        )
    {% endset %}
    {% do adapter.add_query(sql, abridge_sql_log=True) %}
    {{ return(sql) }}
{% endmacro %}
