{{ config(
    materialized='incremental',
    incremental_strategy='merge_changed',
    unique_key=['event_id', 'feature_date'],
    partition_by=by_month('feature_date'),
) }}

-- depends_on: {{ ref('purchases_superseded') }}
{% set since = last_build() if is_incremental() %}
{#- What may change the features of a customer's purchases from then on. -#}
{% set changes %}
select customer_id, event_time, event_date from {{ ref('purchases') }}
where _build > {{ since }}
union all
select customer_id, event_time, event_date from {{ ref('purchases_superseded') }}
where _build > {{ since }}
union all
select purchases.customer_id, purchases.event_time, purchases.event_date
from {{ ref('purchases') }} as purchases
inner join {{ ref('purchase_scores') }} as scores
    on purchases.event_id = scores.purchase_event_id and purchases.event_date = scores.event_date
where scores._build > {{ since }}
{% endset %}
{#- The purchases of a customer up to one, without those of the same moment: they are of one order. -#}
{% set moment = epoch_micros('event_time') %}
{% set in_time = 'partition by customer_id order by moment nulls last' %}
{% set up_to_it = in_time ~ ' range between unbounded preceding and current row' %}
{% set hour_up_to_it = in_time ~ ' range between 3600000000 preceding and current row' %}
{% set day_up_to_it = in_time ~ ' range between 86400000000 preceding and current row' %}
{% set of_the_moment = 'partition by customer_id, moment' %}
with
{% if is_incremental() %}
changes as (

    {{ changes | indent(4) }}

),

touched as (

    select
        customer_id,
        min(event_time) as touched_from
    from changes
    group by customer_id

),
{% endif %}

-- nothing before the first change is another than this table has it, but it is what the rest is compared with
purchases as (

    select
        purchases.*,
        {{ epoch_micros('purchases.event_time') }} as moment,
        {% if is_incremental() %}
        touched.touched_from <= purchases.event_time as is_restated
        {% else %}
        true as is_restated
        {% endif %}
    from {{ ref('purchases') }} as purchases
    {% if is_incremental() %}
    inner join touched on purchases.customer_id = touched.customer_id
    {% endif %}

),

compared as (

    select
        *,
        count(*) over ({{ up_to_it }}) - count(*) over ({{ of_the_moment }}) as earlier,
        count(*) over ({{ hour_up_to_it }}) - count(*) over ({{ of_the_moment }}) as last_hour,
        count(*) over ({{ day_up_to_it }}) - count(*) over ({{ of_the_moment }}) as last_day,
        cast(
            sum(total_amount) over ({{ up_to_it }}) - sum(total_amount) over ({{ of_the_moment }}) as decimal(28, 2)
        ) as earlier_amount,
        min(moment) over (partition by customer_id, device) as device_since
    from purchases

),

measured as (

    select
        event_id,
        purchase_id,
        customer_id,
        product_id,
        event_time as purchased_at,
        event_date as feature_date,
        total_amount,
        {{ hour_of('event_time') }} >= 22 or {{ hour_of('event_time') }} < 4 as is_night,
        cast(
            case when card_country <> ip_country then 1 else 0 end
            + case when ip_country <> ship_country then 1 else 0 end
            + case when card_country <> ship_country then 1 else 0 end as bigint
        ) as differing_countries,
        cast(earlier as bigint) as earlier_purchases,
        cast(last_hour as bigint) as purchases_last_hour,
        cast(last_day as bigint) as purchases_last_day,
        {{ decimal_division('earlier_amount', 'earlier', 18, 2) }} as earlier_mean_amount,
        {{ decimal_division('total_amount * earlier', 'earlier_amount', 18, 6) }} as amount_ratio,
        earlier > 0 and device_since = moment as is_new_device
    from compared
    where is_restated

),

-- a score of a model that has seen what came later is left out
scores as (

    select
        purchase_event_id,
        event_date,
        score,
        is_suspicious,
        model_version,
        row_number() over (
            partition by purchase_event_id, event_date order by model_version desc nulls last, event_id asc nulls last
        ) as place
    from {{ ref('purchase_scores') }}
    where trained_until <= event_date

),

final as (

    select
        measured.event_id,
        measured.purchase_id,
        measured.customer_id,
        measured.product_id,
        measured.purchased_at,
        measured.total_amount,
        measured.is_night,
        measured.differing_countries,
        measured.earlier_purchases,
        measured.purchases_last_hour,
        measured.purchases_last_day,
        measured.earlier_mean_amount,
        measured.amount_ratio,
        measured.is_new_device,
        cast(
            case when measured.is_night then 1 else 0 end
            + case when measured.differing_countries > 0 then 1 else 0 end
            + case when measured.purchases_last_hour > 0 then 1 else 0 end
            + case when measured.amount_ratio >= 4 then 1 else 0 end
            + case when measured.is_new_device then 1 else 0 end as bigint
        ) as risk_signs,
        scores.score,
        scores.is_suspicious,
        scores.model_version,
        measured.feature_date,
        {{ this_build() }} as _build
    from measured
    left join scores
        on
            measured.event_id = scores.purchase_event_id
            and measured.feature_date = scores.event_date
            and scores.place = 1

)
{{- without_moved_rows(ref('purchases_superseded'), 'feature_date', since) }}
