{#
  Generic tests. In an ordinary build a test of an incremental model reads the rows of this build and the keys they
  touch; with `--vars '{audit: true}'` (levain build --audit) it reads everything.
#}

{% macro get_where_subquery(relation) %}
    {#- dbt's own hook for `where`: gives the word __this_build__ its meaning. -#}
    {% set where = config.get('where') or '' %}
    {% if '__this_build__' in where %}
        {% set where = where | replace('__this_build__', rows_in_scope()) %}
    {% endif %}
    {% if where %}
        (select * from {{ relation }} where {{ where }}) as dbt_subquery
    {% else %}
        {{ relation }}
    {% endif %}
{% endmacro %}

{% macro rows_in_scope() %}
    {#- Condition: the rows a test of an incremental model looks at. -#}
    {{ return('true' if var('audit') else '_build = ' ~ this_build()) }}
{% endmacro %}

{% test unique_together(model, columns, among='true', incremental=true) %}
    {#-
      No two rows have the same values in these columns.

      among: condition on the rows it holds for; incremental: whether the model has a `_build`.
    -#}
    select
        {{ columns | join(', ') }},
        count(*) as copies
    from {{ model }}
    where
        {{ among }}
        {% if incremental and not var('audit') %}
        and {{ columns[0] }} in (select {{ columns[0] }} from {{ model }} where {{ rows_in_scope() }})
        {% endif %}
    group by {{ columns | join(', ') }}
    having count(*) > 1
{% endtest %}

{% test no_gaps_or_overlaps(model, member) %}
    {#- A member's versions follow each other without gap or overlap, the last one is the current one and open. -#}
    with versions as (

        select
            {{ member }},
            valid_from,
            valid_to,
            is_current,
            lead(valid_from) over (partition by {{ member }} order by valid_from) as next_valid_from
        from {{ model }}

    )

    select *
    from versions
    where
        valid_from >= valid_to
        or coalesce(next_valid_from, {{ far_future() }}) <> valid_to
        or is_current <> (next_valid_from is null)
{% endtest %}
