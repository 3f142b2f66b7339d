"""Reading, computing and writing at the same time: knows no network and no file."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Read = TypeVar("Read")
Made = TypeVar("Made")

N_AHEAD = 2


def run(
    items: Iterable[Item],
    read: Callable[[Item], Read],
    compute: Callable[[Item, Read], Made],
    write: Callable[[Item, Made], None],
) -> None:
    """Write what is computed from what is read, item by item, each of the three in a thread of its own.

    Parameters
    ----------
    items : iterable
        Taken a few at a time, so that memory does not grow with their number.
    read, compute, write : callable
        Each is called for one item after the other, in their order; computing stays in the calling thread.

    Raises
    ------
    Exception
        The first that one of them raises. What was read and not yet written is dropped.
    """
    with ThreadPoolExecutor(1, "read") as reader, ThreadPoolExecutor(1, "write") as writer:
        being_read: deque[tuple[Item, Future[Read]]] = deque()
        being_written: deque[Future[None]] = deque()
        remaining = iter(items)
        try:
            while True:
                for item in remaining:
                    being_read.append((item, reader.submit(read, item)))
                    if len(being_read) > N_AHEAD:
                        break
                if not being_read:
                    break
                item, reading = being_read.popleft()
                made = compute(item, reading.result())
                being_written.append(writer.submit(write, item, made))
                if len(being_written) > N_AHEAD:
                    being_written.popleft().result()
            for writing in being_written:
                writing.result()
        finally:
            for _, reading in being_read:
                reading.cancel()
