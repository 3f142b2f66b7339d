"""Networks told the statistics of their normalisations compute what the normalisations would."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from tfcyclegan3d.models.frozen import FrozenNetwork, flattened, unflattened
from tfcyclegan3d.models.portable import in_float32
from tfcyclegan3d.models.resnet_generator import resnet_generator
from tfcyclegan3d.models.strides import multiple_of
from tfcyclegan3d.models.unet import unet
from tfcyclegan3d.models.vox2vox import vox2vox_generator

NETWORKS = {
    "resnet": (lambda: resnet_generator(2, 2, filters=4, blocks=2, end_kernel=3), 4),
    "of the published code": (
        lambda: resnet_generator(
            2, 2, filters=4, blocks=2, end_kernel=3, residual="concatenate", output_normalization="instance"
        ),
        4,
    ),
    "unet": (lambda: unet(2, 2, filters=4, levels=3, normalization="instance"), 4),
    "unet of batch normalisations": (lambda: unet(2, 2, filters=4, levels=4, normalization="batch"), 8),
    "vox2vox": (lambda: vox2vox_generator(2, 2, filters=4), 16),
    "without normalisations": (lambda: resnet_generator(2, 2, filters=4, blocks=1, normalization="none"), 4),
    "in bfloat16": (
        lambda: resnet_generator(2, 2, filters=4, blocks=1, end_kernel=3, dtype="mixed_bfloat16"),
        4,
    ),
}


def lively(network):
    rng = np.random.default_rng(0)
    network.set_weights(
        [
            np.abs(w) + rng.uniform(0, 0.1, w.shape) if "variance" in v.path else w + rng.normal(0, 0.1, w.shape)
            for v, w in zip(network.weights, network.get_weights(), strict=True)
        ]
    )
    return network


def batch_of(n_patches):
    return np.random.default_rng(1).uniform(-1, 1, (n_patches, 16, 32, 16, 2)).astype(np.float32)


@pytest.mark.parametrize("name", NETWORKS)
def test_with_a_patchs_own_statistics_it_gives_what_the_network_gives(name):
    network, patch = lively(NETWORKS[name][0]()), batch_of(1)
    frozen = FrozenNetwork(network)
    frozen.set_statistics(frozen.statistics_of(patch))
    expected = in_float32(network)(patch)
    # The bottleneck of vox2vox has two voxels here, whose small variance magnifies rounding.
    np.testing.assert_allclose(frozen.folded(patch), expected, atol=5e-3 if name == "vox2vox" else 1e-4)
    assert np.std(expected) > 0.1


def test_with_the_statistics_of_several_patches_it_is_the_same_function_of_each():
    frozen = FrozenNetwork(lively(NETWORKS["resnet"][0]()))
    patches = batch_of(3)
    frozen.set_statistics(frozen.statistics_of(patches))
    together = np.array(frozen.folded(patches))
    np.testing.assert_allclose(frozen.folded(patches[1:2])[0], together[1], atol=1e-5)
    # Part of a patch, away from its faces, is what it is in the whole.
    part = np.array(frozen.folded(patches[:1, :, 8:]))[0]
    assert np.abs(part[:, 4:] - together[0, :, 12:]).max() < np.abs(part - together[0, :, 8:]).max()


def test_statistics_are_those_of_all_patches_together():
    network = lively(NETWORKS["resnet"][0]())
    first = next(layer for layer in network.layers if "normalization" in layer.name)
    before = keras.Model(network.input, first.input)
    patches = batch_of(4)
    values = np.array(before(patches)).reshape(-1, first.input.shape[-1])
    mean, variance = FrozenNetwork(network).statistics_of(patches)[first.name]
    np.testing.assert_allclose(mean, values.mean(0), atol=1e-5)
    np.testing.assert_allclose(variance, values.var(0), rtol=1e-4)


def test_statistics_survive_a_file(tmp_path):
    frozen = FrozenNetwork(lively(NETWORKS["resnet"][0]()))
    statistics = frozen.statistics_of(batch_of(2))
    np.savez(tmp_path / "statistics.npz", **flattened(statistics))
    with np.load(tmp_path / "statistics.npz") as arrays:
        again = unflattened(dict(arrays))
    assert again.keys() == statistics.keys()
    for name, pair in statistics.items():
        np.testing.assert_array_equal(again[name], pair)


@pytest.mark.parametrize("name", NETWORKS)
def test_the_multiple_is_what_the_network_takes(name):
    make, multiple = NETWORKS[name]
    network = make()
    assert multiple_of(network) == multiple
    assert network(np.zeros((1, multiple, 2 * multiple, 3 * multiple, 2), np.float32)).shape[1] == multiple


def test_the_network_itself_is_left_as_it_is():
    network = lively(NETWORKS["resnet"][0]())
    before = [weight.copy() for weight in network.get_weights()]
    frozen = FrozenNetwork(network)
    frozen.set_statistics(frozen.statistics_of(batch_of(1)))
    for one, other in zip(before, network.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
