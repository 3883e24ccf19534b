-- A day of a product in a shop begins with the level that the last day with a movement ended with, the first with zero.
with changed as (

    select distinct
        store_id,
        product_id
    from {{ ref('int_inventory__daily') }}
    where {{ rows_in_scope() }}

),

days as (

    select
        daily.movement_date,
        daily.store_id,
        daily.product_id,
        daily.opening_level,
        coalesce(
            lag(daily.closing_level) over (
                partition by daily.store_id, daily.product_id order by daily.movement_date nulls last
            ),
            0
        ) as level_before
    from {{ ref('int_inventory__daily') }} as daily
    inner join changed on daily.store_id = changed.store_id and daily.product_id = changed.product_id

)

select *
from days
where {{ is_distinct('opening_level', 'level_before') }}
