"""Smooth fields: interpolation from coarse grids, noise of a correlation length, and wide blurs for little work."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import ndimage

# Positions along each axis at which the mean and deviation of an interpolated field are measured.
N_MEASURED = 16


def interpolated(coarse: np.ndarray, shape: Sequence[int], places: Sequence[np.ndarray] | None = None) -> np.ndarray:
    """Interpolate a coarse grid linearly; both grids span the same block of space.

    Parameters
    ----------
    coarse : ndarray of float32, ZYX
        One value a cell.
    shape : (z, y, x)
        Of the fine grid.
    places : three arrays of int, optional
        Which of the fine grid's planes, rows and columns are wanted; all of them without it.

    Returns
    -------
    ndarray of float32, ZYX
        Beyond the middle of the outermost cells, their value.
    """
    places = [np.arange(side) for side in shape] if places is None else places
    # X first, while the array is small, and Z last, where whole planes are added.
    for axis in (2, 1, 0):
        cells = coarse.shape[axis]
        if cells == shape[axis] == len(places[axis]):
            continue
        position = np.clip((places[axis] + 0.5) * (cells / shape[axis]) - 0.5, 0, cells - 1)
        low = np.minimum(position.astype(int), max(cells - 2, 0))
        share = (position - low).astype(np.float32).reshape([-1 if other == axis else 1 for other in range(3)])
        first = coarse.take(low, axis)
        change = coarse.take(np.minimum(low + 1, cells - 1), axis)
        change -= first
        change *= share
        change += first
        coarse = change
    return coarse


def coarse_noise(shape: Sequence[int], scale: float, rng: np.random.Generator) -> np.ndarray:
    """Draw noise on a coarse grid that, interpolated to ``shape``, has mean 0, deviation 1 and a correlation length.

    Parameters
    ----------
    shape : (z, y, x)
        Of the fine grid.
    scale : float
        Correlation length in voxels of the fine grid; below 1, every voxel is drawn by itself.
    rng : numpy.random.Generator

    Returns
    -------
    ndarray of float32, ZYX
    """
    coarse = tuple(min(side, max(2, round(side / scale) + 1)) for side in shape)
    noise = rng.standard_normal(coarse, dtype=np.float32)
    places = [np.unique(np.linspace(0, side - 1, N_MEASURED).astype(int)) for side in shape]
    measured = interpolated(noise, shape, places)
    noise -= measured.mean()
    noise /= max(float(measured.std()), 1e-6)
    return noise


def smooth_noise(shape: Sequence[int], scale: float, rng: np.random.Generator) -> np.ndarray:
    """Draw noise (ZYX float32) of mean 0, deviation 1 and a correlation length of ``scale`` voxels."""
    return interpolated(coarse_noise(shape, scale, rng), shape)


def wide_blur(light: np.ndarray, scale: float) -> np.ndarray:
    """Blur ZYX float32 by a Gaussian of deviation ``scale`` voxels, on a grid coarser by about half of that."""
    factor = max(1, int(scale / 2))
    small = ndimage.gaussian_filter(_block_means(light, factor), scale / factor, truncate=2)
    # The last block of a side may hang over: the grid is as long as whole blocks are.
    whole = [side * factor for side in small.shape]
    return interpolated(small, whole, [np.arange(side) for side in light.shape])


def _block_means(array: np.ndarray, factor: int) -> np.ndarray:
    """Average blocks of ``factor`` voxels a side; the last of a side may hold fewer."""
    if factor == 1:
        return array
    for axis, side in enumerate(array.shape):
        starts = np.arange(0, side, factor)
        sums = np.add.reduceat(array, starts, axis)
        counts = np.diff(np.append(starts, side)).astype(np.float32)
        array = sums / counts.reshape([-1 if other == axis else 1 for other in range(3)])
    return array
