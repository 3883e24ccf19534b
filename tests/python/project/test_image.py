"""The container image: built from the Dockerfile without a registry, then used as an operator would."""

from __future__ import annotations

import configparser
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from kafka_broker import Broker

from ingest.contracts import load_contracts
from ingest.kafka import create_topics
from ingest.settings import PROJECT_ROOT, Settings
from ingest.sources.publish import Publisher

pytestmark = [pytest.mark.full, pytest.mark.timeout(1800)]

BASE = PROJECT_ROOT / "tests" / "python" / "support" / "image" / "base.sh"
IMAGE = "localhost/levain"
SALES = 300


class Containers:
    """buildah and podman on a container storage of the tests' own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.storage = ["--root", str(folder / "root"), "--runroot", str(folder / "run")]
        # Ulimits that also hold where the machine is a container itself.
        conf = folder / "containers.conf"
        conf.write_text(
            '[containers]\ndefault_ulimits = ["nofile=1024:1024", "nproc=4096:4096"]\n[engine]\nruntime = "runc"\n',
            encoding="utf-8",
        )
        self.environment = os.environ | {"CONTAINERS_CONF": str(conf)}

    def build(self) -> None:
        """Build the image, with the machine's certificates and settings: mounted, they stay out of the image."""
        mounts = {"/etc/ssl/certs": "/etc/ssl/certs"} | pip_settings(self.folder / "pip.conf")
        mounts |= uv_settings(self.folder / "uv.toml")
        volumes = [f"--volume={here}:{there}:ro" for here, there in mounts.items()]
        local = ["--isolation", "chroot", "--network", "host", "--pull-never", "--format", "docker"]
        command = ["buildah", *self.storage, "build", *local, *volumes, "--tag", IMAGE, str(PROJECT_ROOT)]
        self._call(command, seconds=1500)

    def run(self, *command: str, options: tuple[str, ...] = (), check: bool = True) -> subprocess.CompletedProcess[str]:
        """One command in a container of its own."""
        return self._podman("run", "--rm", "--network", "host", *options, IMAGE, *command, check=check)

    def start(self, name: str, *command: str, options: tuple[str, ...] = ()) -> None:
        """A container that stays."""
        self._podman("run", "--detach", "--name", name, "--network", "host", *options, IMAGE, *command)

    def execute(self, name: str, *command: str) -> subprocess.CompletedProcess[str]:
        """One command in a container that runs."""
        return self._podman("exec", name, *command, check=False)

    def logs(self, name: str) -> str:
        """What a container has written."""
        done = self._podman("logs", name, check=False)
        return done.stdout + done.stderr

    def stop(self, name: str) -> int:
        """SIGTERM, as an orchestrator sends it; the exit code."""
        self._podman("stop", "--time", "30", name)
        return int(self._podman("inspect", "--format", "{{.State.ExitCode}}", name).stdout)

    def remove(self, name: str) -> None:
        """Whatever state the container is in."""
        self._podman("rm", "--force", "--volumes", name, check=False)

    def remove_volume(self, name: str) -> None:
        self._podman("volume", "rm", "--force", name, check=False)

    def _podman(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        return self._call(["podman", *self.storage, "--cgroup-manager", "cgroupfs", *arguments], check=check)

    def _call(
        self, command: list[str], *, seconds: float = 300, check: bool = True
    ) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(command, env=self.environment, capture_output=True, text=True, timeout=seconds)
        assert not check or done.returncode == 0, f"{' '.join(command)}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
        return done


def pip_settings(file: Path) -> dict[str, str]:
    """Write pip's settings of this machine to a file; what to mount where for it and the folders it names."""
    listed = subprocess.run(
        [sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True, check=True
    ).stdout
    settings = configparser.RawConfigParser()
    settings["global"] = {
        key.split(".", 1)[1]: value.strip("'")
        for key, value in (line.split("=", 1) for line in listed.splitlines())
        if key.split(".")[0] in ("global", ":env:")
    }
    with file.open("w", encoding="utf-8") as output:
        settings.write(output)
    folders = settings["global"].get("find-links", "").split()
    return {str(file): "/etc/pip.conf"} | {folder: folder for folder in folders if Path(folder).is_dir()}


def uv_settings(file: Path) -> dict[str, str]:
    """Write settings of uv to a file: it trusts the certificates that were mounted; what to mount where for it."""
    file.write_text("system-certs = true\n", encoding="utf-8")
    return {str(file): "/etc/uv/uv.toml"}


@pytest.fixture(scope="module")
def containers() -> Iterator[Containers]:
    """The image, built once; skipped where its tools cannot be installed."""
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        pytest.skip("building an image without a registry needs root and apt-get (podman, buildah, debootstrap)")
    folder = Path(tempfile.mkdtemp(prefix="image-"))  # podman takes no more than 50 characters, pytest's own has more
    based = subprocess.run([BASE, folder], capture_output=True, text=True, timeout=900)
    if based.returncode == 3:
        pytest.skip(f"podman, buildah and debootstrap cannot be installed here: {based.stderr[-500:]}")
    assert based.returncode == 0, based.stderr[-3000:]
    containers = Containers(folder)
    containers.build()
    yield containers
    # The storage mounts itself; pytest could not remove it.
    subprocess.run(["umount", folder / "root" / "overlay"], check=False, capture_output=True)
    shutil.rmtree(folder, ignore_errors=True)


def test_runs_as_a_user_without_rights(containers: Containers) -> None:
    assert containers.run("id", "-u").stdout.strip() == "10001"
    assert containers.run("touch", "/app/models/x.sql", check=False).returncode != 0
    assert containers.run("touch", "/data/x").returncode == 0


def test_carries_nothing_of_the_machine(containers: Containers) -> None:
    listing = containers.run("ls", "-A", "/app", "/app/tests").stdout.split()
    assert "dbt_project.yml" in listing and "assert_amounts_add_up.sql" in listing
    assert not {".git", ".venv", ".cache", ".levain", "target", "logs", "python"} & set(listing)
    assert "PIP_CERT" not in containers.run("env").stdout
    assert not containers.run("sh", "-c", "cat /etc/pip.conf 2> /dev/null || true").stdout.strip()


def test_worker_lands_and_dbt_builds(containers: Containers, embedded_broker: Broker, tmp_path: Path) -> None:
    contracts = load_contracts()
    host = Settings(home=tmp_path / "home", kafka_bootstrap=embedded_broker.bootstrap)
    create_topics(host, contracts.values())
    with Publisher(host, ["sales-events"]) as publisher:
        for number in range(SALES):
            publisher.publish("sales-events", b"S001", sale(number), ())

    volume = "levain-lake"
    options = ("--volume", f"{volume}:/data", "--env", f"LEVAIN_KAFKA_BOOTSTRAP={embedded_broker.bootstrap}")
    # A root file system that nobody can write: state belongs into the volume.
    options += ("--read-only", "--tmpfs", "/tmp")
    worker = "levain-worker"
    try:
        containers.start(worker, "faust", "-A", "ingest.app", "worker", "-l", "info", options=options)
        deadline = time.monotonic() + 180
        while landed(containers, worker) < SALES:
            assert time.monotonic() < deadline, containers.logs(worker)[-3000:]
            time.sleep(2)
        assert "Metrics are at http://0.0.0.0:" in containers.logs(worker)
        assert containers.stop(worker) == 0, containers.logs(worker)[-3000:]

        built = containers.run("dbt", "build", options=options, check=False)
        assert built.returncode == 0, built.stdout[-3000:] + built.stderr[-3000:]
        ledger = json.loads(containers.run("levain", "ledger", "--format", "json", options=options).stdout)
        assert sum(line["verdicts"]["accepted"] for line in ledger["partitions"]) == SALES
        sums = containers.run(
            "levain", "query", "select sum(units) as units from gold.mart_hourly_sales", "--format", "json",
            options=options,
        )  # fmt: skip
        assert json.loads(sums.stdout) == [{"units": SALES}]
    finally:
        containers.remove(worker)
        containers.remove_volume(volume)


def landed(containers: Containers, worker: str) -> int:
    """Messages in Bronze, counted in the worker's own container."""
    count = (
        "from ingest.settings import Settings; from levain.warehouse.dbt import bronze_rows; "
        "print(sum(dict(bronze_rows(Settings())).values()))"
    )
    done = containers.execute(worker, "python", "-c", count)
    return int(done.stdout) if done.returncode == 0 else 0


def sale(number: int) -> bytes:
    """A valid line of a receipt, just sold."""
    return json.dumps(
        {
            "event_id": f"00000000-0000-4000-8000-{number:012d}",
            "event_time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "receipt_id": f"R{number}",
            "line_number": 1,
            "store_id": "S001",
            "product_id": "P001",
            "quantity": 1,
            "unit_price": 2.5,
            "discount_amount": 0,
            "payment_method": "card",
        }
    ).encode()
