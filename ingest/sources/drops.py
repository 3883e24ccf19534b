"""CSV drops: each file of a watched folder as one event per line, into the topic the folder is named after.

A file is taken once it is whole, and copied before a line of it is published: what is hashed, parsed and published is
one and the same, whatever becomes of the file meanwhile. The file itself stays as and where it is.
"""

from __future__ import annotations

import fcntl
import json
import logging
import os
import stat
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import IO

from ingest import kafka
from ingest.contracts import SCALARS, Contract, load_contracts
from ingest.errors import BadInput, LevainError, Unavailable
from ingest.jsontext import json_object, json_timestamp
from ingest.settings import Settings
from ingest.sources import extracts
from ingest.sources.csvlines import BadLine, CsvLines, NoHeader, Row
from ingest.sources.memory import Memory, Stamp
from ingest.sources.publish import RECEIVED_AT, Headers, Publisher
from ingest.sources.service import Backoff

log = logging.getLogger(__name__)

PROBLEM = "problem"
"""Header of a line that could not be read as a record: why."""

_AHEAD = timedelta(hours=14)
"""The date of the zone farthest east begins so long before that of UTC."""
_COPIED_AT_ONCE = 1024 * 1024
_IN_MEMORY = 8 * 1024 * 1024
_STOP_EVERY = 1000
_BAD_LINES_LOGGED = 10


class Refused(BadInput):
    """A file that cannot be taken as it is; others can."""


class Unreadable(Refused):
    """A file that cannot be copied: by its rights, by a disk. That may change while the file does not."""


class Changed(Exception):
    """The file was written to, replaced or removed while it was read."""


@dataclass(frozen=True, slots=True)
class Drop:
    """A file that was found, as it was then."""

    contract: Contract
    path: Path
    stamp: Stamp

    @property
    def name(self) -> str:
        return self.path.name

    @property
    def place(self) -> str:
        """As it is named to people: `store-extracts/stores-2026-01-31.csv`."""
        return f"{self.contract.topic}/{self.name}"

    @property
    def order(self) -> tuple[date, str]:
        return extracts.date_in(self.name) or date.max, self.name


def drop_topics() -> dict[str, Contract]:
    """The topics that extracts can enter: flat, with a plain text, which can hold SHA-256 and line, as identity."""
    return {
        topic: contract
        for topic, contract in load_contracts().items()
        if (identity := contract.by_name[contract.identity]).logical_type == "string"
        and not (identity.format or identity.pattern or identity.allowed)
        and all(field.logical_type in SCALARS for field in contract.fields)
    }


