{% macro duckdb__get_table_columns_and_constraints() %}
    {#-
      The columns of a table with a contract. DuckDB 1.5 packs the bits of decimals with more than 18 digits, and takes
      400 ns for each to unpack it, a hundred times what it takes with runs of equal values.
    -#}
    {{ return(modules.re.sub(
        '(decimal\\((?:19|[23][0-9]), *[0-9]+\\))', '\\1 using compression rle', table_columns_and_constraints()
    )) }}
{% endmacro %}
