"""A volume: an array ZYXC with its voxel size and name; finding, reading, checking, describing and writing stacks."""

from __future__ import annotations

import glob
import itertools
import math
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from tfcyclegan3d import errors, tiling
from tfcyclegan3d.scratch import ScratchFile
from tfcyclegan3d.tiff.reading import read_tiff
from tfcyclegan3d.tiff.writing import write_tiff

SUFFIXES = (".tif", ".tiff")
PERCENTILES = (1, 50, 95, 98, 99.8)


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
    UserError
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
            raise errors.UserError(
                f"{self.name}: an array of shape {array.shape} is no volume",
                "give an array of axes Z, Y, X or Z, Y, X, channel",
            )
        object.__setattr__(self, "array", array)
        if self.voxel_size_um is not None:
            size = tuple(float(length) for length in self.voxel_size_um)
            if len(size) != 3 or not all(length > 0 and math.isfinite(length) for length in size):
                raise errors.UserError(
                    f"{self.name}: a voxel size of {self.voxel_size_um} um is none",
                    "give three positive numbers (z, y, x), or None",
                )
            object.__setattr__(self, "voxel_size_um", size)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Lengths (z, y, x) in voxels."""
        return self.array.shape[:3]

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
            raise errors.ChannelError(self.name, self.n_channels, f"but channels {wanted} (from 0) were asked for")
        return Volume(self.array[..., wanted], self.voxel_size_um, self.name)


def read_volume(
    path: str | Path,
    axes: str | None = None,
    channels: Sequence[int] | None = None,
    voxel_size_um: tuple[float, float, float] | None = None,
    *,
    scratch: ScratchFile | None = None,
) -> Volume:
    """Read a TIFF stack: plain, BigTIFF, ImageJ or OME-TIFF, compressed or not.

    Parameters
    ----------
    path : str or Path
        The file.
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

    Returns
    -------
    Volume
        Values as stored, bool, integer or float; its name is the file's without ``.tif`` or ``.ome.tif``. The array
        of a stack left on disk has the file's byte order and cannot be written to.

    Raises
    ------
    FileMissingError, UnreadableFileError
        If the file is not there, or is empty, truncated, damaged or no TIFF.
    AxesError
        If the axes are ambiguous, lack Z, Y or X, hold several timepoints, or do not fit those given.
    ChannelError
        If a channel asked for is not there.
    VolumeContentError
        If it holds several images, no voxels, complex numbers, NaN or infinite values.
    OutputError
        If the disk is too full to decode a stack that is to stay there.
    """
    stored = read_tiff(path, axes, scratch=scratch)
    if stored.array.dtype.kind not in "biuf":
        raise errors.VolumeContentError(
            path, f"holds values of type {stored.array.dtype}", "save it as 8-bit, 16-bit or 32-bit float"
        )
    _check_values(stored.array, path)
    volume = Volume(stored.array, voxel_size_um or stored.voxel_size_um, stack_name(Path(path)))
    if channels is None:
        return volume
    if stored.array.flags.writeable:
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
) -> Grid:
    """Return the grid of a stack from the beginning of its file, however large it is.

    Parameters and errors are those of `read_volume`, but for what only the values would show.
    """
    stored = read_tiff(path, axes, values=False)
    # One voxel is enough to say whether there are such channels.
    voxel = Volume(stored.array[:1, :1, :1], voxel_size_um or stored.voxel_size_um, stack_name(Path(path)))
    n_channels = voxel.n_channels if channels is None else voxel.select_channels(channels).n_channels
    return Grid(stored.array.shape[:3], n_channels, voxel.voxel_size_um, voxel.name)


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
    _check_values(volume.array, volume.name)
    for channel in range(volume.n_channels):
        values = volume.array[..., channel]
        if values.min() == values.max():
            raise errors.VolumeContentError(
                volume.name,
                f"channel {channel} is constant (value {values.flat[0]})",
                "check the file, or choose other channels with --channels",
            )


def write_volume(path: str | Path, volume: Volume, colours: Sequence[tuple[int, int, int]] | None = None) -> Path:
    """Write a volume as a compressed ImageJ hyperstack of axes ZCYX, whole or not at all.

    bool is written as uint8 0 and 255, every float as float32. Integers are written as uint8 or uint16 where they fit;
    larger or negative ones, and stacks of 4 GiB or more, as OME-TIFF, since an ImageJ hyperstack cannot hold them.

    Parameters
    ----------
    path : str or Path
        Where to; replaced if it exists. Its folder must exist.
    volume : Volume
        What to write; `read_volume` gives back its values, voxel size and channels.
    colours : sequence of (red, green, blue), optional
        0 to 255, one per channel, as which Fiji shows the channels on top of each other.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    OutputError
        If it cannot be written; nothing is left behind.
    ChannelError
        If the number of colours is not the number of channels.
    VolumeContentError
        If the values are complex, or integers beyond 32 bits.
    """
    if colours is not None and len(colours) != volume.n_channels:
        raise errors.ChannelError(volume.name, volume.n_channels, f"but {len(colours)} colours were given")
    write_tiff(path, volume.array, volume.voxel_size_um, colours)
    return Path(path)


def find_stacks(paths: str | Path | Iterable[str | Path]) -> list[Path]:
    """Return the stacks that files, folders and globs stand for.

    A file stands for itself, a folder or glob for its ``.tif`` and ``.tiff`` files in name order, numbers by their
    value (2 before 10), hidden files left out. Paths keep the order given; a file met again is dropped.

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
            raise errors.FileMissingError(path, "TIFF stack in this folder" if in_folder else "file, folder or glob")
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


