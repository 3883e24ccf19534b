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
