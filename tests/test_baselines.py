"""The networks have the parameters and see the voxels that the paper's lists of layers add up to."""

from __future__ import annotations

import itertools

import keras
import numpy as np
import pytest

from tfcyclegan3d.models.patchgan import patchgan
from tfcyclegan3d.models.resnet_generator import resnet_generator
from tfcyclegan3d.models.unet import unet
from tfcyclegan3d.models.vox2vox import vox2vox_generator

# --- parameters: each list of layers holds (side of the kernel, channels in, channels out, normalised after)


def unet_layers(n):
    return [
        *((3, 2, n, True), (3, n, n, True)),
        *((3, n, 2 * n, True), (3, 2 * n, 2 * n, True)),
        *((3, 2 * n, 4 * n, True), (3, 4 * n, 4 * n, True)),
        *((3, 4 * n, 8 * n, True), (3, 8 * n, 8 * n, True)),
        # Up, without a normalisation; then the skip of as many channels beside it.
        *((2, 8 * n, 4 * n, False), (3, 8 * n, 4 * n, True), (3, 4 * n, 4 * n, True)),
        *((2, 4 * n, 2 * n, False), (3, 4 * n, 2 * n, True), (3, 2 * n, 2 * n, True)),
        *((2, 2 * n, n, False), (3, 2 * n, n, True), (3, n, n, True)),
        (1, n, 2, False),
    ]


def vox2vox_layers(n):
    return [
        *((4, 2, n, False), (4, n, 2 * n, True), (4, 2 * n, 4 * n, True), (4, 4 * n, 8 * n, True)),
        # Each of the bottleneck sees what those before it gave as well: 8 n, 16 n, 24 n and 32 n channels.
        *((4, 8 * n, 8 * n, True), (4, 16 * n, 8 * n, True), (4, 24 * n, 8 * n, True), (4, 32 * n, 8 * n, True)),
        # Up; from the second on, half of what comes in is the skip.
        *((4, 40 * n, 4 * n, True), (4, 8 * n, 2 * n, True), (4, 4 * n, n, True), (4, 2 * n, 2, False)),
    ]


def pair_critic_layers(n):
    return [
        *((4, 4, n, False), (4, n, 2 * n, True), (4, 2 * n, 4 * n, True)),
        *((4, 4 * n, 8 * n, True), (4, 8 * n, 1, False)),
    ]


def count(layers, a_norm=2):
    """Add up kernels, biases, and ``a_norm`` numbers for each channel of a normalisation."""
    return sum(side**3 * n_in * n_out + n_out + a_norm * n_out * normed for side, n_in, n_out, normed in layers)


def n_trainable(model):
    return sum(int(np.prod(weight.shape)) for weight in model.trainable_weights)


def pair_critic(filters, **settings):
    return patchgan(4, filters=filters, levels=3, last_filters=8 * filters, **settings)


@pytest.mark.parametrize(("filters", "parameters"), [(32, 5_603_426), (4, None)])
def test_the_unet_has_as_many_parameters_as_its_layers_add_up_to(filters, parameters):
    model = unet(2, 2, filters=filters)
    assert n_trainable(model) == count(unet_layers(filters))
    # Batch normalisation keeps a mean and a variance a channel beside its scale and shift.
    assert model.count_params() == count(unet_layers(filters), a_norm=4)
    assert parameters in (None, n_trainable(model))


@pytest.mark.parametrize("filters", [2, 4, 8])
def test_the_vox2vox_generator_has_as_many_parameters_as_its_layers_add_up_to(filters):
    model = vox2vox_generator(2, 2, filters=filters)
    assert n_trainable(model) == model.count_params() == count(vox2vox_layers(filters))


def test_the_vox2vox_generator_of_the_paper_has_226_million_parameters():
    # 0.9 GB of weights, so it is not built: a count is a polynomial of degree 2 in the filters, and three fix it.
    widths = [2, 4, 8]
    counts = [vox2vox_generator(2, 2, filters=n).count_params() for n in widths]
    quadratic = np.polynomial.Polynomial.fit(widths, counts, 2)
    assert round(quadratic(64)) == count(vox2vox_layers(64)) == 226_002_946


@pytest.mark.parametrize(("filters", "parameters"), [(64, 11_061_953), (4, None)])
def test_the_critic_of_pairs_has_as_many_parameters_as_its_layers_add_up_to(filters, parameters):
    model = pair_critic(filters)
    assert n_trainable(model) == model.count_params() == count(pair_critic_layers(filters))
    assert parameters in (None, n_trainable(model))


def test_a_critic_without_a_width_of_its_own_for_the_last_but_one_layer_repeats_that_before_it():
    alike = [patchgan(2, filters=4, levels=3, last_filters=width).get_weights() for width in (None, 16)]
    for one, other in zip(*alike, strict=True):
        np.testing.assert_array_equal(one, other)


# --- what a voxel of the output sees


def convolution(side, stride=1):
    """Return what a padded convolution reads, from where to where, to give the outputs low to high."""
    before = (side - stride) // 2
    return lambda low, high: (low * stride - before, high * stride - before + side - 1)


