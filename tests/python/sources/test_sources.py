"""Sources: CSV files that are dropped and a weather API that is polled, over real brokers and a real HTTP server."""

from __future__ import annotations

import csv
import io
import json
import logging
import os
import re
import resource
import signal
import subprocess
import threading
import time
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import parse_qs, urlsplit
from uuid import UUID

import commands
import hypothesis
import kafka_broker
import pytest
from confluent_kafka import Consumer, Message, TopicPartition
from hypothesis import given
from hypothesis import strategies as st
from kafka_broker import Broker, free_port
from lake import Lake
from pydantic import SecretStr

from ingest import kafka
from ingest.contracts import contract_for, load_contracts
from ingest.errors import LevainError
from ingest.jsontext import JsonText, json_object
from ingest.settings import Settings
from ingest.sources import extracts, openmeteo, weather
from ingest.sources.csvlines import LONGEST, BadLine, CsvLines, NoHeader, Row
from ingest.sources.drops import Changed, Drop, Drops, Unreadable, _copied, _received
from ingest.sources.memory import Memory, Stamp
from ingest.sources.openmeteo import CONDITIONS, OpenMeteo, Place, Reading
from ingest.sources.service import LONGEST_WAIT, Backoff
from ingest.sources.weather import Weather
from levain.local.stack import Stack, unlanded

DAY = date(2026, 1, 31)
HEADER = "store_id,name,city,country,latitude,longitude,opened_on,size_m2,manager,opening_hours\n"
ROW = "S001,Levain Bastille,Paris,FR,48.853291,2.369255,2014-03-17,118,Zoé,Mo-Su 07:00-20:00\n"
FIELDS = dict(zip(HEADER.strip().split(","), ROW.strip().split(","), strict=True))


@pytest.fixture(autouse=True)
def surroundings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Loopback goes past any proxy, and logs can be captured."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr(logging.getLogger("ingest.sources"), "propagate", True)


# Lines of CSV


def read(content: bytes, known: tuple[str, ...] = ("a", "b")) -> list[Row | BadLine]:
    return list(CsvLines(io.BytesIO(content), known))


def shape(content: bytes) -> list[tuple[int, list[str] | str]]:
    """Each row as line and values, each bad line as line and its text."""
    return [(each.line, each.values if isinstance(each, Row) else each.raw.decode("latin-1")) for each in read(content)]


@pytest.mark.parametrize(
    ("content", "lines"),
    [
        (b"a,b\n1,2\n3,4", [(2, ["1", "2"]), (3, ["3", "4"])]),
        (b"\xef\xbb\xbfa,b\r\n1,2\r\n", [(2, ["1", "2"])]),
        (b"a;b\n1,5;2\n", [(2, ["1,5", "2"])]),
        (b"a\tb\n1\t2\n", [(2, ["1", "2"])]),
        (b" a , b \n1,2\n", [(2, ["1", "2"])]),
        (b"\n\r\na,b\n\n1,2\n\r\n3,4\n\n", [(5, ["1", "2"]), (7, ["3", "4"])]),
        (b'a,b\n"x\ny",2\n3,4\n', [(2, ["x\ny", "2"]), (4, ["3", "4"])]),
        (b'a,b\n"say ""ah""",2\n', [(2, ['say "ah"', "2"])]),
        (b"a,b\n1,2,3\n4\n5,6\n", [(2, "1,2,3"), (3, "4"), (4, ["5", "6"])]),
        (b'a,b\n1,"2\n3,4\n5,6\n', [(2, '1,"2'), (3, ["3", "4"]), (4, ["5", "6"])]),
        (b'a,b\n1,"2"x\n3,4\n', [(2, '1,"2"x'), (3, ["3", "4"])]),
        (b'a,b\n1,"2\n3,4\n5,"6"\n7,8\n', [(2, '1,"2'), (3, ["3", "4"]), (4, ["5", "6"]), (5, ["7", "8"])]),
        (b'a,b\n1,"x\ny",3\n5,6\n', [(2, '1,"x\ny",3'), (4, ["5", "6"])]),
        (b'a,b\n1,"x\ny"z,3\n5,6\n', [(2, '1,"x'), (3, 'y"z,3'), (4, ["5", "6"])]),
        (b"a,b\ncaf\xe9,2\n3,4\n", [(2, "café,2"), (3, ["3", "4"])]),
        (b'a,b\n1,"x\n\xe9\n3,4\n', [(2, '1,"x'), (3, "é"), (4, ["3", "4"])]),
        (b"a,b\n1,\0\n3,4\n", [(2, "1,\0"), (3, ["3", "4"])]),
        (b"a,b\n1\r2,3\n3,4\n", [(2, "1\r2,3"), (3, ["3", "4"])]),
        (b'a,b\n5" nail,2\n', [(2, ['5" nail', "2"])]),
        (b"a,b\n,\n", [(2, ["", ""])]),
        (b"a,b\n", []),
        (b"b,c,a\n1,2,3\n", [(2, ["1", "2", "3"])]),
    ],
)
def test_a_bad_line_costs_no_other_line(content: bytes, lines: list[tuple[int, list[str] | str]]) -> None:
    assert shape(content) == lines


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"a,b\n1,2,3\n", "3 values for 2 columns"),
        (b'a,b\n1,"2\n', "unexpected end of data"),
        (b'a,b\n1,"2"x\n', "',' expected after '\"'"),
        (b"a,b\n1,\xff\n", "not UTF-8 at byte 3"),
        (b"a,b\n1,\0\n", "it holds a NUL byte"),
    ],
)
def test_a_bad_line_says_what_is_wrong_with_it(content: bytes, problem: str) -> None:
    assert [each.problem for each in read(content) if isinstance(each, BadLine)] == [problem]


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "it is empty"),
        (b"\r\n\n", "it is empty"),
        (b"S001,Paris\n", "line 1 is no header, it names none of a, b"),
        (b"a,b\r1,2\r3,4\r", "its lines end in CR alone"),
        (b"a,b,a\n", "the column 'a' twice"),
        (b"a,b,\n", "no name for column 3"),
        ("a,b\n1,2\n".encode("utf-16"), "is no text"),
        (b"\x89PNG\r\n\x1a\n" + bytes(300_000), "is no text"),
        (bytes(300_000), f"is no text: longer than {LONGEST} bytes"),
    ],
)
def test_a_file_without_a_header_is_refused(content: bytes, why: str) -> None:
    with pytest.raises(NoHeader, match=re.escape(why)):
        read(content)


def test_a_line_that_is_too_long_comes_in_pieces_and_costs_no_other() -> None:
    long = b"x," * LONGEST
    found = read(b"a,b\n1,2\n" + long + b"\n3,4\n")
    assert [each.line for each in found] == [2, 3, 3, 3, 4]
    assert isinstance(found[0], Row) and isinstance(found[-1], Row)
    pieces = [each for each in found if isinstance(each, BadLine)]
    assert b"".join(piece.raw for piece in pieces) == long
    assert all(len(piece.raw) <= LONGEST and "longer than" in piece.problem for piece in pieces)


class Endless(io.RawIOBase):
    """A large file that is never whole in memory."""

    def __init__(self, lines: int, line: bytes) -> None:
        self.left, self.line = lines, line

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        count = min(self.left, len(buffer) // len(self.line))
        buffer[: count * len(self.line)] = self.line * count
        self.left -= count
        return count * len(self.line)


def test_memory_does_not_grow_with_the_file() -> None:
    lines, quoted = 3000, b'1,"' + b"x" * 2000 + b"\n"
    file = io.BufferedReader(Endless(lines, quoted), 1 << 16)
    tracemalloc.start()
    parsed = CsvLines(io.BufferedReader(_Chain(b"a,b\n", file), 1 << 16), ("a", "b"))
    found = sum(1 for _ in parsed)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert found == lines  # each opens a quote that the next line breaks
    assert peak < 1_000_000


class _Chain(io.RawIOBase):
    def __init__(self, head: bytes, rest: io.BufferedReader) -> None:
        self.head, self.rest = head, rest

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data, self.head = self.head or self.rest.read1(len(buffer)), b""
        buffer[: len(data)] = data
        return len(data)


@hypothesis.settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.text(max_size=8), st.text(max_size=8)), max_size=8))
def test_what_a_csv_writer_writes_is_read_back(rows: list[tuple[str, str]]) -> None:
    text = io.StringIO(newline="")
    writer = csv.writer(text, quoting=csv.QUOTE_ALL, lineterminator="\r\n")
    writer.writerows([("a", "b"), *rows])
    kept = [list(row) for row in rows if "\0" not in "".join(row)]
    found = [each.values for each in read(text.getvalue().encode("utf-8", "replace")) if isinstance(each, Row)]
    if kept == [list(row) for row in rows]:
        assert found == kept


