"""The one error a user is meant to read."""

from __future__ import annotations


class LevainError(Exception):
    """Something the user can mend: what happened and where, then what to do.

    Every command prints it as two lines without a stack trace and exits with 1.

    Args:
        message: what happened, and where (topic, partition, offset, file, line).
        hint: what to do about it.
    """

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message if not hint else f"{message}\n{hint}")
        self.message = message
        self.hint = hint


def first_line(error: object) -> str:
    """What a library's error says, without the statements and links that some of them add in further lines."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
