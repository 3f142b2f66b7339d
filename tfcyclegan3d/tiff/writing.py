"""Writing a ZYXC array as a TIFF that Fiji, napari and this package open with its axes, colours and voxel size."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tifffile

from tfcyclegan3d import errors
from tfcyclegan3d.placing import in_place

# By the Software tag, reading knows a stack of one slice from a 2D image, which the two descriptions cannot tell apart.
SOFTWARE = "tfcyclegan3d"
HYPERSTACK_TYPES = ("uint8", "uint16", "float32")
# ImageJ's hyperstacks are classic TIFF, whose offsets end at 4 GiB.
HYPERSTACK_BYTES = 2**32 - 2**25
# ImageJ shows at most seven channels on top of each other.
COMPOSITE_CHANNELS = 7


def write_tiff(
    path: str | Path,
    array: np.ndarray,
    voxel_size_um: tuple[float, float, float] | None = None,
    colours: Sequence[tuple[int, int, int]] | None = None,
    class_names: Sequence[str] | None = None,
) -> None:
    """Write a stack, replacing ``path`` only when all of it is on the disk.

    Parameters
    ----------
    path : str or Path
        Where to; its folder must exist.
    array : ndarray
        Shape (Z, Y, X, C). See `storable` for the types written.
    voxel_size_um : tuple of float, optional
        (z, y, x) in micrometres.
    colours : sequence of (red, green, blue), optional
        0 to 255, one per channel, as which Fiji shows the channels.
    class_names : sequence of str, optional
        One per channel: OME's names of channels, or what Fiji says above each plane of an ImageJ hyperstack.

    Raises
    ------
    OutputError
        If the file cannot be written. Nothing is left behind.
    VolumeContentError
        If the type cannot be stored.
    """
    path, array = Path(path), storable(array, path)
    ranges = [_display_range(array[..., channel]) for channel in range(array.shape[-1])]
    stored = array.transpose(0, 3, 1, 2)
    _write(path, stored, stored.shape, array.dtype, voxel_size_um, colours, ranges, class_names)


def write_planes(
    path: str | Path,
    planes: Iterable[np.ndarray],
    shape: tuple[int, int, int, int],
    dtype: np.dtype,
    voxel_size_um: tuple[float, float, float] | None = None,
    colours: Sequence[tuple[int, int, int]] | None = None,
    display_range: tuple[float, float] = (0, 255),
    class_names: Sequence[str] | None = None,
) -> None:
    """Write a stack that is made plane by plane, never whole in memory, as `write_tiff` does.

    Parameters
    ----------
    path : str or Path
        Where to; its folder must exist.
    planes : iterable of ndarray
        (Y, X) of ``dtype``, all channels of the first plane, then of the next.
    shape : (z, y, x, channels)
        Of the whole.
    dtype : np.dtype
        uint8, uint16, uint32, int32 or float32.
    voxel_size_um, colours, class_names
        As `write_tiff` takes them.
    display_range : (low, high)
        Between which Fiji shows every channel.

    Raises
    ------
    OutputError
        If the file cannot be written. Nothing is left behind.
    """
    z, y, x, channels = shape
    _write(
        Path(path),
        iter(planes),
        (z, channels, y, x),
        np.dtype(dtype),
        voxel_size_um,
        colours,
        [display_range] * channels,
        class_names,
    )


def _write(
    path: Path,
    data: np.ndarray | Iterator[np.ndarray],
    shape: tuple[int, ...],
    dtype: np.dtype,
    voxel_size_um: tuple[float, float, float] | None,
    colours: Sequence[tuple[int, int, int]] | None,
    ranges: Sequence[tuple[float, float]],
    class_names: Sequence[str] | None,
) -> None:
    """Write ZCYX data, whole or plane by plane, into a scratch folder, and move it to its place."""
    n_bytes = dtype.itemsize * math.prod(shape)
    if fits_hyperstack(dtype, n_bytes):
        arguments = _hyperstack(shape[1], ranges, voxel_size_um, colours)
        if class_names is not None:
            arguments["metadata"]["Labels"] = [*class_names] * shape[0]
        # With fewer than its six dimensions, tifffile takes an X of length 1 for colour samples.
        shape = (1, *shape, 1)
        data = data.reshape(shape) if isinstance(data, np.ndarray) else data
    else:
        arguments = _ome(n_bytes, voxel_size_um)
        if class_names is not None:
            arguments["metadata"]["Channel"] = {"Name": [*class_names]}
    if not isinstance(data, np.ndarray):
        arguments |= {"shape": shape, "dtype": dtype}
    with in_place(path) as made:
        tifffile.imwrite(made, data, photometric="minisblack", compression="zlib", software=SOFTWARE, **arguments)


def storable(array: np.ndarray, name: str | Path) -> np.ndarray:
    """Return the array in a type that every reader knows, without changing a value of a mask or label.

    Truth values become uint8 0 and 255. Every float becomes float32. Integers keep uint8, or become uint16 where they
    fit it, else uint32, or int32 with negative numbers among them.

    Raises
    ------
    VolumeContentError
        If the values are complex, or integers beyond 32 bits.
    """
    if array.dtype == bool:
        return array.astype(np.uint8) * np.uint8(255)
    if array.dtype.kind == "f":
        return array.astype(np.float32, copy=False)
    if array.dtype == np.uint8:
        return array
    if array.dtype.kind in "iu":
        low, high = int(array.min(initial=0)), int(array.max(initial=0))
        for kind in (np.uint16, np.uint32, np.int32):
            if np.iinfo(kind).min <= low and high <= np.iinfo(kind).max:
                return array.astype(kind, copy=False)
    raise errors.VolumeContentError(
        name,
        f"values of type {array.dtype} cannot be stored in a stack",
        "convert them to integers of at most 32 bits or to float32",
    )


def fits_hyperstack(dtype: np.dtype, n_bytes: int) -> bool:
    """Tell whether ImageJ's own format can hold a stack; what it cannot hold becomes OME-TIFF."""
    return dtype.name in HYPERSTACK_TYPES and n_bytes < HYPERSTACK_BYTES


