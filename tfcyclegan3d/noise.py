"""How noisy an image is, told from what neighbouring voxels do not share."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

# Of a normal distribution: its deviation over the median of its absolute values.
_DEVIATION_OF_MEDIAN = 1 / 0.6745


def noise_deviation(image: np.ndarray) -> np.ndarray:
    """Estimate the standard deviation of an image's noise, channel by channel.

    The diagonal details of each plane, (a - b - c + d) / 2 of every square of four voxels, hold the noise at its full
    deviation and next to nothing of objects larger than a voxel; their median absolute value tells it robustly [1]_.

    Parameters
    ----------
    image : ndarray, ZYXC
        Intensities, any real type and range.

    Returns
    -------
    ndarray of float64, C
        In the image's units; 0 for planes of a single row or column.

    References
    ----------
    .. [1] D. L. Donoho and I. M. Johnstone, "Ideal spatial adaptation by wavelet shrinkage", Biometrika 81(3), 425-455,
           1994, doi:10.1093/biomet/81.3.425
    """
    found = np.asarray(image, np.float32)
    details = found[:, ::2, ::2][:, : found.shape[1] // 2, : found.shape[2] // 2].copy()
    details -= found[:, 1::2, ::2][:, :, : found.shape[2] // 2]
    details -= found[:, ::2, 1::2][:, : found.shape[1] // 2]
    details += found[:, 1::2, 1::2]
    if not details.size:
        return np.zeros(found.shape[-1])
    deviation: np.ndarray = np.median(np.abs(details), axis=(0, 1, 2)).astype(np.float64) / 2 * _DEVIATION_OF_MEDIAN
    return deviation


def missing_noise(images: Sequence[np.ndarray], noisier: Sequence[np.ndarray]) -> np.ndarray:
    """Return the deviation, channel by channel, of the noise that images lack beside noisier ones.

    Parameters
    ----------
    images, noisier : sequence of ndarray, ZYXC
        The noise of each set is the mean over its images.

    Returns
    -------
    ndarray of float64, C
        0 where they lack none.
    """
    has, wanted = (np.mean([noise_deviation(one) ** 2 for one in some], axis=0) for some in (images, noisier))
    missing: np.ndarray = np.sqrt(np.maximum(wanted - has, 0))
    return missing
