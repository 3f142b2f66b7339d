"""Finding stacks: what files, folders and globs stand for, in which order, and what they are called."""

from __future__ import annotations

import glob
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from tfcyclegan3d import errors
from tfcyclegan3d.zarrs.folders import SUFFIX as ZARR
from tfcyclegan3d.zarrs.folders import is_zarr

SUFFIXES = (".tif", ".tiff")


def find_stacks(paths: str | Path | Iterable[str | Path]) -> list[Path]:
    """Return the stacks that files, folders and globs stand for.

    A file stands for itself, and so does a zarr folder: one called ``.zarr``, or that holds ``zarr.json``, ``.zarray``
    or ``.zgroup``. Any other folder, and a glob, stand for their ``.tif`` and ``.tiff`` files and zarr folders in name
    order, numbers by their value (2 before 10), hidden ones left out. Paths keep the order given; a stack met again is
    dropped, and so is what a glob finds within a zarr folder that it finds too.

    Raises
    ------
    FileMissingError
        If a path, folder or glob leads to no stack.
    UnreadableFileError
        If a folder may not be read.
    """
    found: dict[Path, Path] = {}
    for path in [paths] if isinstance(paths, str | Path) else paths:
        try:
            matches = list(_matches(Path(path).expanduser())) if str(path) else []
        except OSError as error:
            raise errors.UnreadableFileError(path, error.strerror or error) from error
        if not matches:
            in_folder = str(path) and Path(path).expanduser().is_dir()
            raise errors.FileMissingError(
                path, "TIFF stack in this folder, nor a zarr" if in_folder else "file, folder or glob"
            )
        for match in matches:
            found.setdefault(match.resolve(), match)
    return list(found.values())


def find_images(paths: str | Path | Iterable[str | Path]) -> list[Path]:
    """Return the stacks to work on: those of `find_stacks`, without what ``simulate`` wrote beside them.

    Of a folder that holds ``stack_000.tif``, ``truth_000.tif`` and ``objects_000.tif`` are left out; named one by one
    or by a glob, they are taken.
    """
    folders = {Path(path).expanduser().resolve() for path in ([paths] if isinstance(paths, str | Path) else paths)}
    found = find_stacks(paths)

    def is_companion(path: Path) -> bool:
        kind, _, number = path.stem.rpartition("_")
        beside = path.with_name(f"stack_{number}{path.suffix}")
        return kind in ("truth", "objects") and path.parent.resolve() in folders and beside in found

    return [path for path in found if not is_companion(path)]


def _matches(path: Path) -> Iterator[Path]:
    if is_zarr(path):
        yield path
    elif path.is_dir():
        yield from _stacks(path.iterdir())
    elif path.exists():
        yield path
    else:
        # pathlib's own glob refuses patterns that a shell takes, such as "a**.tif".
        yield from _stacks(Path(match) for match in glob.glob(str(path), recursive=True))  # noqa: PTH207


def _stacks(paths: Iterable[Path]) -> list[Path]:
    shown = [path for path in paths if path.name[:1] != "."]
    zarrs = {path for path in shown if is_zarr(path)}
    files = [path for path in shown if path.suffix.lower() in SUFFIXES and path.is_file()]
    stacks = [path for path in (*files, *zarrs) if zarrs.isdisjoint(path.parents)]
    return sorted(stacks, key=lambda path: [_natural(part) for part in path.parts])


def _natural(text: str) -> list[tuple[int, str]]:
    """Return a key that sorts numbers within names by value."""
    return [(int(part), "") if part.isdecimal() else (-1, part.lower()) for part in re.split(r"(\d+)", text)]


def stack_name(path: Path) -> str:
    """Return a stack's name without its ending, ``.ome.tif`` and ``.ome.zarr`` being some.

    An image within a zarr folder has that folder's name before its own: ``plate_A_1_0`` of ``plate.zarr/A/1/0``.
    """
    holders = [number for number, part in enumerate(path.parts) if part.lower().endswith(ZARR)]
    whole, *within = path.parts[holders[0] :] if holders else (path.name,)
    return "_".join([re.sub(r"(\.ome)?\.[^.]+$", "", whole, flags=re.IGNORECASE) or path.name, *within])
