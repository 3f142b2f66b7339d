"""Averaging over mirror images: every image and its mirror images get the same mask, mirrored."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from tfcyclegan3d.inference.predictor import SegmentationModel
from tfcyclegan3d.models.mirrors import MIRRORS
from tfcyclegan3d.models.resnet_generator import resnet_generator
from tfcyclegan3d.volumes import Volume

from .tiny import TINY

AXES = {"none": (), "plane": (1, 2), "all": (0, 1, 2)}


def model_with(flips, tile_shape=(8, 12, 16), overlap=0):
    config = TINY.replace(
        {
            "classes": ["golgi", "nuclei"],
            "preprocessing.downsampling": [1, 1, 1],
            "inference.tile_shape": list(tile_shape),
            "inference.overlap": overlap,
            "inference.flips": flips,
        }
    )
    return SegmentationModel(resnet_generator(2, 2, filters=4, blocks=1, normalization="none", seed=5), config)


def volume_of(array):
    return Volume(np.ascontiguousarray(array), None, "stack")


@pytest.fixture
def array():
    return np.random.default_rng(0).uniform(0, 1, (8, 12, 16, 2)).astype(np.float32)


@pytest.mark.parametrize("flips", MIRRORS)
def test_the_prediction_is_the_mean_over_mirror_images(flips, array):
    plain = model_with("none")
    axes = AXES[flips]
    mirrored = [some for n in range(len(axes) + 1) for some in itertools.combinations(axes, n)]
    each = [np.flip(plain.predict(volume_of(np.flip(array, some))).array, some) for some in mirrored]
    assert len(each) == len(MIRRORS[flips])
    np.testing.assert_allclose(model_with(flips).predict(volume_of(array)).array, np.mean(each, axis=0), atol=1e-5)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_with_all_of_them_a_mirrored_stack_gets_the_mirrored_mask(axis, array):
    model = model_with("all")
    straight = model.predict(volume_of(array)).array
    mirrored = model.predict(volume_of(np.flip(array, axis))).array
    np.testing.assert_allclose(np.flip(mirrored, axis), straight, atol=1e-5)
    without = model_with("none")
    difference = np.flip(without.predict(volume_of(np.flip(array, axis))).array, axis)
    assert np.abs(difference - without.predict(volume_of(array)).array).max() > 1e-3