@hypothesis.settings(max_examples=100, deadline=None)
@given(st.binary(max_size=60), st.sampled_from([b"", b'"', b'1,"2\n', b'"x\ny",1\n']))
def test_whatever_stands_before_it_a_good_line_is_read(garbage: bytes, more: bytes) -> None:
    content = b"a,b\n" + garbage + more
    found = read(content + b"\nlast,line\n")
    assert isinstance(found[-1], Row) and found[-1].values == ["last", "line"]
    numbers = [each.line for each in found]
    assert numbers == sorted(set(numbers)) and numbers[-1] == content.count(b"\n") + 2


# Which event a line is


@pytest.mark.parametrize(
    ("name", "day"),
    [
        ("stores-2026-01-31.csv", DAY),
        ("20260131_stores.csv", DAY),
        ("stores 2026_01_31 (2).csv", DAY),
        ("2026-01-31/2026-01-31", DAY),
        ("stores.csv", None),
        ("stores-2026-02-30.csv", None),
        ("stores-1900-01-01.csv", date(1900, 1, 1)),
        ("stores-0001-01-01.csv", None),
        ("18991231.csv", None),
        ("stores-2026-01-31-to-2026-02-01.csv", None),
        ("stores-20260131123000.csv", None),
    ],
)
def test_the_date_comes_from_the_name(name: str, day: date | None) -> None:
    assert extracts.date_in(name) == day


@pytest.mark.parametrize(
    ("column", "text", "value"),
    [
        ("size_m2", " 118 ", JsonText("118")),
        ("size_m2", "007", "007"),
        ("size_m2", "118.0", "118.0"),
        ("size_m2", "9" * 5000, "9" * 5000),
        ("latitude", "48.85", JsonText("48.85")),
        ("latitude", "48,85", "48,85"),
        ("latitude", "1e3", "1e3"),
        ("latitude", "NaN", "NaN"),
        ("store_id", "001", "001"),
        ("store_id", "", None),
        ("opened_on", "2014-03-17", "2014-03-17"),
        ("new_column", "5", "5"),
    ],
)
def test_values_get_the_type_of_the_contract_or_stay_text(column: str, text: str, value: Any) -> None:
    found = extracts.json_value(contract_for("store-extracts").by_name.get(column), text)
    assert (found, type(found)) == (value, type(value))
    json.loads(json_object({"value": found}))


def test_booleans_become_booleans() -> None:
    is_active = contract_for("product-changes").by_name["is_active"]
    assert [extracts.json_value(is_active, text) for text in ("True", "false", "yes")] == [True, False, "yes"]


@pytest.mark.parametrize(
    ("written", "received"),
    [
        ("2026-01-31T04:10:00", "2026-01-31T04:10:00"),
        ("2026-01-30T15:00:00", "2026-01-31T00:00:00"),  # already the 31st, in the far east
        ("2026-02-20T09:00:00", "2026-02-20T09:00:00"),  # late, and to be held
        ("1980-01-01T00:00:00", "2026-03-01T00:00:00"),  # a time that an archive made up
        ("2030-01-01T00:00:00", "2026-03-01T00:00:00"),
    ],
)
def test_an_extract_was_received_when_its_file_was_written(written: str, received: str) -> None:
    def moment(text: str) -> datetime:
        return datetime.fromisoformat(text).replace(tzinfo=UTC)

    stamp = Stamp(1, 1, int(moment(written).timestamp()) * 1_000_000_000)
    assert _received(stamp, DAY, now=moment("2026-03-01T00:00:00")) == moment(received)


# Drops, published to a broker


