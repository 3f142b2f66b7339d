"""Intensities and grids: contrast stretching, resampling, reflection padding. Arrays only."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from tfcyclegan3d import tiling

Triple = tuple[int, int, int]
# Values from which on percentiles are found by counting, in the same few megabytes for any number of values.
MOST_SORTED = 2**24


def stretch_bounds(array: np.ndarray, percentiles: Sequence[float] | Sequence[Sequence[float]]) -> np.ndarray:
    """Return the intensities of each channel that contrast stretching maps to -1 and 1.

    Computed once for a whole volume, never tile by tile, so that a voxel's value does not depend on its tile. The
    percentiles are exact however large the volume is; of float32, a large one is looked at slab by slab.

    Parameters
    ----------
    array : ndarray, ZYXC
        A whole volume.
    percentiles : (float, float) or sequence of (float, float)
        Lower and upper percentile, in [0, 100], of every channel or a pair for each; 95 and 98 in the paper
        (section III.B).

    Returns
    -------
    ndarray of float64, shape (C, 2)
        Where the two percentiles agree, as in a stack that is 0 almost everywhere, the channel's maximum takes the
        upper one's place.
    """
    bounds = []
    for k, pair in enumerate(np.broadcast_to(percentiles, (array.shape[-1], 2))):
        low, high = _percentiles(array[..., k], pair)
        if high <= low:
            high = float(array[..., k].max())
        if high <= low:  # The upper percentiles are saturated.
            low = float(array[..., k].min())
        bounds.append((low, high if high > low else low + max(1.0, abs(low))))
    return np.array(bounds, dtype=np.float64)


def _percentiles(values: np.ndarray, ranks: Sequence[float]) -> np.ndarray:
    """Return `numpy.percentile` of ZYX, without a copy of a large one of float32.

    The order of float32 is that of their bits, once those of negative values are inverted: counting the upper halves
    of the bits and then, for the values wanted, the lower halves finds each exactly in two passes.
    """
    if values.size <= MOST_SORTED or values.dtype != np.float32:
        return np.percentile(values, ranks)
    places = np.true_divide(ranks, 100) * (values.size - 1)
    wanted = np.concatenate([np.floor(places), np.ceil(places)]).astype(np.int64)
    below = np.concatenate([[0], np.cumsum(_counts(values))])
    upper = np.searchsorted(below, wanted, side="right") - 1
    lower = np.empty_like(upper)
    for half in np.unique(upper):
        within = np.cumsum(_counts(values, half))
        here = upper == half
        lower[here] = np.searchsorted(within, wanted[here] - below[half], side="right")
    first, second = _float_of_ordered(upper << 16 | lower).reshape(2, -1)
    share = places - np.floor(places)
    # NumPy's own way, in float32 and float64 as there, so that the result is the same to the last bit.
    step = second - first
    return np.where(share < 0.5, first + step * share, second - step * (1 - share))


def _counts(values: np.ndarray, upper: int | None = None) -> np.ndarray:
    """Count the upper 16 bits of ordered values, or the lower ones of those that have these upper ones."""
    counts = np.zeros(2**16, np.int64)
    for slab in tiling.plan_slabs(values.shape, tiling.storage_order(values.strides)):
        bits = np.ascontiguousarray(values[slab]).view(np.uint32).ravel()
        ordered = np.where(bits >> 31, ~bits, bits | 0x80000000)
        halves = ordered >> 16
        if upper is not None:
            halves = ordered[halves == upper] & 0xFFFF
        counts += np.bincount(halves, minlength=2**16)
    return counts


def _float_of_ordered(ordered: np.ndarray) -> np.ndarray:
    bits = ordered.astype(np.uint32)
    return np.where(bits >> 31, bits & 0x7FFFFFFF, ~bits).view(np.float32)


def stretch(array: np.ndarray, bounds: np.ndarray) -> np.ndarray:
    """Map each channel's bounds to -1 and 1 and clip what lies outside.

    Parameters
    ----------
    array : ndarray, ...C
        Intensities.
    bounds : ndarray, shape (C, 2)
        From ``stretch_bounds`` of the whole volume.

    Returns
    -------
    ndarray of float32, of the same shape
    """
    low, high = bounds[:, 0].astype(np.float32), bounds[:, 1].astype(np.float32)
    return np.clip((array.astype(np.float32) - low) * (2 / (high - low)) - 1, -1, 1)


def downsample(array: np.ndarray, factors: Triple) -> np.ndarray:
    """Average blocks of ``factors`` voxels (ZYXC) into one; a last, incomplete block is filled by repeating the edge.

    Returns
    -------
    ndarray of float32, ZYXC
    """
    array = array.astype(np.float32, copy=False)
    if tuple(factors) == (1, 1, 1):
        return array
    return _blocks(array, factors).mean(axis=(1, 3, 5))


@dataclass(frozen=True, eq=False)
class CoarseObjects:
    """Objects on the networks' grid.

    Parameters
    ----------
    numbers : ndarray of int, ZYXC
        The object at each voxel, 0 for none; the highest number where several share one.
    coverage : ndarray of float32, ZYXC
        Share of each voxel that objects cover, in [0, 1]: what lets a network place a border between two voxels.
    """

    numbers: np.ndarray
    coverage: np.ndarray

    @classmethod
    def of(cls, numbers: np.ndarray, factors: Triple) -> CoarseObjects:
        """Bring numbered objects (ZYXC) to a grid coarser by ``factors``."""
        return cls(coarse_numbers(numbers, factors), downsample(numbers > 0, factors))

    def padded(self, minimum: Triple) -> CoarseObjects:
        """Return the objects padded as ``pad_to`` does."""
        return CoarseObjects(pad_to(self.numbers, minimum), pad_to(self.coverage, minimum))


def downsampled_slabs(array: np.ndarray, factors: Triple) -> Iterator[np.ndarray]:
    """Yield the slabs that ``downsample`` of the whole array is made of, in the order in which the array is stored."""
    for slab in tiling.plan_slabs(array.shape, tiling.storage_order(array.strides), factors):
        yield downsample(np.ascontiguousarray(array[slab]), factors)


def coarse_numbers(numbers: np.ndarray, factors: Triple) -> np.ndarray:
    """Return the highest number in each block of ``factors`` voxels (ZYXC)."""
    return _blocks(numbers, factors).max(axis=(1, 3, 5))


def _blocks(array: np.ndarray, factors: Triple) -> np.ndarray:
    """View ZYXC as (Z, z, Y, y, X, x, C) with blocks of z, y, x voxels, the last ones filled by repeating the edge."""
    surplus = [(0, -side % factor) for side, factor in zip(array.shape[:3], factors, strict=True)]
    array = np.pad(array, [*surplus, (0, 0)], mode="edge")
    sides = []
    for side, factor in zip(array.shape[:3], factors, strict=True):
        sides += [side // factor, factor]
    return array.reshape(*sides, array.shape[3])


def upsample(array: np.ndarray, factors: Triple, shape: Triple) -> np.ndarray:
    """Undo ``downsample``'s change of grid by linear interpolation.

    Parameters
    ----------
    array : ndarray of float, ZYXC
        On the coarse grid.
    factors : (int, int, int)
        As given to ``downsample``.
    shape : (int, int, int)
        Z, Y, X of the fine volume.

    Returns
    -------
    ndarray of float32, ZYXC
    """
    if tuple(factors) == (1, 1, 1):
        return array.astype(np.float32, copy=False)
    fine = np.empty((*shape, array.shape[-1]), dtype=np.float32)
    for k in range(array.shape[-1]):
        # grid_mode keeps block centres where they were, so that nothing shifts by half a voxel.
        zoomed = ndimage.zoom(array[..., k].astype(np.float32), factors, order=1, mode="nearest", grid_mode=True)
        fine[..., k] = zoomed[: shape[0], : shape[1], : shape[2]]
    return fine


def pad_to(array: np.ndarray, minimum: Triple, multiple: int = 1) -> np.ndarray:
    """Pad ZYXC by reflection to at least ``minimum`` voxels a side and a multiple of ``multiple``.

    In the paper (section II.A), 55 to 61 slices become 64 so.
    """
    padding = tiling.padding_to(array.shape[:3], minimum, multiple)
    if not any(before or after for before, after in padding):
        return array
    return np.pad(array, [*padding, (0, 0)], mode="reflect")


def working_factors(smallest_diameter: float, voxel_size: Sequence[float], target: float) -> Triple:
    """Choose how much each axis is downsampled so that objects are about ``target`` voxels across.

    Parameters
    ----------
    smallest_diameter : float
        Diameter of the smallest objects.
    voxel_size : (float, float, float)
        Size of a voxel along Z, Y, X, in the unit of the diameter.
    target : float
        Wanted diameter, in voxels of the coarse grid.

    Returns
    -------
    (int, int, int)
        Each at least 1 and at most 8.
    """
    diameters = [smallest_diameter / side for side in voxel_size]
    return tuple(int(np.clip(np.floor(diameter / target + 0.35), 1, 8)) for diameter in diameters)
