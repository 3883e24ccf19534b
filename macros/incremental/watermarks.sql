{# How far each verdict model has read Bronze: an offset per cluster and partition. #}

{% macro is_new_message(verdicts) %}
    {#-
      Condition on rows of checked messages: those beyond the watermarks of a verdict model. None at all while that
      model has no table or is refreshed in full, since then it reads every message itself.
      Written so that file statistics decide it: ranges around the known clusters and partitions, never "not in".
      Where offsets cannot tell which files are old (DuckDB prunes by one column only), `is_in_new_files` does.

      verdicts: name of the verdict model.
    -#}
    {% if not execute or should_full_refresh() %}{{ return('false') }}{% endif %}
    {% set node = graph.nodes.values() | selectattr('name', 'equalto', verdicts) | first %}
    {% if load_relation(this.incorporate(path={'schema': node.schema, 'identifier': verdicts})) is none %}
        {{ return('false') }}
    {% endif %}
    {% set marks = run_query(
        'select kafka_cluster, partition, next_offset from ' ~ meta_table('watermarks') ~ " where model = '" ~ verdicts
        ~ "' order by kafka_cluster nulls last, partition nulls last"
    ).rows %}
    {% if not marks %}{{ return('true') }}{% endif %}
    {% set in_new_files = is_in_new_files(verdicts | replace('int_', '', 1) | replace('__verdicts', '')) %}
    {% set conditions = [] %}
    {% set clusters = marks | map(attribute=0) | unique | list %}
    {% for cluster in clusters %}
        {% set above = "kafka_cluster > '" ~ clusters[loop.index0 - 1] ~ "' and " if not loop.first else '' %}
        {% do conditions.append(above ~ "kafka_cluster < '" ~ cluster ~ "'") %}
        {% set here = "kafka_cluster = '" ~ cluster ~ "' and " %}
        {% set mine = marks | selectattr(0, 'equalto', cluster) | list %}
        {% for mark in mine %}
            {% do conditions.append(here ~ 'partition = ' ~ mark[1] ~ ' and kafka_offset >= ' ~ mark[2]) %}
            {% set beyond = 'partition > ' ~ mine[loop.index0 - 1][1] ~ ' and ' if not loop.first else '' %}
            {% do conditions.append(here ~ beyond ~ 'partition < ' ~ mark[1]) %}
        {% endfor %}
        {% do conditions.append(here ~ 'partition > ' ~ mine[-1][1]) %}
    {% endfor %}
    {% do conditions.append("kafka_cluster > '" ~ clusters[-1] ~ "'") %}
    {{ return(in_new_files ~ '\n    and (\n        (' ~ conditions | join(')\n        or (') ~ ')\n    )') }}
{% endmacro %}

{% macro advance_watermarks() %}
    {#- post-hook of a verdict model: it has judged every Bronze message below these offsets. -#}
    merge into {{ meta_table('watermarks') }} as known
    using (
        select '{{ model.name }}' as model, kafka_cluster, topic, partition, max(kafka_offset) + 1 as next_offset
        from {{ this }}
        where _build = {{ this_build() }}
        group by kafka_cluster, topic, partition
    ) as built
        on
            known.model = built.model and known.kafka_cluster = built.kafka_cluster
            and known.topic = built.topic and known.partition = built.partition
    when matched and built.next_offset > known.next_offset then update set next_offset = built.next_offset
    when not matched then
        insert (model, kafka_cluster, topic, partition, next_offset)
        values (built.model, built.kafka_cluster, built.topic, built.partition, built.next_offset)
{% endmacro %}