@contextmanager
def files_end_at(size: int) -> Iterator[None]:
    """No file of this process can grow beyond so many bytes: as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    with kafka_broker.embedded(tmp_path_factory.mktemp("broker")) as running:
        kafka.create_topics(Settings(kafka_bootstrap=running.bootstrap), load_contracts().values())
        yield running


@dataclass
class Folder:
    """A drop folder, and what has come to its topics since the test began."""

    settings: Settings
    started: dict[tuple[str, int], int]

    @property
    def stores(self) -> Path:
        return self.settings.drops / "store-extracts"

    def drop(self, name: str, content: str | bytes, topic: str = "store-extracts") -> Path:
        """Write a file beside the folder and move it in, as its users should."""
        path = self.settings.drops / topic / name
        path.parent.mkdir(parents=True, exist_ok=True)
        beside = path.with_name(f".{name}")
        beside.write_bytes(content.encode() if isinstance(content, str) else content)
        return beside.replace(path)

    def once(self) -> None:
        Drops(self.settings).once(threading.Event())

    def published(self, topic: str = "store-extracts") -> list[Message]:
        """In the order of file and line."""
        ends = kafka.end_offsets(self.settings, [topic])
        consumer = Consumer({**kafka.client_config(self.settings), "group.id": "test", "enable.auto.commit": False})
        found: list[Message] = []
        try:
            consumer.assign([TopicPartition(t, p, self.started[t, p]) for t, p in ends])
            wanted = sum(end - self.started[place] for place, end in ends.items())
            deadline = time.monotonic() + 20
            while len(found) < wanted:
                assert time.monotonic() < deadline, f"{len(found)} of {wanted} messages"
                found += consumer.consume(wanted - len(found), 0.2)
        finally:
            consumer.close()
        return sorted(
            found, key=lambda each: (each.timestamp()[1], header(each, "file"), int(header(each, "line") or 0))
        )


def header(message: Message, name: str) -> str:
    return dict(message.headers() or []).get(name, b"").decode()


def body(message: Message) -> dict[str, Any]:
    content = json.loads(message.value() or b"", parse_float=Decimal)
    assert isinstance(content, dict)
    return content


def content_of(message: Message) -> tuple[Any, ...]:
    return message.topic(), message.key(), message.value(), message.headers()


@pytest.fixture
def folder(tmp_path: Path, broker: Broker) -> Folder:
    settings = Settings(home=tmp_path / "home", kafka_bootstrap=broker.bootstrap, drops_settle_seconds=0.1)
    return Folder(settings, kafka.end_offsets(settings, list(load_contracts())))


def test_each_line_is_a_message_with_its_place(folder: Folder) -> None:
    content = HEADER + ROW + "S002,only two\n" + ROW.replace("118", "grand")
    folder.drop("stores-2026-01-31.csv", content)
    folder.once()
    digest = extracts.digest(DAY)
    digest.update(content.encode())
    good, bad, odd = folder.published()
    assert (good.key(), bad.key()) == (b"S001", None)
    assert body(good) == {
        "event_id": f"{digest.hexdigest()}-2",
        "event_time": "2026-01-31T00:00:00Z",
        **FIELDS,
        "latitude": Decimal("48.853291"),
        "longitude": Decimal("2.369255"),
        "size_m2": 118,
    }
    assert body(odd)["size_m2"] == "grand"
    assert (bad.value(), header(bad, "problem")) == (b"S002,only two", "2 values for 10 columns")
    for number, message in ((2, good), (3, bad), (4, odd)):
        places = [header(message, name) for name in ("file", "sha256", "line")]
        assert places == ["stores-2026-01-31.csv", digest.hexdigest(), str(number)]
        assert datetime.fromisoformat(header(message, "received-at")).tzinfo is UTC


def test_columns_may_be_in_any_order_unknown_or_missing(folder: Folder, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    folder.drop("20260131.csv", "﻿floor;name;store_id\r\n2;Bastille;S001\r\n")
    folder.once()
    [message] = folder.published()
    assert {name: value for name, value in body(message).items() if not name.startswith("event")} == {
        "floor": "2",
        "name": "Bastille",
        "store_id": "S001",
    }
    assert "1 rows and 0 bad lines published; columns the contract does not know: floor" in caplog.text


def test_a_bad_line_that_looks_like_an_event_cannot_become_one(folder: Folder) -> None:
    event = json_object({"event_id": "x", "event_time": "2026-01-31T00:00:00Z", **FIELDS})
    folder.drop("stores-2026-01-31.csv", HEADER + " " + event + ",\n")
    folder.once()
    [message] = folder.published()
    assert json.loads(message.value() or b"") == f" {event},"


def test_what_is_done_is_not_done_again_and_would_change_nothing(folder: Folder) -> None:
    folder.drop("stores-2026-01-31.csv", HEADER + ROW + "bad\n")
    folder.drop("equipment-2026-01-31.csv", "equipment_id,store_id\nE001,S001\n", "equipment-extracts")
    folder.once()
    first = [content_of(message) for message in folder.published()]
    assert len(first) == 2 and len(folder.published("equipment-extracts")) == 1
    folder.once()
    assert len(folder.published()) == 2

    # The same bytes of the same day under another name are the same extract.
    folder.drop("stores_20260131_again.csv", HEADER + ROW + "bad\n")
    folder.once()
    assert len(folder.published()) == 2

    # As after a crash between acknowledgement and note: the same messages again.
    (folder.settings.run_dir / "drops.jsonl").unlink()
    (folder.stores / "stores_20260131_again.csv").unlink()
    folder.once()
    assert [content_of(message) for message in folder.published()] == first * 2


def test_a_register_that_goes_back_to_what_it_was_is_a_new_extract(folder: Folder) -> None:
    other = ROW.replace("Zoé", "Ali")
    for name, row in (("stores-2026-01-29.csv", ROW), ("stores-2026-01-30.csv", other), ("stores-2026-01-31.csv", ROW)):
        folder.drop(name, HEADER + row)
    folder.once()
    found = [body(message) for message in folder.published()]
    assert [row["event_time"][8:10] for row in found] == ["29", "30", "31"]
    assert [row["manager"] for row in found] == ["Zoé", "Ali", "Zoé"]
    assert len({row["event_id"] for row in found}) == 3


def test_a_file_replaced_by_another_is_published_again(folder: Folder) -> None:
    folder.drop("stores-2026-01-31.csv", HEADER + ROW)
    folder.once()
    folder.drop("stores-2026-01-31.csv", HEADER + ROW.replace("118", "120"))
    folder.once()
    assert [body(message)["size_m2"] for message in folder.published()] == [118, 120]
    assert len({header(message, "sha256") for message in folder.published()}) == 2


def test_a_correction_of_equal_size_with_the_time_set_back_is_published(folder: Folder) -> None:
    path = folder.drop("stores-2026-01-31.csv", HEADER + ROW)
    for size in ("118", "120"):
        path.write_text(HEADER + ROW.replace("118", size))
        os.utime(path, (time.time() // 86_400 * 86_400,) * 2)
        folder.once()
    assert [body(message)["size_m2"] for message in folder.published()] == [118, 120]


def test_a_note_without_the_inodes_time_keeps_the_file_from_being_published_again(folder: Folder) -> None:
    path = folder.drop("stores-2026-01-31.csv", HEADER + ROW)
    folder.once()
    notes = folder.settings.run_dir / "drops.jsonl"
    note = json.loads(notes.read_text())
    assert note["stamp"] == [path.stat().st_ino, path.stat().st_size, path.stat().st_mtime_ns, path.stat().st_ctime_ns]
    notes.write_text(json.dumps({**note, "stamp": note["stamp"][:3]}) + "\n")
    for _ in range(2):
        folder.once()
    assert len(folder.published()) == 1
    assert [len(json.loads(line)["stamp"]) for line in notes.read_text().splitlines()] == [3, 4]


def test_a_file_that_is_not_whole_is_not_read(folder: Folder, caplog: pytest.LogCaptureFixture) -> None:
    folder.stores.mkdir(parents=True)
    for name in (".stores-2026-01-31.csv", "~stores-2026-01-31.csv", "stores-2026-01-31.csv.part"):
        (folder.stores / name).write_text(HEADER + ROW)
    (folder.stores / "old").mkdir()
    (folder.stores / "old" / "stores-2026-01-01.csv").write_text(HEADER + ROW)
    drops, stop = Drops(folder.settings), threading.Event()
    with (folder.stores / "stores-2026-01-31.csv").open("w") as file:
        file.write(HEADER)
        for _ in range(3):
            file.write(ROW)
            file.flush()
            assert [drop.name for drop in drops._round(stop)] == ["stores-2026-01-31.csv"]
        file.write("S009,half a li")
    assert len(drops._round(stop)) == 1
    assert folder.published() == []
    assert drops._round(stop) == []
    assert [header(message, "line") for message in folder.published()] == ["2", "3", "4", "5"]
    assert "stores-2026-01-31.csv.part is not taken: only files named *.csv are" in caplog.text


class Meddling:
    """A digest; what is done to the file while it is read happens in between."""

    def __init__(self, meddle: Callable[[], object]) -> None:
        self.meddle = meddle

    def update(self, data: bytes, /) -> None:
        self.meddle()

    def hexdigest(self) -> str:
        return ""


def test_a_file_that_changes_or_vanishes_while_it_is_read_is_left_for_later(tmp_path: Path) -> None:
    path, other = tmp_path / "stores-2026-01-31.csv", tmp_path / "other"

    def append() -> None:
        with path.open("a") as file:
            file.write(ROW)

    for meddle in (append, path.unlink, lambda: other.replace(path)):
        path.write_text(HEADER + ROW)
        other.write_text(HEADER + ROW)
        drop = Drop(contract_for("store-extracts"), path, Stamp.of(path.stat()))
        with pytest.raises(Changed), _copied(drop, Meddling(meddle), tmp_path):
            pytest.fail("it was taken")
    path.write_text(HEADER + ROW)
    drop = Drop(contract_for("store-extracts"), path, Stamp.of(path.stat()))
    with _copied(drop, extracts.digest(DAY), tmp_path) as copy:
        assert copy.read().decode() == HEADER + ROW


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("stores.csv", HEADER + ROW, "does not say of which day it is"),
        ("stores-0001-01-01.csv", HEADER + ROW, "does not say of which day it is"),
        ("stores-2026-01-30.csv", "", "it is empty"),
        ("stores-2026-01-30.csv", ROW, "is no header"),
        ("stores-2026-01-30.csv", "name,city\nBastille,Paris\n", "no column store_id"),
        ("stores-2026-01-30.csv", "store_id,event_time\nS001,2026-01-30\n", "a column event_time, which follows"),
    ],
)
def test_a_file_that_is_no_extract_is_named_and_the_others_are_taken(
    folder: Folder, name: str, content: str, says: str
) -> None:
    folder.drop("stores-2026-01-31.csv", HEADER + ROW)
    path = folder.drop(name, content)
    for _ in range(2):
        with pytest.raises(LevainError, match=says) as refused:
            folder.once()
        assert f"store-extracts/{name} was not taken" in refused.value.message and refused.value.hint
    assert [header(message, "file") for message in folder.published()] == ["stores-2026-01-31.csv"]
    path.unlink()
    folder.drop("stores-2026-01-30.csv", HEADER + ROW)
    folder.once()
    assert len(folder.published()) == 2


def test_a_file_that_cannot_be_read_is_named_and_read_when_it_can(
    folder: Folder, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    path = folder.drop("stores-2026-01-31.csv", HEADER + ROW)
    reading = Path.open

    def refuse(self: Path, *arguments: Any, **options: Any) -> Any:
        if self == path:
            raise PermissionError(13, "Permission denied", str(path))
        return reading(self, *arguments, **options)

    drops, stop = Drops(folder.settings), threading.Event()
    drops.settings.run_dir.mkdir(parents=True)
    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", refuse)
        for _ in range(4):
            drops._round(stop)
    assert len([text for text in caplog.messages if "cannot be copied" in text and "Permission denied" in text]) == 1
    drops._round(stop)
    assert len(folder.published()) == 1


def test_a_link_that_leads_nowhere_is_named_once_and_the_others_are_taken(
    folder: Folder, caplog: pytest.LogCaptureFixture
) -> None:
    folder.drop("stores-2026-01-31.csv", HEADER + ROW)
    loops = [folder.stores / "stores-2026-01-30.csv", folder.settings.drops / "old"]
    for loop in loops:
        loop.symlink_to(loop)
    drops, stop = Drops(folder.settings), threading.Event()
    for _ in range(3):
        with pytest.raises(LevainError, match="was not taken: Too many levels of symbolic links") as refused:
            drops.once(stop)
        assert "1 more" in refused.value.message and refused.value.hint
    assert len(folder.published()) == 1
    assert [caplog.text.count(f"{loop} was not taken") for loop in loops] == [1, 1]
    for loop in loops:
        loop.unlink()
    drops.once(stop)


def test_a_full_disk_ends_nothing_and_publishes_nothing_twice(folder: Folder, caplog: pytest.LogCaptureFixture) -> None:
    folder.drop("stores-2026-01-31.csv", HEADER + ROW)
    drops, notes = Drops(folder.settings), folder.settings.run_dir / "drops.jsonl"
    folder.settings.run_dir.mkdir(parents=True)
    drops._remembered()
    notes.symlink_to("/dev/full")
    with watching(drops):
        said = f"stores-2026-01-31.csv is published, but that cannot be noted in {notes}: No space left on device"
        wait_for(lambda: caplog.text.count(said) >= 2)
        notes.unlink()
        folder.drop("stores-2026-02-01.csv", HEADER + ROW)
        wait_for(lambda: len(folder.published()) == 2)
        wait_for(lambda: notes.read_text().count('"file"') == 2)
    assert "Free some disk space" in caplog.text
    folder.once()
    assert len(folder.published()) == 2


def test_a_note_that_was_cut_short_by_a_full_disk_costs_no_other(tmp_path: Path) -> None:
    path = tmp_path / "drops.jsonl"
    memory = Memory(path, "one")
    memory.remember("t", "a.csv", Stamp(1, 2, 3), "f00", {})
    with files_end_at(path.stat().st_size + 10), pytest.raises(LevainError, match=r"t/b\.csv is published, but"):
        memory.remember("t", "b.csv", Stamp(1, 2, 3), "f01", {})
    assert memory.name_of("t", "f01") == "b.csv" and not memory.knows("t", "b.csv", Stamp(1, 2, 3))
    memory.remember("t", "c.csv", Stamp(1, 2, 3), "f02", {})
    again = Memory(path, "one")
    assert [again.name_of("t", each) for each in ("f00", "f01", "f02")] == ["a.csv", None, "c.csv"]


@pytest.mark.parametrize("rows", [30, 20_000], ids=["told-at-the-end", "told-at-once"])
def test_a_copy_that_a_full_disk_cuts_short_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rows: int
) -> None:
    monkeypatch.setattr("ingest.sources.drops._IN_MEMORY", 10)
    path = tmp_path / "stores-2026-01-31.csv"
    path.write_text(HEADER + ROW * rows)
    drop = Drop(contract_for("store-extracts"), path, Stamp.of(path.stat()))
    full = pytest.raises(Unreadable, match=r"cannot be copied into .*: File too large")
    with files_end_at(1000), full, _copied(drop, extracts.digest(DAY), tmp_path):
        pytest.fail("it was taken")


def test_a_drop_folder_that_cannot_be_made_is_said(folder: Folder) -> None:
    folder.settings.drops.mkdir(parents=True)
    folder.stores.touch()
    with pytest.raises(LevainError, match=r"The drop folder .* cannot be made: File exists"):
        folder.once()


def test_only_header_is_an_extract_without_rows(folder: Folder, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    folder.drop("stores-2026-01-31.csv", HEADER)
    folder.once()
    assert "0 rows and 0 bad lines published" in caplog.text and folder.published() == []


def test_the_folder_has_to_be_there_if_it_was_named(folder: Folder, caplog: pytest.LogCaptureFixture) -> None:
    settings = folder.settings.model_copy(update={"drops_dir": folder.settings.root / "not-mounted"})
    with pytest.raises(LevainError, match="not-mounted cannot be read: No such file or directory"):
        Drops(settings).once(threading.Event())
    (folder.settings.drops / "sales-events").mkdir(parents=True)
    (folder.settings.drops / "stores-2026-01-31.csv").write_text(HEADER)
    folder.once()
    assert "sales-events/ is not read" in caplog.text
    assert "stores-2026-01-31.csv is not taken: it belongs into a folder" in caplog.text
    assert folder.stores.is_dir()


def test_memory_outlives_a_crash_and_is_of_one_cluster(tmp_path: Path) -> None:
    path, stamp = tmp_path / "run" / "drops.jsonl", Stamp(1, 2, 3)
    Memory(path, "one").remember("t", "a.csv", stamp, "f00", {"rows": 1})
    with path.open("a") as file:
        file.write('{"cluster": "one", "topic": "t", "file": "b.csv"')
    again = Memory(path, "one")
    assert again.knows("t", "a.csv", stamp) and again.name_of("t", "f00") == "a.csv"
    assert not again.knows("t", "a.csv", Stamp(1, 2, 4)) and not again.knows("t", "b.csv", stamp)
    again.remember("t", "c.csv", stamp, "f01", {})
    assert Memory(path, "one").name_of("t", "f01") == "c.csv"
    assert Memory(path, "two").name_of("t", "f00") is None


@contextmanager
def watching(source: Drops | Weather) -> Iterator[None]:
    """The source at work in a thread; at the end it must stop when asked to."""
    stop = threading.Event()
    thread = threading.Thread(target=source.watch, args=(stop,))
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(20)
    assert not thread.is_alive()


def wait_for(what: Callable[[], object], seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.1)


def test_a_watched_folder_waits_for_kafka(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    port = free_port()
    settings = Settings(home=tmp_path / "home", kafka_bootstrap=f"127.0.0.1:{port}", drops_settle_seconds=0.1)
    folder = Folder(settings, {("store-extracts", number): 0 for number in range(3)})
    folder.drop("stores-2026-01-31.csv", HEADER + ROW)
    with watching(Drops(settings)):
        with monkeypatch.context() as patch:
            patch.setattr(kafka, "CONTACT_SECONDS", 1.0)
            wait_for(lambda: "does not answer" in caplog.text and "Trying again in" in caplog.text)
        with pytest.raises(LevainError, match="Another `levain source drops`"):
            folder.once()
        with kafka_broker.embedded(tmp_path, port):
            kafka.create_topics(settings, load_contracts().values())
            wait_for(folder.published)
            folder.drop("stores-2026-02-01.csv", HEADER + ROW)
            wait_for(lambda: len(folder.published()) == 2)


def test_a_topic_that_is_missing_does_not_hold_up_the_others(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    contracts = {topic: contract_for(topic) for topic in ("equipment-extracts", "store-extracts")}
    with kafka_broker.embedded(tmp_path) as running:
        settings = Settings(home=tmp_path / "home", kafka_bootstrap=running.bootstrap, drops_settle_seconds=0.1)
        folder = Folder(settings, {(topic, number): 0 for topic in contracts for number in range(3)})
        kafka.create_topics(settings, [contracts["store-extracts"]])
        folder.drop("stores-2026-01-31.csv", HEADER + ROW)
        folder.drop("equipment-2026-01-30.csv", "equipment_id,store_id\nE001,S001\n", "equipment-extracts")
        with pytest.raises(LevainError, match=r"no topic equipment-extracts\."):
            folder.once()
        assert len(folder.published()) == 1
        with watching(Drops(settings)):
            wait_for(lambda: "no topic equipment-extracts" in caplog.text)
            folder.drop("stores-2026-02-01.csv", HEADER + ROW)
            wait_for(lambda: len(folder.published()) == 2)
            kafka.create_topics(settings, contracts.values())
            wait_for(lambda: len(folder.published("equipment-extracts")) == 1)


# The weather


def test_waits_double_up_to_the_longest_and_stay_there() -> None:
    backoff = Backoff()
    for longest in [1, 2, 4, 8, 16, 32] + [LONGEST_WAIT] * 2000:
        assert longest / 2 <= backoff.failed() <= longest
    backoff.worked()
    assert backoff.failed() <= 1


class Api(ThreadingHTTPServer):
    """Answers as Open-Meteo does; the next requests get what stands in `next`, a function of the handler, instead.

    Attributes:
        asked: the query of each request.
        time: of the observation.
        code: the weather's, or one per place.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.asked: list[dict[str, str]] = []
        self.next: list[Callable[[Handler], None]] = []
        self.time = datetime.now(UTC).strftime("%Y-%m-%dT%H:00")
        self.code = 3
        self.released = threading.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def place(self, latitude: str = "48.853291", longitude: str = "2.369255") -> dict[str, Any]:
        """The answer for one place, with the coordinates of its grid's cell."""
        units = {"time": "iso8601", "interval": "seconds", "temperature_2m": "°C", "relative_humidity_2m": "%"}
        units |= {"precipitation": "mm", "wind_speed_10m": "km/h", "weather_code": "wmo code"}
        current = {"time": self.time, "interval": 900, "temperature_2m": 7.4, "relative_humidity_2m": 81}
        current |= {"precipitation": 0.10, "wind_speed_10m": 14.8, "weather_code": self.code}
        cell = {"latitude": round(float(latitude) / 0.25) * 0.25, "longitude": round(float(longitude) / 0.25) * 0.25}
        return {**cell, "utc_offset_seconds": 0, "current_units": units, "current": current}

    def places(self, query: dict[str, str]) -> list[dict[str, Any]]:
        return list(map(self.place, query["latitude"].split(","), query["longitude"].split(",")))

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that was not waited for has gone."""


class Handler(BaseHTTPRequestHandler):
    server: Api

    def do_GET(self) -> None:
        query = {name: values[0] for name, values in parse_qs(urlsplit(self.path).query).items()}
        assert urlsplit(self.path).path == "/v1/forecast"
        self.server.asked.append(query)
        if self.server.next:
            self.server.next.pop(0)(self)
        else:
            places = self.server.places(query)
            self.answer(json.dumps(places if len(places) > 1 else places[0]))

    def answer(self, text: str, status: int = 200, **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        if "Content_Length" not in headers:
            self.send_header("Content-Length", str(len(text.encode())))
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, format: str, *arguments: Any) -> None:
        pass


def status(number: int, text: str = "", **headers: str) -> Callable[[Handler], None]:
    return lambda handler: handler.answer(text, number, **headers)


def changed(change: Callable[[dict[str, Any]], object]) -> Callable[[Handler], None]:
    """The answer for one place, altered."""

    def answer(handler: Handler) -> None:
        place = handler.server.place()
        change(place)
        handler.answer(json.dumps(place))

    return answer


def trickle(handler: Handler) -> None:
    handler.send_response(200)
    handler.send_header("Content-Length", "1000")
    handler.end_headers()
    for _ in range(100):
        if handler.server.released.wait(0.05):
            return
        handler.wfile.write(b" ")


def trickle_headers(handler: Handler) -> None:
    handler.wfile.write(b"HTTP/1.1 200 OK\r\nX-Long: ")
    for _ in range(100):
        if handler.server.released.wait(0.05):
            return
        handler.wfile.write(b"x")


@pytest.fixture
def api() -> Iterator[Api]:
    server = Api()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield server
    server.released.set()
    server.shutdown()
    thread.join()
    server.server_close()


def asking(api: Api, settings: Settings, **others: Any) -> OpenMeteo:
    changes = {"weather_url": api.url, "weather_timeout_seconds": 0.4, **others}
    return OpenMeteo(settings.model_copy(update=changes), threading.Event())


PARIS = Place(Decimal("48.853291"), Decimal("2.369255"))
LYON = Place(Decimal("45.774502"), Decimal("4.831917"))


def test_asks_for_what_it_needs_and_reads_the_answer(api: Api, settings: Settings) -> None:
    api.time = "2026-01-31T12:15"
    first, second = asking(api, settings).now([PARIS, LYON])
    assert isinstance(first, Reading) and first == second
    assert first.observed == datetime(2026, 1, 31, 12, 15, tzinfo=UTC)
    assert first.values == {
        "temperature_c": Decimal("7.4"),
        "humidity_pct": 81,
        "precipitation_mm": Decimal("0.1"),
        "wind_kmh": Decimal("14.8"),
        "condition": "overcast",
    }
    [alone] = asking(api, settings).now([LYON])
    assert alone == first
    assert api.asked[0] == {
        "latitude": "48.853291,45.774502",
        "longitude": "2.369255,4.831917",
        "current": "temperature_2m,relative_humidity_2m,precipitation,wind_speed_10m,weather_code",
        "timezone": "GMT",
        "temperature_unit": "celsius",
        "wind_speed_unit": "kmh",
        "precipitation_unit": "mm",
    }


def test_a_zone_in_the_answer_counts(api: Api, settings: Settings) -> None:
    api.time = "2026-01-31T01:15"
    api.next = [changed(lambda place: place.update(utc_offset_seconds=3600))]
    [reading] = asking(api, settings).now([PARIS])
    assert isinstance(reading, Reading) and reading.observed == datetime(2026, 1, 31, 0, 15, tzinfo=UTC)


@pytest.mark.parametrize(
    "misbehave",
    [
        status(500, "oops"),
        status(503),
        status(429, '{"error": true, "reason": "Minutely API request limit exceeded."}'),
        lambda handler: handler.server.released.wait(5),
        trickle,
        trickle_headers,
        lambda handler: handler.connection.close(),
        status(200, '{"latitude": 48.8', Content_Length="4000"),
    ],
    ids=["500", "503", "429", "hangs", "trickles", "trickles-headers", "closes", "cut-short"],
)
def test_what_may_pass_is_tried_again(api: Api, settings: Settings, misbehave: Callable[[Handler], None]) -> None:
    api.next = [misbehave]
    [reading] = asking(api, settings).now([PARIS])
    assert isinstance(reading, Reading) and len(api.asked) == 2


@pytest.mark.parametrize(
    "slow", [trickle, trickle_headers, lambda handler: handler.server.released.wait(5)], ids=["body", "headers", "none"]
)
def test_an_answer_ends_at_the_deadline_or_on_the_order_to_stop(
    api: Api, settings: Settings, slow: Callable[[Handler], None]
) -> None:
    api.next = [slow] * 2
    began = time.monotonic()
    with pytest.raises(LevainError, match=r"did not answer within 0\.4 s|was not whole within 0\.4 s"):
        asking(api, settings, weather_tries=1).now([PARIS])
    assert time.monotonic() - began < 2
    stop = threading.Event()
    patient = settings.model_copy(update={"weather_url": api.url, "weather_timeout_seconds": 60})
    threading.Timer(0.5, stop.set).start()
    began = time.monotonic()
    with pytest.raises(LevainError, match="told to stop"):
        OpenMeteo(patient, stop).now([PARIS])
    assert time.monotonic() - began < 2.5


def test_a_redirect_is_not_followed_and_its_body_not_read(api: Api, settings: Settings) -> None:
    def endless(handler: Handler) -> None:
        handler.send_response(302)
        handler.send_header("Location", f"https://me:s3cret@elsewhere.example{handler.path}&apikey=s3cret")
        handler.end_headers()
        sent.append(0)
        while not handler.server.released.wait(0.001):
            sent[0] += handler.connection.send(bytes(65536))

    sent: list[int] = []
    api.next = [endless]
    with pytest.raises(LevainError, match=r"redirects to https://\*\*\*@elsewhere\.example/v1/forecast\.\n") as refused:
        asking(api, settings, weather_timeout_seconds=5).now([PARIS])
    assert "s3cret" not in str(refused.value) and "LEVAIN_WEATHER_URL" in refused.value.hint
    time.sleep(0.5)
    assert sent[0] < 16_000_000  # what the buffers of two sockets hold
    api.next = [status(301, Location="//[")]
    with pytest.raises(LevainError, match="redirects to something that is not a URL"):
        asking(api, settings).now([PARIS])


def test_retry_after_is_honoured(api: Api, settings: Settings) -> None:
    for text, least in (("2", 2.0), ("", 2.0)):
        text = text or (datetime.now(UTC) + timedelta(seconds=4)).strftime("%a, %d %b %Y %H:%M:%S GMT")
        api.next = [status(429, Retry_After=text)]
        began = time.monotonic()
        asking(api, settings).now([PARIS])
        assert least <= time.monotonic() - began < 20
    api.next = [status(429, Retry_After="86400")]
    with pytest.raises(openmeteo.TryLater, match="asks to wait for 86400 s") as later_error:
        asking(api, settings).now([PARIS])
    assert later_error.value.seconds == 86400 and len(api.asked) == 5


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("1769861700000", 86_400.0),
        ("9" * 400, 86_400.0),
        ("Fri, 31 Dec 9999 23:59:59 GMT", 86_400.0),
        ("Fri, 31 Dec 9999 23:59:59 -2359", 0.0),
        ("Thu, 01 Jan 1970 00:00:00 GMT", 0.0),
        ("Mon, 01 Jan 2026 00:00:00 +99999999999999", 0.0),
        ("soon", 0.0),
    ],
)
def test_retry_after_is_at_most_a_day(text: str, seconds: float) -> None:
    assert openmeteo._retry_after(text) == seconds


def test_tries_end_and_back_off(api: Api, settings: Settings, caplog: pytest.LogCaptureFixture) -> None:
    api.next = [status(500)] * 3
    with pytest.raises(LevainError, match=r"/v1/forecast fails: HTTP 500") as failed:
        asking(api, settings, weather_tries=3, weather_api_key=settings.weather_api_key).now([PARIS])
    assert "LEVAIN_WEATHER_URL" in failed.value.hint and len(api.asked) == 3
    waits = [float(seconds) for seconds in re.findall(r"again in ([0-9.]+) s", caplog.text)]
    assert len(waits) == 2 and waits[1] >= 1.0 > 0.4 < waits[0]


def test_an_address_without_a_server_is_said(settings: Settings) -> None:
    url = f"http://127.0.0.1:{free_port()}"
    nobody = settings.model_copy(update={"weather_url": url, "weather_tries": 1})
    with pytest.raises(LevainError, match=f"{url}/v1/forecast fails: the connection failed: Connect call failed"):
        OpenMeteo(nobody, threading.Event()).now([PARIS])


@pytest.mark.parametrize(
    "url",
    [
        *("httpss://me:s3cret@host", "me:s3cret@host", "ftp://me:s3cret@host", "http://me:s3cret@host:99999"),
        *("http://me:s3cret@[bad", "http://me:s3cret@", "http://a%3Ab:s3cret@host", ""),
    ],
)
def test_an_address_that_is_none_is_said_without_its_secrets(settings: Settings, url: str) -> None:
    key = SecretStr("s3cret")
    odd = settings.model_copy(update={"weather_url": url, "weather_api_key": key, "weather_tries": 1})
    with pytest.raises(LevainError, match="LEVAIN_WEATHER_URL is no address") as refused:
        OpenMeteo(odd, threading.Event()).now([PARIS])
    assert "s3cret" not in str(refused.value) and "https://host" in refused.value.hint


def test_no_secret_is_shown(api: Api, settings: Settings, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    changes = {"weather_url": api.url.replace("//", "//me:s3cret@"), "weather_api_key": SecretStr("s3cret")}
    secretive = settings.model_copy(update={**changes, "weather_stores": Path("none.csv"), "weather_tries": 2})
    with watching(Weather(secretive)):
        wait_for(lambda: "Asking" in caplog.text)
    assert f"Asking {api.url.replace('//', '//***@')}/v1/forecast" in caplog.text
    stop = threading.Event()
    broken = [status(200, X_Odd="1\r\nno header", Content_Length="0"), lambda handler: handler.connection.close()]
    for misbehave in (status(500), status(400, REFUSED), status(200, "no"), *broken):
        api.next = [misbehave] * 4  # aiohttp asks once more by itself where a connection is closed
        with pytest.raises(LevainError, match=r"API at http://\*\*\*@127\.0\.0\.1:\d+/v1/forecast") as failed:
            OpenMeteo(secretive, stop).now([PARIS])
        assert "s3cret" not in str(failed.value)
    assert api.asked[0]["apikey"] == "s3cret" and "s3cret" not in caplog.text


REFUSED = '{"error": true, "reason": "Latitude must be in range of -90 to 90.\\nGiven: 95."}'


@pytest.mark.parametrize(
    ("misbehave", "says"),
    [
        (status(400, REFUSED), "refuses the request: HTTP 400, Latitude must be in range of -90 to 90. Given: 95."),
        (status(404, "<html>not here</html>"), "HTTP 404, '<html>not here</html>'"),
        (status(200, "<html>log in</html>"), "no JSON: '<html>log in</html>'"),
        (status(200), "no JSON: ''"),
        (status(200, "[]"), "no place in it"),
        (status(200, " " * 5_000_000), "more than 4194304 bytes"),
    ],
    ids=["400", "404", "html", "empty", "no-place", "large"],
)
def test_what_will_not_pass_is_said_at_once(
    api: Api, settings: Settings, misbehave: Callable[[Handler], None], says: str
) -> None:
    api.next = [misbehave]
    with pytest.raises(LevainError, match=re.escape(says)):
        asking(api, settings, weather_timeout_seconds=5).now([PARIS])
    assert len(api.asked) == 1


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        ('{"current": NaN}', "has no latitude, but None"),
        ('{"error": true, "reason": "no model here"}', "has no latitude, but None: no model here"),
        ('{"latitude": 48.85, "longitude": 2.37', 'is no JSON: \'{ "latitude" : 48.85 , "longitude" : 2.37\''),
        ('{"latitude": 48.85, "longitude": 2.37, }', "is no JSON"),
        ("[" * 100_000, "is no JSON"),
        ('{"":' * 100_000, "is no JSON"),
        ("[null]", "is no object"),
        ('{"latitude": 45.77, "longitude": 4.83}', "is not among the 1 of the answer"),
    ],
    ids=["nothing", "error", "truncated", "comma", "deep-list", "deep-object", "null", "elsewhere"],
)
def test_an_answer_without_the_place_is_said(api: Api, settings: Settings, answer: str, says: str) -> None:
    api.next = [status(200, answer)]
    [reading] = asking(api, settings, weather_timeout_seconds=5).now([PARIS])
    assert isinstance(reading, LevainError) and says in reading.message and len(reading.message) < 500


BAD_TOKENS = [
    "-nan",
    "nan(ind)",
    "NaN",
    "Infinity",
    "-Infinity",
    "1e400",
    "1e999999999",
    "1e9999999999999999999",
    "None",
]
BAD_TOKENS += ["+7", "07", "7.", ".7", "0x7", "'7'", "undefined", "9" * 5000]


@pytest.mark.parametrize("token", BAD_TOKENS, ids=lambda token: token[:12])
def test_a_bad_token_costs_its_place_where_it_is_needed(api: Api, settings: Settings, token: str) -> None:
    bordeaux = Place(Decimal("44.84"), Decimal("-0.58"))
    three = [PARIS, LYON, bordeaux]

    def answer(*altered: str) -> list[Reading | LevainError]:
        def misbehave(handler: Handler) -> None:
            places = handler.server.places(handler.server.asked[-1])
            for name in altered:
                (places[1] if name in places[1] else places[1]["current"])[name] = "?"
            handler.answer(json.dumps(places).replace('"?"', token))

        api.next = [misbehave]
        return asking(api, settings).now(three)

    for altered in (("latitude", "longitude"), ("temperature_2m",), ("weather_code",), ("time",)):
        first, second, third = answer(*altered)
        assert isinstance(first, Reading) and isinstance(third, Reading) and isinstance(second, LevainError)
        assert token[:80] in second.message and len(second.message) < 500
    assert all(isinstance(reading, Reading) for reading in answer("elevation", "interval", "generationtime_ms"))


def test_a_value_given_twice_costs_its_place_unless_it_is_the_same(api: Api, settings: Settings) -> None:
    place = json.dumps(api.place())
    for twice, message in (
        ('"temperature_2m": 7.4', ""),
        ('"temperature_2m": 9', "temperature_2m of place 1 is no weather: given twice"),
    ):
        api.next = [status(200, place.replace('"temperature_2m": 7.4', f'{twice}, "temperature_2m": 7.4'))]
        [reading] = asking(api, settings).now([PARIS])
        assert message in reading.message if isinstance(reading, LevainError) else not message


def test_places_that_are_left_out_or_mixed_up_get_no_other_weather(api: Api, settings: Settings) -> None:
    places = [PARIS, LYON, Place(Decimal("44.84"), Decimal("-0.58")), Place(Decimal("44.84"), Decimal("-0.57"))]
    query = {"latitude": ",".join(str(place.latitude) for place in places)}
    query["longitude"] = ",".join(str(place.longitude) for place in places)
    parts = api.places(query)
    for number, part in enumerate(parts):
        part["current"]["temperature_2m"] = number

    def temperatures(answer: str) -> list[int | None]:
        api.next = [status(200, answer)]
        readings = asking(api, settings).now(places)
        return [each.values["temperature_c"] if isinstance(each, Reading) else None for each in readings]

    assert temperatures(json.dumps(parts)) == [0, 1, 2, 3]
    assert temperatures(json.dumps([parts[1], parts[0], *parts[2:]])) == [0, 1, 2, 3]
    assert temperatures(json.dumps(parts[1:])) == [None, 1, 2, 3]
    assert temperatures(json.dumps([*parts, parts[0]])) == [0, 1, 2, 3]
    whole = json.dumps(parts)
    assert temperatures(whole[: whole.index('"current"', whole.index("4.75"))]) == [0, None, None, None]
    assert temperatures(whole[: whole.rindex('"current"')]) == [0, 1, 2, None]
    assert temperatures("[" + json.dumps(parts[0]) + ", null, 7, " + json.dumps(parts[3])) == [0, None, None, 3]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda place: place.pop("current"), "no objects `current`"),
        (lambda place: place["current"].pop("precipitation"), "has no precipitation"),
        (lambda place: place["current"].pop("time"), "the time of place 1 is None"),
        (lambda place: place["current"].update(time=1769861700), "the time of place 1 is 1769861700"),
        (lambda place: place["current_units"].update(temperature_2m="°F"), "is in '°F', not in °C"),
        (lambda place: place.update(error=True, reason="no model here"), "has an error: no model here"),
    ],
)
def test_a_place_that_cannot_be_read_is_said(
    api: Api, settings: Settings, change: Callable[[dict[str, Any]], object], says: str
) -> None:
    api.next = [changed(change)]
    [answer] = asking(api, settings).now([PARIS])
    assert isinstance(answer, LevainError) and says in answer.message
    assert "does not answer in Open-Meteo's format" in answer.message


def test_each_condition_has_a_name_that_the_contract_takes() -> None:
    pattern = contract_for(weather.TOPIC).by_name["condition"].pattern
    assert pattern is not None
    named = pattern.removeprefix("^(").removesuffix("|wmo_-?[0-9]+)$").split("|")
    assert named == list(CONDITIONS.values()) and len(set(named)) == len(named)
    assert openmeteo.condition(Decimal("61.0")) == "light_rain"
    assert all(re.search(pattern, openmeteo.condition(code)) for code in (42, -1))
    for odd in (None, "sunny", True, Decimal("1.5")):
        assert openmeteo.condition(odd) is odd and not re.search(pattern, str(odd))


@pytest.fixture
def shops(folder: Folder, api: Api) -> Folder:
    """A drop folder with two shops in a file that is whole, and the weather's settings."""
    folder.settings.weather_url = api.url
    folder.settings.weather_timeout_seconds = 2
    path = folder.drop("stores-2026-01-31.csv", HEADER + ROW + ROW.replace("S001", "S002"))
    os.utime(path, (time.time() - 60,) * 2)
    return folder