def transposed(side):
    """Return what a transposed convolution of stride 2 reads: all i for which 2 i - before + (0 to side - 1) is met."""
    before = (side - 2) // 2
    return lambda low, high: (-(-(low + before - side + 1) // 2), (high + before) // 2)


TWICE = [convolution(3)] * 2
# By network, how to build it; its layers from the output back, by the path that sees most; the multiple its sides are
# of; how many times coarser its output is; the side to measure on; how many voxels an output sees at most.
RECEPTIVE = {
    "unet": (
        lambda: unet(1, 1, filters=1, normalization="none"),
        [*TWICE, *[transposed(2), *TWICE] * 3, *[convolution(2, 2), *TWICE] * 3],
        # 1 + 4 = 5, on a grid half as fine 3 at most, 3 + 4 = 7, of these 4, 4 + 4 = 8, of these 5, 5 + 4 = 9;
        # then 2 * 9 + 4 = 22, 48, 100.
        *(8, 1, 128, 100),
    ),
    "vox2vox": (
        lambda: vox2vox_generator(1, 1, filters=1, normalization="none"),
        [transposed(4)] * 4 + [convolution(4)] * 4 + [convolution(4, 2)] * 4,
        # 1, on grids half as fine 2, then 3 at most; 3 + 4 * 3 = 15; then 2 (15 - 1) + 4 = 32, 66, 134, 270.
        *(16, 1, 320, 270),
    ),
    "resnet_generator": (
        lambda: resnet_generator(1, 1, filters=1, normalization="none"),
        [convolution(7), *[transposed(3)] * 2, *TWICE * 9, *[convolution(3, 2)] * 2, convolution(7)],
        # 7, on grids half as fine 5 and 4 at most; 4 + 18 * 2 = 40; then 2 (40 - 1) + 3 = 81, 163; 163 + 6.
        *(4, 1, 224, 169),
    ),
    "patchgan": (
        lambda: patchgan(1, filters=1, normalization="none"),
        [convolution(4)] * 2 + [convolution(4, 2)] * 4,
        # 4, 7, then 2 (7 - 1) + 4 = 16, 34, 70, 142.
        *(16, 16, 192, 142),
    ),
    "patchgan of pairs": (
        lambda: patchgan(1, filters=1, levels=3, last_filters=8, normalization="none"),
        [convolution(4)] * 2 + [convolution(4, 2)] * 3,
        # The 70 of Isola et al.
        *(8, 8, 128, 70),
    ),
}


def averaging(model):
    """Give a network without normalisation positive kernels and no biases, so that nothing it sees is lost."""
    model.set_weights(
        [np.full(held.shape, float(held.ndim == 5) / held[..., 0].size, np.float32) for held in model.get_weights()]
    )
    return model


def measured(model, step, side):
    """Return which planes (rows) change which planes of the output (columns), by lighting one after the other."""
    planes = np.eye(side, dtype=np.float32)[:, None, None, :, None]
    lit = np.broadcast_to(planes, (side, step, step, side, 1))
    outputs = [np.asarray(model(chunk, training=False)) for chunk in np.array_split(lit, -(-side // 64))]
    return np.concatenate(outputs)[:, 0, 0, :, 0] > 0


@pytest.mark.parametrize(("build", "layers", "step", "coarser", "side", "width"), RECEPTIVE.values(), ids=RECEPTIVE)
def test_a_voxel_of_the_output_sees_what_its_layers_reach(build, layers, step, coarser, side, width):
    sees = measured(averaging(build()), step, side)
    assert sees.shape == (side, side // coarser)
    for place, column in enumerate(sees.T):
        low, high = place, place
        for reads in layers:
            low, high = reads(low, high)
        expected = [k for k in range(side) if low <= k <= high]
        np.testing.assert_array_equal(np.flatnonzero(column), expected)
    assert sees.sum(axis=0).max() == width


# --- how they begin and train


def test_the_unets_kernels_begin_with_the_spread_of_he_whatever_the_normalisation():
    for normalization in ("batch", "instance", "none"):
        model = unet(2, 2, filters=16, levels=2, normalization=normalization)
        for layer in model.layers:
            if isinstance(layer, keras.layers.Conv3D) and layer.kernel_size == (3, 3, 3):
                wanted = np.sqrt(2 / np.prod(layer.kernel.shape[:4]))
                np.testing.assert_allclose(np.std(layer.kernel), wanted, rtol=0.1)


def test_vox2vox_drops_in_training_alone_and_by_its_seed():
    batch = np.random.default_rng(0).uniform(-1, 1, (1, 32, 32, 32, 1)).astype(np.float32)

    def outputs(training=True, **settings):
        model = vox2vox_generator(1, 1, filters=2, **settings)
        return [np.asarray(model(batch, training=training)) for _ in range(2)]

    one, other = outputs(seed=3)
    assert not np.array_equal(one, other)
    for again, held in zip(outputs(seed=3), (one, other), strict=True):
        np.testing.assert_array_equal(again, held)
    still = outputs(training=False, seed=3)
    np.testing.assert_array_equal(*still)
    np.testing.assert_allclose(outputs(dropout=0.0, seed=3)[0], still[0], atol=1e-6)


def test_vox2vox_drops_after_each_convolution_of_its_bottleneck():
    model = vox2vox_generator(2, 2, filters=2, dropout=0.3)
    dropping = [layer for layer in model.layers if isinstance(layer, keras.layers.Dropout)]
    assert [layer.rate for layer in dropping] == [0.3] * 4
    assert [layer.output.shape[-1] for layer in dropping] == [16] * 4
    assert all(one.seed != other.seed for one, other in itertools.combinations(dropping, 2))
