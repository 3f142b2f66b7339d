"""The noise of an image is told from what neighbouring voxels do not share."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from tfcyclegan3d.noise import missing_noise, noise_deviation


def smooth(shape=(20, 61, 50), seed=0):
    drawn = np.random.default_rng(seed).standard_normal((*shape, 2))
    image = gaussian_filter(drawn, (2, 3, 3, 0))
    return image / image.std()


def noisy(image, deviations, seed=1):
    return image + np.random.default_rng(seed).standard_normal(image.shape) * deviations


@pytest.mark.parametrize("deviations", [(0.1, 0.5), (2.0, 0.2)])
def test_the_deviation_of_added_noise_is_found_whatever_lies_below(deviations):
    np.testing.assert_allclose(noise_deviation(noisy(smooth(), deviations)), deviations, rtol=0.06)


def test_noise_of_counts_keeps_its_type_and_scale():
    counts = np.random.default_rng(3).poisson(100, (10, 64, 64, 1)).astype(np.uint16)
    np.testing.assert_allclose(noise_deviation(counts), [10], rtol=0.05)
    assert counts.dtype == np.uint16


def test_a_constant_image_and_a_single_row_have_none():
    assert (noise_deviation(np.full((4, 8, 8, 2), 7)) == 0).all()
    assert (noise_deviation(np.random.default_rng(0).random((4, 1, 8, 2))) == 0).all()


def test_what_is_missing_adds_up_in_squares_and_is_never_negative():
    image = smooth()
    made, seen = noisy(image, (0.3, 0.6)), noisy(image, (0.5, 0.2), seed=2)
    np.testing.assert_allclose(missing_noise([made], [seen]), [0.4, 0], rtol=0.1)