def test_asking_twice_gives_the_same_events(shops: Folder, api: Api) -> None:
    api.time, api.code = "2026-01-31T12:15", 42
    for _ in range(2):
        Weather(shops.settings).once(threading.Event())
    found = shops.published(weather.TOPIC)
    assert len(found) == 4 and len({(message.key(), message.value()) for message in found}) == 2
    assert {message.key() for message in found} == {b"S001", b"S002"}
    event = body(next(message for message in found if message.key() == b"S002"))
    assert UUID(event.pop("event_id")).version == 5
    assert event == {
        "event_time": "2026-01-31T12:15:00Z",
        "store_id": "S002",
        "temperature_c": Decimal("7.4"),
        "humidity_pct": 81,
        "precipitation_mm": Decimal("0.1"),
        "wind_kmh": Decimal("14.8"),
        "condition": "wmo_42",
    }
    api.time = "2026-01-31T12:30"
    Weather(shops.settings).once(threading.Event())
    assert len({body(message)["event_id"] for message in shops.published(weather.TOPIC)}) == 4


def test_the_weather_of_one_shop_does_not_cost_that_of_the_others(shops: Folder, api: Api) -> None:
    odd = api.place()
    del odd["current"]["weather_code"]
    api.next = [lambda handler: handler.answer(json.dumps([odd, api.place()]))]
    with pytest.raises(LevainError, match=r"Store S001: .* has no weather_code"):
        Weather(shops.settings).once(threading.Event())
    assert [message.key() for message in shops.published(weather.TOPIC)] == [b"S002"]


