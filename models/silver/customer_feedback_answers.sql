{{ array_rows(
    ref('customer_feedback'), customer_feedback_contract(), 'answers',
    ['event_id', 'event_time', 'event_date', 'feedback_id', 'store_id', '_build'],
) }}
