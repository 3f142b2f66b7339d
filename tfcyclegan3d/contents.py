"""What a stack's values must be to be worked with, and what they look like; arrays only."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from tfcyclegan3d import errors, tiling

# Instance numbers of objects a few voxels across lie far above this share, images of 8 bit and more far below it.
MOST_ARE_EQUAL = 0.5


def check_type(dtype: np.dtype, name: str | Path) -> None:
    """Check that values of a type can be worked with.

    Raises
    ------
    VolumeContentError
        If they are neither truth values nor integers nor floats.
    """
    if dtype.kind not in "biuf":
        raise errors.VolumeContentError(
            name, f"holds values of type {dtype}", "save it as 8-bit, 16-bit or 32-bit float"
        )


def check_values(array: np.ndarray, name: str | Path) -> None:
    """Check that there are values and all of them are finite.

    Raises
    ------
    VolumeContentError
    """
    if array.size == 0:
        raise errors.VolumeContentError(name, f"holds no voxels (shape {array.shape})", "give another file")
    if array.dtype.kind == "f":
        slabs = tiling.plan_slabs(array.shape, tiling.storage_order(array.strides))
        check_finite(sum(n_not_finite(array[slab]) for slab in slabs), name)


def check_finite(n_bad: int, name: str | Path) -> None:
    """Check that no value of a stack is NaN or infinite.

    Raises
    ------
    VolumeContentError
        Where ``n_bad`` are.
    """
    if n_bad:
        raise errors.VolumeContentError(
            name,
            f"holds {n_bad} {'voxel' if n_bad == 1 else 'voxels'} of NaN or infinite value",
            "replace them, for example in Fiji by Process > Noise > Remove NaNs",
        )


def n_not_finite(values: np.ndarray) -> int:
    """Return how many values are NaN or infinite; integers never are."""
    return values.size - int(np.count_nonzero(np.isfinite(values))) if values.dtype.kind == "f" else 0


def check_varied(least: Sequence[float], most: Sequence[float], name: str | Path) -> None:
    """Check that no channel of an image has one value only, given each channel's extremes.

    Raises
    ------
    VolumeContentError
    """
    for channel in np.flatnonzero(np.asarray(least) == np.asarray(most)).tolist():
        raise errors.VolumeContentError(
            name,
            f"channel {channel} is constant (value {least[channel]})",
            "check the file, or choose other channels with --channels",
        )


def resembles_intensities(volume: object) -> bool:
    """Tell whether a stack looks like an image rather than a mask, instance numbers or probabilities.

    Masks and instance numbers, with gaps between them or not, are constant within an object, so that most neighbours of
    which neither is 0 hold the same value; in an image, noise makes most of them differ.

    Parameters
    ----------
    volume : Volume or array
        ZYXC or ZYX. Floating-point values in [0, 1] pass for probabilities.
    """
    array = np.asarray(getattr(volume, "array", volume))
    if array.dtype.kind == "b" or array.size == 0:
        return False
    if array.dtype.kind == "f" and array.min() >= 0 and array.max() <= 1:
        return False
    n_pairs = n_equal = 0
    for axis in range(3):
        one, next_one = (np.moveaxis(array, axis, 0)[part] for part in (slice(None, -1), slice(1, None)))
        inside = (one != 0) & (next_one != 0)
        n_pairs += int(np.count_nonzero(inside))
        n_equal += int(np.count_nonzero(inside & (one == next_one)))
    return n_equal < MOST_ARE_EQUAL * n_pairs