@pytest.mark.parametrize(
    "odd", ["\ud800", "x" * 2_000_000, Decimal("0." + "1" * 2_000_000), True, [1], {"a": 1}], ids=type
)
def test_a_value_that_no_event_can_hold_does_not_cost_the_others(shops: Folder, api: Api, odd: Any) -> None:
    first = json.dumps(api.place())
    value = str(odd) if isinstance(odd, Decimal) else json.dumps(odd)
    api.next = [lambda handler: handler.answer(f"[{first.replace('7.4', value)}, {first}]")]
    with pytest.raises(LevainError, match=r"Store S001: .* temperature_2m of place 1 is no weather: ") as refused:
        Weather(shops.settings).once(threading.Event())
    assert len(refused.value.message) < 300
    assert [message.key() for message in shops.published(weather.TOPIC)] == [b"S002"]


@pytest.mark.parametrize("odd", [None, "mild", 10**30, Decimal("1e30")])
def test_an_odd_value_that_an_event_can_hold_is_published(shops: Folder, api: Api, odd: Any) -> None:
    first = json.dumps(api.place())
    value = str(odd) if isinstance(odd, Decimal) else json.dumps(odd)
    api.next = [lambda handler: handler.answer(f"[{first.replace('7.4', value)}, {first}]")]
    Weather(shops.settings).once(threading.Event())
    found = {message.key(): body(message)["temperature_c"] for message in shops.published(weather.TOPIC)}
    assert found == {b"S001": odd, b"S002": Decimal("7.4")}


