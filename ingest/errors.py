"""Errors that a user is meant to read, by kind: the kind says what is done about it.

==================  =====================================================  ==========================================
kind                what it is about                                       what is done
==================  =====================================================  ==========================================
ConfigurationError  settings, contracts, certificates, programs            the process ends, before it reads anything
BadInput            a file, a query, an option, a message                  it is refused; what else there is goes on
Unavailable         Kafka, the catalog, storage or an API is away          retried, as long as each caller says
StateError          what is stored contradicts itself, or Kafka's log      the process ends: a retry finds the same
==================  =====================================================  ==========================================

A failure that is none of these is a `LevainError` and nothing else: a build that failed, a lock that another process
holds. Only those who report what failed catch that: the command line, `levain doctor`, and loops over many tables that
name at their end what went wrong. Whoever retries or goes on names the kind.
"""

from __future__ import annotations


class LevainError(Exception):
    """Something the user can fix: what happened and where, then what to do.

    Every command prints it as two lines without a stack trace and exits with 1; the worker logs it and ends.

    Args:
        message: what happened, and where (topic, partition, offset, file, line).
        hint: what to do about it.
    """

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message if not hint else f"{message}\n{hint}")
        self.message = message
        self.hint = hint


class ConfigurationError(LevainError):
    """A setting, contract or certificate cannot be used, or a program is missing. Nobody retries it."""


class BadInput(LevainError):
    """What was given cannot be used as it is: a file, a query, an option, a message.

    Caught by the sources, which leave out that file and take the others; they look at it again when it has changed.
    """


class Unavailable(LevainError):
    """Kafka, the catalog, storage or an API does not answer, or does not take what it is given. It may pass.

    Caught by the worker (`TopicBuffer`, `lander.land`), which retries for `LEVAIN_COMMIT_PATIENCE_SECONDS`, and by
    the sources, which retry until they are stopped.
    """


class StateError(LevainError):
    """What is stored is lost, damaged, older than something else or another's, or Kafka's log is not what has landed.

    Nobody retries it: docs/troubleshooting.md has the way back from each case.
    """


def first_line(error: object) -> str:
    """What a library's error says, without the statements and links that some of them add in further lines."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
