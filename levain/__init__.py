"""The command line and what it drives: processes, builds, accounting, generated dbt files."""
