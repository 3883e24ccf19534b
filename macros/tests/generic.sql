{# Tests of data. Which rows they read is said in macros/tests/scope.sql. #}

{% macro get_where_subquery(relation) %}
    {#-
      dbt's own hook: what a generic test reads of its model. The tests that judge a row by itself read the rows in
      scope; `_build` itself is tested on all of them, which the column's statistics answer.
    -#}
    {% set conditions = [config.get('where')] if config.get('where') else [] %}
    {% if execute
        and model.test_metadata.name in (
            'not_null', 'accepted_values', 'relationships', 'known_or_released', 'known_verdict',
        )
        and model.column_name != '_build' and tested_model_is_incremental() %}
        {% do conditions.append(rows_in_scope()) %}
    {% endif %}
    {% if conditions %}
        (select * from {{ relation }} where {{ conditions | join(' and ') }}) as dbt_subquery
    {% else %}
        {{ relation }}
    {% endif %}
{% endmacro %}

{% macro tested_model_is_incremental() %}
    {#- Whether the model of the running generic test has a `_build`. -#}
    {% set tested = graph.nodes.get(model.attached_node) if execute else none %}
    {{ return(tested is not none and '_build' in tested.columns) }}
{% endmacro %}

{% macro keys_in_scope(relation, keys) %}
    {#- Condition: rows whose keys some row in scope has; true where the tested model has no `_build`. -#}
    {% set scope = rows_in_scope() if tested_model_is_incremental() else 'true' %}
    {% if scope == 'true' %}{{ return('true') }}{% endif %}
    {% set columns = keys | join(', ') %}
    {{ return('(' ~ columns ~ ') in (select ' ~ columns ~ ' from ' ~ relation ~ ' where ' ~ scope ~ ')') }}
{% endmacro %}

{% test unique_together(model, columns, among='true') %}
    {#- No two rows have the same values in these columns. among: condition on the rows it holds for. -#}
    select
        {{ columns | join(', ') }},
        count(*) as copies
    from {{ model }}
    where
        {{ among }}
        and {{ keys_in_scope(model, columns) }}
    group by {{ columns | join(', ') }}
    having count(*) > 1
{% endtest %}

{% test no_gaps_or_overlaps(model, member) %}
    {#- A member's versions follow each other without gap or overlap, the last one is open, one is the current one. -#}
    with versions as (

        select
            {{ member }},
            valid_from,
            valid_to,
            is_current,
            lead(valid_from) over (partition by {{ member }} order by valid_from nulls last) as next_valid_from,
            sum(case when is_current then 1 else 0 end) over (partition by {{ member }}) as current_versions
        from {{ model }}
        where {{ keys_in_scope(model, [member]) }}

    )

    select *
    from versions
    where
        valid_from >= valid_to
        or coalesce(next_valid_from, {{ far_future() }}) <> valid_to
        or current_versions <> 1
{% endtest %}

{% test known_or_released(model, column_name, to, field) %}
    {#-
      Every value is a member of another relation, but for the messages that an operator released in spite of it. The
      model has the coordinates of its messages. to: relation; field: its column.
    -#}
    select
        messages.kafka_cluster,
        messages.topic,
        messages.partition,
        messages.kafka_offset,
        messages.{{ column_name }}
    from (select * from {{ model }}) as messages
    left join {{ to }} as members on messages.{{ column_name }} = members.{{ field }}
    left join {{ ref('released_messages') }} as released
        on
            messages.kafka_cluster = released.kafka_cluster and messages.topic = released.topic
            and messages.partition = released.partition and messages.kafka_offset = released.kafka_offset
    where
        messages.{{ column_name }} is not null
        and members.{{ field }} is null
        and released.kafka_offset is null
{% endtest %}

{% test known_verdict(model, column_name) %}
    {#- Every value is a verdict. -#}
    {{ test_accepted_values(model, column_name, values=verdict_names()) }}
{% endtest %}

{% test in_date_range(model, column_name) %}
    {#- Every date lies in the range of times (macros/topics/times.sql). -#}
    select {{ column_name }}
    from {{ model }}
    where not {{ in_date_range(column_name) }}
{% endtest %}
