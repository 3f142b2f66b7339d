"""Progress bars for what takes long."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

OnProgress = Callable[[int, int, str], None]
"""Called with (done, total, message)."""


@contextmanager
def progress_bar(title: str, show: bool = True, *, count: bool = True) -> Iterator[OnProgress]:
    """Show a bar with time passed and left on stderr while the block runs; give the function that moves it.

    The bar takes the room that the numbers leave in a line.

    Parameters
    ----------
    title : str
        Before the bar.
    show : bool
        False gives a function that does nothing.
    count : bool
        Show how many of how many are done; otherwise the percentage.
    """
    if not show:
        yield _stay_silent
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TaskProgressColumn,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )
    from rich.table import Column

    columns = (
        TextColumn("{task.description}", table_column=Column(no_wrap=True, max_width=24)),
        BarColumn(bar_width=None),
        MofNCompleteColumn(table_column=Column(no_wrap=True)) if count else TaskProgressColumn(),
        TimeElapsedColumn(table_column=Column(no_wrap=True)),
        TextColumn("left"),
        TimeRemainingColumn(compact=True, table_column=Column(no_wrap=True)),
        TextColumn("{task.fields[message]}"),
    )
    with Progress(*columns, console=Console(stderr=True), refresh_per_second=2, expand=True) as bar:
        task = bar.add_task(title, total=None, message="")

        def move(done: int, total: int, message: str) -> None:
            bar.update(task, completed=done, total=total, message=message)

        yield move


def _stay_silent(done: int, total: int, message: str) -> None:
    """Show nothing."""
