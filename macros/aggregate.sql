{% macro affected_groups(keys, facts, conflicts, conflict_keys=none) %}
    {#-
      Subquery: the groups of an aggregate that this build touches: those of new and changed facts, and those of copies
      that lost to a copy with other content, whose facts may have moved to another group.

      keys            columns of the aggregate that name a group
      facts           CTE with the keys and `_build`
      conflicts       CTE of the copies that lost; conflict_keys: SQL of each key there (default: the same names)
    -#}
    {%- set since = last_build() -%}
    select {% for key in keys %}{{ key }}{{ ', ' if not loop.last }}{% endfor %}
    from {{ facts }}
    where _build > {{ since }}
    union
    select {% for key in keys %}{{ (conflict_keys or keys)[loop.index0] }} as {{ key }}{{ ', ' if not loop.last }}{% endfor %}
    from {{ conflicts }}
    where _build > {{ since }}
{%- endmacro %}
