{#
  What a build builds on must be what it built on before: the same Bronze tables, which hold at least what was judged.
  Checked before anything is built. `meta.bronze` notes which tables the builds have read.
#}

{% macro check_state() %}
    {#- Part of on-run-start: refuse other Bronze tables, older ones, and a full refresh that would lose messages. -#}
    {% set state = bronze_state(bronze_tables()) %}
    {% do refuse_other_bronze(state.identities) %}
    {% do refuse_older_bronze(state.offsets) %}
    {% if flags.FULL_REFRESH %}{% do refuse_lossy_refresh() %}{% endif %}
{% endmacro %}

{% macro refuse_other_bronze(identities) %}
    {#- identities: table name -> what no other table has, see bronze_state. New ones are noted. -#}
    {% set known = run_query('select table_name, identity from ' ~ meta_table('bronze')) %}
    {% set known = dict(zip(known.columns[0].values(), known.columns[1].values())) %}
    {% set others = [] %}
    {% for table, identity in identities.items() if known.get(table, identity) != identity %}
        {% do others.append('bronze.' ~ table ~ ' (was ' ~ known[table] ~ ', is ' ~ (identity or 'empty') ~ ')') %}
    {% endfor %}
    {% if others %}
        {% do exceptions.raise_compiler_error(
            'The built tables were built from other Bronze tables than these: ' ~ others | join(', ')
            ~ '.\nRestore the lake and the catalog that belong to them, or set LEVAIN_HOME to the home that has them. '
            ~ 'To build from this Bronze instead, move the built tables away (levain.duckdb) and build again.'
        ) %}
    {% endif %}
    {% set new = [] %}
    {% for table, identity in identities.items() if identity and table not in known %}
        {% do new.append("('" ~ table ~ "', '" ~ dbt.escape_single_quotes(identity) ~ "')") %}
    {% endfor %}
    {% if new %}{% do run_query('insert into ' ~ meta_table('bronze') ~ ' values ' ~ new | join(', ')) %}{% endif %}
{% endmacro %}

{% macro refuse_older_bronze(offsets) %}
    {#- offsets: '<cluster>/<topic>/<partition>' -> the first offset that Bronze has not landed. -#}
    {% set judged = run_query(
        'select kafka_cluster, topic, partition, max(next_offset) from ' ~ meta_table('watermarks')
        ~ ' group by kafka_cluster, topic, partition'
    ).rows %}
    {% set ahead = [] %}
    {% for mark in judged %}
        {% set landed = offsets.get(mark[0] ~ '/' ~ mark[1] ~ '/' ~ mark[2], 0) | int %}
        {% if mark[3] | int > landed %}
            {% do ahead.append(
                mark[1] ~ ', partition ' ~ mark[2] ~ ', cluster ' ~ mark[0] ~ ': offsets ' ~ landed ~ ' to ' ~ (mark[3] | int - 1)
            ) %}
        {% endif %}
    {% endfor %}
    {% if ahead %}
        {% do exceptions.raise_compiler_error(
            'Bronze is older than the built tables, which have messages that it has not: ' ~ ahead | sort | join('; ')
            ~ '. Nothing was built.\nIf the lake has newer versions of its tables, `levain recover` registers them. If Kafka '
            ~ 'still has the messages, let the worker land them again, then build. Without both, restore a backup of '
            ~ 'lake and catalog; docs/troubleshooting.md says what is lost without one.'
        ) %}
    {% endif %}
{% endmacro %}

{% macro refuse_lossy_refresh() %}
    {#- A full refresh judges what Bronze holds, and nothing else: what was judged must still be there. -#}
    {% set lost = [] %}
    {% for node in verdict_models() if node.unique_id in selected_resources %}
        {% set verdicts = load_relation(api.Relation.create(
            database=node.database, schema=node.schema, identifier=node.alias
        )) %}
        {% if verdicts is not none and node.config.full_refresh is not false %}
            {% set source = graph.sources.values() | selectattr('name', 'equalto', topic_of(node)) | first %}
            {% for row in run_query(messages_without_bronze(verdicts, source.relation_name, node.name)).rows %}
                {% do lost.append(
                    row[3] ~ ' messages of ' ~ row[1] ~ ', partition ' ~ row[2] ~ ', cluster ' ~ row[0] ~ ' (offsets '
                    ~ row[4] ~ ' to ' ~ row[5] ~ ')'
                ) %}
            {% endfor %}
        {% endif %}
    {% endfor %}
    {% if lost %}
        {% do exceptions.raise_compiler_error(
            'A full refresh would lose messages that were judged and that Bronze no longer has: ' ~ lost | sort | join('; ')
            ~ '. Nothing was changed.\nRestore these rows of Bronze, or build without --full-refresh: it keeps them. To refresh '
            ~ 'other models, name them with --select.'
        ) %}
    {% endif %}
{% endmacro %}

{% macro messages_without_bronze(verdicts, bronze, model) %}
    {#-
      Query: per partition that has fewer rows in Bronze than verdicts, how many are missing and from where to where.
      Partitions are compared by their counts first, so that no join of all messages is made where nothing is missing.

      verdicts, bronze: relations; model: name of the verdict model, whose watermarks say up to where Bronze was judged.
    -#}
    {% set place = ['kafka_cluster', 'topic', 'partition'] %}
    with judged as (

        select kafka_cluster, topic, partition, count(*) as messages
        from {{ verdicts }}
        group by kafka_cluster, topic, partition

    ),

    landed as (

        select
            bronze.kafka_cluster,
            bronze.topic,
            bronze.partition,
            count(*) as messages
        from {{ bronze }} as bronze
        inner join {{ meta_table('watermarks') }} as known
            on
                known.model = '{{ model }}'
                {% for column in place %}
                and bronze.{{ column }} = known.{{ column }}
                {% endfor %}
        where bronze.{{ adapter.quote('offset') }} < known.next_offset
        group by bronze.kafka_cluster, bronze.topic, bronze.partition

    ),

    short as (

        select judged.kafka_cluster, judged.topic, judged.partition
        from judged
        left join landed
            on
                judged.kafka_cluster = landed.kafka_cluster
                and judged.topic = landed.topic
                and judged.partition = landed.partition
        where judged.messages > coalesce(landed.messages, 0)

    ),

    kept as (

        select bronze.kafka_cluster, bronze.topic, bronze.partition, bronze.{{ adapter.quote('offset') }} as kafka_offset
        from {{ bronze }} as bronze
        inner join short
            on
                bronze.kafka_cluster = short.kafka_cluster
                and bronze.topic = short.topic
                and bronze.partition = short.partition

    )

    select
        verdicts.kafka_cluster,
        verdicts.topic,
        verdicts.partition,
        count(*) as messages,
        min(verdicts.kafka_offset) as first_offset,
        max(verdicts.kafka_offset) as last_offset
    from {{ verdicts }} as verdicts
    inner join short
        on
            verdicts.kafka_cluster = short.kafka_cluster
            and verdicts.topic = short.topic
            and verdicts.partition = short.partition
    left join kept
        on
            verdicts.kafka_cluster = kept.kafka_cluster
            and verdicts.topic = kept.topic
            and verdicts.partition = kept.partition
            and verdicts.kafka_offset = kept.kafka_offset
    where kept.kafka_offset is null
    group by verdicts.kafka_cluster, verdicts.topic, verdicts.partition
{% endmacro %}

{% macro bronze_state(tables) %}
    {#-
      What Bronze is and how far it has come. Returns a dict of two:
        identities   table name -> what no other table has: its UUID, or its location where an engine does not tell it;
                     empty if nothing has landed in it
        offsets      '<cluster>/<topic>/<partition>' -> the first offset that has not landed
    -#}
    {{ return(adapter.dispatch('bronze_state', 'levain')(tables)) }}
{% endmacro %}

{% macro duckdb__bronze_state(tables) %}
    {#- Both tables are the catalog's listing, by levain/duckdb_plugin.py. -#}
    {% set marks = run_query('select table_name, place, next_offset from lake.bronze_offsets') %}
    {% set landed = marks.columns[0].values() | list %}
    {% set identities = {} %}
    {% for row in run_query('select table_name, table_uuid from lake.bronze_tables').rows if row[0] in tables %}
        {% do identities.update({row[0]: row[1] if row[0] in landed else ''}) %}
    {% endfor %}
    {{ return({
        'identities': identities, 'offsets': dict(zip(marks.columns[1].values(), marks.columns[2].values())),
    }) }}
{% endmacro %}

{% macro spark__bronze_state(tables) %}
    {% set identities, offsets = {}, {} %}
    {% for table in tables %}
        {% set properties = run_query('show tblproperties bronze.' ~ table) %}
        {% set properties = dict(zip(properties.columns[0].values(), properties.columns[1].values())) %}
        {% set marks = {} %}
        {% for name, value in properties.items() if name.startswith('levain.next-offset/') %}
            {% do marks.update({name.replace('levain.next-offset/', ''): value}) %}
        {% endfor %}
        {% do offsets.update(marks) %}
        {% do identities.update({table: properties['location'] if marks else ''}) %}
    {% endfor %}
    {{ return({'identities': identities, 'offsets': offsets}) }}
{% endmacro %}
