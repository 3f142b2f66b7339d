"""One folder, written whole or not at all."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

from tfcyclegan3d import errors
from tfcyclegan3d.placing import in_place


@contextmanager
def whole_folder(folder: str | Path, overwrite: bool, contents: Collection[str]) -> Iterator[Path]:
    """Give a temporary folder beside ``folder`` that takes its place once the block ends without an error.

    Parameters
    ----------
    folder : str or Path
        An empty folder there counts as none.
    overwrite : bool
        Whether what an earlier call wrote may be replaced. A folder that holds anything else never is.
    contents : collection of str
        All names that a call may write into the folder.

    Raises
    ------
    OutputExistsError, OutputError
    """
    folder = Path(folder).absolute()
    _check(folder, overwrite, contents)
    made = [path for path in folder.parents if not path.exists()]
    try:
        with errors.writing(folder):
            folder.parent.mkdir(parents=True, exist_ok=True)
        with in_place(folder) as finished:
            finished.mkdir()
            yield finished
    finally:
        for parent in made:
            if parent.is_dir() and not any(parent.iterdir()):
                parent.rmdir()


def _check(folder: Path, overwrite: bool, contents: Collection[str]) -> None:
    in_the_way = next((place for place in (folder, *folder.parents) if place.exists()), folder)
    if in_the_way.exists() and not in_the_way.is_dir():
        raise errors.OutputError(folder, f"the file {in_the_way} is in the way of the folder")
    held = sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []
    if held and not overwrite:
        raise errors.OutputExistsError(folder)
    foreign = [name for name in held if name not in contents]
    if foreign:
        raise errors.OutputError(folder, f"it holds {foreign[0]}, which no export wrote")
