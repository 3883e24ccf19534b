{{ array_rows(
    ref('web_events'), web_events_contract(), 'cart',
    ['event_id', 'event_time', 'event_date', 'session_id', 'event_type', '_build'],
) }}
