{% macro generate_schema_name(custom_schema_name, node) -%}
    {#- Schemas are layers, the same in every environment: an environment is a database, not a prefix. -#}
    {{ (custom_schema_name or target.schema) | trim }}
{%- endmacro %}
