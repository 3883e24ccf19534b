"""CSV read so that one broken line costs that line only: rows, and the malformed lines with the reason.

RFC 4180, and what files have beside it: a byte order mark, LF or CRLF, `;`, tab or `|` for the comma, empty lines
(skipped). Memory is bounded by the longest record (`LONGEST`), however large the file is.
"""

from __future__ import annotations

import csv
from collections import deque
from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from typing import IO

LONGEST = 64 * 1024
"""Bytes of a record, and of the header. As JSON, names and values grow at most sixfold and fit Kafka's megabyte."""

_DELIMITERS = ",;\t|"
_BOM = b"\xef\xbb\xbf"


class NoHeader(Exception):
    """The file's first line cannot be used as its header; the text says why."""


@dataclass(frozen=True, slots=True)
class Row:
    """A record: the physical line it begins on, from 1, and one value per column of the header."""

    line: int
    values: list[str]


@dataclass(frozen=True, slots=True)
class BadLine:
    """What is no row, without its last line end, and why: a line, a record, or a piece of a very long line."""

    line: int
    raw: bytes
    problem: str


@dataclass(frozen=True, slots=True)
class _Line:
    number: int
    raw: bytes
    problem: str = ""
    doubtful: bool = False
    """Read before as the inside of a quoted value that came to no good end."""

    @property
    def bare(self) -> bytes:
        return self.raw.rstrip(b"\r\n")


class CsvLines:
    """A CSV file: its header is read at once, its rows by iterating.

    A quote that is not closed, or text after one that is, makes the line bad on which the record began; reading goes on
    with the next physical line. A record with more or fewer values than the header has is bad as a whole.

    Args:
        file: at its beginning.
        known: columns that are expected; the delimiter is the one that finds most of them in the header.

    Attributes:
        columns: names in the header, in its order, without blanks around them.
        delimiter: what stands between two values.

    Raises:
        NoHeader: there is none that names a known column, or a name is empty or is duplicated.
    """

    def __init__(self, file: IO[bytes], known: Collection[str]) -> None:
        self._file = file
        self._number = 0
        self._in_line = False
        self._back: deque[_Line] = deque()
        self.delimiter, self.columns = self._header(known)

    def __iter__(self) -> Iterator[Row | BadLine]:
        record = _Record(self)
        reader = csv.reader(record, delimiter=self.delimiter, strict=True)
        while (first := self.take()) is not None:
            if first.problem:
                yield BadLine(first.number, first.bare, first.problem)
                continue
            if not first.bare:
                continue
            record.begin(first)
            try:
                values = next(reader)
            except csv.Error as error:
                yield BadLine(first.number, first.bare, str(error))
                self.give_back([replace(line, doubtful=True) for line in record.taken[1:]])
                reader = csv.reader(record, delimiter=self.delimiter, strict=True)
                continue
            raw = b"".join(line.raw for line in record.taken)
            if len(values) != len(self.columns):
                problem = f"{len(values)} values for {len(self.columns)} columns"
            elif first.doubtful and raw.count(b'"') % 2:
                problem = "a quote is out of place"  # the end of a broken record, which must not pass for a row
            else:
                yield Row(first.number, values)
                continue
            yield BadLine(first.number, raw.rstrip(b"\r\n"), problem)

    def take(self) -> _Line | None:
        """The next physical line, or a piece of one that is too long; None at the end of the file."""
        if self._back:
            return self._back.popleft()
        raw = self._file.readline(LONGEST)
        if not raw:
            return None
        begins = not self._in_line
        self._number += begins
        self._in_line = len(raw) == LONGEST and not raw.endswith(b"\n")
        if self._number == 1 and begins:
            raw = raw.removeprefix(_BOM)
        return _Line(self._number, raw, _problem(raw, whole=begins and not self._in_line))

    def give_back(self, lines: list[_Line]) -> None:
        """Lines that `take` shall return again."""
        self._back.extendleft(reversed(lines))

    def _header(self, known: Collection[str]) -> tuple[str, list[str]]:
        line = self.take()
        while line is not None and not line.bare and not line.problem:
            line = self.take()
        if line is None:
            raise NoHeader("it is empty")
        if line.problem:
            raise NoHeader(f"its header, line {line.number}, is no text: {line.problem}")
        delimiter, names = max(
            ((each, _names(line, each)) for each in _DELIMITERS), key=lambda found: len(set(found[1]) & set(known))
        )
        if not set(names) & set(known):
            if b"\r" in line.bare and not line.raw.endswith(b"\n"):
                raise NoHeader("its lines end in CR alone, not in LF or CRLF")
            raise NoHeader(f"line {line.number} is no header, it names none of {', '.join(known)}")
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise NoHeader(f"its header has the column {twice[0]!r} twice")
        if "" in names:
            raise NoHeader(f"its header has no name for column {names.index('') + 1}")
        return delimiter, names


class _Record:
    """The physical lines that `csv.reader` asks for until a record ends."""

    def __init__(self, lines: CsvLines) -> None:
        self._lines = lines
        self._first: _Line | None = None
        self._size = 0
        self.taken: list[_Line] = []

    def begin(self, first: _Line) -> None:
        self._first, self._size, self.taken = first, 0, []

    def __iter__(self) -> _Record:
        return self

    def __next__(self) -> str:
        line, self._first = self._first or self._lines.take(), None
        if line is None:
            raise StopIteration
        if line.problem or self._size + len(line.raw) > LONGEST:
            self._lines.give_back([line])
            raise StopIteration  # in a quoted value, a strict reader calls that an error
        self._size += len(line.raw)
        self.taken.append(line)
        return line.raw.decode()


def _problem(raw: bytes, *, whole: bool) -> str:
    if not whole:
        return f"longer than {LONGEST} bytes"
    if b"\0" in raw:
        return "it holds a NUL byte"
    try:
        raw.decode()
    except UnicodeDecodeError as error:
        return f"not UTF-8 at byte {error.start + 1}"
    return ""


def _names(line: _Line, delimiter: str) -> list[str]:
    try:
        names = next(csv.reader([line.bare.decode()], delimiter=delimiter, strict=True), [])
    except csv.Error:
        return []
    return [name.strip() for name in names]