def test_many_shops_are_asked_for_in_several_requests(shops: Folder, api: Api, tmp_path: Path) -> None:
    rows = [f"S{number:03d},{number / 10},{-number / 10}" for number in range(250)]
    (tmp_path / "mine.csv").write_text("store_id;latitude;longitude\n".replace(";", ",") + "\n".join(rows))
    shops.settings.weather_stores = tmp_path / "mine.csv"
    Weather(shops.settings).once(threading.Event())
    assert [len(query["latitude"].split(",")) for query in api.asked] == [100, 100, 50]
    assert len({message.key() for message in shops.published(weather.TOPIC)}) == 250


def test_a_request_that_fails_costs_only_its_shops(shops: Folder, api: Api, tmp_path: Path) -> None:
    def well(handler: Handler) -> None:
        handler.answer(json.dumps(handler.server.places(handler.server.asked[-1])))

    rows = [f"S{number:03d},{number / 10},{-number / 10}" for number in range(250)]
    (tmp_path / "mine.csv").write_text("store_id,latitude,longitude\n" + "\n".join(rows))
    shops.settings.weather_stores = tmp_path / "mine.csv"
    api.next = [well, status(400, REFUSED)]
    with pytest.raises(LevainError, match="HTTP 400"):
        Weather(shops.settings).once(threading.Event())
    found = {(message.key() or b"").decode() for message in shops.published(weather.TOPIC)}
    assert found == {f"S{number:03d}" for number in range(250) if not 100 <= number < 200}
    api.asked, api.next = [], [well, status(429, Retry_After="3600")]
    with pytest.raises(openmeteo.TryLater):
        Weather(shops.settings).once(threading.Event())
    assert len(api.asked) == 2 and len(shops.published(weather.TOPIC)) == 250


