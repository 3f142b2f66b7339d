"""Objects of one channel, found one by one and measured by their second moments."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage
from skimage.feature import peak_local_max
from skimage.segmentation import watershed

from tfcyclegan3d.synthesis.regions import Moments, median_inside, merge_parts, touches_border
from tfcyclegan3d.synthesis.scale_space import Contrast, smooth

# Share of the typical light above which a voxel may belong to an object: uneven background stays below.
LOWEST_LIGHT = 0.3
# Share of an object's own median light at which its blurred edge lies.
EDGE = 0.5
# Widths in diameters, and the least in voxels: enough against noise, too little to join neighbours.
EDGE_SMOOTHING, LEAST_SMOOTHING = 0.06, 1.0
# Width in diameters of what is subtracted before seeds are sought: wider than an object's core, not than its gaps.
SEED_SURROUND = 0.6
# Parts of one object have no darker border between them, and look no less like an ellipsoid together.
VALLEY, LEAST_GAIN = 0.85, 0.01
# Two objects that touch reach 0.82 together, and 0.9 where blur has filled the gap.
SURE_ELLIPSOID = 0.95
# Share of the squared blur by which an edge at half height widens a region's covariance, from simulated stacks.
BLUR_SHARE = 0.5
# The blur may be overestimated, but an object thinner than this share of the variance seen would not be seen at all.
LEAST_VARIANCE = 0.15
# What is smaller (in diameters), dimmer (in typical light) or less of an ellipsoid is debris or uneven background.
SMALLEST, DIMMEST, LEAST_LIKENESS = 0.5, 0.35, 0.6
# Objects nearly as long as the volume are hardly ever whole: the few that are stand for no more than ten others.
LEAST_WHOLE = 0.1


@dataclass(frozen=True, eq=False)
class Objects:
    """What was found, n objects, lengths in the unit of the voxel size.

    Parameters
    ----------
    volume : np.ndarray
        (n,): corrected for the blur.
    semi_axes : np.ndarray
        (n, 3): the longest first, corrected for the blur.
    tilt : np.ndarray
        (n,): how far the longest axis leaves the XY plane, 0 to 1 (along Z).
    centres : np.ndarray
        (n, 3): Z, Y, X.
    likeness : np.ndarray
        (n,): 1 for an ellipsoid, lower the less compact.
    whole : np.ndarray
        (n,) bool: does not touch the volume's border.
    weight : np.ndarray
        (n,): how many objects each stands for where sizes are typical; 0 for those cut, unless all are.
    """

    volume: np.ndarray
    semi_axes: np.ndarray
    tilt: np.ndarray
    centres: np.ndarray
    likeness: np.ndarray
    whole: np.ndarray
    weight: np.ndarray

    def __len__(self) -> int:
        """Return how many were found."""
        return len(self.volume)

    @property
    def diameter(self) -> float:
        """Typical volume-equivalent diameter."""
        return self.quantile(np.cbrt(6 / np.pi * self.volume), 0.5)

    def quantile(self, values: np.ndarray, share: float) -> float:
        """Return a weighted quantile of one value an object."""
        order = np.argsort(values)
        weight = self.weight[order]
        return float(np.interp(share * weight.sum(), np.cumsum(weight) - weight / 2, values[order]))


def find_objects(
    array: np.ndarray, contrast: Contrast, voxel: np.ndarray, diameter: float, seed_scales: tuple[float, ...]
) -> list[Objects]:
    """Find objects of about one diameter, once for each scale of seeds.

    Parameters
    ----------
    array : np.ndarray
        ZYX float32.
    contrast : Contrast
        The same without background.
    voxel : np.ndarray
        (3,): size of a voxel.
    diameter : float
        In the unit of ``voxel``.
    seed_scales : tuple of float
        Widths, in diameters, of the Gaussians whose maxima are the seeds.

    Returns
    -------
    list of Objects
    """
    least = LEAST_SMOOTHING * float(voxel.min())
    light = smooth(contrast.light, max(EDGE_SMOOTHING * diameter, least), voxel)
    mask = light > LOWEST_LIGHT * contrast.typical
    for plane in mask:
        # In planes, because hollow objects cut by the border are open in space.
        plane[:] = ndimage.binary_fill_holes(plane)
    surround = smooth(array, SEED_SURROUND * diameter, voxel)
    found = []
    for scale in seed_scales:
        height = smooth(array, max(scale * diameter, least), voxel) - surround
        peaks = peak_local_max(height, min_distance=1, labels=mask.astype(np.uint8), exclude_border=False)
        # Where there is none, scikit-image's empty array is of another shape.
        peaks = peaks.reshape(-1, 3)
        markers = np.zeros(array.shape, np.int32)
        markers[tuple(peaks.T)] = np.arange(1, len(peaks) + 1)
        basins = labels = watershed(-height, markers, mask=mask)
        # The median of what lies above the edge moves the edge, and settles within three rounds.
        for _ in range(3):
            labels = np.where(light > EDGE * median_inside(labels, light)[basins], basins, 0)
        labels = merge_parts(_join_ellipsoids(labels, voxel), light, voxel, VALLEY, LEAST_GAIN)
        found.append(_measure(labels, light, voxel, diameter, contrast.typical))
    return found


def _join_ellipsoids(labels: np.ndarray, voxel: np.ndarray) -> np.ndarray:
    """Give one label to every connected piece that is an ellipsoid as a whole.

    A flat or saturated top has many maxima, and no two of the parts around them look better together than apart.
    """
    pieces = ndimage.label(labels)[0]
    sure = Moments.of(pieces, voxel).ellipsoid_likeness() > SURE_ELLIPSOID
    return np.where(sure[pieces], pieces + labels.max(), labels)


def _measure(labels: np.ndarray, light: np.ndarray, voxel: np.ndarray, diameter: float, typical: float) -> Objects:
    """Measure labelled regions, and leave out those that are no objects."""
    sums, level = Moments.of(labels, voxel), median_inside(labels, light)
    covariance, likeness = sums.covariance(), sums.ellipsoid_likeness()
    variances, vectors = np.linalg.eigh(covariance)
    blur = np.einsum("nij,i->nj", vectors**2, _blur(labels, light, level, voxel) ** 2)
    true = np.maximum(variances - BLUR_SHARE * blur, LEAST_VARIANCE * variances)
    volume = sums.volume * voxel.prod() * np.sqrt((true / np.maximum(variances, 1e-30)).prod(axis=1))
    size = np.cbrt(6 / np.pi * volume)
    kept = (size > SMALLEST * diameter) & (level > DIMMEST * typical) & (likeness > LEAST_LIKENESS)
    whole = ~touches_border(labels)[kept]
    # The longer an object is along an axis, the rarer it is whole: without weights, thin stacks hold small ones only.
    length = 2 * np.sqrt(5 * np.einsum("nii->ni", covariance[kept]))
    chance = np.clip(1 - length / (np.array(labels.shape) * voxel), LEAST_WHOLE, 1).prod(axis=1)
    return Objects(
        volume[kept],
        np.sqrt(5 * true[kept])[:, ::-1],
        np.abs(vectors[kept, 0, 2]),
        sums.centres()[kept],
        likeness[kept],
        whole,
        np.where(whole | (not whole.any()), 1 / chance, 0.0),
    )


def _blur(labels: np.ndarray, light: np.ndarray, level: np.ndarray, voxel: np.ndarray) -> np.ndarray:
    """Return the blur's standard deviation along Z, Y, X, (3,), from how steep the regions' edges are."""
    sigmas = []
    for axis, side in enumerate(voxel):
        slopes = []
        for way in (1, -1):
            label, bright = (np.moveaxis(one, axis, 0)[::way] for one in (labels, light))
            edge = (label[:-1] > 0) & (label[1:] == 0)
            slopes.append((bright[:-1][edge] - bright[1:][edge]) / (side * level[label[:-1][edge]]))
        slopes = np.concatenate(slopes)
        # The steepest quarter of the edges faces the axis; a blurred step has this slope in its middle.
        slope = float(np.percentile(slopes, 75)) if slopes.size else 0.0
        sigmas.append(1 / (np.sqrt(2 * np.pi) * slope) if slope > 0 else 0.0)
    return np.array(sigmas)
