"""How Levain speaks to the terminal: facts on stdout; progress, and what went wrong, on stderr."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

console = Console(highlight=False, soft_wrap=True)
errors = Console(stderr=True, highlight=False, soft_wrap=True)

# A narrow terminal breaks the lines itself: cells cut to fit could not be read, and a pipe has no width.
_wide = Console(highlight=False, width=10_000)


def say(what: str, value: str) -> None:
    """One fact: a name and what is to be said of it."""
    console.print(f"{what:<10}", end="", style="bold")
    console.print(value, markup=False)


def warn(text: str) -> None:
    """Something was not as it should be, and what Levain does about it."""
    errors.print(text, style="yellow", markup=False)


@contextmanager
def progress(title: str) -> Iterator[Callable[[int, str, int], None]]:
    """A progress bar on stderr, gone at the end: call it with how many are done, which is at work, and of how many.

    Args:
        title: what is being done; empty: show nothing.
    """
    columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(
        *columns, TimeElapsedColumn(), console=errors, transient=True, disable=not (title and errors.is_terminal)
    ) as bar:
        task = bar.add_task(title, total=None)

        def advance(done: int, what: str, total: int) -> None:
            bar.update(task, completed=done, total=total or None, description=f"{title} {what}".strip())

        yield advance


def show_table(title: str, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print a table, a line per row however wide; numbers stand right, a null is empty."""
    rows = [list(row) for row in rows]
    grid = Table(title=title or None, title_justify="left", title_style="bold", header_style="bold", box=None)
    for index, column in enumerate(columns):
        values = [row[index] for row in rows if row[index] is not None]
        numbers = bool(values) and all(isinstance(v, (int, float)) and not isinstance(v, bool) for v in values)
        grid.add_column(column, justify="right" if numbers else "left", no_wrap=True)
    for row in rows:
        grid.add_row(*(_text(value) for value in row))
    _wide.print(grid)


def _text(value: object) -> str:
    if value is None:
        return ""
    text = f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)
    return text.replace("[", r"\[")  # data is never markup
