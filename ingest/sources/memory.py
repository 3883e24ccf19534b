"""Which files were published, kept over restarts: a file of JSON lines that is only appended to.

It saves work and is never needed for a right result: what is published again has the identity it had before.
"""

from __future__ import annotations

import json
import os
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any

from ingest.errors import Unavailable


@dataclass(frozen=True, slots=True)
class Stamp:
    """What tells at a glance that a file has not changed: inode, bytes, time of its last change (ns).

    The last change of the inode (ns) is part of it: `touch -d` sets the other time, which may hide a correction. A note
    of before it was part fits no file: that is read once more, and known by its SHA-256.
    """

    inode: int
    size: int
    changed: int
    inode_changed: int = 0

    @classmethod
    def of(cls, stat: os.stat_result) -> Stamp:
        return cls(stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns)


class Memory:
    """What was published to one cluster; another cluster, or the embedded broker's next start, has none of it.

    Args:
        path: of the file; it is made when there is something to remember. A line that a crash cut short counts as
            nothing.
        cluster: the alias.
    """

    def __init__(self, path: Path, cluster: str) -> None:
        self.cluster = cluster
        self._path = path
        self._stamps: dict[tuple[str, str], Stamp] = {}
        self._names: dict[tuple[str, str], str] = {}
        self._cut_short = False
        try:
            content = path.read_bytes()
        except FileNotFoundError:
            return
        self._cut_short = bool(content) and not content.endswith(b"\n")
        for line in content.splitlines():
            try:
                done = json.loads(line)
                stamp = Stamp(*done["stamp"])
                if done["cluster"] == cluster:
                    topic, file = str(done["topic"]), str(done["file"])
                    self._stamps[topic, file] = stamp
                    self._names.setdefault((topic, str(done["sha256"])), file)
            except (ValueError, TypeError, KeyError):
                continue

    def knows(self, topic: str, file: str, stamp: Stamp) -> bool:
        """The file is done, and looks as it did then."""
        return self._stamps.get((topic, file)) == stamp

    def name_of(self, topic: str, sha256: str) -> str | None:
        """Under which name that extract was published; None if it was not."""
        return self._names.get((topic, sha256))

    def remember(self, topic: str, file: str, stamp: Stamp, sha256: str, counts: dict[str, Any]) -> None:
        """Note that a file is done; on disk when this returns.

        Raises:
            Unavailable: it cannot be written. The extract is known by its SHA-256 all the same, so that the next try
                does not publish it again.
        """
        self._names.setdefault((topic, sha256), file)
        place = {"cluster": self.cluster, "topic": topic, "file": file, "sha256": sha256}
        facts = {**place, "stamp": astuple(stamp), **counts}
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with self._path.open("a") as out:
                out.write("\n" * self._cut_short + json.dumps(facts) + "\n")
                out.flush()
                os.fsync(out.fileno())
        except OSError as error:
            self._cut_short = True
            raise Unavailable(
                f"{topic}/{file} is published, but that cannot be noted in {self._path}: {error.strerror}.",
                "Free some disk space or give rights; a restart before that publishes it again, as duplicates.",
            ) from error
        self._cut_short = False
        self._stamps[topic, file] = stamp
