"""The baseline no comparison may leave out: smooth, then threshold."""

from __future__ import annotations

import numpy as np
from scipy.ndimage import gaussian_filter
from skimage.filters import threshold_otsu

# A few saturated voxels stretch the histogram: with the usual 256 bins the rest of a 16-bit stack shares a handful.
N_BINS = 4096


def otsu_mask(array: np.ndarray, sigma: float = 1.0) -> np.ndarray:
    """Segment each channel with one threshold for the whole stack, found by Otsu's method [1]_.

    Parameters
    ----------
    array : ndarray, ZYX or ZYXC
        Intensities, any real type and range; not modified.
    sigma : float, default 1.0
        Standard deviation in voxels of the Gaussian that smooths each channel first, along Z, Y and X; 0 leaves the
        intensities as they are.

    Returns
    -------
    ndarray of bool
        True above the threshold, of the input's shape; nowhere in a channel of one value.

    Raises
    ------
    ValueError
        If the array is neither ZYX nor ZYXC, or `sigma` is negative.

    References
    ----------
    .. [1] N. Otsu, "A threshold selection method from gray-level histograms", IEEE Trans. Syst. Man Cybern. 9(1),
           62-66, 1979, doi:10.1109/TSMC.1979.4310076
    """
    if array.ndim not in (3, 4):
        raise ValueError(f"an array of {array.ndim} axes is neither ZYX nor ZYXC")
    if sigma < 0:
        raise ValueError(f"sigma is {sigma}: give 0 or more voxels")
    channels = array[..., np.newaxis] if array.ndim == 3 else array
    mask = np.zeros(channels.shape, bool)
    for k in range(channels.shape[-1]):
        intensity = channels[..., k].astype(np.float32)
        if sigma > 0:
            intensity = gaussian_filter(intensity, sigma)
        # Smoothing leaves rounding noise in a channel of one value, which a threshold would split.
        if channels[..., k].min() < channels[..., k].max():
            mask[..., k] = intensity > _split(intensity)
    return mask.reshape(array.shape)


def _split(intensity: np.ndarray) -> float:
    """Return Otsu's threshold, at the upper edge of the last bin of the background.

    scikit-image returns that bin's centre: of a stack of few distinct values, all voxels of that bin may lie above it.
    """
    return float(threshold_otsu(intensity, nbins=N_BINS)) + float(np.ptp(intensity)) / (2 * N_BINS)
