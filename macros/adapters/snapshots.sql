{% macro duckdb__snapshot_hash_arguments(args) -%}
    {#-
      dbt_scd_id must be the same on both engines: DuckDB writes a UTC timestamp with +00 at its end, Spark without.
    -#}
    md5(
    {%- for arg in args -%}
        coalesce(regexp_replace(cast({{ arg }} as varchar), '^([0-9-]{10} [0-9:]{8}([.][0-9]+)?)[+]00$', '\1'), '')
        {%- if not loop.last %} || '|' || {% endif -%}
    {%- endfor -%}
    )
{%- endmacro %}
