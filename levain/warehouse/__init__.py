"""From Bronze to tested tables: running dbt (`dbt`), what contracts generate (`generate`), DuckDB and Spark."""
