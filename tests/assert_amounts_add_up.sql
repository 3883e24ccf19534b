-- Net is gross less discount, and gross is quantity times price.
select
    event_id,
    quantity,
    unit_price,
    gross_amount,
    discount_amount,
    net_amount
from {{ ref('fct_sales') }}
where
    (
        {{ is_distinct('net_amount', 'gross_amount - discount_amount') }}
        or {{ is_distinct('gross_amount', 'quantity * unit_price') }}
        or net_amount < 0
    )
    and {{ rows_in_scope() }}
