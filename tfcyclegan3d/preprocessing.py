"""Intensities and grids: contrast stretching, resampling, reflection padding. Arrays only."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from tfcyclegan3d import tiling
from tfcyclegan3d.percentiles import Counting

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
    if array.size // array.shape[-1] > MOST_SORTED and array.dtype == np.float32:
        slabs = tiling.plan_slabs(array.shape, tiling.storage_order(array.strides))
        counting = Counting(array.shape[-1])
        for slab in slabs:
            counting.take(array[slab])
        return counted_bounds(counting, lambda: (array[slab] for slab in slabs), percentiles)
    pairs = np.broadcast_to(percentiles, (array.shape[-1], 2))
    found = [np.percentile(array[..., k], pair) for k, pair in enumerate(pairs)]
    return _bounds(np.array(found, np.float64), lambda k: (array[..., k].min(), array[..., k].max()))


def counted_bounds(
    counting: Counting,
    slabs: Callable[[], Iterable[np.ndarray]],
    percentiles: Sequence[float] | Sequence[Sequence[float]],
) -> np.ndarray:
    """Return what ``stretch_bounds`` does of a volume that comes in slabs.

    Parameters
    ----------
    counting : Counting
        That has taken all of them.
    slabs : callable
        Returns them once more (ZYXC float32), in any order.
    percentiles
        As in ``stretch_bounds``.
    """
    ranks = np.broadcast_to(percentiles, (len(counting.minimum), 2))
    found = counting.percentiles(ranks, slabs)
    return _bounds(found, lambda k: (counting.minimum[k], counting.maximum[k]))


def _bounds(found: np.ndarray, extremes: Callable[[int], tuple[float, float]]) -> np.ndarray:
    """Return percentiles (C, 2) with a channel's maximum and minimum in their place where they agree."""
    bounds = []
    for k, (low, high) in enumerate(found.tolist()):
        if high <= low:
            high = float(extremes(k)[1])
        if high <= low:  # The upper percentiles are saturated.
            low = float(extremes(k)[0])
        bounds.append((low, high if high > low else low + max(1.0, abs(low))))
    return np.array(bounds, dtype=np.float64)


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
    stretched: np.ndarray = np.clip((array.astype(np.float32) - low) * (2 / (high - low)) - 1, -1, 1)
    return stretched


def downsample(array: np.ndarray, factors: Triple) -> np.ndarray:
    """Average blocks of ``factors`` voxels (ZYXC) into one; a last, incomplete block is filled by repeating the edge.

    Returns
    -------
    ndarray of float32, ZYXC
    """
    array = array.astype(np.float32, copy=False)
    if tuple(factors) == (1, 1, 1):
        return array
    means: np.ndarray = _blocks(array, factors).mean(axis=(1, 3, 5))
    return means


@dataclass(frozen=True, eq=False)
class CoarseObjects:
    """Objects on the networks' grid.

    Parameters
    ----------
    numbers : ndarray of int, ZYXC
        The object at each voxel, 0 for none; the highest number where several share one.
    coverage : ndarray of float32, ZYXC
        Share of each voxel that objects cover, in [0, 1]: what lets a network place a border between two voxels.
    shown : ndarray of float32, ZYXC
        What the networks learn of them, in [0, 1]: the coverage, and in as many channels more how far inside its
        object a voxel lies, where that is learned.
    """

    numbers: np.ndarray
    coverage: np.ndarray
    shown: np.ndarray

    @classmethod
    def of(cls, numbers: np.ndarray, factors: Triple) -> CoarseObjects:
        """Bring numbered objects (ZYXC) to a grid coarser by ``factors``."""
        coverage = downsample(numbers > 0, factors)
        return cls(coarse_numbers(numbers, factors), coverage, coverage)

    def padded(self, minimum: Triple) -> CoarseObjects:
        """Return the objects padded as ``pad_to`` does."""
        return CoarseObjects(*(pad_to(array, minimum) for array in (self.numbers, self.coverage, self.shown)))


def downsampled_slabs(array: np.ndarray, factors: Triple) -> Iterator[np.ndarray]:
    """Yield the slabs that ``downsample`` of the whole array is made of, in the order in which the array is stored."""
    for slab in tiling.plan_slabs(array.shape, tiling.storage_order(array.strides), factors):
        yield downsample(np.ascontiguousarray(array[slab]), factors)


def coarse_numbers(numbers: np.ndarray, factors: Triple) -> np.ndarray:
    """Return the highest number in each block of ``factors`` voxels (ZYXC)."""
    highest: np.ndarray = _blocks(numbers, factors).max(axis=(1, 3, 5))
    return highest


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
    z, y, x = (int(np.clip(np.floor(diameter / target + 0.35), 1, 8)) for diameter in diameters)
    return z, y, x
