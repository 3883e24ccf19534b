"""What the Spark target needs is found, or said to be missing with how to get it."""

from __future__ import annotations

from pathlib import Path

import pytest

from ingest.errors import LevainError
from levain.warehouse import spark


def java(folder: Path, version: str) -> Path:
    """A folder that looks like a Java installation of some version."""
    program = folder / "bin" / "java"
    program.parent.mkdir(parents=True)
    program.write_text(f"#!/bin/sh\necho 'openjdk version \"{version}\" 2024-01-01' >&2\n")
    program.chmod(0o755)
    return folder


def test_java_home_counts_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JAVA_HOME", str(java(tmp_path / "jdk", "21.0.2")))
    assert spark.find_java() == spark.Java(tmp_path / "jdk", 21)


def test_java_on_the_path_counts_where_java_home_is_too_old(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JAVA_HOME", str(java(tmp_path / "old", "1.8.0_402")))
    monkeypatch.setenv("PATH", f"{java(tmp_path / 'new', '17.0.10')}/bin:/bin")
    assert spark.find_java() == spark.Java(tmp_path / "new", 17)


def test_no_java_says_how_to_get_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JAVA_HOME", str(java(tmp_path / "old", "11.0.2")))
    monkeypatch.setenv("PATH", "/bin/nowhere")
    monkeypatch.setattr(Path, "glob", lambda self, pattern: iter(()))  # not what this machine has
    with pytest.raises(LevainError) as caught:
        spark.find_java()
    assert f"{tmp_path / 'old'} is Java 11" in caught.value.message
    assert "apt-get install" in caught.value.hint and "JAVA_HOME" in caught.value.hint


def test_missing_jars_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JAVA_HOME", str(java(tmp_path / "jdk", "17.0.10")))
    monkeypatch.setenv("LEVAIN_SPARK_JARS", str(tmp_path))
    (tmp_path / "iceberg-spark-runtime-4.1_2.13-1.12.0.jar").write_text("")
    with pytest.raises(LevainError) as caught:
        spark.prepare()
    assert "lacks sqlite-jdbc-*.jar" in caught.value.message
    assert "make spark-jars" in caught.value.hint
