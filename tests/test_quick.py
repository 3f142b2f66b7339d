"""Quick networks are the plain ones, computed in another way."""

from __future__ import annotations

import dataclasses

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from tfcyclegan3d.models.layers import InstanceNormalization
from tfcyclegan3d.models.patchgan import patchgan
from tfcyclegan3d.models.quick import BlockedConv3D, EvenConv3D, quickened
from tfcyclegan3d.models.resnet_generator import resnet_generator
from tfcyclegan3d.training.fused_normalization import FusedInstanceNormalization
from tfcyclegan3d.training.networks import build_networks, quick_to_train
from tfcyclegan3d.training.run import train
from tfcyclegan3d.volumes import Volume

from .tiny import TINY


def random(*shape, seed=0):
    return np.random.default_rng(seed).uniform(-1, 1, shape).astype(np.float32)


def gradients(model, batch, target):
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(tf.square(model(batch, training=True) - target))
    return tape.gradient(loss, model.trainable_variables)


def of_one(layer, n_channels=16):
    inputs = keras.Input((None, None, None, n_channels))
    return keras.Model(inputs, layer(inputs))


@pytest.mark.parametrize("size", [1, 3, 5, 7])
@pytest.mark.parametrize("shape", [(2, 2, 2), (4, 6, 10), (8, 8, 8), (10, 12, 8)])
def test_a_blocked_convolution_and_its_gradients_are_those_of_the_plain_one(size, shape):
    plain = of_one(layers.Conv3D(2, size, padding="same", activation="tanh", bias_initializer="ones"))
    quick = quickened(plain)
    assert isinstance(quick.layers[-1], BlockedConv3D)
    batch, target = random(2, *shape, 16), random(2, *shape, 2, seed=1)
    np.testing.assert_allclose(quick(batch), plain(batch), atol=2e-5)
    for own, wanted in zip(gradients(quick, batch, target), gradients(plain, batch, target), strict=True):
        np.testing.assert_allclose(own, wanted, atol=1e-4 * np.abs(wanted).max())


@pytest.mark.parametrize("n_channels", [1, 3])
@pytest.mark.parametrize(
    "settings", [{}, {"strides": 2}, {"padding": "valid"}, {"dilation_rate": 2, "use_bias": False}]
)
def test_a_convolution_of_an_odd_number_of_channels_and_its_gradients_are_those_of_the_plain_one(n_channels, settings):
    settings = {"padding": "same", "activation": "tanh", "bias_initializer": "ones", **settings}
    plain = of_one(layers.Conv3D(16, 4, **settings), n_channels)
    quick = quickened(plain, "mixed_bfloat16")
    assert isinstance(quick.layers[-1], EvenConv3D)
    batch = random(2, 12, 8, 10, n_channels)
    wanted, found = plain(batch), tf.function(quick)(batch)
    np.testing.assert_allclose(np.asarray(found, np.float32), wanted, atol=0.02)
    target = random(*wanted.shape, seed=1)
    for own, wanted in zip(gradients(quick, batch, target), gradients(plain, batch, target), strict=True):
        np.testing.assert_allclose(own, wanted, atol=0.02 * np.abs(wanted).max())


def test_only_bfloat16_computes_a_channel_more():
    plain = of_one(layers.Conv3D(16, 3), 3)
    for dtype in (None, "float32", "mixed_float16"):
        assert type(quickened(plain, dtype).layers[-1]) is layers.Conv3D
    assert type(quickened(of_one(layers.Conv3D(16, 3, dtype="mixed_bfloat16"), 3)).layers[-1]) is EvenConv3D
    assert type(quickened(of_one(layers.Conv3D(16, 3), 2), "mixed_bfloat16").layers[-1]) is layers.Conv3D


@pytest.mark.parametrize("n_channels", [1, 2])
@pytest.mark.parametrize("filters", [4, 8, 12, 16, 32])
def test_generators_of_any_number_of_filters_give_in_bfloat16_what_plain_ones_give(filters, n_channels):
    plain = resnet_generator(n_channels, n_channels, filters=filters, blocks=1, seed=3)
    quick, batch = quickened(plain, "mixed_bfloat16"), random(1, 16, 16, 24, n_channels)
    with tf.GradientTape() as tape:
        loss = tf.reduce_mean(tf.square(quick(batch, training=True) - batch))
    slope = tape.gradient(loss, quick.trainable_variables[-2])
    with tf.GradientTape() as tape:
        loss = tf.reduce_mean(tf.square(plain(batch, training=True) - batch))
    wanted = tape.gradient(loss, plain.trainable_variables[-2])
    assert np.abs(np.asarray(quick(batch), np.float32) - plain(batch)).mean() < 0.02
    assert np.linalg.norm(slope - wanted) < 0.1 * np.linalg.norm(wanted)


def test_even_kernels_strides_and_many_filters_stay_as_they_are():
    for layer in (
        layers.Conv3D(2, 4, padding="same"),
        layers.Conv3D(2, 3, padding="valid"),
        layers.Conv3D(2, 3, 2, padding="same"),
        layers.Conv3D(2, 3, padding="same", dilation_rate=2),
        layers.Conv3D(8, 3, padding="same"),
        layers.Conv3DTranspose(2, 3, padding="same"),
    ):
        assert type(quickened(of_one(layer)).layers[-1]) is type(layer)
    for n_channels in (3, 8, 12, 24):
        assert type(quickened(of_one(layers.Conv3D(2, 3, padding="same"), n_channels)).layers[-1]) is layers.Conv3D


