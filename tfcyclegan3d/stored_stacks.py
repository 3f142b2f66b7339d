"""A stack as it is stored, TIFF or zarr, with its values checked."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import tifffile

from tfcyclegan3d import errors, tiling
from tfcyclegan3d.contents import check_type, check_values
from tfcyclegan3d.scratch import ScratchFile
from tfcyclegan3d.tiff import names, reading
from tfcyclegan3d.tiff.reading import StoredStack, read_tiff
from tfcyclegan3d.zarrs.folders import find_image, is_zarr
from tfcyclegan3d.zarrs.metadata import is_written_here, written_names
from tfcyclegan3d.zarrs.reading import open_zarr

CLASS_NAME = re.compile(r"\w[\w .+-]*")


def read_class_names(path: str | Path, n_channels: int) -> tuple[str, ...] | None:
    """Return the names of the classes that this package wrote into a stack beside its channels.

    Parameters
    ----------
    path : str or Path
        Of a stack that can be read.
    n_channels : int
        Number of the channels, as they are read.

    Returns
    -------
    tuple of str, or None
        None where another program wrote the file, or it holds no name, another number of names, or some that no class
        can have.
    """
    found = written_names(find_image(Path(path))[1].attributes) if is_zarr(path) else names.read_names(path)
    usable = len(found) == len(set(found)) == n_channels and all(CLASS_NAME.fullmatch(name) for name in found)
    return tuple(found) if usable else None


def is_ours(path: Path) -> bool:
    """Tell whether there is a stack that says that this package wrote it."""
    try:
        return is_written_here(find_image(path)[1].attributes) if is_zarr(path) else names.is_written_here(path)
    except (OSError, ValueError, AttributeError, tifffile.TiffFileError, errors.UserError):
        return False  # Missing, damaged, or somebody else's.


def read_stored(
    path: str | Path,
    axes: str | None = None,
    *,
    values: bool = True,
    scratch: ScratchFile | None = None,
    allow_missing_chunks: bool = False,
) -> StoredStack:
    """Read a stack of either format, and check its values where they are read.

    Parameters
    ----------
    path, axes, scratch, allow_missing_chunks
        As `tfcyclegan3d.volumes.read_volume` takes them.
    values : bool
        False leaves the values unread, for their shape alone: the array is nought everywhere and takes no memory.

    Raises
    ------
    UserError
        As `read_volume` does.
    """
    if is_zarr(path):
        stored = _read_zarr(path, axes, values, scratch, allow_missing_chunks)
    else:
        stored = read_tiff(path, axes, values=values, scratch=scratch)
    if values:
        check_type(stored.array.dtype, path)
        check_values(stored.array, path)
    return stored


def _read_zarr(
    path: str | Path, axes: str | None, values: bool, scratch: ScratchFile | None, allow_missing_chunks: bool
) -> StoredStack:
    stack = open_zarr(path, axes, allow_missing_chunks=allow_missing_chunks)
    if not values:
        array = np.broadcast_to(np.zeros((), stack.dtype), stack.shape)
    elif scratch is not None and stack.nbytes > reading.MOST_IN_MEMORY:
        # A layer of chunks at a time, since the file is written from its beginning to its end.
        slabs = tiling.plan_slabs(stack.shape, (0,), stack.chunk_shape)
        start = scratch.write(stack.read((slab[0], slice(None), slice(None))) for slab in slabs)
        array = scratch.array(start, stack.dtype, stack.shape)
    else:
        array = np.ascontiguousarray(stack.read((slice(None),) * 3))
    return StoredStack(array, stack.axes, tuple(stack.level.shape), stack.voxel_size_um)
