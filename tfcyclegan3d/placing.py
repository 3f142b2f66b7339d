"""Files and folders that appear whole or not at all."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tfcyclegan3d import errors


@contextmanager
def in_place(path: str | Path) -> Iterator[Path]:
    """Give a path to write a file or folder to, which takes the place of ``path`` once the block ends without an error.

    Parameters
    ----------
    path : str or Path
        Where it is to end; its parent must exist. What is there is replaced, but for a folder by a file.

    Yields
    ------
    Path
        Of the same name, in a hidden folder beside it, which is gone in the end whatever happens. What was there before
        is back where the block, or the replacing, fails or is interrupted.

    Raises
    ------
    OutputError
        Where the system has anything against it, in the block, too.
    """
    path = Path(path)
    with errors.writing(path):
        scratch = Path(tempfile.mkdtemp(prefix=".unfinished-", dir=path.parent))
        made, replaced = scratch / path.name, scratch / f"replaced-{path.name}"
        try:
            yield made
            if made.is_dir() and path.exists():
                path.rename(replaced)
            made.replace(path)
        finally:
            if replaced.exists() and not path.exists():
                replaced.rename(path)
            shutil.rmtree(scratch, ignore_errors=True)
