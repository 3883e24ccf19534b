"""What the Spark target needs of the machine: a JDK, its Python package, and the jars.

`python -m levain.warehouse.spark` prints the JDK's folder, for JAVA_HOME.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from ingest.errors import ConfigurationError
from ingest.settings import PROJECT_ROOT

OLDEST_JAVA = 17
JARS = ("iceberg-spark-runtime-*.jar", "sqlite-jdbc-*.jar")

_INSTALL_JAVA = (
    f"Install Java {OLDEST_JAVA} or newer (`apt-get install openjdk-17-jre-headless`, `brew install openjdk@17`), "
    "or set JAVA_HOME to one."
)


@dataclass(frozen=True)
class Java:
    """A Java installation: its folder, as JAVA_HOME wants it, and its major version."""

    home: Path
    version: int


def find_java() -> Java:
    """The first Java that is new enough, of JAVA_HOME, the PATH, and where systems keep theirs.

    Raises:
        ConfigurationError: there is none; names the ones that are too old.
    """
    on_path = shutil.which("java")
    candidates = [
        *([Path(os.environ["JAVA_HOME"])] if os.environ.get("JAVA_HOME") else []),
        *([Path(on_path).resolve().parent.parent] if on_path else []),
        *sorted(Path("/usr/lib/jvm").glob("*")),
        *sorted(Path("/Library/Java/JavaVirtualMachines").glob("*/Contents/Home")),
        *sorted(Path("/opt/homebrew/opt").glob("openjdk*")),
    ]
    too_old = []
    for home in dict.fromkeys(candidates):
        version = _version(home / "bin" / "java")
        if version >= OLDEST_JAVA:
            return Java(home, version)
        if version:
            too_old.append(f"{home} is Java {version}")
    found = f" ({'; '.join(too_old)})" if too_old else ""
    raise ConfigurationError(f"No Java {OLDEST_JAVA} or newer was found{found}. Spark needs it.", _INSTALL_JAVA)


def jars_folder() -> Path:
    """Where the jars are expected: `LEVAIN_SPARK_JARS`, else `.cache/spark-jars` in the project."""
    return Path(os.environ.get("LEVAIN_SPARK_JARS") or PROJECT_ROOT / ".cache" / "spark-jars")


def missing_jars() -> list[str]:
    """Patterns of the jars that are not there."""
    return [pattern for pattern in JARS if not list(jars_folder().glob(pattern))]


def prepare() -> None:
    """Make this process able to start Spark: sets JAVA_HOME.

    Raises:
        ConfigurationError: Java, pyspark or a jar is missing.
    """
    os.environ["JAVA_HOME"] = str(find_java().home)
    if find_spec("pyspark") is None:
        raise ConfigurationError("The Spark target is not installed.", "`make spark-jars setup-dev` installs it.")
    if missing_jars():
        raise ConfigurationError(
            f"{jars_folder()} lacks {', '.join(missing_jars())}.", "`make spark-jars` fetches the Spark jars."
        )


def _version(program: Path) -> int:
    """Major version of a `java` program; 0 if it is none that works."""
    if not os.access(program, os.X_OK):
        return 0
    try:
        answer = subprocess.run([program, "-version"], capture_output=True, text=True, check=False, timeout=30)
    except (OSError, subprocess.TimeoutExpired):
        return 0
    match = re.search(r'version "(?:1\.)?(\d+)', answer.stderr + answer.stdout)
    return int(match[1]) if match else 0


if __name__ == "__main__":
    try:
        sys.stdout.write(f"{find_java().home}\n")
    except ConfigurationError as missing:
        sys.exit(str(missing))
