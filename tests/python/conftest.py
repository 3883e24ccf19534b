"""Fixtures that more than one module of tests uses."""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator
from pathlib import Path

import kafka_broker
import pytest
from kafka_broker import Broker
from spark_session import stop_spark

from ingest.settings import Settings

pytest.register_assert_rewrite("batches", "workers")

# dbt's objects are many and few of them in cycles: to collect after every 700 took a tenth of each build's CPU.
gc.set_threshold(100_000)

SPARK_OPTIONS = (*kafka_broker.SHORT_LIVED, "-XX:ReservedCodeCacheSize=240m", "-Xmn400m")
"""What C1 compiles of Spark does not fit into a cache of 48 MB, and is thrown away and compiled again all the time."""

PLANNED_ONCE = "-Dspark.sql.adaptive.enabled=false"
"""Spark plans a query again after each of its shuffles: a quarter of its CPU where tables have a hundred rows."""


def pytest_configure(config: pytest.Config) -> None:
    """Have Spark's JVM start as fits the tests; where all tests run, its planning is as users have it."""
    short = [PLANNED_ONCE] if config.option.markexpr else []
    os.environ.setdefault("SPARK_SUBMIT_OPTS", " ".join([*SPARK_OPTIONS, *short]))


LONGEST_FIRST = (
    "test_two_engines.py",
    "test_build.py",
    "test_cli.py",
    "test_state.py",
    "test_faults.py",
    "test_sources.py",
    "test_worker.py",
    "test_order.py",
    "test_stack.py",
    "test_adapters.py",
    "test_metrics.py",
    "test_stores.py",
    "test_evolution.py",
    "test_encoded_topics.py",
    "test_end_to_end.py",
    "test_chaos.py",
    "test_fuzz.py",
    "test_security.py",
    "test_samples.py",
    "test_times.py",
    "test_generated.py",
    "test_edges.py",
    "test_maintenance.py",
    "test_cluster.py",
    "test_changes.py",
)
"""Modules that run for minutes: begun first, none of them is waited for at the end while all else is done."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the modules that take longest first."""
    rank = {name: place for place, name in enumerate(LONGEST_FIRST)}
    items.sort(key=lambda item: rank.get(item.path.name, len(rank)))


@pytest.fixture(autouse=True, scope="module")
def no_spark_session_from_before() -> Iterator[None]:
    """A module's Spark session ends with it."""
    yield
    stop_spark()


@pytest.fixture(autouse=True)
def no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    """A developer's own LEVAIN_* variables must not reach a test."""
    for name in [name for name in os.environ if name.startswith("LEVAIN_")]:
        monkeypatch.delenv(name)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Settings with a home of the test's own, and nothing else set."""
    return Settings(home=tmp_path / "home")


@pytest.fixture(scope="session")
def apache_kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    """Apache Kafka, shared by all tests of the run: topics keep what earlier tests sent."""
    with kafka_broker.apache_kafka(tmp_path_factory.mktemp("kafka")) as broker:
        yield broker


@pytest.fixture
def embedded_broker(tmp_path: Path) -> Iterator[Broker]:
    """An embedded broker of the test's own."""
    with kafka_broker.embedded(tmp_path) as broker:
        yield broker
