"""A volume: an array ZYXC with its voxel size and name; reading, checking and writing stacks."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from tfcyclegan3d import errors, tiling
from tfcyclegan3d.contents import check_values, check_varied
from tfcyclegan3d.finding_stacks import find_images, find_stacks, stack_name
from tfcyclegan3d.scratch import ScratchFile
from tfcyclegan3d.stored_stacks import read_stored
from tfcyclegan3d.tiff.writing import storable, write_tiff
from tfcyclegan3d.zarrs.folders import SUFFIX as ZARR
from tfcyclegan3d.zarrs.saving import save_zarr

__all__ = [
    "Grid",
    "Volume",
    "check_image",
    "find_images",
    "find_stacks",
    "read_grid",
    "read_volume",
    "stack_name",
    "write_volume",
]


# Integers of so many bytes, from `label_objects` for one, are numbers of objects; cameras give fewer.
NUMBER_BYTES = 4


@dataclass(frozen=True, eq=False)
class Volume:
    """A stack of images on one grid.

    Parameters
    ----------
    array : ndarray
        Shape (Z, Y, X, C), or (Z, Y, X), which gets a channel axis of length 1.
    voxel_size_um : tuple of float, optional
        (z, y, x) in micrometres, if known.
    name : str
        What messages and output files call it; the file's name without its ending for a volume that was read.

    Raises
    ------
    VolumeContentError
        If the array has another number of dimensions, or the voxel size is not three positive numbers.
    """

    array: np.ndarray
    voxel_size_um: tuple[float, float, float] | None = None
    name: str = "volume"

    def __post_init__(self) -> None:
        """Bring the array to four dimensions and the voxel size to floats, or say why that cannot be."""
        array = np.asarray(self.array)
        if array.ndim == 3:
            array = array[..., np.newaxis]
        if array.ndim != 4:
            raise errors.VolumeContentError(
                self.name,
                f"an array of shape {array.shape} is no volume",
                "give an array of axes Z, Y, X or Z, Y, X, channel",
            )
        object.__setattr__(self, "array", array)
        if self.voxel_size_um is not None:
            size = tuple(float(length) for length in self.voxel_size_um)
            if len(size) != 3 or not all(length > 0 and math.isfinite(length) for length in size):
                raise errors.VolumeContentError(
                    self.name,
                    f"a voxel size of {self.voxel_size_um} um is none",
                    "give three positive numbers (z, y, x), or None",
                )
            object.__setattr__(self, "voxel_size_um", size)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Lengths (z, y, x) in voxels."""
        z, y, x, _ = self.array.shape
        return z, y, x

    @property
    def n_channels(self) -> int:
        """Number of channels."""
        return self.array.shape[3]

    @property
    def grid(self) -> Grid:
        """Where its voxels lie."""
        return Grid(self.shape, self.n_channels, self.voxel_size_um, self.name)

    def __gt__(self, threshold: float) -> Volume:
        """Return the volume of bool that is True where the values lie above the threshold."""
        return Volume(self.array > threshold, self.voxel_size_um, self.name)

    def select_channels(self, indices: Sequence[int]) -> Volume:
        """Return a volume of these channels, in this order, counted from 0.

        Raises
        ------
        ChannelError
            If there is no such channel, or none is asked for.
        """
        wanted = [int(index) for index in indices]
        if not wanted or not all(0 <= index < self.n_channels for index in wanted):
            there = ", ".join(map(str, range(self.n_channels)))
            raise errors.ChannelError(
                self.name,
                self.n_channels,
                f"but channels {wanted} (from 0) were asked for",
                f"choose from {there} with --channels, one for each class",
            )
        return Volume(self.array[..., wanted], self.voxel_size_um, self.name)


def read_volume(
    path: str | Path,
    axes: str | None = None,
    channels: Sequence[int] | None = None,
    voxel_size_um: tuple[float, float, float] | None = None,
    *,
    scratch: ScratchFile | None = None,
    allow_missing_chunks: bool = False,
) -> Volume:
    """Read a stack: plain TIFF, BigTIFF, ImageJ or OME-TIFF, compressed or not; OME-Zarr, or a plain zarr array.

    Parameters
    ----------
    path : str or Path
        The file, or the zarr folder, of which level 0 is read.
    axes : str, optional
        One letter of Z, Y, X, C (or S) and T per stored dimension, for example ``"YXZC"``. Wins over what the
        file says. Without it, the file's own axes are taken; three unnamed dimensions are ZYX.
    channels : sequence of int, optional
        The channels to keep, in this order, counted from 0; all of them if not given.
    voxel_size_um : (z, y, x), optional
        In micrometres; wins over what the file says.
    scratch : ScratchFile, optional
        Leave a stack of more than 64 MiB on disk, mapped, instead of reading it into memory: from the file itself
        where its values lie there one after the other, else from what has been decoded into this one.
    allow_missing_chunks : bool
        Take chunks of a zarr that are not stored for empty ones.

    Returns
    -------
    Volume
        Values as stored, bool, integer or float; its name is the file's without its ending (see `stack_name`). The
        array of a stack left on disk has the file's byte order and cannot be written to.

    Raises
    ------
    FileMissingError, UnreadableFileError
        If the file is not there, or is empty, truncated, damaged or neither TIFF nor zarr, or lacks chunks.
    AxesError
        If the axes are ambiguous, lack Z, Y or X, hold several timepoints, or do not fit those given.
    ChannelError
        If a channel asked for is not there.
    VolumeContentError
        If it holds several images, no voxels, complex numbers, NaN or infinite values.
    OutputError
        If the disk is too full to decode a stack that is to stay there.
    """
    stored = read_stored(path, axes, scratch=scratch, allow_missing_chunks=allow_missing_chunks)
    volume = Volume(stored.array, voxel_size_um or stored.voxel_size_um, stack_name(Path(path)))
    if channels is None:
        return volume
    if stored.array.flags.writeable or scratch is None:
        return volume.select_channels(channels)
    return _selected_on_disk(volume, channels, scratch)