def describe(path: str | Path, axes: str | None = None) -> dict[str, Any]:
    """Describe a stack as `read_volume` reads it, in values that JSON can hold.

    Returns
    -------
    dict
        ``path``; ``axes`` and ``stored_shape`` as the file has them; ``shape`` as read, (z, y, x, channels); ``dtype``;
        ``voxel_size_um`` (z, y, x) or None; ``channels``, for each a dict of ``min``, ``max``, ``mean`` and
        ``percentiles``, the latter by ``"1"``, ``"50"``, ``"95"``, ``"98"`` and ``"99.8"``.

    Raises
    ------
    UserError
        As `read_volume` does.
    """
    stored = read_tiff(path, axes)
    _check_values(stored.array, path)
    return {
        "path": str(path),
        "axes": stored.axes,
        "stored_shape": list(stored.shape),
        "shape": list(stored.array.shape),
        "dtype": stored.array.dtype.name,
        "voxel_size_um": list(stored.voxel_size_um) if stored.voxel_size_um else None,
        "channels": [_statistics(stored.array[..., channel]) for channel in range(stored.array.shape[-1])],
    }


def _statistics(values: np.ndarray) -> dict[str, Any]:
    values = values.astype(np.uint8) if values.dtype == bool else values
    percentiles = np.percentile(values, PERCENTILES)
    return {
        "min": values.min().item(),
        "max": values.max().item(),
        "mean": float(values.mean(dtype=np.float64)),
        "percentiles": {str(rank): float(value) for rank, value in zip(PERCENTILES, percentiles, strict=True)},
    }


def _check_values(array: np.ndarray, name: str | Path) -> None:
    if array.size == 0:
        raise errors.VolumeContentError(name, f"holds no voxels (shape {array.shape})", "give another file")
    if array.dtype.kind == "f":
        slabs = tiling.plan_slabs(array.shape, tiling.storage_order(array.strides))
        n_bad = array.size - sum(int(np.count_nonzero(np.isfinite(array[slab]))) for slab in slabs)
        if n_bad:
            noun = "voxel" if n_bad == 1 else "voxels"
            raise errors.VolumeContentError(
                name,
                f"holds {n_bad} {noun} of NaN or infinite value",
                "replace them, for example in Fiji by Process > Noise > Remove NaNs",
            )


def _matches(path: Path) -> Iterator[Path]:
    if path.is_dir():
        yield from _stacks(path.iterdir())
    elif path.exists():
        yield path
    else:
        # pathlib's own glob refuses patterns that a shell takes, such as "a**.tif".
        yield from _stacks(Path(match) for match in glob.glob(str(path), recursive=True))  # noqa: PTH207


def _stacks(paths: Iterable[Path]) -> list[Path]:
    stacks = [path for path in paths if path.suffix.lower() in SUFFIXES and path.is_file() and path.name[0] != "."]
    return sorted(stacks, key=lambda path: [_natural(part) for part in path.parts])


def _natural(text: str) -> list[tuple[int, str]]:
    """Return a key that sorts numbers within names by value."""
    return [(int(part), "") if part.isdecimal() else (-1, part.lower()) for part in re.split(r"(\d+)", text)]


def stack_name(path: Path) -> str:
    """Return a file's name without its ending, ``.ome.tif`` being one."""
    return re.sub(r"(\.ome)?\.[^.]+$", "", path.name, flags=re.IGNORECASE) or path.name
