"""Spark's session, of which a process has one."""

from __future__ import annotations

import sys


def stop_spark() -> None:
    """End this process's Spark session, if there is one: it would stay with the home that it was made for."""
    if "pyspark" in sys.modules:
        from pyspark import SparkContext

        if SparkContext._active_spark_context is not None:
            SparkContext.getOrCreate().stop()