class Drops:
    """The drop folder and what was published of it.

    Args:
        settings: where the folder is, how long a file settles, which broker.

    Raises:
        ConfigurationError: a contract is malformed.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.folder = settings.drops
        self.topics = drop_topics()
        self._memory: Memory | None = None
        self._seen: dict[Path, Stamp] = {}
        self._refused: dict[Path, tuple[Stamp, Refused]] = {}
        self._unseeable: list[LevainError] = []
        self._said: set[str] = set()

    def once(self, stop: threading.Event) -> None:
        """Publish every whole file that is there; see `ingest.sources.service.Source`.

        Raises:
            Unavailable: the folder or Kafka cannot be reached.
            BadInput: some files could not be taken: the others were.
        """
        with self._alone():
            found = self._round(stop)
            if found and not stop.wait(self.settings.drops_settle_seconds):
                for drop in self._round(stop):
                    log.info("%s may still be written to: left for the next time", drop.place)
            failed = [*self._unseeable, *(refused for _, refused in self._refused.values())]
            if failed:
                more = f" So could {len(failed) - 1} more, see above." if len(failed) > 1 else ""
                raise BadInput(failed[0].message + more, failed[0].hint)

    def watch(self, stop: threading.Event) -> None:
        """Publish files as they come, until `stop`; see `ingest.sources.service.Source`.

        Raises:
            LevainError: another process does this already, or the folder is not there at the start.
        """
        with self._alone():
            list(self._found())
            log.info("Watching %s for %s", self.folder, ", ".join(self.topics))
            backoff, delay = Backoff(), 0.0
            while not stop.wait(delay):
                try:
                    self._round(stop)
                except (BadInput, Unavailable) as error:
                    delay = max(backoff.failed(), self.settings.drops_settle_seconds)
                    log.warning("%s %s Trying again in %.0f s.", error.message, error.hint, delay)
                else:
                    backoff.worked()
                    delay = self.settings.drops_settle_seconds

    def _round(self, stop: threading.Event) -> list[Drop]:
        """Publish what is whole; returns the files that may not be.

        Raises:
            Unavailable, BadInput: the folder or Kafka cannot be reached, or a topic failed: the files of the others
                were taken.
        """
        memory = self._remembered()
        found = [drop for drop in self._found() if not memory.knows(drop.contract.topic, drop.name, drop.stamp)]
        whole = [drop for drop in found if self._seen.get(drop.path) == drop.stamp]
        self._seen = {drop.path: drop.stamp for drop in found}
        self._refused = {
            drop.path: self._refused[drop.path]
            for drop in found
            if drop.path in self._refused and self._refused[drop.path][0] == drop.stamp
        }
        settling = [drop for drop in found if drop not in whole]
        whole = [drop for drop in whole if isinstance(self._refused.get(drop.path, (0, None))[1], Unreadable | None)]
        failed: dict[str, LevainError] = {}
        for topic in self.topics:
            drops = sorted((drop for drop in whole if drop.contract.topic == topic), key=lambda drop: drop.order)
            if drops and not stop.is_set():
                try:
                    settling += self._take_all(topic, drops, memory, stop)
                except (BadInput, Unavailable) as error:
                    failed[error.message] = error
        if failed:
            first, *others = failed.values()
            for other in others:
                log.warning("%s %s", other.message, other.hint)
            raise first
        return settling

    def _take_all(self, topic: str, drops: list[Drop], memory: Memory, stop: threading.Event) -> list[Drop]:
        """Publish the files of a topic in their order; returns those that changed meanwhile.

        Raises:
            Unavailable: the topic does not exist, Kafka did not take all, or that it did cannot be noted.
            BadInput: a line is too large for Kafka.
        """
        changed = []
        with Publisher(self.settings, [topic]) as publisher:
            for drop in drops:
                try:
                    self._take(drop, memory, publisher, stop)
                except Refused as refused:
                    if drop.path not in self._refused:
                        log.warning("%s %s", refused.message, refused.hint)
                    self._refused[drop.path] = drop.stamp, refused
                except Changed:
                    changed.append(drop)
                if stop.is_set():
                    break
        return changed

    def _take(self, drop: Drop, memory: Memory, publisher: Publisher, stop: threading.Event) -> None:
        """Publish a file's lines and remember it.

        Raises:
            Refused: it is no extract, or cannot be read.
            Changed: it is not what it was when it was found.
            Unavailable: Kafka did not take all of it, or that it did cannot be noted.
        """
        topic, day = drop.contract.topic, _date_of(drop)
        with _copied(drop, digest := extracts.digest(day), self.settings.run_dir) as copy:
            sha256 = digest.hexdigest()
            before = memory.name_of(topic, sha256)
            if before is not None:
                memory.remember(topic, drop.name, drop.stamp, sha256, {})
                log.info("%s was published already, as %s: nothing to do", drop.place, before)
                return
            try:
                lines = CsvLines(copy, list(drop.contract.by_name))
                _check_header(drop.contract, lines)
            except NoHeader as error:
                raise Refused(
                    f"{drop.place} was not taken: {error}.",
                    f"Write it again; its first line names columns of {topic}, such as {drop.contract.key}.",
                ) from error
            rows = bad = 0
            encode = _encoder(drop, lines.columns, day, sha256)
            for number, line in enumerate(lines):
                if number % _STOP_EVERY == 0 and stop.is_set():
                    return
                publisher.publish(topic, *encode(line))
                if isinstance(line, Row):
                    rows += 1
                else:
                    bad += 1
                    if bad <= _BAD_LINES_LOGGED:
                        log.warning("%s line %d is published to be rejected: %s", drop.place, line.line, line.problem)
            publisher.flush()
            memory.remember(topic, drop.name, drop.stamp, sha256, {"rows": rows, "bad": bad})
            known = drop.contract.by_name
            unknown = [name for name in lines.columns if name not in known]
            log.info(
                "%s: %d rows and %d bad lines published%s",
                drop.place,
                rows,
                bad,
                f"; columns the contract does not know: {', '.join(unknown)}" if unknown else "",
            )

    def _found(self) -> Iterator[Drop]:
        """The files that could be extracts, except those that are named as unfinished.

        What there is no telling of whether it is one, such as a link that leads to itself, is said and left out.

        Raises:
            Unavailable: a folder cannot be made or read.
        """
        if self.settings.drops_dir is None:
            # A folder that was named has to be there: a disk that is not mounted must not look like an empty one.
            try:
                for topic in self.topics:
                    (self.folder / topic).mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise Unavailable(
                    f"The drop folder {self.folder} cannot be made: {error.strerror}.",
                    "Free some disk space or give rights; LEVAIN_DROPS_DIR says where it is.",
                ) from error
        self._unseeable = []
        for path, about in self._listed(self.folder):
            if not stat.S_ISDIR(about.st_mode):
                self._say_once(f"{path.name} is not taken: it belongs into a folder named {' or '.join(self.topics)}")
            elif path.name not in self.topics:
                self._say_once(f"{path.name}/ is not read: folders here are named {' or '.join(self.topics)}")
            else:
                yield from self._files(self.topics[path.name], path)

    def _files(self, contract: Contract, folder: Path) -> Iterator[Drop]:
        for path, about in self._listed(folder):
            if stat.S_ISREG(about.st_mode) and path.suffix.lower() == ".csv":
                yield Drop(contract, path, Stamp.of(about))
            elif not stat.S_ISDIR(about.st_mode):
                self._say_once(f"{contract.topic}/{path.name} is not taken: only files named *.csv are")

    def _listed(self, folder: Path) -> Iterator[tuple[Path, os.stat_result]]:
        """What is in a folder, without hidden names and editors' copies; what goes while it is read is left out.

        Raises:
            Unavailable: it cannot be read.
        """
        try:
            paths = sorted(folder.iterdir())
        except OSError as error:
            raise Unavailable(
                f"The drop folder {folder} cannot be read: {error.strerror}.",
                "Make it or give rights to it; LEVAIN_DROPS_DIR says where it is.",
            ) from error
        for path in paths:
            if extracts.is_hidden(path.name):
                continue
            try:
                about = path.stat()
            except FileNotFoundError:
                continue
            except OSError as error:
                unseeable = BadInput(
                    f"{path} was not taken: {error.strerror}.", "Remove it, or give rights to what it leads to."
                )
                self._unseeable.append(unseeable)
                self._say_once(f"{unseeable.message} {unseeable.hint}")
                continue
            yield path, about

    def _say_once(self, text: str) -> None:
        if text not in self._said:
            self._said.add(text)
            log.warning("%s", text)

    def _remembered(self) -> Memory:
        """What was published to the cluster as it is now.

        Raises:
            Unavailable: no embedded broker is running.
        """
        alias = kafka.cluster(self.settings).alias
        if self._memory is None or self._memory.cluster != alias:
            self._memory = Memory(self.settings.run_dir / "drops.jsonl", alias)
        return self._memory

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """One process at a time.

        Raises:
            LevainError: another one is at work.
        """
        self.settings.run_dir.mkdir(parents=True, exist_ok=True)
        with (self.settings.run_dir / "drops.lock").open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise LevainError(
                    f"Another `levain source drops` is at work for {self.settings.root}.",
                    "Let it, or stop it first.",
                ) from None
            yield


def _date_of(drop: Drop) -> date:
    day = extracts.date_in(drop.name)
    if day is None:
        raise Refused(
            f"{drop.place} was not taken: its name does not say of which day it is.",
            "Give it a name with one date, such as stores-2026-01-31.csv.",
        )
    return day


@contextmanager
def _copied(drop: Drop, digest: extracts.Digest, folder: Path) -> Iterator[IO[bytes]]:
    """A private copy of the file at its beginning, its bytes added to the digest.

    Raises:
        Unreadable: it cannot be read or copied.
        Changed: it is not what it was when it was found, or was written to meanwhile.
    """
    try:
        # A full disk may be told only when the copy is turned back or closed.
        with tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY, dir=str(folder)) as copy:
            with drop.path.open("rb") as file:
                size = 0
                while size <= drop.stamp.size and (chunk := file.read(_COPIED_AT_ONCE)):
                    size += len(chunk)
                    digest.update(chunk)
                    copy.write(chunk)
                if not drop.stamp == Stamp.of(os.fstat(file.fileno())) == Stamp.of(drop.path.stat()):
                    raise Changed
            copy.seek(0)
            yield copy
    except FileNotFoundError:
        raise Changed from None
    except OSError as error:
        raise Unreadable(
            f"{drop.place} was not taken, it cannot be copied into {folder}: {error.strerror}.",
            "Give rights to read it, or free some disk space.",
        ) from error


def _check_header(contract: Contract, lines: CsvLines) -> None:
    if contract.key not in lines.columns:
        raise NoHeader(f"its header has no column {contract.key}")
    for name in (contract.identity, contract.event_time):
        if name in lines.columns:
            raise NoHeader(f"it has a column {name}, which follows from the file and the line")


def _encoder(
    drop: Drop, columns: list[str], day: date, sha256: str
) -> Callable[[Row | BadLine], tuple[bytes | None, bytes, Headers]]:
    """Key, value and headers of the message of a line."""
    contract = drop.contract
    fields = [contract.by_name.get(name) for name in columns]
    key = columns.index(contract.key)
    midnight = extracts.event_time(day)
    received = (RECEIVED_AT, json_timestamp(_received(drop.stamp, day, datetime.now(UTC))).encode())

    def encode(line: Row | BadLine) -> tuple[bytes | None, bytes, Headers]:
        headers = [received, *extracts.headers(drop.name, sha256, line.line)]
        if isinstance(line, BadLine):
            return None, _never_an_event(line.raw), [*headers, (PROBLEM, line.problem.encode())]
        identity = {contract.identity: extracts.event_id(sha256, line.line), contract.event_time: midnight}
        event = identity | dict(zip(columns, map(extracts.json_value, fields, line.values), strict=True))
        return line.values[key].encode() or None, json_object(event).encode(), headers

    return encode


def _received(stamp: Stamp, day: date, now: datetime) -> datetime:
    """When the file was written, so that it is not late because nobody was there to take it.

    A zone ahead of UTC writes the extract of its day before that day begins in UTC: that counts as its beginning. A
    time of change that is in the future, or long before the extract's day, cannot be meant: it is now.
    """
    written = datetime.fromtimestamp(stamp.changed // 1_000_000_000, UTC)
    midnight = extracts.event_time(day)
    if not midnight - _AHEAD <= written <= now:
        written = now.replace(microsecond=0)
    return midnight if midnight - _AHEAD <= written < midnight else written


def _never_an_event(raw: bytes) -> bytes:
    """The raw line, which is no JSON object and so rejected as `message_malformed`; if it is one, as a JSON string."""
    if raw.lstrip()[:1] != b"{":
        return raw
    try:
        return json.dumps(raw.decode()).encode()
    except UnicodeDecodeError:
        return raw
