{{ config(
    materialized='incremental',
    incremental_strategy='merge_changed',
    unique_key=['event_id', 'movement_date'],
    partition_by=by_month('movement_date'),
) }}

-- depends_on: {{ ref('inventory_updates_superseded') }}
{% set in_order = 'order by event_time nulls last, event_id nulls last' %}
{% set since = last_build() if is_incremental() %}
{#- All that may move a level, or name another version of a shop or a product. -#}
{% set changes %}
select store_id, product_id, event_time, event_date from {{ ref('inventory_updates') }}
where _build > {{ since }}
union all
select store_id, product_id, event_time, event_date from {{ ref('inventory_updates_superseded') }}
where _build > {{ since }}
union all
select movements.store_id, movements.product_id, movements.event_time, movements.event_date
from {{ ref('inventory_updates') }} as movements
inner join {{ ref('dim_store') }} as stores on {{ is_version_at('movements', 'event_time', 'stores', 'store_id') }}
where stores._build > {{ since }}
union all
select movements.store_id, movements.product_id, movements.event_time, movements.event_date
from {{ ref('inventory_updates') }} as movements
inner join {{ ref('dim_product') }} as products
    on {{ is_version_at('movements', 'event_time', 'products', 'product_id') }}
where products._build > {{ since }}
{% endset %}
with movements as (

    select * from {{ ref('inventory_updates') }}

),

stores as (

    select * from {{ ref('dim_store') }}

),

products as (

    select * from {{ ref('dim_product') }}

),

{% if is_incremental() %}
changes as (

    {{ changes | indent(4) }}

),

touched as (

    select
        store_id,
        product_id,
        min(event_time) as touched_from
    from changes
    group by store_id, product_id

),

-- nothing before the first change is another than this table has it; a level is the sum of the changes up to it
shelves as (

    select
        touched.store_id,
        touched.product_id,
        touched.touched_from,
        cast(coalesce(sum(known.level_change), 0) as bigint) as opening_level
    from touched
    left join {{ this }} as known
        on
            touched.store_id = known.store_id
            and touched.product_id = known.product_id
            and known.moved_at < touched.touched_from
    group by touched.store_id, touched.product_id, touched.touched_from

),

restated as (

    select
        movements.*,
        shelves.opening_level
    from movements
    inner join shelves
        on
            movements.store_id = shelves.store_id
            and movements.product_id = shelves.product_id
            and shelves.touched_from <= movements.event_time
    where {{ between_touched('movements.event_date >= first_key', 'event_date', changes) }}

),
{% else %}
restated as (

    select
        movements.*,
        cast(0 as bigint) as opening_level
    from movements

),
{% endif %}

counted as (

    select
        *,
        sum(case when movement_type = 'stocktake' then 1 else 0 end) over (
            partition by store_id, product_id {{ in_order }} rows between unbounded preceding and current row
        ) as stocktakes
    from restated

),

-- a count begins a sum of its own, of which it is the first number
levelled as (

    select
        *,
        cast(
            case when stocktakes = 0 then opening_level else 0 end + sum(quantity) over (
                partition by store_id, product_id, stocktakes {{ in_order }}
                rows between unbounded preceding and current row
            ) as bigint
        ) as level
    from counted

),

changed as (

    select
        *,
        cast(
            level - coalesce(
                lag(level) over (partition by store_id, product_id {{ in_order }}), opening_level
            ) as bigint
        ) as level_change
    from levelled

),

final as (

    select
        changed.event_id,
        stores.store_key,
        changed.store_id,
        products.product_key,
        changed.product_id,
        changed.movement_type,
        changed.lot_id,
        changed.expires_on,
        changed.event_time as moved_at,
        changed.quantity,
        changed.level_change,
        changed.level,
        changed.event_date as movement_date,
        {{ this_build() }} as _build
    from changed
    left join stores on {{ is_version_at('changed', 'event_time', 'stores', 'store_id') }}
    left join products on {{ is_version_at('changed', 'event_time', 'products', 'product_id') }}

)
{{- without_moved_rows(ref('inventory_updates_superseded'), 'movement_date', since) }}
