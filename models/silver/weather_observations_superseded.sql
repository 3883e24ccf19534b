select
    event_id,
    event_time,
    event_date,
    store_id,
    _build
from {{ ref('int_weather_data__verdicts') }}
where verdict = 'conflict'
