{#
  Contracts change. Every build knows the contract by which each topic's messages were judged (`meta.contracts`) and
  compares it with the one of the project, before anything runs:

    nothing that verdicts follow from has changed           the build goes on
    every event that was accepted is still what it was      refused but for a full refresh of the topic and all that is
      (additive: an optional field, wider limits)             built from it, which the message names
    some may not be (breaking: a field that is gone, another type, narrower limits)
                                                            the same, but only with the next major version

  So old events always have the verdicts and the fields that a full refresh gives them.

    contracts   model, build, promises      per verdict model: the contract (JSON) that judged its rows, and the build
                                            since which it does; 0: since the first
#}

{% macro meta_contracts_columns() %}
    {#- Columns of `meta.contracts`. -#}
    {{ return('model ' ~ dbt.type_string() ~ ', build bigint, promises ' ~ dbt.type_string()) }}
{% endmacro %}

{% macro verdict_models() %}
    {#- The graph's nodes that judge a topic's messages by its contract. -#}
    {% set found = [] %}
    {% for node in graph.nodes.values() if node.resource_type == 'model' and node.name.endswith('__verdicts') %}
        {% do found.append(node) %}
    {% endfor %}
    {{ return(found) }}
{% endmacro %}

{% macro topic_of(verdict_model) %}
    {#- The topic's name in tables and models. verdict_model: node of the graph. -#}
    {{ return(verdict_model.name[4:-10]) }}
{% endmacro %}

{% macro staging_of(verdict_model) %}
    {#- Name of the staging model whose messages a verdict model judges. verdict_model: node of the graph. -#}
    {% set checked = 'int_' ~ topic_of(verdict_model) ~ '__checked' %}
    {% set node = graph.nodes.values() | selectattr('name', 'equalto', checked) | first %}
    {{ return(graph.nodes[node.depends_on.nodes[0]].name) }}
{% endmacro %}

{% macro promises_of(verdict_model) %}
    {#- The contract by which a model judges, without what is derived from it. verdict_model: node of the graph. -#}
    {% set contract = context[topic_of(verdict_model) ~ '_contract']() %}
    {% for rule in contract.rules.values() %}{% do rule.pop('sql') %}{% endfor %}
    {{ return(contract) }}
{% endmacro %}

{% macro noted_contracts() %}
    {#- Name of each verdict model that was built -> contract (promises) and build. -#}
    {% set noted = {} %}
    {% for row in run_query('select model, build, promises from ' ~ meta_table('contracts')).rows %}
        {% do noted.update({row[0]: {'build': row[1] | int, 'promises': fromjson(row[2])}}) %}
    {% endfor %}
    {{ return(noted) }}
{% endmacro %}

{% macro check_contracts() %}
    {#- on-run-start: refuse a build that would mix verdicts of two contracts. -#}
    {% set noted, reasons, refresh, refused = noted_contracts(), [], [], [] %}
    {% for node in verdict_models() if node.name in noted and node.unique_id in selected_resources
        and load_relation(api.Relation.create(database=node.database, schema=node.schema, identifier=node.alias)) %}
        {% set new, old = promises_of(node), noted[node.name].promises %}
        {% set changes = contract_changes(old, new) %}
        {% set breaking = changes | selectattr('breaking') | map(attribute='what') | list %}
        {% set unfinished = not_rebuilt(node, none if changes else noted[node.name].build) %}
        {% set left_out = unfinished | reject('in', selected_resources) | list %}
        {% if breaking and major_version(new) <= major_version(old) %}
            {% do refused.append('The contract of ' ~ new.topic ~ ' breaks what version ' ~ old.version ~ ' promised: '
                ~ breaking | join('; ') ~ '.') %}
        {% elif changes and (left_out or not flags.FULL_REFRESH) %}
            {% do reasons.append('The contract of ' ~ new.topic ~ ' has changed: '
                ~ changes | map(attribute='what') | join('; ') ~ '.') %}
        {% elif unfinished and (left_out or not flags.FULL_REFRESH) %}
            {% do reasons.append('The contract of ' ~ new.topic ~ ' has changed, and ' ~ names_of(unfinished)
                ~ ' not been rebuilt since.') %}
        {% endif %}
        {% do refresh.append(staging_of(node)) if changes or unfinished %}
    {% endfor %}
    {% if not refresh %}{{ return('') }}{% endif %}
    {#- Where some models were never built, what is built from the topic needs their other parents too. -#}
    {% set whole = not never_built() %}
    {% set command = 'levain build' ~ (' --target ' ~ target.name if target.name != 'duckdb')
        ~ ' --full-refresh --select "'
        ~ ('' if whole else '@') ~ refresh | join('+ ' if whole else ' @') ~ ('+' if whole else '') ~ '"' %}
    {% if refused %}
        {% do exceptions.raise_compiler_error(refused | join(' ') ~ '\nTake that back; or send the new events to a topic of '
            ~ 'their own, with a contract of its own; or, to judge all events by the new contract, give it the next major '
            ~ 'version, run `levain generate`, and then `' ~ command ~ '`.') %}
    {% elif reasons %}
        {% do exceptions.raise_compiler_error(reasons | join(' ') ~ '\nSo that events from before get what it says '
            ~ 'too, run `' ~ command ~ '`.') %}
    {% endif %}
{% endmacro %}

{% macro note_contracts(results, build) %}
    {#- on-run-end: note the contracts of the verdict models that were built. -#}
    {% set noted, rows = noted_contracts(), [] %}
    {% for result in results if result.status == 'success' and result.node.unique_id in
        verdict_models() | map(attribute='unique_id') %}
        {% set node, known = graph.nodes[result.node.unique_id], noted.get(result.node.name) %}
        {% set new = promises_of(node) %}
        {% if not known or tojson(known.promises) != tojson(new) %}
            {% set since = 0 if not known else build if contract_changes(known.promises, new) else known.build %}
            {% do rows.append("select '" ~ node.name ~ "' as model, cast(" ~ since ~ ' as bigint) as build, '
                ~ string_literal(tojson(new)) ~ ' as promises') %}
        {% endif %}
    {% endfor %}
    {% if rows %}
        {% do run_query(
            'merge into ' ~ meta_table('contracts') ~ ' as known using (' ~ rows | join(' union all ') ~ ') as done'
            ~ ' on known.model = done.model'
            ~ ' when matched then update set build = done.build, promises = done.promises'
            ~ ' when not matched then insert (model, build, promises) values (done.model, done.build, done.promises)'
        ) %}
    {% endif %}
{% endmacro %}

{% macro built_from(node) %}
    {#- unique_ids of the incremental models that are built from the rows of a model, itself among them. -#}
    {% set kept = [] %}
    {% for id in with_descendants([node.unique_id]) if graph.nodes[id].config.materialized == 'incremental' %}
        {% do kept.append(id) %}
    {% endfor %}
    {{ return(kept) }}
{% endmacro %}

{% macro with_descendants(ids) %}
    {#- unique_ids of models, and of all models that are built from them. -#}
    {% set more = [] %}
    {% for node in graph.nodes.values() if node.resource_type == 'model' and node.unique_id not in ids
        and node.depends_on.nodes | select('in', ids) | list %}
        {% do more.append(node.unique_id) %}
    {% endfor %}
    {{ return(with_descendants(ids + more) if more else ids) }}
{% endmacro %}

{% macro not_rebuilt(node, since) %}
    {#- unique_ids of those of `built_from` with a table from before a build; none: whatever its age. -#}
    {% set old = [] %}
    {% if since is none or since > 0 %}
        {% set names = run_query(
            'select model from ' ~ meta_table('progress') ~ (' where build < ' ~ since if since is not none)
        ).columns[0].values() | list %}
        {% for id in built_from(node) if graph.nodes[id].name in names %}{% do old.append(id) %}{% endfor %}
    {% endif %}
    {{ return(old) }}
{% endmacro %}

{% macro never_built() %}
    {#- Names of the incremental models that no build has finished yet. -#}
    {% set names = run_query('select model from ' ~ meta_table('progress')).columns[0].values() | list %}
    {% set incremental = graph.nodes.values() | selectattr('config.materialized', 'equalto', 'incremental') %}
    {{ return(incremental | map(attribute='name') | reject('in', names) | list) }}
{% endmacro %}

{% macro names_of(ids) %}
    {%- set names = [] -%}
    {%- for id in ids -%}{%- do names.append(graph.nodes[id].name) -%}{%- endfor -%}
    {{ return(names | sort | join(', ') ~ (' has' if names | length == 1 else ' have')) }}
{% endmacro %}

{% macro major_version(promises) %}
    {%- set digits = modules.re.match('[^0-9]*([0-9]+)', promises.version | string) -%}
    {{ return(digits.group(1) | int if digits else 0) }}
{% endmacro %}

{% macro contract_changes(old, new) %}
    {#-
      What is different between two contracts, as far as verdicts follow from it. Returns a list of dicts: `what`, and
      `breaking`: an event that was accepted may not be what it was.
    -#}
    {% set changes = [] %}
    {% for role in ('key', 'identity', 'event_time') if old[role] != new[role] %}
        {% do changes.append({'breaking': true, 'what': 'the ' ~ role | replace('_', ' ') ~ ' is ' ~ new[role]
            ~ ', no longer ' ~ old[role]}) %}
    {% endfor %}
    {% if old.get('encoding') != new.get('encoding') %}
        {% do changes.append({'breaking': false, 'what': 'the encoding is ' ~ shown_promise(new.get('encoding'))
            ~ ', no longer ' ~ shown_promise(old.get('encoding'))}) %}
    {% endif %}
    {% do changes.extend(fields_changes(old.fields, new.fields)) %}
    {% for name, rule in old.rules.items() if rule != new.rules.get(name) %}
        {% set kept = new.rules.get(name) %}
        {% set same = kept and kept.condition == rule.condition %}
        {% do changes.append({'breaking': kept and not same, 'what': 'the rule ' ~ name
            ~ (' is gone' if not kept else ' has another weight' if same else ' is another')}) %}
    {% endfor %}
    {% for name in new.rules if name not in old.rules %}
        {% do changes.append({'breaking': true, 'what': 'the rule ' ~ name ~ ' is new'}) %}
    {% endfor %}
    {% if is_reordered(old.rules, new.rules) %}
        {% do changes.append({'breaking': false, 'what': 'the rules are in another order'}) %}
    {% endif %}
    {% if new.minimum_completeness != old.minimum_completeness or (new.minimum_completeness and changes) %}
        {% set before, after = completeness_weights(old), completeness_weights(new) %}
        {% set never = 100 * after.required >= new.minimum_completeness * after.all %}
        {% set easier = before.fields == after.fields and new.minimum_completeness <= old.minimum_completeness %}
        {% if not never and not easier %}
            {% do changes.append({'breaking': true, 'what': 'an event with its required fields only may now be incomplete '
                ~ '(minimumCompleteness ' ~ new.minimum_completeness ~ '; these fields are ' ~ after.required ~ ' of '
                ~ after.all ~ ' in weight)'}) %}
        {% elif new.minimum_completeness != old.minimum_completeness %}
            {% do changes.append({'breaking': false, 'what': 'minimumCompleteness is ' ~ new.minimum_completeness
                ~ ', no longer ' ~ old.minimum_completeness}) %}
        {% endif %}
    {% endif %}
    {{ return(changes) }}
{% endmacro %}

{% macro fields_changes(old, new, of='') %}
    {#- The differences of the fields of an event, or of the members of an array's items; see contract_changes. -#}
    {% set changes = [] %}
    {% for name, field in old.items() %}
        {% if name not in new %}
            {% do changes.append({'breaking': true, 'what': 'the field ' ~ of ~ name ~ ' is gone'}) %}
        {% else %}
            {% do changes.extend(field_changes(of ~ name, field, new[name])) %}
        {% endif %}
    {% endfor %}
    {% for name, field in new.items() if name not in old %}
        {#- what a new object must have, no object from before lacks -#}
        {% set breaking = field.required and (not parent_of(field) or parent_of(field) in old) %}
        {% do changes.append({'breaking': breaking, 'what': 'the field ' ~ of ~ name ~ ' is new'
            ~ (' and required, which no event from before can be' if breaking else '')}) %}
    {% endfor %}
    {% if is_reordered(old, new) %}
        {% do changes.append({'breaking': false, 'what': 'the fields ' ~ ('of ' ~ of[:-1] ~ ' ' if of)
            ~ 'are in another order'}) %}
    {% endif %}
    {{ return(changes) }}
{% endmacro %}

{% macro is_reordered(old, new) %}
    {{ return(old | select('in', new) | list != new | select('in', old) | list) }}
{% endmacro %}

{% macro field_changes(name, old, new) %}
    {#- The differences of one field, or of an array's items; see contract_changes. -#}
    {% set changes = [] %}
    {% for part in (
        'type', 'path', 'column', 'required', 'minimum', 'maximum', 'min_items', 'max_items', 'values', 'pattern',
        'strict', 'weight',
    ) %}
        {% set before, after = old.get(part), new.get(part) %}
        {% if before != after %}
            {% if part == 'required' %}
                {% set breaking = after %}
            {% elif part in ('minimum', 'min_items') %}
                {% set breaking = after is not none and (before is none or after > before) %}
            {% elif part in ('maximum', 'max_items') %}
                {% set breaking = after is not none and (before is none or after < before) %}
            {% elif part == 'values' %}
                {% set breaking = after is not none and (before is none or before | reject('in', after) | list | length > 0) %}
            {% elif part in ('pattern', 'strict') %}
                {% set breaking = after is not none %}
            {% else %}
                {% set breaking = part != 'weight' %}
            {% endif %}
            {% do changes.append({'breaking': breaking, 'what': part ~ ' of ' ~ name ~ ' is ' ~ shown_promise(after)
                ~ ', no longer ' ~ shown_promise(before)}) %}
        {% endif %}
    {% endfor %}
    {% if old.type == 'array' and new.type == 'array' %}
        {% set before, after = old.item, new.item %}
        {% do changes.extend(field_changes('the items of ' ~ name, before, after)) %}
        {% if before.members and after.members %}
            {% do changes.extend(fields_changes(before.members, after.members, name ~ '_')) %}
        {% endif %}
    {% endif %}
    {{ return(changes) }}
{% endmacro %}

{% macro shown_promise(value) %}
    {% if value is none or value is boolean %}{{ return(value | string | lower) }}{% endif %}
    {{ return(value | string if value is string or value is number else value | join(', ')) }}
{% endmacro %}

{% macro is_always_there(field, promises) %}
    {#- Whether every event must have a field: it is required, and so is each object around it. -#}
    {% set missing = [] if field.required else [1] %}
    {% for depth in range(1, (field.path or [1]) | length) %}
        {% do missing.append(1) if not promises.fields[field.path[:depth] | join('_')].required %}
    {% endfor %}
    {{ return(not missing) }}
{% endmacro %}

{% macro completeness_weights(promises) %}
    {#- Weights of all fields and of the required ones, and those that are not 0 by field. -#}
    {% set weights, required = {}, [] %}
    {% for name, field in promises.fields.items() if field.weight %}
        {% do weights.update({name: field.weight}) %}
        {% do required.append(field.weight) if is_always_there(field, promises) %}
    {% endfor %}
    {{ return({'fields': weights, 'all': weights.values() | sum, 'required': required | sum}) }}
{% endmacro %}
