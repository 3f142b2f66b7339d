"""Finding stacks: what files, folders and globs stand for, in which order, and whether their names fit each other."""

from __future__ import annotations

import glob
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from tfcyclegan3d import errors
from tfcyclegan3d.zarrs.folders import SUFFIX as ZARR
from tfcyclegan3d.zarrs.folders import is_zarr

SUFFIXES = (".tif", ".tiff")
# What tells stacks that belong together apart, in names that otherwise agree.
ROLE = re.compile(r"^(stack|image|truth|objects|mask)_|_(truth|objects|mask|probability)$", re.IGNORECASE)


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
    """Return the stacks to work on: those of `find_stacks`, without what ``simulate`` or ``predict`` wrote beside them.

    Of a folder that holds ``stack_000.tif``, ``truth_000.tif`` and ``objects_000.tif`` are left out, and of one that
    holds ``NAME.tif``, ``NAME_mask``, ``NAME_probability`` and ``NAME_objects``; named one by one or by a glob, they
    are taken.
    """
    folders = {Path(path).expanduser().resolve() for path in ([paths] if isinstance(paths, str | Path) else paths)}
    found = find_stacks(paths)
    named = {(path.parent, stack_name(path)) for path in found}

    def is_companion(path: Path) -> bool:
        kind, _, number = path.stem.rpartition("_")
        of_simulate = kind in ("truth", "objects") and path.with_name(f"stack_{number}{path.suffix}") in found
        image, _, kind = stack_name(path).rpartition("_")
        of_predict = kind in ("mask", "probability", "objects") and (path.parent, image) in named
        return path.parent.resolve() in folders and (of_simulate or of_predict)

    return [path for path in found if not is_companion(path)]


def find_named(paths: str | Path | Iterable[str | Path], *names: str) -> list[Path]:
    """Return the stacks that paths stand for; where one leads to several, some of them meant, without its others.

    The folders that ``predict`` and ``simulate`` write hold probabilities, images and labels beside the masks.

    Parameters
    ----------
    paths : str, Path or iterable of these
        As `find_stacks` takes them; a stack that is given again comes again.
    *names : str
        Regular expressions found in the names of what is meant; the first that finds any counts.

    Raises
    ------
    UserError
        As `find_stacks` does.
    """
    found: list[Path] = []
    for path in [paths] if isinstance(paths, str | Path) else paths:
        stacks = find_stacks([path])
        chosen = ([stack for stack in stacks if re.search(name, stack_name(stack))] for name in names)
        found += next(filter(None, chosen), stacks)
    return found


def find_masks(paths: str | Path | Iterable[str | Path]) -> list[Path]:
    """Return the masks that paths stand for, each once, without the images and labels of their folders.

    Of a folder that holds any, ``mask_*`` are taken, else ``truth_*``, else ``*_mask``, else all stacks.

    Raises
    ------
    UserError
        As `find_stacks` does.
    """
    return find_stacks(find_named(paths, "^mask_", "^truth_", "_mask$"))


def check_names(first: Sequence[Path], second: Sequence[Path]) -> None:
    """Refuse pairs whose names belong to others, as a missing file or another order makes them.

    Where no name is on both sides, or a stack is given twice, the order is all there is to go by.

    Parameters
    ----------
    first, second : sequence of Path
        As many of one as of the other; the stacks at one place are a pair.

    Raises
    ------
    PairingError
    """
    names = [[ROLE.sub("", stack_name(path)).lower() for path in side] for side in (first, second)]
    if set(names[0]).isdisjoint(names[1]) or any(len(set(side)) < len(side) for side in (first, second)):
        return
    for one, other, name, name_of_other in zip(first, second, *names, strict=True):
        if name != name_of_other:
            raise errors.PairingError(
                f"{one.name} would be paired with {other.name}, while others have a name in common",
                "give both in the same order, under the same names",
            )


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
