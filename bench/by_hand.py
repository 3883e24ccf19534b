"""The same tables of sales by hand: one SQL script from Bronze to fact and aggregates, into a new DuckDB file.

`LEVAIN_HOME=... python bench/by_hand.py FILE`: what `levain build --full-refresh` computes of sales, as somebody would
write it who needs no increments, no tests and one engine: a verdict for every message with its MD5, and the payload of
those that were not accepted; products with their validity, shops, customers and hours of weather that sales name; the
fact; sums per day, month, hour and customer; messages counted per day. Not what is measured of each field per day, and
no test. bench/build.py runs it beside the build, with the build's limits of memory and threads.
"""

from __future__ import annotations

import sys

import duckdb

from ingest.settings import load_settings
from levain.warehouse.bronze import bronze_tables, prepare

_UUID = "^[0-9a-fA-F]{8}-([0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}$"

_STATEMENTS = (
    """
    create table verdicts as
    with parsed as (
        select
            kafka_cluster, topic, partition, "offset" as kafka_offset, kafka_timestamp, ingested_at, ingest_batch_id,
            value,
            case when json_valid(value) then json_transform(
                value,
                '{"event_id": "VARCHAR", "event_time": "VARCHAR", "receipt_id": "VARCHAR", "line_number": "VARCHAR",
                "store_id": "VARCHAR", "product_id": "VARCHAR", "quantity": "VARCHAR", "unit_price": "VARCHAR",
                "discount_amount": "VARCHAR", "promotion_id": "VARCHAR", "customer_id": "VARCHAR",
                "payment_method": "VARCHAR"}'
            ) end as f
        from iceberg_scan('{sales_events}')
    ),
    cast_ as (
        select
            * exclude (f),
            case when regexp_matches(f.event_id, '{uuid}') then lower(f.event_id) end as event_id,
            try_cast(f.event_time as timestamptz) as event_time,
            f.receipt_id as receipt_id, try_cast(f.line_number as bigint) as line_number,
            f.store_id as store_id, f.product_id as product_id, try_cast(f.quantity as bigint) as quantity,
            try_cast(f.unit_price as decimal(12, 2)) as unit_price,
            try_cast(f.discount_amount as decimal(12, 2)) as discount_amount,
            f.promotion_id as promotion_id, f.customer_id as customer_id, f.payment_method as payment_method
        from parsed
    ),
    screened as (
        select
            *,
            md5(value) as payload_md5,
            coalesce(
                event_id is not null and event_time is not null and receipt_id is not null and store_id is not null
                and product_id is not null and line_number between 1 and 10000 and quantity between 1 and 100000
                and unit_price between 0 and 1000000 and discount_amount between 0 and quantity * unit_price
                and payment_method in ('cash', 'card', 'mobile', 'voucher'),
                false
            ) as is_valid,
            event_time between kafka_timestamp - interval 48 hours and kafka_timestamp + interval 10 minutes as in_time
        from cast_
    ),
    ranked as (
        select
            *,
            row_number() over copies as place,
            first_value(payload_md5) over copies as first_md5
        from screened
        window copies as (
            partition by event_id, is_valid, in_time
            order by kafka_timestamp, kafka_cluster, partition, kafka_offset
        )
    )
    select
        * exclude (value, is_valid, in_time, place, first_md5),
        cast(event_time as date) as event_date,
        case
            when not is_valid then 'rejected'
            when not in_time then 'held'
            when place = 1 then 'accepted'
            when payload_md5 = first_md5 then 'duplicate'
            else 'conflict'
        end as verdict,
        case when verdict <> 'accepted' then value end as payload
    from ranked
    """,
    """
    create table products as
    with changes as (
        select
            json_transform(
                value,
                '{"product_id": "VARCHAR", "name": "VARCHAR", "category": "VARCHAR", "base_price": "DECIMAL(12,2)",
                "unit_cost": "DECIMAL(12,2)", "valid_from": "TIMESTAMPTZ"}'
            ) as f
        from iceberg_scan('{product_changes}')
    )
    select
        md5(concat_ws('|', f.product_id, epoch_us(f.valid_from))) as product_key,
        f.product_id as product_id, f.name as name, f.category as category, f.base_price as base_price,
        f.unit_cost as unit_cost, f.valid_from as valid_from,
        coalesce(
            lead(f.valid_from) over (partition by f.product_id order by f.valid_from), timestamptz '9999-12-31'
        ) as valid_to
    from changes
    """,
    """
    create table stores as
    select md5(store_id) as store_key, store_id from verdicts where verdict = 'accepted' group by store_id
    """,
    """
    create table customers as
    select md5(customer_id) as customer_key, customer_id from verdicts
    where verdict = 'accepted' and customer_id is not null
    group by customer_id
    """,
    """
    create table weather as
    select distinct
        md5(concat_ws('|', store_id, epoch_us(date_trunc('hour', event_time)))) as weather_key,
        event_date as weather_date, store_id, date_trunc('hour', event_time) as weather_hour
    from verdicts
    where verdict = 'accepted'
    """,
    """
    create table sales as
    select
        event_id, receipt_id, line_number, store_key, sales.store_id, product_key, sales.product_id, promotion_id,
        customer_key, sales.customer_id,
        md5(concat_ws('|', sales.store_id, epoch_us(date_trunc('hour', event_time)))) as weather_key,
        payment_method, event_time as sold_at, event_date as sale_date, quantity, unit_price,
        cast(quantity * unit_price as decimal(18, 2)) as gross_amount, discount_amount,
        cast(quantity * unit_price - discount_amount as decimal(18, 2)) as net_amount,
        cast(quantity * unit_cost as decimal(18, 2)) as cost_amount
    from verdicts as sales
    left join products
        on sales.product_id = products.product_id and event_time >= valid_from and event_time < valid_to
    left join stores on sales.store_id = stores.store_id
    left join customers on sales.customer_id = customers.customer_id
    where verdict = 'accepted'
    """,
    """
    create table daily as
    select
        sale_date, store_id, product_id, count(*) as line_count, count(distinct receipt_id) as receipt_count,
        sum(quantity) as units, sum(gross_amount) as gross_amount, sum(discount_amount) as discount_amount,
        sum(net_amount) as net_amount, sum(cost_amount) as cost_amount
    from sales
    group by all
    """,
    """
    create table hourly as
    select
        store_id, date_trunc('hour', sold_at) as sale_hour, sale_date, count(distinct receipt_id) as receipt_count,
        count(*) as line_count, sum(quantity) as units, sum(net_amount) as net_amount
    from sales
    group by all
    """,
    """
    create table monthly as
    select
        date_trunc('month', sale_date) as sales_month, product_id, sum(line_count) as line_count, sum(units) as units,
        sum(gross_amount) as gross_amount, sum(discount_amount) as discount_amount, sum(net_amount) as net_amount,
        sum(cost_amount) as cost_amount
    from daily
    group by all
    """,
    """
    create table weekly as
    select
        date_trunc('week', sale_date) as sale_week, customer_id, min(sale_date) as first_sale_date,
        max(sale_date) as last_sale_date, count(distinct sale_date) as shopping_days,
        count(distinct receipt_id) as receipt_count, count(*) as line_count,
        count(*) filter (discount_amount > 0) as discounted_lines, sum(gross_amount) as gross_amount,
        sum(discount_amount) as discount_amount, sum(net_amount) as net_amount
    from sales
    where customer_id is not null
    group by all
    """,
    """
    create table messages as
    select
        cast(kafka_timestamp as date) as received_date, kafka_cluster, topic, partition, event_date, verdict,
        count(*) as messages
    from verdicts
    group by all
    """,
    "checkpoint",
)


def main() -> None:
    settings = load_settings()
    tables = dict(bronze_tables(settings))
    with duckdb.connect(sys.argv[1]) as connection:
        prepare(connection, settings)
        connection.execute("set TimeZone = 'UTC'")
        for statement in _STATEMENTS:
            for name in ("sales_events", "product_changes"):
                statement = statement.replace(f"{{{name}}}", tables[name])
            connection.execute(statement.replace("{uuid}", _UUID))


if __name__ == "__main__":
    main()
