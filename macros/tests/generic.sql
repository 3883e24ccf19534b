{# Tests of data. Which rows they read is said in macros/tests/scope.sql. #}

{% macro get_where_subquery(relation) %}
    {#-
      dbt's own hook: what a generic test reads of its model. dbt's tests that judge a row by itself read the rows in
      scope; the project's own tests choose for themselves.
    -#}
    {% set conditions = [config.get('where')] if config.get('where') else [] %}
    {% if execute
        and model.test_metadata.name in ('not_null', 'accepted_values', 'relationships', 'known_or_released')
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

{% macro repeated_keys(relation, columns, among='true') %}
    {#- Query: keys that several rows have, with their number. among: condition on the rows that are looked at. -#}
    select
        {{ columns | join(', ') }},
        count(*) as copies
    from {{ relation }}
    where
        {{ among }}
        and {{ keys_in_scope(relation, columns) }}
    group by {{ columns | join(', ') }}
    having count(*) > 1
{%- endmacro %}

{% test row_rules(model, keys=[], not_null=[], conditions=[]) %}
    {#-
      What every row of a model keeps, as one test: a test costs 20 ms of CPU on DuckDB and a job on Spark, whatever it
      reads, and a test for each column would be three quarters of all of a build's nodes. Gives a row for each rule
      that is broken; the end of the run names them (say_broken_rules).

      keys: lists of columns, such that no two rows have the same values in them; not_null: columns; conditions: SQL
      that is false for no row. Rows out of scope are not read, but for a missing `_build`, which would never be in
      scope: the column's statistics answer that.
    -#}
    {% set lists = [keys, not_null, conditions] + (keys if keys is not string else []) %}
    {% if lists | select('string') | list or not (keys or not_null or conditions) %}
        {% do exceptions.raise_compiler_error(
            'row_rules has no rule, or a text where a list belongs.\nWrite `keys: [[event_id], [customer, day]]`, '
            ~ '`not_null: [event_id]`, `conditions: [quantity > 0]`, one of them at least.'
        ) %}
    {% endif %}
    {% set scope = rows_in_scope() if tested_model_is_incremental() else 'true' %}
    {% set rules = {} %}
    {% for columns in keys %}
        {% do rules.update({
            columns | join(', ') ~ (' is unique' if columns | length == 1 else ' are unique together'):
            '(select count(*) from (' ~ repeated_keys(model, columns) ~ ') as repeated)'
        }) %}
    {% endfor %}
    {% for column in not_null %}
        {% do rules.update({
            column ~ ' is not null':
            '(select count(*) from ' ~ model ~ ' where _build is null)' if column == '_build' and scope != 'true'
            else 'count(case when ' ~ column ~ ' is null then 1 end)'
        }) %}
    {% endfor %}
    {% for condition in conditions %}
        {% do rules.update({
            condition.split() | join(' '): 'count(case when not (' ~ condition ~ ') then 1 end)'
        }) %}
    {% endfor %}
    with broken as (

        select
            {% for count in rules.values() %}
            {{ count }} as rule_{{ loop.index }}{{ ',' if not loop.last }}
            {% endfor %}
        from {{ model }}
        where {{ scope }}

    ),

    counted as (

        select
            rules.rule,
            case rules.number
                {% for _ in rules %}
                when {{ loop.index }} then broken.rule_{{ loop.index }}
                {% endfor %}
            end as failures
        from broken
        cross join (
            values
            {% for rule in rules %}
            ({{ loop.index }}, {{ string_literal(rule) }}){{ ',' if not loop.last }}
            {% endfor %}
        ) as rules (number, rule)

    )

    select *
    from counted
    where failures > 0
{% endtest %}

{% macro say_broken_rules(results) %}
    {#- on-run-end: which rules of which model are broken, where a test of them did not pass. -#}
    {% for result in results if result.status in ('fail', 'warn') %}
        {% set test = graph.nodes.get(result.node.unique_id, {}) %}
        {% if (test.get('test_metadata') or {}).get('name') == 'row_rules' %}
            {% set tested = test.attached_node.split('.')[-1] %}
            {% for row in run_query(result.node.compiled_code).rows %}
                {% do log(tested ~ ' breaks a rule (failures: ' ~ row[1] ~ '): ' ~ row[0], info=True) %}
            {% endfor %}
        {% endif %}
    {% endfor %}
{% endmacro %}

{% test unique_together(model, columns, among='true') %}
    {#- No two rows have the same values in these columns. among: condition on the rows it holds for. -#}
    {{ repeated_keys(model, columns, among) }}
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

{% test each_event_is_one_fact(model, events, date) %}
    {#-
      The accepted events of Silver and the fact table are the same, each once, and on its day. events: relation; date:
      the fact's column of the event's day.
    -#}
    {% set changed_only = 'where event_id in (select event_id from changed)' if passed_build() is not none else '' %}
    with
    {% if changed_only %}
    changed as (

        select event_id from {{ events }} where {{ rows_in_scope() }}
        union
        select event_id from {{ model }} where {{ rows_in_scope() }}

    ),

    {% endif %}
    both_sides as (

        select
            event_id,
            event_date,
            1 as events,
            0 as facts
        from {{ events }}
        {{ changed_only }}
        union all
        select
            event_id,
            {{ date }} as event_date,
            0 as events,
            1 as facts
        from {{ model }}
        {{ changed_only }}

    )

    select
        event_id,
        event_date,
        sum(events) as events,
        sum(facts) as facts
    from both_sides
    group by event_id, event_date
    having sum(events) <> 1 or sum(facts) <> 1
{% endtest %}
