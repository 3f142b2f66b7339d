"""What the objects of one unlabelled channel are like: how large, how long, how many, and how sure that is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tfcyclegan3d.synthesis.finding import Objects, find_objects
from tfcyclegan3d.synthesis.scale_space import Contrast, binned, characteristic_diameter, middle, remove_background

# Voxels across an object: finer adds time and noise, coarser loses the shape.
VOXELS_ACROSS, FEWEST_ACROSS = 12, 8
# Of the grid measured on: the dozen copies of it that are needed then take less than 1 GB.
MOST_VOXELS = 16_000_000
# Scales of the seeds in diameters: the first splits few objects, the second finds more of those that touch. Where they
# disagree, the objects are hard to tell apart.
SEED_SCALES = (0.13, 0.10)
# A typical object less far above the noise, in standard deviations, is none: chance alone reaches 2 to 3.
LEAST_CONTRAST, SURE_CONTRAST = 3.5, 6.0
# Random directions leave the XY plane by a median of 0.5, those in it by 0.
IN_PLANE_TILT = 0.25
# Two thirds of uniform values lie between these quantiles.
LOW_QUANTILE, HIGH_QUANTILE = 1 / 6, 5 / 6
# The following were set on simulated stacks.
# Differences in logarithm at which confidence has fallen to 37 %.
SCALE_TOLERANCE, SEED_SIZE_TOLERANCE, SEED_COUNT_TOLERANCE = 0.4, 0.3, 0.4
# Whole objects at which confidence reaches 63 %.
FEW_OBJECTS = 5.0
# Ellipsoid likeness from which on shapes say nothing and everything.
ODD_LIKENESS, SURE_LIKENESS = 0.7, 0.9
# Spread of the logarithm of diameter between the outer sixths: up to 0.3 in one kind of objects.
USUAL_SPREAD, SPREAD_TOLERANCE = 0.3, 0.45
# Factors of confidence below this are worth a sentence.
DOUBTFUL = 0.8


@dataclass(frozen=True, eq=False)
class ObjectEstimate:
    """What the objects of one channel are like.

    Parameters
    ----------
    diameter : float
        Typical volume-equivalent diameter, in the unit of the voxel size.
    semi_axes : tuple of three (low, high)
        Intervals of the semi-axes, longest first, in the unit of the voxel size: ellipsoids drawn evenly from them
        vary as much as those measured.
    elongation : float
        Typical longest axis divided by the mean of the other two, 1 or more.
    in_plane : bool
        Whether the longest axes lie in the XY plane rather than anywhere.
    count : float
        Estimated number of objects, those cut by the volume's border included where most of them is seen.
    fill_fraction : float
        Estimated share of the voxels covered, 0 to 1.
    centres : np.ndarray
        (n, 3) float: centres of the objects found, in voxels.
    window : (np.ndarray, np.ndarray)
        First voxel and end, (3,) each, of the part of the volume that was measured and that ``centres`` lie in.
    n_measured : int
        Whole objects that the size was measured on; 0 where it had to be measured on cut ones.
    confidence : float
        0 (a guess) to 1 (as sure as without labels).
    doubts : tuple of str
        Why it is not surer, in sentences for a biologist; empty where it is.
    """

    diameter: float
    semi_axes: tuple[tuple[float, float], tuple[float, float], tuple[float, float]]
    elongation: float
    in_plane: bool
    count: float
    fill_fraction: float
    centres: np.ndarray
    window: tuple[np.ndarray, np.ndarray]
    n_measured: int
    confidence: float
    doubts: tuple[str, ...]


def measure_objects(array: np.ndarray, voxel_size: Sequence[float] = (1.0, 1.0, 1.0)) -> ObjectEstimate | None:
    """Estimate from one channel of a stack, without any truth, what its objects are like.

    Bright objects on a darker background are sought, compact and of about one size; hollow ones are filled
    where they are found as one. Size is measured on whole objects, weighted for large ones being cut more often by the
    volume's border.

    Parameters
    ----------
    array : np.ndarray
        ZYX, any real type and range; not modified. Of a very large one full of small objects, the middle is measured.
    voxel_size : (z, y, x)
        In any unit of length.

    Returns
    -------
    ObjectEstimate or None
        None where nothing is found. The same array gives the same estimate.
    """
    voxel = np.asarray(voxel_size, float)
    if array.size == 0 or array.min() == array.max():
        return None
    array = array.view(np.uint8) if array.dtype == bool else array
    scale = characteristic_diameter(array, voxel)
    if scale is None:
        return None
    part, across = _part(array, voxel, scale)
    grid, side = binned(part, voxel, scale / across)
    contrast = remove_background(grid, side, scale)
    if contrast is None or contrast.typical < LEAST_CONTRAST * contrast.noise:
        return None
    first, second = find_objects(grid, contrast, side, scale, SEED_SCALES)
    if not len(first) or not len(second):
        return None
    corner = (np.array(array.shape) - np.array(part.shape)) // 2
    confidence, doubts = _confidence(first, second, scale, contrast)
    elongations = first.semi_axes[:, 0] / first.semi_axes[:, 1:].mean(axis=1)
    elongation = first.quantile(elongations, 0.5)
    return ObjectEstimate(
        first.diameter,
        _intervals(first),
        elongation,
        # The longest axis of a round object points anywhere.
        bool(np.median(first.tilt[elongations >= elongation]) < IN_PLANE_TILT),
        float(np.sqrt(len(first) * len(second))) * array.size / part.size,
        min(1.0, float(first.volume.sum() / (part.size * voxel.prod()))),
        # A block's position is that of its middle.
        corner + (first.centres + (side - voxel) / 2) / voxel,
        (corner, corner + np.array(part.shape)),
        int(first.whole.sum()),
        confidence,
        doubts,
    )


def _part(array: np.ndarray, voxel: np.ndarray, scale: float) -> tuple[np.ndarray, int]:
    """Return as much of the array as fits on a grid of so many voxels across an object, and that number."""
    for across in (VOXELS_ACROSS, FEWEST_ACROSS):
        most = MOST_VOXELS * np.maximum(1, scale / across // voxel).prod()
        if array.size <= most:
            break
    return middle(array, most), across


def _intervals(found: Objects) -> tuple[tuple[float, float], ...]:
    """Return the intervals of uniform semi-axes with the quantiles of those found, whose volume is the typical one."""
    low, high = ([found.quantile(axis, share) for axis in found.semi_axes.T] for share in (LOW_QUANTILE, HIGH_QUANTILE))
    middles, halves = np.add(low, high) / 2, np.subtract(high, low) / 2 / (HIGH_QUANTILE - LOW_QUANTILE)
    factor = found.diameter / 2 / np.cbrt(middles.prod())
    # Outliers among few objects may reach below nought.
    halves = np.minimum(halves, 0.7 * middles)
    return tuple(
        (float(factor * (one - half)), float(factor * (one + half))) for one, half in zip(middles, halves, strict=True)
    )


def _confidence(first: Objects, second: Objects, scale: float, contrast: Contrast) -> tuple[float, tuple[str, ...]]:
    """Return the product of what each check leaves of confidence, and a sentence for each that takes much."""
    n_whole = int(first.whole.sum())
    diameters = np.log(np.cbrt(first.volume))
    spread = first.quantile(diameters, HIGH_QUANTILE) - first.quantile(diameters, LOW_QUANTILE)
    likeness = first.quantile(first.likeness, 0.5)
    factors = {
        f"Blob size ({scale:.3g}) and outlines ({first.diameter:.3g}) disagree about how large the objects are.": _fall(
            np.log(first.diameter / scale), SCALE_TOLERANCE
        ),
        "Objects cannot be told apart well: their size depends on how touching ones are split.": _fall(
            np.log(second.diameter / first.diameter), SEED_SIZE_TOLERANCE
        ),
        f"Touching objects are split into {len(first)} or {len(second)}, depending on how finely one looks.": _fall(
            np.log(len(second) / len(first)), SEED_COUNT_TOLERANCE
        ),
        f"Only {n_whole} object(s) lie whole in the volume.": 1 - np.exp(-n_whole / FEW_OBJECTS),
        "The objects are no compact, rounded bodies: they may be fragments, networks or clusters.": np.clip(
            (likeness - ODD_LIKENESS) / (SURE_LIKENESS - ODD_LIKENESS), 0, 1
        ),
        "The objects hardly stand out from the noise.": np.clip(
            (contrast.typical / contrast.noise - LEAST_CONTRAST) / (SURE_CONTRAST - LEAST_CONTRAST), 0, 1
        )
        if contrast.noise > 0
        else 1.0,
        "The objects differ much in size: there may be several kinds, or debris among them.": _fall(
            max(0.0, spread - USUAL_SPREAD), SPREAD_TOLERANCE
        ),
    }
    return float(np.prod(list(factors.values()))), tuple(text for text, left in factors.items() if left < DOUBTFUL)


def _fall(difference: float, tolerance: float) -> float:
    return float(np.exp(-((difference / tolerance) ** 2)))
