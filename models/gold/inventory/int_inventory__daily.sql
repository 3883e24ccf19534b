{{ config(
    materialized='incremental',
    incremental_strategy='merge_changed',
    unique_key=['movement_date', 'store_id', 'product_id'],
    partition_by=by_month('movement_date'),
) }}

{% call aggregate(
    facts=ref('fct_inventory'),
    keys={'movement_date': 'movement_date', 'store_id': 'store_id', 'product_id': 'product_id'},
    superseded=ref('inventory_updates_superseded'),
    superseded_keys={'movement_date': 'event_date'},
) %}
        cast(count(*) as bigint) as movements,
        {{ sum_of('abs(quantity)', "movement_type = 'delivery'") }} as delivered_units,
        {{ sum_of('abs(quantity)', "movement_type = 'production'") }} as produced_units,
        {{ sum_of('abs(quantity)', "movement_type = 'transfer_in'") }} as transferred_in_units,
        {{ sum_of('abs(quantity)', "movement_type = 'transfer_out'") }} as transferred_out_units,
        {{ sum_of('abs(quantity)', "movement_type = 'sale'") }} as sold_units,
        {{ sum_of('abs(quantity)', "movement_type = 'waste'") }} as wasted_units,
        {{ count_of("movement_type = 'stocktake'") }} as stocktakes,
        {{ sum_of('level_change', "movement_type = 'stocktake'") }} as stocktake_difference,
        cast({{ last_by('level', ['moved_at', 'event_id']) }} - sum(level_change) as bigint) as opening_level,
        {{ last_by('level', ['moved_at', 'event_id']) }} as closing_level,
        min(case when movement_type <> 'waste' and level <= 0 then moved_at end) as ran_out_at
{% endcall %}
