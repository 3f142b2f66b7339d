"""Progress bars for what takes long."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

OnProgress = Callable[[int, int, str], None]
"""Called with (done, total, message)."""


@contextmanager
def progress_bar(title: str, show: bool = True) -> Iterator[OnProgress]:
    """Show a bar with time passed and left on stderr while the block runs; give the function that moves it.

    Parameters
    ----------
    title : str
        Before the bar.
    show : bool
        False gives a function that does nothing.
    """
    if not show:
        yield _stay_silent
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[message]}"),
    )
    with Progress(*columns, console=Console(stderr=True), refresh_per_second=2) as bar:
        task = bar.add_task(title, total=None, message="")

        def move(done: int, total: int, message: str) -> None:
            bar.update(task, completed=done, total=total, message=message)

        yield move


def _stay_silent(done: int, total: int, message: str) -> None:
    """Show nothing."""
