"""The landscape in which objects are hills: how deep inside the foreground a voxel lies, or how near to a centre.

Where objects touch, a network is less sure of the voxels between them than of those inside. So depth counts twice: in
the foreground, and, for much more, in its core, where the network is sure.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import ndimage

# Standard deviation of the smoothing, as a share of the diameter. Of 0.03, 0.06, 0.1 and 0.15, this one found most
# objects of real and simulated masks; less lets a rough outline make hills of its own.
SMOOTHING = 0.1
# Of the way from the threshold to 1: voxels whose probability is beyond are in the core of an object. Cores at a
# probability of 0.9 told fewer touching objects apart than these, at 0.95; those at 0.99 split some nuclei.
CORE = 0.9
# Of a height, what the depth in the foreground gives; the depth in the core gives the rest. It is what hills are made
# of where there is no core.
SHARE_OF_FOREGROUND = 0.1
# Learned centres are smooth already.
SMOOTHING_OF_CENTRES = 0.05
# Height of the distance below the centres: where these are flat, it says which way is up.
SHARE_OF_DISTANCE = 0.1
# Gaussians end here, in standard deviations.
TRUNCATE = 3.0


def graded(probability: np.ndarray, threshold: float, core: float | None = None) -> np.ndarray:
    """Return 1 (uint8) where a probability, or a mask's value, is above a threshold, 2 in the core of that, else 0.

    The core is what lies above ``core``, too; ``core_of`` the threshold if not given.
    """
    grades = (probability > threshold).astype(np.uint8)
    grades += probability > max(threshold, core_of(threshold) if core is None else core)
    return grades


def core_of(threshold: float, level: float = 0.5) -> float:
    """Return the probability beyond which a voxel is in the core of an object.

    Parameters
    ----------
    threshold : float
        Of the foreground.
    level : float
        What a network gave where it gives one half by now: its outlines were moved, how sure it is was not.
    """
    core = threshold + CORE * (1 - threshold)
    if level == 0.5 or not 0 < core < 1:
        return core
    odds = core / (1 - core) * (1 - level) / level
    return odds / (1 + odds)


def landscape(
    grades: np.ndarray, diameter: float, spacing: Sequence[float], centres: np.ndarray | None = None
) -> np.ndarray:
    """Return the height of every voxel.

    Parameters
    ----------
    grades : ndarray of uint8, ZYX
        Where objects are and where their cores (see ``graded``). Beyond the array's faces they are taken to go on.
    diameter : float
        Typical diameter of an object where it is thinnest, in the unit of ``spacing``.
    spacing : (z, y, x)
        Sides of a voxel.
    centres : ndarray of float, ZYX, optional
        In [0, 1], with a peak at each object's centre.

    Returns
    -------
    ndarray of float32, ZYX
        0 outside the foreground. Inside, the smoothed distance to what is not the core, and a little of that to the
        background, each of which ends at ``diameter``; with ``centres`` these, and a little of that.
    """
    foreground = grades > 0
    if not foreground.any():
        return np.zeros(foreground.shape, np.float32)
    height = _depth(foreground, diameter, spacing)
    core = grades > 1
    if (core != foreground).any():
        height *= SHARE_OF_FOREGROUND
        height += (1 - SHARE_OF_FOREGROUND) * _depth(core, diameter, spacing)
    height = _smoothed(height, SMOOTHING * diameter, spacing)
    if centres is not None:
        height *= SHARE_OF_DISTANCE / diameter
        height += _smoothed(np.asarray(centres, np.float32), SMOOTHING_OF_CENTRES * diameter, spacing)
    # Above nought wherever there is foreground, however faint the centres.
    return np.where(foreground, np.maximum(height, np.finfo(np.float32).tiny), np.float32(0))


def reach(diameter: float, spacing: Sequence[float]) -> tuple[int, int, int]:
    """Return how many voxels along Z, Y, X the height of a voxel depends on."""
    z, y, x = (int(np.ceil((1 + TRUNCATE * SMOOTHING) * diameter / side)) + 1 for side in spacing)
    return z, y, x


def distance(foreground: np.ndarray, spacing: Sequence[float]) -> np.ndarray:
    """Return the distance of every voxel to the nearest one of the background (ZYX float32); infinite without any."""
    if foreground.all():
        return np.full(foreground.shape, np.inf, np.float32)
    # SciPy knows the nearest voxel in 12 bytes a voxel, and takes 60 to make distances of it.
    nearest = ndimage.distance_transform_edt(foreground, spacing, return_distances=False, return_indices=True)
    squared = np.zeros(foreground.shape, np.float32)
    for axis, (side, length) in enumerate(zip(spacing, foreground.shape, strict=True)):
        places = np.arange(length, dtype=np.int32).reshape([-1 if k == axis else 1 for k in range(3)])
        steps = (nearest[axis] - places).astype(np.float32)
        steps *= side
        squared += np.square(steps, out=steps)
    return np.sqrt(squared, out=squared)


def estimate_diameter(foreground: np.ndarray, spacing: Sequence[float] = (1.0, 1.0, 1.0)) -> float | None:
    """Estimate how thick the objects of a mask are.

    Parameters
    ----------
    foreground : ndarray of bool, ZYX
        Not modified.
    spacing : (z, y, x)
        Sides of a voxel.

    Returns
    -------
    float or None
        Twice the median radius of the largest balls that fit in, in the unit of ``spacing``, those of less than half
        the radius of the largest left out; None where there is no foreground, or no background.
    """
    if not foreground.any() or foreground.all():
        return None
    finest = min(spacing)
    radius = distance(foreground, spacing)
    smooth = _smoothed(radius, finest, spacing)
    window = [max(3, 2 * round(3 * finest / side) + 1) for side in spacing]
    deepest = (smooth == ndimage.maximum_filter(smooth, window)) & foreground
    # Of a few voxels, the smoothed hill may have its top beside them.
    radii = radius[deepest if deepest.any() else foreground]
    return 2 * float(np.median(radii[radii >= 0.5 * radii.max()]))


def _depth(inside: np.ndarray, diameter: float, spacing: Sequence[float]) -> np.ndarray:
    height = distance(inside, spacing)
    # A place deeper than any object tells nothing but that.
    return np.minimum(height, diameter, out=height)


def _smoothed(values: np.ndarray, sigma: float, spacing: Sequence[float]) -> np.ndarray:
    return ndimage.gaussian_filter(values, [sigma / side for side in spacing], truncate=TRUNCATE)
