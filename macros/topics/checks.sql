{#
  A topic's rules, written from the data of its contract: which of them a message fails, what it lacks, its quality score.

  The rules' names, in the contract's order: <field>_missing and <field>_invalid of the schema, <field>_out_of_range,
  <field>_not_allowed and <field>_malformed of a field's limits, the contract's own rules, and `incomplete`. A field of
  an object has its path as name, such as address_city. A rule that an array's item breaks is named after the array, or
  after <array>_<member> where items are objects; <array>_count_out_of_range is about how many there are.
#}

{% macro check_messages(staged, contract) %}
{#- staged: relation of stage_messages(); contract: see contract_columns. One row per message. -#}
{%- set missing = missing_optional_fields(contract) -%}
with messages as (

    select
        *
        {%- for name, field in contract.fields.items() if is_limited_for_rules(name, field, contract) %},
        {{ in_range(name, field) }} as _{{ field.column or name }}
        {%- endfor %}
    from {{ staged }}

),

checked as (

    select
        *,
        {{ date_of('event_time') }} as event_date,
        {{ md5_text('payload') }} as payload_md5,
        case
            {%- for rule, condition in unread_payload(contract).items() %}
            when {{ condition }} then '{{ rule }}'
            {%- endfor %}
            when payload is null then 'message_tombstone'
            when fields is null then 'message_malformed'
            else concat_ws(
                ',',
                {{ failed_rules(contract) | join(',\n                ') }}
            )
        end as failed_rules,
        case
            when fields is null then ''
            else concat_ws(
                ',',
                {{ missing | join(',\n                ') if missing else 'cast(null as ' ~ dbt.type_string() ~ ')' }}
            )
        end as missing_fields,
        case
            when fields is null then 0
            else {{ quality_score(contract) | indent(12) }}
        end as quality_score
    from messages

)

select
    {{ topic_columns(contract) | join(',\n    ') }}
from checked
{% endmacro %}

{% macro unread_payload(contract) %}
    {#-
      Rule -> condition under which a payload that has no text breaks it, in their order. In Confluent's wire format it
      begins with a byte 0 and four bytes of a schema's id: ingest/registry.py.
    -#}
    {% set encoding, not_utf8 = contract.get('encoding'), {'message_not_utf8': 'payload_bytes is not null'} %}
    {% if not encoding %}{{ return(not_utf8) }}{% endif %}
    {% set unframed = {'message_without_schema_id': "hex(payload_bytes) not like '00________%'"} %}
    {% if encoding == 'confluent-json-schema' %}{{ return(dict(unframed, **not_utf8)) }}{% endif %}
    {{ return(dict(unframed, message_undecodable='payload_bytes is not null')) }}
{% endmacro %}

{% macro broken_limits(name, field) %}
    {#- Rule -> condition under which a value that could be cast breaks it. Returns a dict. -#}
    {% if field.type == 'object' %}{{ return({}) }}{% endif %}
    {% if field.type != 'array' %}{{ return(broken_value_limits(name, field, field.column or name)) }}{% endif %}
    {% set list, items, limits, found = name ~ '_items', field.item, [], {} %}
    {% if 'min_items' in field %}{% do limits.append(list_length(list) ~ ' < ' ~ field.min_items) %}{% endif %}
    {% if 'max_items' in field %}{% do limits.append(list_length(list) ~ ' > ' ~ field.max_items) %}{% endif %}
    {% if limits %}{% do found.update({name ~ '_count_out_of_range': limits | join(' or ')}) %}{% endif %}
    {% if items.type == 'object' %}
        {% for member_name, member in items.members.items() %}
            {% set value = cast_marked(json_member('item', member_name), member.type) %}
            {% for rule, condition in broken_value_limits(name ~ '_' ~ member_name, member, value).items() %}
                {% do found.update({rule: list_has(list, 'item', condition)}) %}
            {% endfor %}
        {% endfor %}
    {% else %}
        {% for rule, condition in broken_value_limits(name, items, cast_marked('item', items.type)).items() %}
            {% do found.update({rule: list_has(list, 'item', condition)}) %}
        {% endfor %}
    {% endif %}
    {{ return(found) }}
{% endmacro %}

{% macro broken_value_limits(name, field, column) %}
    {#- Rule -> condition under which a scalar breaks it. column: SQL of its value. Returns a dict. -#}
    {% set limits = [] %}
    {% if field.minimum is defined %}{% do limits.append(column ~ ' < ' ~ number_literal(field.minimum)) %}{% endif %}
    {% if field.maximum is defined %}{% do limits.append(column ~ ' > ' ~ number_literal(field.maximum)) %}{% endif %}
    {% if field.type == 'timestamp' %}{% do limits.append('not ' ~ in_time_range(column)) %}{% endif %}
    {% if field.type == 'date' %}{% do limits.append('not ' ~ in_date_range(column)) %}{% endif %}
    {% set found = {} %}
    {% if limits %}{% do found.update({name ~ '_out_of_range': limits | join(' or ')}) %}{% endif %}
    {% if 'values' in field %}
        {% do found.update({name ~ '_not_allowed': column ~ " not in ('" ~ field['values'] | join("', '") ~ "')"}) %}
    {% endif %}
    {% if 'pattern' in field %}
        {% do found.update({name ~ '_malformed': 'not ' ~ matches(column, field.pattern)}) %}
    {% endif %}
    {{ return(found) }}
{% endmacro %}

{% macro failed_rules(contract) %}
    {#- SQL expressions, each a rule's name or null. Returns a list of texts. -#}
    {% set rules = [] %}
    {% for name, field in contract.fields.items() %}
        {% set text = json_field('fields', name) %}
        {% if field.required %}
            {% do rules.append(
                'case when ' ~ is_missing(name, field) ~ " then '" ~ name ~ "_missing' when "
                ~ (text ~ ' is not null and ' if field.path) ~ is_invalid(name, field) ~ " then '" ~ name ~ "_invalid' end"
            ) %}
        {% else %}
            {% do rules.append(
                'case when ' ~ text ~ ' is not null and ' ~ is_invalid(name, field) ~ " then '" ~ name ~ "_invalid' end"
            ) %}
        {% endif %}
        {% for member_name, member in (field.item.members or {} if field.item else {}).items() %}
            {% set text, rule = json_member('item', member_name), name ~ '_' ~ member_name %}
            {% if member.required %}
                {% do rules.append(
                    'case when ' ~ list_has(name ~ '_items', 'item', 'item is not null and ' ~ text ~ ' is null')
                    ~ " then '" ~ rule ~ "_missing' end"
                ) %}
            {% endif %}
            {% set invalid = text ~ ' is not null and ' ~ cast_marked(text, member.type) ~ ' is null' %}
            {% do rules.append(
                'case when ' ~ list_has(name ~ '_items', 'item', invalid) ~ " then '" ~ rule ~ "_invalid' end"
            ) %}
        {% endfor %}
    {% endfor %}
    {% for name, field in contract.fields.items() %}
        {% for rule, condition in broken_limits(name, field).items() %}
            {% do rules.append('case when ' ~ condition ~ " then '" ~ rule ~ "' end") %}
        {% endfor %}
    {% endfor %}
    {% for name, rule in contract.rules.items() %}
        {% do rules.append('case when not (' ~ rule.sql ~ ") then '" ~ name ~ "' end") %}
    {% endfor %}
    {% if contract.minimum_completeness and missing_optional_fields(contract) %}
        {% set present, weights = [], [] %}
        {% for name, field in contract.fields.items() if field.type != 'object' %}
            {% do present.append(
                'case when ' ~ json_field('fields', name) ~ ' is not null then ' ~ field.weight ~ ' else 0 end'
            ) %}
            {% do weights.append(field.weight) %}
        {% endfor %}
        {% do rules.append(
            'case when 100 * (' ~ present | join(' + ') ~ ') < ' ~ contract.minimum_completeness * (weights | sum)
            ~ " then 'incomplete' end"
        ) %}
    {% endif %}
    {{ return(rules) }}
{% endmacro %}

{% macro missing_optional_fields(contract) %}
    {#- SQL expressions, each the name of an optional field that is absent, else null. Returns a list of texts. -#}
    {% set missing = [] %}
    {% for name, field in contract.fields.items() if not field.required %}
        {% do missing.append('case when ' ~ is_missing(name, field) ~ " then '" ~ name ~ "' end") %}
    {% endfor %}
    {{ return(missing) }}
{% endmacro %}

{% macro is_missing(name, field) %}
    {#- Condition: a field is absent or null, though there is the object that would hold it. -#}
    {% set missing = json_field('fields', name) ~ ' is null' %}
    {% if not field.path %}{{ return(missing) }}{% endif %}
    {{ return(is_json_object(json_field('fields', parent_of(field))) ~ ' and ' ~ missing) }}
{% endmacro %}

{% macro is_invalid(name, field) %}
    {#- Condition on a field that is there: it is not of its type, as far as its own rule tells. -#}
    {% if field.type == 'object' %}{{ return('not ' ~ is_json_object(json_field('fields', name))) }}{% endif %}
    {% if field.type == 'array' and field.item.type == 'object' %}
        {% set list = name ~ '_items' %}
        {{ return('(' ~ list ~ ' is null or ' ~ list_has(list, 'item', 'item is null') ~ ')') }}
    {% endif %}
    {{ return((field.column or name) ~ ' is null') }}
{% endmacro %}

{% macro quality_score(contract) %}
    {#- 100 less the share of the weights lost to failed and missing parts, rounded down. Returns an integer 0-100. -#}
    {% set lost, weights = [], [] %}
    {% for name, field in contract.fields.items() if field.type != 'object' %}
        {% set conditions = [(field.column or name) ~ ' is null'] + broken_limits(name, field).values() | list %}
        {% do lost.append('case when ' ~ conditions | join(' or ') ~ ' then ' ~ field.weight ~ ' else 0 end') %}
        {% do weights.append(field.weight) %}
    {% endfor %}
    {% for rule in contract.rules.values() %}
        {% do lost.append('case when not (' ~ rule.sql ~ ') then ' ~ rule.weight ~ ' else 0 end') %}
        {% do weights.append(rule.weight) %}
    {% endfor %}
    {% set total = weights | sum %}
    {{ return(
        'cast(floor(cast(100 * (' ~ total ~ ' - (\n    ' ~ lost | join('\n    + ') ~ '\n)) as double) / ' ~ total ~ ') as int)'
    ) }}
{% endmacro %}

{% macro is_limited_for_rules(name, field, contract) %}
    {#- Whether a rule reads this number only within its limits, in a column of its own: see ingest/rules.py. -#}
    {% set column = '(?<![a-z0-9_])_' ~ (field.column or name) ~ '(?![a-z0-9_])' %}
    {% set rules = contract.rules.values() | map(attribute='sql') | join(' ') %}
    {% set has_limits = field.minimum is defined or field.maximum is defined %}
    {{ return(has_limits and modules.re.search(column, rules) is not none) }}
{% endmacro %}

{% macro in_range(name, field) %}
    {#- A number within its field's limits, else null. Of the column's type. -#}
    {% set column, limits = field.column or name, [] %}
    {% if field.minimum is defined %}{% do limits.append(column ~ ' >= ' ~ number_literal(field.minimum)) %}{% endif %}
    {% if field.maximum is defined %}{% do limits.append(column ~ ' <= ' ~ number_literal(field.maximum)) %}{% endif %}
    {{ return('case when ' ~ limits | join(' and ') ~ ' then ' ~ column ~ ' end') }}
{% endmacro %}

{% macro number_literal(number) %}
    {#- A contract's limit, of at most 15 digits, as an exact SQL number: an exponent would make it a double. -#}
    {% set text = number | string %}
    {{ return(('%.15f' | format(number)).rstrip('0') if 'e' in text else text) }}
{% endmacro %}
