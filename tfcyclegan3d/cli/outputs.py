"""Writing what a command makes: refuse to replace, and leave nothing half-written."""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tfcyclegan3d import errors
from tfcyclegan3d.zarrs.folders import is_zarr


@contextmanager
def fresh_folder(folder: str | Path, overwrite: bool, writes: tuple[str, ...]) -> Iterator[Path]:
    """Give a temporary folder whose files move into ``folder`` once the block ends without an error.

    Parameters
    ----------
    folder : str or Path
        Where the files are to end; made where it is missing, with its parents.
    overwrite : bool
        Whether files of an earlier call may be replaced: all that match ``writes`` are gone then, so that the files of
        two calls never mix. Other files there are left alone.
    writes : tuple of str
        Regular expressions of the whole names of the files the command writes: a match already in ``folder`` is an
        error at once, before the work, unless ``overwrite``.

    Raises
    ------
    OutputExistsError, OutputError
    """
    folder = Path(folder)
    _check_folder(folder)
    taken = next(iter(_written(folder, writes)), None)
    if taken is not None and not overwrite:
        raise errors.OutputExistsError(taken)
    made = _make_folders(folder)
    try:
        scratch = Path(tempfile.mkdtemp(prefix=".unfinished-", dir=folder))
    except OSError as error:
        raise errors.OutputError(folder, error.strerror or error) from error
    try:
        yield scratch
        for stale in _written(folder, writes):
            if (scratch / stale.name).exists():
                continue
            if stale.is_file():
                stale.unlink()
            elif is_zarr(stale):
                shutil.rmtree(stale)
        for path in sorted(scratch.iterdir()):
            target = folder / path.name
            if target.is_dir():
                shutil.rmtree(target)
            path.replace(target)
    except OSError as error:
        raise errors.OutputError(folder, error.strerror or error) from error
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
        _remove_empty(made)


@contextmanager
def folder_for(folder: Path) -> Iterator[Path]:
    """Make a folder, with its parents, and remove what was made and is empty at the end.

    Raises
    ------
    OutputError
    """
    _check_folder(folder)
    made = _make_folders(folder)
    try:
        yield folder
    finally:
        _remove_empty(made)


def _written(folder: Path, writes: tuple[str, ...]) -> list[Path]:
    """Return what is in a folder, if there is one, under a name that the command writes."""
    names = sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []
    return [folder / name for pattern in writes for name in names if re.fullmatch(pattern, name)]


def _check_folder(folder: Path) -> None:
    if folder.exists() and not folder.is_dir():
        raise errors.OutputError(folder, "a file of that name is in the way of the folder")


def _remove_empty(made: list[Path]) -> None:
    for folder in made:
        if folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()


def _make_folders(folder: Path) -> list[Path]:
    """Make a folder and its parents; return those that were missing, innermost first."""
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise errors.OutputError(folder, error.strerror or error) from error
    return missing
