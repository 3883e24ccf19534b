"""How Levain speaks to the terminal: facts on stdout; progress, and what went wrong, on stderr.

What comes from data, paths and other programs is printed as data: nothing in it is markup, and its control characters
are escaped, so that no message can move the cursor, change colours or hide a line.
"""

from __future__ import annotations

import io
import os
import sys
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from decimal import Decimal
from functools import partial

from rich.cells import cell_len
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn


class _Console(Console):
    """Rich's own, but a reader that goes away (`levain show | head -1`) does not end the command."""

    def on_broken_pipe(self) -> None:
        _nobody_reads()


console = _Console(highlight=False, markup=False, emoji=False, soft_wrap=True)
errors = _Console(highlight=False, markup=False, emoji=False, soft_wrap=True, stderr=True)

_JOINERS = "\u200c\u200d"  # what holds the letters of some scripts, and emoji, together


def printable(text: object, keep: str = "") -> str:
    r"""The text with each control character escaped: ESC as `\x1b`, a line break as `\n`, U+202E as `\u202e`.

    Args:
        text: what comes from data, a path or another program.
        keep: control characters that stay, such as the line breaks of a log.
    """
    text = str(text)
    if text.isprintable():
        return text
    return "".join(
        character.encode("unicode_escape").decode("ascii")
        if unicodedata.category(character) in ("Cc", "Cf", "Cs", "Zl", "Zp") and character not in _JOINERS + keep
        else character
        for character in text
    )


def say(what: str, value: object) -> None:
    """One fact: a name and its value."""
    console.print(f"{what:<10}", end="", style="bold")
    console.print(printable(value))


def emit(text: str) -> None:
    """Data for other programs, on stdout: as it is, in UTF-8 whatever the terminal's encoding."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(encoding="utf-8")
    try:
        print(text, end="", flush=True)
    except BrokenPipeError:
        _nobody_reads()


def _nobody_reads() -> None:
    """What is still printed goes nowhere; the command runs to its end, with its own exit code."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def detail(text: object = "") -> None:
    """A line below a fact, such as what to do about it."""
    console.print(printable(text, keep="\n"))


def warn(text: object, style: str = "yellow") -> None:
    """Something is not as it should be, and what Levain does about it; may have several lines."""
    errors.print(printable(text, keep="\n\t"), style=style)


@contextmanager
def progress(title: str) -> Iterator[Callable[[int, str, int], None]]:
    """A progress bar on stderr, gone at the end: call it with how many are done, which is at work, and of how many.

    Args:
        title: what is being done; empty: show nothing.
    """
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
    )
    with Progress(
        *columns, TimeElapsedColumn(), console=errors, transient=True, disable=not (title and errors.is_terminal)
    ) as bar:
        task = bar.add_task(title, total=None)

        def advance(done: int, what: str, total: int) -> None:
            bar.update(task, completed=done, total=total or None, description=f"{title} {what}".strip())

        yield advance


def show_table(title: str, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print a table, a line per row however wide; numbers stand right, a null is empty.

    Widths are those that a terminal shows: two for a wide character, none for a combining one.
    """
    values = [list(row) for row in rows]
    cells = [[_cell(value) for value in row] for row in values]
    head = [printable(column) for column in columns]
    fills = [
        partial(
            _fill,
            width=max(cell_len(row[index]) for row in (head, *cells)),
            right=_are_numbers(row[index] for row in values),
        )
        for index in range(len(head))
    ]
    if title:
        console.print(title, style="bold")
    console.print(_line(fills, head), style="bold")
    console.out("".join(f"{_line(fills, row)}\n" for row in cells), end="")


def _are_numbers(values: Iterable[object]) -> bool:
    there = [value for value in values if value is not None]
    return bool(there) and all(isinstance(each, (int, float, Decimal)) and not isinstance(each, bool) for each in there)


def _line(fills: Sequence[Callable[[str], str]], cells: Sequence[str]) -> str:
    return " " + "  ".join(fill(cell) for fill, cell in zip(fills, cells, strict=True)).rstrip()


def _fill(text: str, width: int, right: bool) -> str:
    space = " " * (width - cell_len(text))
    return space + text if right else text + space


def _cell(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, Decimal):
        return f"{value:,f}"
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else printable(value)