def test_a_quick_generator_gives_what_the_plain_one_gives():
    plain = resnet_generator(2, 2, filters=16, blocks=1, seed=3)
    quick = quickened(plain)
    assert quick.name == plain.name
    assert [one.path for one in quick.weights] == [one.path for one in plain.weights]
    assert sum(isinstance(layer, BlockedConv3D) for layer in quick.layers) == 1
    batch = random(1, 8, 12, 4, 2)
    np.testing.assert_allclose(quick(batch), plain(batch), atol=1e-5)


def test_the_copy_has_weights_of_its_own():
    plain = resnet_generator(1, 1, filters=2, blocks=0, end_kernel=3)
    quick, before = quickened(plain), [weight.copy() for weight in plain.get_weights()]
    quick.set_weights([weight + 1 for weight in quick.get_weights()])
    for now, then in zip(plain.get_weights(), before, strict=True):
        np.testing.assert_array_equal(now, then)


def test_generators_are_trained_in_their_quick_form_and_critics_have_none():
    networks = build_networks(dataclasses.replace(TINY.model, filters=16), 2, "float32", 0)
    for generator in (networks.image_to_mask, networks.mask_to_image):
        assert any(isinstance(layer, BlockedConv3D) for layer in generator.layers)
    assert not any(isinstance(layer, BlockedConv3D) for layer in quickened(patchgan(2, filters=4)).layers)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
@pytest.mark.parametrize("shape", [(1, 4, 6, 8, 3), (3, 5, 2, 7, 2), (2, 1, 1, 1, 4)])
def test_a_fused_normalisation_and_its_gradients_are_those_of_the_plain_one(dtype, shape):
    plain, fused = (
        kind(epsilon=1e-3, dtype=f"mixed_{dtype}" if dtype != "float32" else dtype)
        for kind in (InstanceNormalization, FusedInstanceNormalization)
    )
    batch, target = tf.cast(900 + 16 * random(*shape), dtype), random(*shape, seed=1)
    found = []
    for layer in (plain, fused):
        layer.build(shape)
        layer.set_weights([random(shape[-1], seed=2), random(shape[-1], seed=3)])
        with tf.GradientTape() as tape:
            tape.watch(batch)
            output = layer(batch)
            loss = tf.reduce_sum(tf.cast(output, tf.float32) * target)
        slopes = tape.gradient(loss, [batch, *layer.trainable_variables])
        found.append([np.asarray(tf.cast(one, tf.float32)) for one in (output, *slopes)])
        assert output.dtype == dtype
    for wanted, own in zip(*found, strict=True):
        np.testing.assert_allclose(
            own, wanted, atol=(1e-4 if dtype == "float32" else 0.02) * max(1, np.abs(wanted).max())
        )


def test_a_fused_normalisation_takes_batches_of_an_unknown_number_of_samples():
    layer, batch = FusedInstanceNormalization(), random(3, 4, 4, 4, 2)
    graph = tf.function(layer, input_signature=[tf.TensorSpec((None, None, None, None, 2))])
    np.testing.assert_allclose(graph(batch), layer(batch), atol=1e-5)


@pytest.mark.parametrize("build", [resnet_generator, patchgan])
def test_networks_to_train_differ_from_plain_ones_in_no_weight_and_no_result(build):
    plain = build(2, 2, filters=16, blocks=1, seed=3) if build is resnet_generator else build(2, filters=4, seed=3)
    quick = quick_to_train(plain)
    assert any(isinstance(layer, FusedInstanceNormalization) for layer in quick.layers)
    assert not any(type(layer) is InstanceNormalization for layer in quick.layers)
    assert [one.path for one in quick.weights] == [one.path for one in plain.weights]
    batch = random(2, 32, 32, 32, 2)
    wanted, target = plain(batch), random(*plain(batch).shape, seed=1)
    np.testing.assert_allclose(quick(batch), wanted, atol=1e-4)
    slopes = gradients(plain, batch, target)
    largest = max(np.abs(slope).max() for slope in slopes)  # A bias before a normalisation has none but by rounding.
    for own, other in zip(gradients(quick, batch, target), slopes, strict=True):
        np.testing.assert_allclose(own, other, atol=1e-4 * largest)


def test_a_run_saves_plain_layers(tmp_path):
    config = TINY.replace(
        {"training.epochs": 1, "training.steps_per_epoch": 1, "synthesis.diameters": {"nuclei": 8}, "model.filters": 16}
    )
    train([Volume(random(16, 24, 24, 1))], None, config, tmp_path / "run", progress=False)
    for name in ("image_to_mask", "mask_to_image"):
        saved = keras.saving.load_model(tmp_path / "run" / f"{name}.keras")
        kinds = {type(layer) for layer in saved.layers}
        assert {layers.Conv3D, InstanceNormalization} <= kinds
        assert not {BlockedConv3D, EvenConv3D, FusedInstanceNormalization} & kinds