def _hyperstack(
    n_channels: int,
    ranges: Sequence[tuple[float, float]],
    voxel_size_um: tuple[float, float, float] | None,
    colours: Sequence[tuple[int, int, int]] | None,
) -> dict[str, Any]:
    metadata: dict[str, Any] = {"axes": "TZCYXS"}
    # Without a range, ImageJ shows a 16-bit or float composite from 0 to the type's greatest value: black.
    metadata["Ranges"] = tuple(limit for low_and_high in ranges for limit in low_and_high)
    if colours is not None:
        metadata["mode"] = "composite" if 1 < n_channels <= COMPOSITE_CHANNELS else "color"
        ramp = np.arange(256)
        metadata["LUTs"] = [(np.array(colour)[:, np.newaxis] * ramp // 255).astype(np.uint8) for colour in colours]
    arguments: dict[str, Any] = {"imagej": True, "metadata": metadata}
    if voxel_size_um is not None:
        z, y, x = voxel_size_um
        metadata |= {"spacing": z, "unit": "um"}
        arguments |= {"resolution": (1 / x, 1 / y), "resolutionunit": "NONE"}
    return arguments


def _display_range(channel: np.ndarray) -> tuple[float, float]:
    if channel.dtype == np.uint8:
        return 0, 255
    low, high = np.min(channel, initial=0), np.max(channel, initial=0)
    return float(low), float(high if high > low else low + 1)


def _ome(n_bytes: int, voxel_size_um: tuple[float, float, float] | None) -> dict[str, Any]:
    metadata: dict[str, Any] = {"axes": "ZCYX"}
    for axis, size in zip("ZYX", voxel_size_um or (), strict=False):
        metadata |= {f"PhysicalSize{axis}": size, f"PhysicalSize{axis}Unit": "µm"}
    return {"ome": True, "bigtiff": n_bytes >= HYPERSTACK_BYTES, "metadata": metadata}
