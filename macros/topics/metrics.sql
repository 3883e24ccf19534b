{#
  What is measured of the fields of accepted events, per day of the event, written from the data of the contracts:

    null_share   of an optional field: the events without it, 0 to 1
    distinct     of a text, or of a number that only names something, but for the identity: how many values there are
    mean         of a number; its events are those that have one
    share        of an enum, a row for each allowed value, and of a boolean, for `true`: the events with it, 0 to 1

  Every value is exact, so that both engines have the same. models/quality/quality_metrics.sql adds what is measured
  of a topic as a whole.
#}

{% macro field_metrics(topics) %}
{#-
  The model of these metrics, day by day: a build computes the days of a topic whose verdicts have changed, and its
  query is of those topics alone. That of all of them costs more to plan than a build of little else.

  topics: list of pairs: relation of a verdict model, contract (see contract_columns).
-#}
{%- set key = ['event_date', 'topic', 'field', 'metric', 'category'] -%}
{{- config(
    materialized='incremental',
    incremental_strategy='merge_changed',
    unique_key=key,
    partition_by=by_month('event_date'),
) -}}
{%- set since = last_build() -%}
{%- set measures = [] -%}
{%- for verdicts, contract in topics -%}
    {%- set metrics = metrics_of(contract) -%}
    {%- if metrics -%}{%- do measures.append((verdicts, contract.topic, metrics)) -%}{%- endif -%}
{%- endfor -%}
{%- if is_incremental() -%}{%- set measures = changed_since(since, measures) -%}{%- endif -%}
with
{%- if is_incremental() %}
touched_days as (

    {% for verdicts, topic, metrics in measures -%}
    select distinct
        event_date,
        '{{ topic }}' as topic
    from {{ verdicts }}
    where _build > {{ since }}
    {{ 'union all' if not loop.last }}
    {% endfor %}
),
{%- endif %}
{% for verdicts, topic, metrics in measures %}
topic_{{ loop.index }} as (

    select
        messages.event_date,
        cast(count(*) as bigint) as events
        {%- for metric in metrics %},
        {{ metric.sql }} as metric_{{ loop.index }}
        {%- if metric.metric == 'mean' %},
        cast({{ metric.events }} as bigint) as events_{{ loop.index }}
        {%- endif %}
        {%- endfor %}
    from {{ verdicts }} as messages
    {%- if is_incremental() %}
    inner join touched_days
        on
            messages.event_date = touched_days.event_date
            and touched_days.topic = '{{ topic }}'
    {%- endif %}
    where messages.verdict = 'accepted'
    group by messages.event_date

),
{% endfor %}
all_metrics as (
    {% for verdicts, topic, metrics in measures %}
    {{ 'union all' if not loop.first }}
    select
        days.event_date,
        '{{ topic }}' as topic,
        metrics.field,
        metrics.metric,
        metrics.category,
        {{ events_of_metric(metrics) }} as events,
        case metrics.number
            {%- for metric in metrics %}
            when {{ loop.index }} then days.metric_{{ loop.index }}
            {%- endfor %}
        end as value
    from topic_{{ loop.index }} as days
    cross join (
        values
        {%- for metric in metrics %}
        {%- set names = [metric.field, metric.metric, metric.category or ''] %}
        ({{ loop.index }}, '{{ names | join("', '") }}'){{ ',' if not loop.last }}
        {%- endfor %}
    ) as metrics (number, field, metric, category)
    {%- endfor %}

),

measured as (

    select
        all_metrics.*,
        {{ this_build() }} as _build
    from all_metrics
    where value is not null

)

{% if is_incremental() -%}
{{ with_rows_to_delete('measured', 'touched_days', ['event_date', 'topic'], key) }}
{%- else -%}
select * from measured
{{ in_order(key) }}
{%- endif %}
{% endmacro %}

{% macro changed_since(since, measures) %}
    {#- Those of field_metrics with verdicts of later builds than `since`; else the first, so that there is a query. -#}
    {% set queries = [] %}
    {% for verdicts, topic, metrics in measures %}
        {% do queries.append(
            "select '" ~ topic ~ "' as topic from (select 1 as one from " ~ verdicts ~ ' where _build > ' ~ since
            ~ ' limit 1) as found'
        ) %}
    {% endfor %}
    {% set changed = run_query(queries | join(' union all ')).columns[0].values() %}
    {% set found = [] %}
    {% for measure in measures if measure[1] in changed %}{% do found.append(measure) %}{% endfor %}
    {{ return(found or measures[:1]) }}
{% endmacro %}

{% macro metrics_of(contract) %}
    {#- What is measured of a contract's fields. Returns a list of dicts: field, metric, category (of a share), sql. -#}
    {% set found = [] %}
    {% for name, field in contract.fields.items() if field.type != 'object' %}
        {% set column = 'messages.' ~ (field.column or name) %}
        {% if field.path or not field.required %}
            {% do found.append({'field': name, 'metric': 'null_share', 'sql': share_of(column ~ ' is null')}) %}
        {% endif %}
        {% if 'values' in field %}
            {% for value in field['values'] %}
                {% do found.append({'field': name, 'metric': 'share', 'category': value,
                    'sql': share_of(column ~ " = '" ~ value ~ "'")}) %}
            {% endfor %}
        {% elif field.type == 'boolean' %}
            {% do found.append({'field': name, 'metric': 'share', 'category': 'true', 'sql': share_of(column)}) %}
        {% elif is_counted(field) %}
            {% set events = 'count(' ~ column ~ ')' %}
            {% do found.append({'field': name, 'metric': 'mean', 'events': events,
                'sql': decimal_division('sum(' ~ column ~ ')', events, 24, 6)}) %}
        {% elif field.type in ('string', 'uuid', 'integer') and name != contract.identity %}
            {% do found.append({'field': name, 'metric': 'distinct',
                'sql': 'cast(' ~ count_distinct(column) ~ ' as decimal(24, 6))'}) %}
        {% endif %}
    {% endfor %}
    {{ return(found) }}
{% endmacro %}

{% macro events_of_metric(metrics) %}
    {#- Over `days` and `metrics` of field_metrics: how many events a value is of. metrics: of metrics_of. -#}
    {% set cases = [] %}
    {% for metric in metrics if metric.metric == 'mean' %}
        {% set number = metrics.index(metric) + 1 %}
        {% do cases.append('when ' ~ number ~ ' then days.events_' ~ number) %}
    {% endfor %}
    {{ return('case metrics.number ' ~ cases | join(' ') ~ ' else days.events end' if cases else 'days.events') }}
{% endmacro %}

{% macro is_counted(field) %}
    {#- Whether a field is a number to calculate with: an integer without limits only names something. -#}
    {% set is_limited = 'minimum' in field and 'maximum' in field %}
    {{ return(field.type.startswith('decimal') or (field.type == 'integer' and is_limited)) }}
{% endmacro %}

{% macro share_of(condition) %}
    {#- Measure: the share of a group's rows that meet a condition, 0 to 1. Returns decimal(24, 6). -#}
    {{ return(decimal_division(count_of(condition), 'count(*)', 24, 6)) }}
{% endmacro %}

{% macro anomaly_direction() %}
    {#-
      In which direction a value is an anomaly: `both`, `falls`, `rises` or `never`. What a contract says by its
      property `anomalies` comes before what holds for the metric. Over rows with topic, field and metric.
      Returns a string.
    -#}
    {% set usual = {'volume': 'both', 'freshness': 'rises', 'score': 'falls', 'null_share': 'rises', 'distinct': 'both',
        'mean': 'both', 'share': 'both'} %}
    case
        {%- for node in (verdict_models() if execute else []) %}
        {%- set contract = context[topic_of(node) ~ '_contract']() %}
        {%- for name, direction in contract.get('anomalies', {}).items() %}
        {%- set parts = name.split('.') %}
        when topic = '{{ contract.topic }}' and metric = '{{ parts[-1] }}'
            {%- if parts | length > 1 %} and field = '{{ parts[0] }}'{% endif %} then '{{ direction }}'
        {%- endfor %}
        {%- endfor %}
        {%- for metric, direction in usual.items() %}
        when metric = '{{ metric }}' then '{{ direction }}'
        {%- endfor %}
    end
{%- endmacro %}
