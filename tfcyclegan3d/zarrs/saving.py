"""Saving a whole ZYXC array as an OME-Zarr image with its pyramid."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from tfcyclegan3d.placing import in_place
from tfcyclegan3d.zarrs.pyramid import build_pyramid
from tfcyclegan3d.zarrs.writing import create_zarr, write_array


def save_zarr(
    path: str | Path,
    array: np.ndarray,
    voxel_size_um: tuple[float, float, float] | None = None,
    colours: Sequence[tuple[int, int, int]] | None = None,
    *,
    are_numbers: bool = False,
    class_names: Sequence[str] | None = None,
) -> None:
    """Write a stack, replacing ``path`` only when all of it is on the disk.

    Parameters
    ----------
    path : str or Path
        Where to; its parent must exist.
    array : ndarray
        Shape (Z, Y, X, C), of a type that `tfcyclegan3d.zarrs.writing.create_zarr` takes. The pyramid takes the maximum
        of a mask (uint8 of 0 and 255 alone), the nearest of numbers of objects, and the mean of all else.
    voxel_size_um : tuple of float, optional
        (z, y, x) in micrometres.
    colours : sequence of (red, green, blue), optional
        0 to 255, one per channel, as which viewers show the channels.
    are_numbers : bool
        Whether values are numbers of objects.
    class_names : sequence of str, optional
        One per channel; their numbers if not given.

    Raises
    ------
    OutputError
        If it cannot be written. Nothing is left behind.
    """
    with in_place(path) as made:
        ranges = [_display_range(array[..., channel]) for channel in range(array.shape[-1])]
        z, y, x, channels = array.shape
        level = create_zarr(
            made,
            (z, y, x, channels),
            array.dtype,
            voxel_size_um=voxel_size_um,
            channel_names=class_names,
            colours=colours,
            display_ranges=ranges,
        )
        write_array(level, array)
        build_pyramid(made, "nearest" if are_numbers else _method(array))


def _method(array: np.ndarray) -> str:
    return "maximum" if array.dtype == np.uint8 and np.isin(array, (0, 255)).all() else "mean"


def _display_range(channel: np.ndarray) -> tuple[float, float]:
    if channel.dtype == np.uint8:
        return 0, 255
    low, high = float(channel.min(initial=0)), float(channel.max(initial=0))
    return low, high if high > low else low + 1