def test_stores_come_from_the_newest_whole_extract(shops: Folder, caplog: pytest.LogCaptureFixture) -> None:
    assert list(weather.stores(shops.settings)) == ["S001", "S002"]
    content = HEADER + ROW.replace("S001", "S003") + "bad\n" + ROW.replace("48.853291", "north")
    newer = shops.drop("stores-2026-02-01.csv", content)
    shops.settings.drops_settle_seconds = 5
    assert list(weather.stores(shops.settings)) == ["S001", "S002"]
    os.utime(newer, (time.time() - 60,) * 2)
    assert weather.stores(shops.settings) == {"S003": PARIS}
    assert "line 3 has no store" in caplog.text and "line 4 has no store" in caplog.text


def test_what_is_no_file_is_no_extract(shops: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    (shops.stores / "stores-2026-02-03.csv").symlink_to("nowhere.csv")
    (shops.stores / "stores-2026-02-02.csv").mkdir()
    os.utime(shops.stores / "stores-2026-02-02.csv", (time.time() - 60,) * 2)
    assert list(weather.stores(shops.settings)) == ["S001", "S002"]

    def refuse(path: Path) -> Iterator[Path]:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "iterdir", refuse)  # root may read every folder
    with pytest.raises(LevainError, match="store-extracts: Permission denied"):
        weather.stores(shops.settings)


@pytest.mark.parametrize(
    "content", [None, "", HEADER, "store_id,latitude\nS001,48\n", "store_id,latitude,longitude\nS001,NaN,2\n"]
)
def test_stores_that_are_not_known_are_said(settings: Settings, tmp_path: Path, content: str | None) -> None:
    with pytest.raises(LevainError, match="no whole extract"):
        weather.stores(settings)
    mine = tmp_path / "mine.csv"
    if content is not None:
        mine.write_text(content)
    with pytest.raises(LevainError, match=r"mine\.csv") as refused:
        weather.stores(settings.model_copy(update={"weather_stores": mine}))
    assert "LEVAIN_WEATHER_STORES" in refused.value.hint


