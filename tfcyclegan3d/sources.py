"""Stacks that are read box by box, so that one of any size takes no more memory than a box."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np

from tfcyclegan3d import tiling
from tfcyclegan3d.contents import check_type, check_values
from tfcyclegan3d.scratch import ScratchFile
from tfcyclegan3d.volumes import Grid, Volume, read_grid, read_volume
from tfcyclegan3d.zarrs.chunks import Box
from tfcyclegan3d.zarrs.folders import is_zarr
from tfcyclegan3d.zarrs.reading import ZarrStack, open_zarr


class Source(Protocol):
    """A stack to read boxes from.

    Attributes
    ----------
    grid : Grid
        Its shape, number of channels, voxel size and name.
    dtype : np.dtype
        Type of its values.
    """

    grid: Grid
    dtype: np.dtype

    def read(self, box: Box) -> np.ndarray:
        """Return a box of voxels (Z, Y, X, C), a copy or a view, in the machine's byte order or the file's.

        The slices (z, y, x) have no steps. Raises the `UserError` of what is wrong with the values there.
        """

    def slabs(self) -> Iterator[Box]:
        """Yield boxes that cover the stack, each voxel once, in a good order to read.

        They hold at most about ``tiling.SLAB_VALUES`` values each, where that is possible without reading twice.
        """


class ArraySource:
    """A volume in memory or mapped from disk.

    Parameters
    ----------
    volume : Volume
        What to read from; `read` returns views of it.
    """

    def __init__(self, volume: Volume) -> None:
        self._array = volume.array
        self.grid = volume.grid
        self.dtype = volume.array.dtype

    def read(self, box: Box) -> np.ndarray:
        """Return a box of voxels (Z, Y, X, C)."""
        return self._array[box]

    def slabs(self) -> Iterator[Box]:
        """Yield boxes in the order in which the values are stored."""
        for slab in tiling.plan_slabs(self._array.shape, tiling.storage_order(self._array.strides)):
            whole = (*slab, *(slice(None),) * (3 - len(slab)))
            z, y, x = (slice(*part.indices(side)[:2]) for part, side in zip(whole, self.grid.shape, strict=True))
            yield z, y, x


class ZarrSource:
    """A zarr stack, of which no more is read than the chunks that a box touches.

    Parameters
    ----------
    stack : ZarrStack
        What is open.
    grid : Grid
        Its grid, with the channels that are read.
    channels : sequence of int, optional
        Existing channels, in this order; all of them if not given.
    """

    def __init__(self, stack: ZarrStack, grid: Grid, channels: Sequence[int] | None = None) -> None:
        self._stack = stack
        self._channels = channels
        self.grid = grid
        self.dtype = stack.dtype

    def read(self, box: Box) -> np.ndarray:
        """Return a box of voxels (Z, Y, X, C), in memory.

        Raises
        ------
        UnreadableFileError
            If a chunk is damaged.
        VolumeContentError
            If there are NaN or infinite values in the box.
        """
        values = self._stack.read(box, self._channels)
        if values.size:
            check_values(values, self._stack.path)
        return values

    def slabs(self) -> Iterator[Box]:
        """Yield boxes of whole chunks."""
        return self._stack.slabs(self.grid.n_channels)


def open_source(
    stack: Volume | np.ndarray | str | Path,
    axes: str | None = None,
    channels: Sequence[int] | None = None,
    voxel_size_um: tuple[float, float, float] | None = None,
    *,
    scratch_folder: str | Path | None = None,
    allow_missing_chunks: bool = False,
) -> Source:
    """Open a stack to be read box by box.

    Parameters
    ----------
    stack : Volume, ndarray, str or Path
        Arrays are ZYX or ZYXC. Zarr folders are read where they are; a TIFF file stays on disk where it is large,
        mapped from itself or decoded into a scratch file.
    axes, channels, voxel_size_um
        How to read a file (see ``read_volume``); of arrays and volumes, the channels to keep.
    scratch_folder : str or Path, optional
        Where to decode TIFF files to that cannot be mapped; the system's folder for temporary files if not given.
    allow_missing_chunks : bool
        Take chunks of a zarr that are not stored for empty ones.

    Raises
    ------
    UserError
        As ``read_volume`` does. What is wrong with the values of a zarr is said by `Source.read` where it is met.
    """
    if not isinstance(stack, str | Path):
        volume = stack if isinstance(stack, Volume) else Volume(stack)
        return ArraySource(volume if channels is None else volume.select_channels(channels))
    if not is_zarr(stack):
        scratch = ScratchFile(scratch_folder)
        return ArraySource(read_volume(stack, axes, channels, voxel_size_um, scratch=scratch))
    opened = open_zarr(stack, axes, allow_missing_chunks=allow_missing_chunks)
    check_type(opened.dtype, stack)
    # The chunks have been looked for already, or need not be there.
    grid = read_grid(stack, axes, channels, voxel_size_um, allow_missing_chunks=True)
    return ZarrSource(opened, grid, channels)
