"""Spark Structured Streaming from Kafka into an Iceberg table, as its users write it: a part of landing.py.

The session stays warm. It first says the pids of this process and of the JVM. Then each line of standard input is one
query, as JSON with `topic`, `table` and `per_batch` (the most offsets of a batch; null: all there are), answered by a
line with the messages, the number of batches, and the seconds that these took together.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from typing import Any

from pyspark.sql import SparkSession

HOME = os.environ["LEVAIN_HOME"]
LAKE = "spark.sql.catalog.lake"
SESSION = {  # as in profiles/profiles.yml
    "spark.master": "local[2]",
    "spark.driver.memory": "2g",
    "spark.driver.extraClassPath": os.environ["BENCH_CLASS_PATH"],
    "spark.ui.enabled": "false",
    "spark.log.level": "ERROR",
    "spark.sql.shuffle.partitions": "2",
    "spark.sql.session.timeZone": "UTC",
    "spark.sql.extensions": "org.apache.iceberg.spark.extensions.IcebergSparkSessionExtensions",
    LAKE: "org.apache.iceberg.spark.SparkCatalog",
    f"{LAKE}.type": "jdbc",
    f"{LAKE}.jdbc.schema-version": "V1",
    f"{LAKE}.uri": f"jdbc:sqlite:{HOME}/catalog.db",
    f"{LAKE}.warehouse": f"file://{HOME}/lake",
    f"{LAKE}.cache-enabled": "false",
}
READER = {
    "kafka.bootstrap.servers": os.environ["BENCH_BOOTSTRAP"],
    "kafka.isolation.level": "read_committed",
    "startingOffsets": "earliest",
    "includeHeaders": "true",
}
WRITER = {
    # All rows are of one day, so each task writes its own file; otherwise they would all be sorted into partitions.
    "fanout-enabled": "true",
    "distribution-mode": "none",
    # Bronze requires columns that are nullable to Spark, though never null.
    "check-nullability": "false",
}
HEADER = "named_struct('key', h.key, 'value', string(h.value), 'value_bytes', binary(null))"
COLUMNS = (
    "'kafka' as kafka_cluster",
    "topic",
    "partition",
    "offset",
    "timestamp as kafka_timestamp",
    "string(key) as key",
    "binary(null) as key_bytes",
    "string(value) as value",
    "binary(null) as value_bytes",
    f"transform(coalesce(headers, array()), h -> {HEADER}) as headers",
    "current_timestamp() as ingested_at",
    "'spark' as ingest_batch_id",
)


def answer(**fields: Any) -> None:
    sys.stdout.write(json.dumps(fields) + "\n")
    sys.stdout.flush()


def run(spark: SparkSession, topic: str, table: str, per_batch: int | None) -> None:
    """One query over all of the topic."""
    read = spark.readStream.format("kafka").options(**READER).option("subscribe", topic)
    if per_batch:
        read = read.option("maxOffsetsPerTrigger", per_batch)
    rows = read.load().selectExpr(*COLUMNS)
    with tempfile.TemporaryDirectory(dir=HOME) as checkpoint:
        write = rows.writeStream.format("iceberg").options(**WRITER).option("checkpointLocation", checkpoint)
        query = write.trigger(availableNow=True).toTable(table)
        query.awaitTermination()
    batches = [batch for batch in query.recentProgress if batch["numInputRows"]]
    answer(
        messages=sum(batch["numInputRows"] for batch in batches),
        batches=len(batches),
        seconds=sum(batch["durationMs"]["triggerExecution"] for batch in batches) / 1000,
    )


def main() -> None:
    spark = SparkSession.builder.config(map=SESSION).getOrCreate()
    answer(pids=[os.getpid(), spark._jvm.java.lang.ProcessHandle.current().pid()])
    for line in sys.stdin:
        run(spark, **json.loads(line))


main()