def test_polling_survives_the_api_and_kafka(
    shops: Folder, api: Api, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    port = free_port()
    changes = {"kafka_bootstrap": f"127.0.0.1:{port}", "weather_every_seconds": 0.2, "weather_tries": 1}
    settings = shops.settings.model_copy(update=changes)
    api.next = [status(500), status(400, REFUSED)]
    with watching(Weather(settings)):
        with monkeypatch.context() as patch:
            patch.setattr(kafka, "CONTACT_SECONDS", 1.0)
            wait_for(lambda: "observations wait; trying again in" in caplog.text)
        assert "HTTP 500" in caplog.text and "HTTP 400" in caplog.text and "Asking again in" in caplog.text
        api.time = "2026-01-31T12:30"  # a new observation, while those before it wait
        wait_for(lambda: caplog.text.count(" 2 new observations") == 2)
        with kafka_broker.embedded(tmp_path, port):
            kafka.create_topics(settings, load_contracts().values())
            started = {(weather.TOPIC, number): 0 for number in range(3)}
            wait_for(lambda: "4 observations published" in caplog.text)
            found = Folder(settings, started).published(weather.TOPIC)
    assert len({body(message)["event_id"] for message in found}) == 4


def test_what_waits_at_the_end_is_published_or_counted(
    shops: Folder, api: Api, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(kafka, "CONTACT_SECONDS", 1.0)
    settings = shops.settings.model_copy(update={"kafka_bootstrap": f"127.0.0.1:{free_port()}"})
    source = Weather(settings)
    with watching(source):
        wait_for(lambda: "2 observations wait; trying again in" in caplog.text)
    assert "2 observations were not published: the next start asks again" in caplog.text
    source.settings = shops.settings
    stop = threading.Event()
    stop.set()
    source.watch(stop)
    assert len(shops.published(weather.TOPIC)) == 2


# As commands


@contextmanager
def command(settings: Settings, *arguments: str, **variables: str) -> Iterator[subprocess.Popen[str]]:
    """The command as a process; killed where the block leaves it running."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("LEVAIN_")}
    environment |= {"LEVAIN_HOME": str(settings.root), "LEVAIN_KAFKA_BOOTSTRAP": settings.kafka_bootstrap}
    environment |= {"LEVAIN_DROPS_SETTLE_SECONDS": "0.1", "NO_PROXY": "127.0.0.1", **variables}
    with commands.running([commands.PROGRAM, *arguments], env=environment, stderr=subprocess.PIPE) as process:
        yield process


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_command_runs_until_it_is_told_to_end(shops: Folder, api: Api, number: signal.Signals) -> None:
    name = "drops" if number == signal.SIGTERM else "weather"
    lines: list[str] = []
    variables = {"LEVAIN_WEATHER_URL": api.url, "LEVAIN_LOG_FORMAT": "json"}
    with command(shops.settings, "source", name, **variables) as process:
        assert process.stderr is not None
        for line in process.stderr:
            lines.append(json.loads(line)["message"])
            if "published" in lines[-1]:
                process.send_signal(number)
        assert process.wait(30) == 0
    assert lines[-1] == "Stopped"
    assert lines[1:-1] == (
        ["store-extracts/stores-2026-01-31.csv: 2 rows and 0 bad lines published"]
        if name == "drops"
        else ["2 stores asked for, 2 new observations, 0 failures", "2 observations published"]
    )


def test_a_command_that_fails_says_so_in_two_lines(folder: Folder) -> None:
    folder.drop("stores.csv", HEADER + ROW)
    for name, says, hint in (
        ("drops", "store-extracts/stores.csv was not taken", "Give it a name with one date"),
        ("weather", "Whose weather to ask for is not known", "LEVAIN_WEATHER_STORES"),
    ):
        with command(folder.settings, "source", name, "--once") as process:
            _, errors = process.communicate(timeout=60)
        assert process.returncode == 1
        assert says in errors.splitlines()[-2] and hint in errors.splitlines()[-1]
        assert "Traceback" not in errors


# All the way


class Home:
    """A home with the stack running: sources by the command line, builds in this process."""

    SELECT: ClassVar = ("+store_extracts", "+int_weather_data__verdicts", "+int_equipment_extracts__verdicts")

    def __init__(self, settings: Settings, api: Api) -> None:
        self.settings, self.api, self.lake = settings, api, Lake(settings.root)

    def source(self, name: str) -> None:
        with command(self.settings, "source", name, "--once", LEVAIN_WEATHER_URL=self.api.url) as process:
            _, log = process.communicate(timeout=120)
        assert process.returncode == 0, log

    def build(self) -> None:
        wait_for(lambda: not unlanded(self.settings), 60)
        self.lake.build("--select", *self.SELECT)

    def read(self, sql: str) -> list[tuple[Any, ...]]:
        return self.lake.read(sql)


@pytest.fixture
def home(tmp_path: Path, api: Api, monkeypatch: pytest.MonkeyPatch) -> Iterator[Home]:
    monkeypatch.setenv("LEVAIN_METRICS_PORT", "0")
    monkeypatch.setenv("LEVAIN_COMMIT_EVERY_SECONDS", "0.5")
    settings = Settings(home=tmp_path / "home", broker_port=free_port())
    stack = Stack(settings)
    stack.up()
    try:
        yield Home(settings, api)
    finally:
        stack.down()


@pytest.mark.timeout(600)
def test_files_and_weather_all_the_way(home: Home) -> None:
    """Dropped and polled, landed by the worker, judged by the build; and all of it twice changes nothing."""
    today = datetime.now(UTC).date()
    folder = Folder(home.settings, {})
    bad = b"S003,two fields\nS004," + "Lev\xe9".encode("latin-1") + b"\n"
    content = (HEADER + ROW + ROW.replace("S001", "S002").replace("118", "grand")).encode() + bad
    path = folder.drop(f"stores-{today}.csv", content)
    os.utime(path, (time.time() - 60,) * 2)
    folder.drop(
        f"equipment-{today}.csv",
        "equipment_id,store_id,equipment_type,model,installed_on,service_interval_days\nE001,S001,oven,Four,2020-01-02,0\n",
        "equipment-extracts",
    )
    for name in ("drops", "weather"):
        home.source(name)
    home.build()
    tables = ("equipment_extracts", "store_extracts", "weather_data")
    every = " union all ".join(
        f"select topic, verdict, failed_rules from silver.int_{name}__verdicts" for name in tables
    )
    verdicts = f"select topic, verdict, failed_rules, count(*) from ({every}) group by all order by all"
    first = [
        ("equipment-extracts", "rejected", "service_interval_days_out_of_range", 1),
        ("store-extracts", "accepted", "", 1),
        ("store-extracts", "rejected", "message_malformed", 1),
        ("store-extracts", "rejected", "message_not_utf8", 1),
        ("store-extracts", "rejected", "size_m2_invalid", 1),
        ("weather-data", "accepted", "", 2),
    ]
    assert home.read(verdicts) == first
    places = """
        select list_filter(headers, h -> h.key = 'file')[1].value, list_filter(headers, h -> h.key = 'line')[1].value,
            list_filter(headers, h -> h.key = 'problem')[1].value, coalesce(value, ''), coalesce(value_bytes, ''::blob)
        from bronze.store_extracts order by 2
    """
    rows = home.read(places)
    assert [row[:2] for row in rows] == [(f"stores-{today}.csv", str(line)) for line in (2, 3, 4, 5)]
    assert rows[2][2:] == ("2 values for 10 columns", "S003,two fields", b"")
    assert rows[3][2:] == ("not UTF-8 at byte 9", "", "S004,Lev\xe9".encode("latin-1"))
    silver = "select columns(* exclude (_build)) from silver.store_extracts order by all"
    before = home.read(silver)
    assert [row[0] for row in home.read("select store_id from silver.store_extracts")] == ["S001"]

    (home.settings.run_dir / "drops.jsonl").unlink()
    path.rename(path.with_name(f"{today}-copy.csv"))
    for name in ("drops", "weather"):
        home.source(name)
    home.build()
    assert home.read(silver) == before
    again = [row for row in home.read(verdicts) if row[1] != "rejected"]
    assert again == [
        *(("store-extracts", "accepted", "", 1), ("store-extracts", "duplicate", "", 1)),
        *(("weather-data", "accepted", "", 2), ("weather-data", "duplicate", "", 2)),
    ]
