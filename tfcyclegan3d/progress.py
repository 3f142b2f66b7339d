"""Progress of what takes long: a bar in a terminal or a notebook, a plain line now and then anywhere else."""

from __future__ import annotations

import html
import logging
import math
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

PLAIN_PARTS = 20  # Of the whole, after each of which a file gets a line ...
PLAIN_SECONDS = (10.0, 600.0)  # ... which comes no sooner and no later than these after the one before.
NOTEBOOK_SECONDS = 0.5  # Between two changes of what a notebook shows.


class OnProgress(Protocol):
    """Told of progress; what follows the first line of the message stands below the bar."""

    def __call__(self, done: int, total: int, message: str, seconds_left: float | None = None) -> None:
        """Take how many of how many are done; without ``seconds_left``, all are taken to last equally long."""


@contextmanager
def progress_bar(title: str, show: bool = True, *, count: bool = True) -> Iterator[OnProgress]:
    """Show progress with time passed and left on stderr or below a notebook's cell; give the function that moves it.

    In a terminal the bar takes the room that the numbers leave in a line. Where stderr is no terminal, as in a log
    file, plain lines come instead: about every twentieth of the whole, and the last one.

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
    elif _in_notebook():
        with _Notebook(title, count).shown() as move:
            yield move
    elif sys.stderr.isatty() and os.environ.get("TERM") not in ("dumb", "unknown"):
        with _terminal(title, count) as move:
            yield move
    else:
        with _Plain(title, count).shown() as move:
            yield move


def duration(seconds: float) -> str:
    """Return hours, minutes and seconds as ``1:02:03``."""
    minutes, seconds = divmod(round(max(seconds, 0)), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{seconds:02d}"


class _State:
    """Where something stands, and since when it runs."""

    def __init__(self, title: str, count: bool) -> None:
        self.title, self._count = title, count
        self.begun = self.said = time.monotonic()
        self.done, self.total, self.message = 0, 0, ""
        self._left: float | None = None

    def take(self, done: int, total: int, message: str, seconds_left: float | None) -> None:
        self.done, self.total, self.message, self._left = done, total, message, seconds_left

    @property
    def share(self) -> float:
        return self.done / self.total if self.total else 0.0

    @property
    def numbers(self) -> str:
        """How much is done, in which time, and how long the rest takes."""
        passed = time.monotonic() - self.begun
        done = f"{self.done}/{self.total}" if self._count else f"{100 * self.share:.0f} %"
        return f"{done} in {duration(passed)}, {left_of(self.share, passed, self._left)} left"

    @property
    def line(self) -> str:
        return "; ".join([f"{self.title}: {self.numbers}", *filter(None, self.message.split("\n"))])


def left_of(share: float, passed: float, known: float | None) -> str:
    """Return the time left, as known or by the share done in the time passed."""
    if known is None:
        known = passed * (1 - share) / share if share else math.inf
    return duration(known) if known < math.inf else "-:--:--"


class _Plain(_State):
    """Lines for a file or a pipe, without control characters."""

    def __init__(self, title: str, count: bool) -> None:
        super().__init__(title, count)
        self._part_said = 0
        self._last_line_of: tuple[int, str] | None = None

    @contextmanager
    def shown(self) -> Iterator[OnProgress]:
        try:
            yield self._move
        finally:
            if self.total and (self.done, self.message) != self._last_line_of:
                self._say()

    def _move(self, done: int, total: int, message: str, seconds_left: float | None = None) -> None:
        self.take(done, total, message, seconds_left)
        since, (soonest, latest) = time.monotonic() - self.said, PLAIN_SECONDS
        if since >= latest or (since >= soonest and self._part > self._part_said):
            self._say()

    @property
    def _part(self) -> int:
        return PLAIN_PARTS * self.done // max(self.total, 1)

    def _say(self) -> None:
        print(self.line, file=sys.stderr, flush=True)
        self.said, self._part_said, self._last_line_of = time.monotonic(), self._part, (self.done, self.message)


class _Notebook(_State):
    """A bar of HTML below the cell; rich's own would need ipywidgets and its extension in the browser."""

    @contextmanager
    def shown(self) -> Iterator[OnProgress]:
        from IPython.display import display

        self._handle = display(self._bundle(), raw=True, display_id=True)
        try:
            yield self._move
        finally:
            self._handle.update(self._bundle(), raw=True)

    def _move(self, done: int, total: int, message: str, seconds_left: float | None = None) -> None:
        self.take(done, total, message, seconds_left)
        if time.monotonic() - self.said >= NOTEBOOK_SECONDS:
            self._handle.update(self._bundle(), raw=True)
            self.said = time.monotonic()

    def _bundle(self) -> dict[str, str]:
        first, *below = [html.escape(text) for text in self.message.split("\n")]
        lines = "<br>".join([f"{html.escape(self.title)}: {self.numbers} &nbsp; {first}", *below])
        bar = f'<progress value="{self.share:.4f}" max="1" style="width:min(32em,100%)"></progress>'
        return {"text/html": f"<div>{bar}<br>{lines}</div>", "text/plain": self.line}


@contextmanager
def _terminal(title: str, count: bool) -> Iterator[OnProgress]:
    from rich.console import Console, RenderableType
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn
    from rich.table import Column
    from rich.text import Text

    class WithLineBelow(Progress):
        """Progress of one task, whose message goes on below the bar."""

        def get_renderables(self) -> Iterator[RenderableType]:
            yield from super().get_renderables()
            for task in self.tasks:
                if task.fields["below"]:
                    yield Text(task.fields["below"], no_wrap=True, overflow="ellipsis")

    columns = (
        TextColumn("{task.description}", markup=False, table_column=Column(no_wrap=True, max_width=24)),
        BarColumn(bar_width=None),
        MofNCompleteColumn(table_column=Column(no_wrap=True)) if count else TaskProgressColumn(),
        TimeElapsedColumn(table_column=Column(no_wrap=True)),
        TextColumn("left {task.fields[left]}", table_column=Column(no_wrap=True)),
        TextColumn("{task.fields[message]}", markup=False, table_column=Column(no_wrap=True)),
    )
    begun = time.monotonic()
    with WithLineBelow(*columns, console=Console(stderr=True), refresh_per_second=2, expand=True) as bar:
        task = bar.add_task(title, total=None, message="", below="", left="-:--:--")

        def move(done: int, total: int, message: str, seconds_left: float | None = None) -> None:
            first, _, below = message.partition("\n")
            left = left_of(done / total if total else 0.0, time.monotonic() - begun, seconds_left)
            bar.update(task, completed=done, total=total, message=first, below=below, left=left)

        with _log_above_the_bar():
            yield move


@contextmanager
def _log_above_the_bar() -> Iterator[None]:
    """Send the log to what stderr is now, while the bar is shown: written past it, it would run into the bar."""
    handlers = [
        handler
        for handler in logging.getLogger().handlers
        if isinstance(handler, logging.StreamHandler) and handler.stream is sys.__stderr__
    ]
    for handler in handlers:
        handler.setStream(sys.stderr)
    try:
        yield
    finally:
        for handler in handlers:
            handler.setStream(sys.__stderr__)


def _in_notebook() -> bool:
    """Tell whether a notebook's kernel runs this; a terminal's IPython has none."""
    if "IPython" not in sys.modules:
        return False
    from IPython import get_ipython

    return hasattr(get_ipython(), "kernel")


def _stay_silent(done: int, total: int, message: str, seconds_left: float | None = None) -> None:
    """Show nothing."""