class Grid(NamedTuple):
    """Where a stack's voxels lie, without its values."""

    shape: tuple[int, int, int]
    n_channels: int
    voxel_size_um: tuple[float, float, float] | None
    name: str


def read_grid(
    path: str | Path,
    axes: str | None = None,
    channels: Sequence[int] | None = None,
    voxel_size_um: tuple[float, float, float] | None = None,
    *,
    allow_missing_chunks: bool = False,
) -> Grid:
    """Return the grid of a stack from the beginning of its file, however large it is.

    Parameters and errors are those of `read_volume`, but for what only the values would show.
    """
    stored = read_stored(path, axes, values=False, allow_missing_chunks=allow_missing_chunks)
    # One voxel is enough to say whether there are such channels.
    voxel = Volume(stored.array[:1, :1, :1], voxel_size_um or stored.voxel_size_um, stack_name(Path(path)))
    n_channels = voxel.n_channels if channels is None else voxel.select_channels(channels).n_channels
    z, y, x, _ = stored.array.shape
    return Grid((z, y, x), n_channels, voxel.voxel_size_um, voxel.name)


def _selected_on_disk(volume: Volume, channels: Sequence[int], scratch: ScratchFile) -> Volume:
    """Select channels of a mapped volume, without a copy where their numbers are evenly spaced."""
    Volume(volume.array[:1, :1, :1], name=volume.name).select_channels(channels)  # Raises what it has to say.
    array, wanted = volume.array, [int(index) for index in channels]
    steps = {later - earlier for earlier, later in itertools.pairwise(wanted)} or {1}
    if len(steps) == 1 and 0 not in steps:
        (step,) = steps
        stop = wanted[-1] + step
        selected = array[..., wanted[0] : stop if stop >= 0 else None : step]
    else:
        order = (*tiling.storage_order(array.strides), 3)
        shape = tuple((*array.shape[:3], len(wanted))[axis] for axis in order)
        slabs = tiling.plan_slabs(array.shape, order)
        start = scratch.write(array[slab][..., wanted].transpose(order) for slab in slabs)
        selected = scratch.array(start, array.dtype, shape).transpose(np.argsort(order))
    return Volume(selected, volume.voxel_size_um, volume.name)


def check_image(volume: Volume) -> None:
    """Check that a volume can serve as an image to train on or to segment; a mask may well be constant.

    Raises
    ------
    VolumeContentError
        If it has no voxels, NaN or infinite values, or a channel of one value only.
    """
    check_values(volume.array, volume.name)
    channels = [volume.array[..., channel] for channel in range(volume.n_channels)]
    check_varied([one.min() for one in channels], [one.max() for one in channels], volume.name)


def write_volume(
    path: str | Path,
    volume: Volume,
    colours: Sequence[tuple[int, int, int]] | None = None,
    class_names: Sequence[str] | None = None,
) -> Path:
    """Write a volume as a compressed ImageJ hyperstack of axes ZCYX, or as OME-Zarr, whole or not at all.

    bool is written as uint8 0 and 255, every float as float32. Integers are written as uint8 or uint16 where they fit.
    As TIFF, larger or negative ones and stacks of 4 GiB or more become OME-TIFF, since an ImageJ hyperstack cannot hold
    them. Integers of 32 bits and more are taken for numbers of objects, which an OME-Zarr's coarser levels do not
    average.

    Parameters
    ----------
    path : str or Path
        Where to; OME-Zarr where it ends in ``.zarr``. Replaced if it exists. Its folder must exist.
    volume : Volume
        What to write; `read_volume` gives back its values, voxel size and channels.
    colours : sequence of (red, green, blue), optional
        0 to 255, one per channel, as which Fiji shows the channels on top of each other.
    class_names : sequence of str, optional
        One per channel; viewers show them, and the commands ``evaluate`` and ``measure`` take them for the classes.

    Returns
    -------
    Path
        The file or folder.

    Raises
    ------
    OutputError
        If it cannot be written; nothing is left behind.
    ChannelError
        If the number of colours or names is not the number of channels.
    VolumeContentError
        If the values are complex, or integers beyond 32 bits.
    """
    for what, of_channels in (("colours", colours), ("names", class_names)):
        if of_channels is not None and len(of_channels) != volume.n_channels:
            raise errors.ChannelError(volume.name, volume.n_channels, f"but {len(of_channels)} {what} were given")
    path, array, given = Path(path), storable(volume.array, path), volume.array.dtype
    if path.suffix.lower() == ZARR:
        are_numbers = given.kind in "iu" and given.itemsize >= NUMBER_BYTES
        save_zarr(path, array, volume.voxel_size_um, colours, are_numbers=are_numbers, class_names=class_names)
    else:
        write_tiff(path, array, volume.voxel_size_um, colours, class_names)
    return path
