"""The typical scale of an unlabelled stack's objects, and their contrast against a background that changes slowly."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy import ndimage
from skimage.feature import peak_local_max

from tfcyclegan3d import tiling

# Quarter octaves: a diameter is met within a tenth.
SCALE_STEP = 2**0.25
# A Gaussian narrower than this many voxels is hardly sampled.
NARROWEST = 0.8
# Diameter divided by the scale of the strongest response: 3.1 to 3.4 in simulated stacks of round, elongated, sparse
# and dense objects.
DIAMETER_PER_SCALE = 3.25
# A peak of this share of the strongest is taken where its scale is smaller: the larger is that of clusters of objects.
SMALLER_SCALE = 0.85
# An object larger than this share of the second-largest side is hardly seen whole.
LARGEST_SHARE = 0.7
# Voxels looked at per octave, so that a large stack takes no longer than a small one.
VOXELS_PER_OCTAVE = 4_000_000
# Voxels that tell how dark the background is, at most.
MOST_RANKED = 16_000_000
# Weaker responses than this share of the typical one are noise and texture, even where brightness varies twofold.
WEAKEST_RESPONSE = 0.4
# Voxels brighter than this share of the typical object are not background.
OBJECT_SHARE = 0.3


@dataclass(frozen=True, eq=False)
class Contrast:
    """A stack without its background.

    Parameters
    ----------
    light : np.ndarray
        ZYX float32, background 0.
    typical : float
        Light in the middle of a typical object, above 0.
    noise : float
        Standard deviation of the background after smoothing by a tenth of the diameter.
    """

    light: np.ndarray
    typical: float
    noise: float


def binned(
    array: np.ndarray, voxel: np.ndarray, spacing: float, dark: float | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Average blocks of whole voxels.

    Parameters
    ----------
    array : np.ndarray
        ZYX.
    voxel : np.ndarray
        (3,): size of a voxel.
    spacing : float
        Side that a block may reach, in the unit of ``voxel``.
    dark : float, optional
        Average the root of what exceeds it instead, 0 below.

    Returns
    -------
    array : np.ndarray
        ZYX float32; what fills no block at the far ends is left out.
    voxel : np.ndarray
        (3,): size of a block.
    """
    factor = np.maximum(1, np.floor(spacing / voxel + 1e-6)).astype(int)
    factor = np.minimum(factor, np.maximum(1, np.array(array.shape) // 4))
    shape = np.array(array.shape) // factor
    out = np.empty(shape, np.float32)
    order = tiling.storage_order(array.strides)
    whole = array[tuple(slice(side * step) for side, step in zip(shape, factor, strict=True))]
    before = (slice(None),) * order[0]
    for plane in range(shape[order[0]]):
        layer = whole[(*before, slice(plane * factor[order[0]], (plane + 1) * factor[order[0]]))]
        coarse = out[(*before, slice(plane, plane + 1))]
        for cut in tiling.plan_slabs(layer.shape, order, factor):
            slab = layer[cut]
            if dark is not None:
                slab = np.sqrt(np.maximum(slab.astype(np.float32) - np.float32(dark), 0))
            blocks = [side for pair in zip(slab.shape // factor, factor, strict=True) for side in pair]
            place = tuple(_coarser(part, step) for part, step in zip(cut, factor, strict=False))
            coarse[place] = slab.reshape(blocks).mean((1, 3, 5), dtype=np.float32)
    return out, voxel * factor


def _coarser(part: slice, step: int) -> slice:
    return slice(None) if part.stop is None else slice(part.start // step, part.stop // step)


def middle(array: np.ndarray, n_voxels: float) -> np.ndarray:
    """Return all planes of a window in the middle of the XY plane, of about ``n_voxels`` at most."""
    share = min(1.0, float(np.sqrt(n_voxels / array.size)))
    keep = [max(1, round(side * share)) for side in array.shape[1:]]
    y, x = ((side - one) // 2 for side, one in zip(array.shape[1:], keep, strict=True))
    return array[:, y : y + keep[0], x : x + keep[1]]


def smooth(array: np.ndarray, sigma: float, voxel: np.ndarray) -> np.ndarray:
    """Blur by a Gaussian of one physical width along every axis."""
    return ndimage.gaussian_filter(array, sigma / voxel, mode="nearest", truncate=3)


def characteristic_diameter(array: np.ndarray, voxel: np.ndarray) -> float | None:
    """Return the diameter, in the unit of ``voxel``, that bright blobs of an array ZYX most have.

    The third moment of a difference of Gaussians tells the scale: symmetric noise adds nothing to it, and bright
    objects on a dark background make it positive. None where it is positive at no scale.
    """
    # The root keeps few very bright objects from outweighing all others.
    step = max(3, math.ceil(math.sqrt(array.size / MOST_RANKED)))
    dark = float(np.percentile(array[:, ::step, ::step], 1))
    largest = LARGEST_SHARE * np.sort(np.array(array.shape) * voxel)[1] / DIAMETER_PER_SCALE
    spacing, found = float(voxel.min()), []
    while NARROWEST * spacing < largest:
        # Blocks of `spacing` hold this many voxels at most.
        window = middle(array, VOXELS_PER_OCTAVE * np.prod(np.maximum(1, spacing // voxel)))
        # The root before the mean, so that noise is bent alike at all scales.
        level, side = binned(window, voxel, spacing, dark)
        # A Gaussian twice the narrowest is sampled well: only the finest level goes below.
        first, steps = NARROWEST * spacing * (2 if found else 1), 4 if found else 8
        narrow = smooth(level, first, side)
        for sigma in first * SCALE_STEP ** np.arange(1, steps + 1):
            wide = smooth(level, sigma, side)
            found.append((sigma / SCALE_STEP**0.5, _third_moment(narrow - wide)))
            narrow = wide
        spacing *= 2
    scales, moments = np.array([one for one in found if one[0] <= largest]).reshape(-1, 2).T
    if not (moments > 0).any():
        return None
    padded = np.pad(moments, 1, constant_values=-np.inf)
    peaks = (moments >= padded[:-2]) & (moments >= padded[2:]) & (moments >= SMALLER_SCALE * moments.max())
    return DIAMETER_PER_SCALE * float(scales[peaks.argmax()])


def _third_moment(values: np.ndarray) -> float:
    # A power of three of so many numbers takes several times as long as the products.
    return float(np.mean(values * values * values, dtype=np.float64))


def remove_background(array: np.ndarray, voxel: np.ndarray, diameter: float) -> Contrast | None:
    """Remove what lies between objects of about one diameter; None where there is no such object.

    Parameters
    ----------
    array : np.ndarray
        ZYX float32.
    voxel : np.ndarray
        (3,): size of a voxel.
    diameter : float
        In the unit of ``voxel``.
    """
    root = np.sqrt(np.maximum(array - np.percentile(array, 1), 0))
    narrow = smooth(root, diameter / DIAMETER_PER_SCALE, voxel)
    response = narrow - smooth(narrow, 2 / 3 * diameter / DIAMETER_PER_SCALE, voxel)
    blobs = peak_local_max(response, min_distance=1, threshold_abs=0, exclude_border=False)
    strength = response[tuple(blobs.T)].astype(np.float64)
    if not strength.any():
        return None
    # Of many weak and some strong responses, this mean is that of the strong.
    blobs = blobs[strength > WEAKEST_RESPONSE * (strength**4).sum() / (strength**3).sum()]
    small, side = binned(smooth(array, 0.1 * diameter, voxel), voxel, diameter / 6)
    at = tuple(np.minimum((blobs * voxel / side).astype(int), np.array(small.shape) - 1).T)
    level = np.full(small.shape, np.median(small), np.float32)
    for _ in range(4):
        typical = float(np.median(small[at] - level[at]))
        outside = ~ndimage.binary_dilation(small - level > OBJECT_SHARE * typical)
        if outside.mean() < 0.03:
            outside = small <= np.percentile(small, 20)
        level = _spread(small, outside, 1.5 * diameter, side)
    noise = 1.4826 * float(np.median(np.abs((small - level)[outside])))
    if typical <= 0:
        return None
    factors = np.array(array.shape) / level.shape
    return Contrast(array - ndimage.zoom(level, factors, order=1, mode="nearest", grid_mode=True), typical, noise)


def _spread(array: np.ndarray, known: np.ndarray, sigma: float, voxel: np.ndarray) -> np.ndarray:
    """Return the local mean of the known voxels, towards their median where none is near."""
    weight = smooth(known.astype(np.float32), sigma, voxel)
    mean = smooth(np.where(known, array, 0), sigma, voxel) / np.maximum(weight, 1e-3)
    near = np.clip(weight / 0.05, 0, 1)
    return near * mean + (1 - near) * np.median(array[known])
