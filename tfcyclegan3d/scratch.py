"""Arrays that live on disk: written once to a file without a name, read as if they were in memory."""

from __future__ import annotations

import contextlib
import mmap
import tempfile
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from tfcyclegan3d import errors


class ScratchFile:
    """A file without a name, which the system removes once nothing reads it any more, whatever ended the process.

    It is written by ordinary writes and mapped for reading alone: a full disk is then an error where it happens, while
    a file that is mapped before it is written ends the process. However many the arrays, few files are open.

    Parameters
    ----------
    folder : str or Path, optional
        On the disk to write to, existing; the system's folder for temporary files if not given.

    Raises
    ------
    OutputError
        Where nothing can be written there.
    """

    def __init__(self, folder: str | Path | None = None) -> None:
        self._folder = Path(folder or tempfile.gettempdir())
        self._map: mmap.mmap | None = None
        self._size = 0
        with errors.writing(self._folder):
            self._file = tempfile.TemporaryFile(prefix=".tfcyclegan3d-", dir=self._folder)  # noqa: SIM115

    def __del__(self) -> None:
        """Close the file without complaint: what a full disk left unwritten is nobody's loss."""
        with contextlib.suppress(AttributeError, OSError):
            self._file.close()

    def write(self, parts: Iterable[np.ndarray], start: int | None = None) -> int:
        """Write arrays one after the other.

        Parameters
        ----------
        parts : iterable of ndarray
            Of one type; taken one at a time.
        start : int, optional
            Byte to begin at, to replace what was written there; the end of the file if not given.

        Returns
        -------
        int
            Byte at which the first of them begins.

        Raises
        ------
        OutputError
            If the disk is full.
        """
        start = self._size if start is None else start
        with errors.writing(self._folder):
            self._file.seek(start)
        for part in parts:
            with errors.writing(self._folder):
                self._file.write(np.ascontiguousarray(part).data)
        with errors.writing(self._folder):
            self._file.flush()
        # Arrays begin where any type may begin.
        self._size = max(self._size, -(-self._file.tell() // 64) * 64)
        return start

    def array(self, start: int, dtype: np.dtype | type, shape: tuple[int, ...]) -> np.ndarray:
        """Return what was written from a byte on as an array that cannot be written to and takes no memory."""
        if self._map is None or len(self._map) < self._size:
            # Twice what is there, so that the mapping, an open file each time, is made anew a few times at most. What
            # lies beyond takes no disk, is written as the rest is, and is read only then.
            with errors.writing(self._folder):
                self._file.truncate(2 * self._size)
            self._map = mmap.mmap(self._file.fileno(), 2 * self._size, access=mmap.ACCESS_READ)
        return np.ndarray(shape, dtype, self._map, start)

    def keep(self, array: np.ndarray) -> np.ndarray:
        """Write a whole array and return it from the disk."""
        return self.array(self.write([array]), array.dtype, array.shape)
