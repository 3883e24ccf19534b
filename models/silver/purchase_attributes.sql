{{ array_rows(
    ref('purchases'), purchases_contract(), 'attributes', ['event_id', 'event_time', 'event_date', 'purchase_id', '_build'],
) }}
