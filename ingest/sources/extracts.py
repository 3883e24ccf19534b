"""Which event a line of an extract is: its identity, time and headers, the same wherever it is read."""

from __future__ import annotations

import hashlib
import re
from datetime import UTC, date, datetime, time
from typing import Any, Protocol

from ingest.contracts import Field, time_range
from ingest.jsontext import JsonText

_DATE = re.compile(r"(?<!\d)(\d{4})([-_.]?)(\d{2})\2(\d{2})(?!\d)")
_INTEGER = re.compile(r"-?(0|[1-9][0-9]{0,17})")
_NUMBER = re.compile(r"-?(0|[1-9][0-9]{0,17})(\.[0-9]{1,18})?")
_BOOLEANS = {"true": True, "false": False}


class Digest(Protocol):
    """As hashlib has it."""

    def update(self, data: bytes, /) -> None: ...

    def hexdigest(self) -> str: ...


def digest(day: date) -> Digest:
    """SHA-256 of an extract: its date (`yyyy-mm-dd`), then the file's bytes, which the caller adds.

    The date is part of it because a register that has not changed gives the same bytes on many days, and one that
    goes back to what it was gives the bytes of long ago: each is an extract of its own.
    """
    return hashlib.sha256(day.isoformat().encode())


def event_id(sha256: str, line: int) -> str:
    """Identity of the row that begins on a line of an extract (see `digest`)."""
    return f"{sha256}-{line}"


def event_time(day: date) -> datetime:
    """The extract's date, at midnight UTC."""
    return datetime.combine(day, time(), UTC)


def headers(file: str, sha256: str, line: int) -> list[tuple[str, bytes]]:
    """Where the row stood: `file`, `sha256` (of the extract, see `digest`), `line` (the physical one it begins on)."""
    return [
        ("file", file.encode(errors="surrogateescape")),
        ("sha256", sha256.encode()),
        ("line", str(line).encode()),
    ]


def is_hidden(name: str) -> bool:
    """Whether a file of this name is none to read: hidden, as while it is written, or an editor's copy."""
    return name.startswith((".", "~"))


def date_in(name: str) -> date | None:
    """The date in a file's name, as `2026-01-31`, `2026_01_31`, `2026.01.31` or `20260131`.

    None where there is none, or more than one. One outside the range of times is none: `0001-01-01` is how some
    systems write that they have no date.
    """
    first, end = time_range()
    found = set()
    for year, _, month, day in _DATE.findall(name):
        try:
            found.add(date(int(year), int(month), int(day)))
        except ValueError:  # digits that are no date, such as a number of 8 digits
            continue
    found = {day for day in found if first <= day < end}
    return found.pop() if len(found) == 1 else None


def json_value(field: Field | None, text: str) -> Any:
    """A CSV value as the contract's type has it in JSON; empty is null.

    What cannot be read as that type stays the text it is, so that the verdict names the field. Numbers keep their
    digits. A column that the contract does not know is text.
    """
    if not text:
        return None
    plain = text.strip()
    match field.logical_type if field else "string":
        case "integer":
            return JsonText(plain) if _INTEGER.fullmatch(plain) else text
        case "number":
            return JsonText(plain) if _NUMBER.fullmatch(plain) else text
        case "boolean":
            return _BOOLEANS.get(plain.lower(), text)
    return text
