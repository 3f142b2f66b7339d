"""What a prior needs to know, estimated from an unlabelled stack: how full it is and how large its objects are."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import ndimage

from tfcyclegan3d import tiling
from tfcyclegan3d.thresholding import otsu_mask

# Voxels: what a threshold and distances take for them stays below a gigabyte.
MOST_THRESHOLDED = 16_000_000
# Pieces of each axis that stand for a large stack.
N_PIECES = 4


def fill_fraction(arrays: Sequence[np.ndarray]) -> float:
    """Estimate the share of voxels covered by any class.

    Parameters
    ----------
    arrays : sequence of ndarray, ZYXC
        Intensities. A large one is told by parts that are spread over it (see ``sample``).

    Returns
    -------
    float
        Mean over the stacks of the share above Otsu's threshold in any channel of the smoothed stack, in [0, 1].
    """
    return float(np.mean([otsu_mask(sample(array)).any(axis=-1).mean() for array in arrays]))


def sample(array: np.ndarray, n_voxels: int = MOST_THRESHOLDED) -> np.ndarray:
    """Return ZYXC itself or, of a large one, blocks from a regular grid over it, put side by side.

    Of an axis of more than its share of ``n_voxels``, four pieces of one length are taken, the first at its beginning
    and the last at its end, with gaps between them.
    """
    kept = tiling.shortened(array.shape[:3], n_voxels)
    if kept == array.shape[:3]:
        return array
    places = []
    for side, length in zip(array.shape[:3], kept, strict=True):
        n_pieces = N_PIECES if N_PIECES <= length < side else 1
        size = length // n_pieces
        starts = np.linspace(0, side - size, n_pieces).astype(int)
        places.append(np.concatenate([np.arange(start, start + size) for start in starts]))
    return array[np.ix_(*places)]


def diameter(array: np.ndarray, voxel_aspect: Sequence[float]) -> float | None:
    """Estimate how large the objects of one channel are.

    Parameters
    ----------
    array : ndarray, ZYX
        Intensities.
    voxel_aspect : (float, float, float)
        Size of a voxel along Z, Y, X relative to X.

    Returns
    -------
    float or None
        Twice the median radius of the largest balls that fit into what lies above Otsu's threshold, in voxels of X;
        None where nothing of at least two voxels across is found. What the volume's border cuts is measured as far as
        it can be seen.
    """
    # Without closing small holes, noise inside an object would leave no room for a ball.
    mask = ndimage.median_filter(otsu_mask(array).astype(np.uint8), 3) > 0
    radius = ndimage.distance_transform_edt(np.pad(mask, 1), sampling=voxel_aspect)[1:-1, 1:-1, 1:-1]
    smooth = ndimage.gaussian_filter(radius, 1)
    window = [max(3, 2 * round(3 / aspect) + 1) for aspect in voxel_aspect]
    peaks = (smooth == ndimage.maximum_filter(smooth, window)) & (radius > 1)
    radii = radius[peaks]
    if radii.size == 0:
        return None
    return 2 * float(np.median(radii[radii >= 0.5 * radii.max()]))
