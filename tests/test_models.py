"""Every network passes one conformance suite; layers and models do what their formulas say."""

from __future__ import annotations

import importlib
import inspect
import itertools
import pkgutil
import warnings
from collections.abc import Callable
from dataclasses import dataclass

import keras
import numpy as np
import pytest
import tensorflow as tf
from scipy.special import expit

from tfcyclegan3d import errors, models
from tfcyclegan3d.models.layers import InstanceNormalization
from tfcyclegan3d.models.outputs import with_logits
from tfcyclegan3d.models.patchgan import patchgan
from tfcyclegan3d.models.portable import in_float32, portable, with_first_outputs
from tfcyclegan3d.models.quick import quickened
from tfcyclegan3d.models.resnet_generator import resnet_generator
from tfcyclegan3d.models.trained import load_network
from tfcyclegan3d.models.unet import unet
from tfcyclegan3d.models.vox2vox import vox2vox_generator

N_CHANNELS = 2
POLICIES = ("float32", "mixed_bfloat16", "mixed_float16")


@dataclass(frozen=True)
class Builder:
    """A public builder with the settings of a tiny network of its kind, and what is said of its output."""

    build: Callable[..., keras.Model]
    arguments: tuple[int, ...]
    settings: dict
    side: int  # Of a patch that leaves more than one place for its normalisation everywhere.
    coarser: int  # How many times smaller each side of the output is, rounded up.
    n_outputs: int
    bounds: tuple[float, float] | None  # Open interval the output lies in.
    step: int = 4  # Of which any multiple is a side it takes.

    @property
    def batch(self) -> np.ndarray:
        return patches((self.side,) * 3, n_channels=self.arguments[0])

    def batch_of(self, shape: tuple[int, int, int], n: int = 2) -> np.ndarray:
        """Return patches of a shape in steps."""
        return patches(tuple(self.step * k for k in shape), n, n_channels=self.arguments[0])

    def scores(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Return the shape (ZYXC) of the output for patches of a shape (ZYX)."""
        return (*(-(-side // self.coarser) for side in shape), self.n_outputs)

    def tiny(self, **changes) -> keras.Model:
        return self.build(*self.arguments, **(self.settings | changes))


BUILDERS = {
    "resnet_generator": Builder(
        resnet_generator, (2, 2), {"filters": 4, "blocks": 2, "end_kernel": 3}, 8, 1, 2, bounds=(-1, 1)
    ),
    "resnet_generator with the ends of the paper": Builder(
        resnet_generator, (2, 2), {"filters": 4, "blocks": 2}, 8, 1, 2, bounds=(-1, 1)
    ),
    "resnet_generator of the published code": Builder(
        resnet_generator,
        (2, 2),
        {"filters": 4, "blocks": 2, "end_kernel": 3, "residual": "concatenate", "output_normalization": "instance"},
        *(8, 1, 2),
        bounds=(-1, 1),
    ),
    "patchgan": Builder(patchgan, (2,), {"filters": 4}, 32, 16, 1, bounds=None),
    "patchgan of two levels": Builder(patchgan, (2,), {"filters": 4, "levels": 2}, 8, 4, 1, bounds=None),
    "patchgan of image and mask together": Builder(
        patchgan, (4,), {"filters": 4, "levels": 3, "last_filters": 32}, 16, 8, 1, bounds=None
    ),
    "unet": Builder(unet, (2, 2), {"filters": 4, "levels": 3}, 8, 1, 2, bounds=(-1, 1)),
    "unet of four levels": Builder(unet, (2, 2), {"filters": 4}, 16, 1, 2, bounds=(-1, 1), step=8),
    "vox2vox_generator": Builder(vox2vox_generator, (2, 2), {"filters": 2}, 32, 1, 2, bounds=(-1, 1), step=16),
}
# Public functions that return a model but build no network of their own.
NOT_BUILDERS = {quickened, with_logits, in_float32, portable, with_first_outputs, load_network}

every_builder = pytest.mark.parametrize("builder", BUILDERS.values(), ids=BUILDERS.keys())
one_of_each = pytest.mark.parametrize(
    "kind", ["resnet_generator", "patchgan of two levels", "unet", "vox2vox_generator"]
)
every_generator = pytest.mark.parametrize("kind", ["resnet_generator", "unet", "vox2vox_generator"])


def patches(shape=(8, 8, 8), n=2, seed=0, n_channels=N_CHANNELS):
    return np.random.default_rng(seed).uniform(-1, 1, (n, *shape, n_channels)).astype(np.float32)


def predict(model, batch):
    return np.asarray(model(batch, training=False))


def shaken(model, seed=0):
    """Give every weight a value of its own, as after training, so that a weight that is lost is missed.

    Kernels change by a share of their spread and in both directions, lest every output ends at a bound.
    """
    rng, changed = np.random.default_rng(seed), []
    for held in model.get_weights():
        change = rng.uniform(0.01, 0.1, held.shape) * rng.choice([-1, 1], held.shape)
        changed.append(held + (change * held.std() if held.ndim == 5 else change).astype(np.float32))
    model.set_weights(changed)
    return model


def n_parameters(model):
    return sum(int(np.prod(weight.shape)) for weight in model.trainable_weights)


# --- conformance


def public_builders():
    """Every public function of the models that says it returns a model."""
    for found in pkgutil.iter_modules(models.__path__):
        module = importlib.import_module(f"{models.__name__}.{found.name}")
        for name, function in inspect.getmembers(module, inspect.isfunction):
            returned = inspect.signature(function).return_annotation
            returns_model = returned is keras.Model or str(returned) in {"keras.Model", "Model"}
            if function.__module__ == module.__name__ and not name.startswith("_") and returns_model:
                yield function


def test_every_public_builder_is_listed_here():
    listed = {builder.build for builder in BUILDERS.values()} | NOT_BUILDERS
    found = set(public_builders())
    assert {resnet_generator, patchgan, unet, vox2vox_generator, with_logits} <= found
    missing = sorted(f"{one.__module__}.{one.__name__}" for one in found - listed)
    assert not missing, f"list {missing} in BUILDERS of this test, so that they pass it too"


@every_builder
def test_the_output_has_its_shape_for_patches_of_any_multiple_of_its_step(builder):
    model = builder.tiny()
    for shape in ((2, 2, 2), (1, 3, 5), (4, 2, 1)):
        batch = builder.batch_of(shape, n=1 + (builder.step == 4))
        output = predict(model, batch)
        assert output.shape == (len(batch), *builder.scores(batch.shape[1:4]))
        assert np.isfinite(output).all()


@every_builder
@pytest.mark.parametrize("policy", POLICIES)
def test_inputs_outputs_and_weights_are_float32_whatever_the_compute_type(builder, policy):
    model = builder.tiny(dtype=policy)
    output = model(builder.batch, training=False)
    assert output.dtype == tf.float32 and model.outputs[0].dtype == "float32"
    assert {weight.dtype for weight in model.weights} == {"float32"}
    convolutions = (keras.layers.Conv3D, keras.layers.Conv3DTranspose)
    inner = {layer.compute_dtype for layer in model.layers if isinstance(layer, convolutions)}
    assert inner == {keras.DTypePolicy(policy).compute_dtype}


@every_builder
@pytest.mark.parametrize("policy", POLICIES[1:])
def test_a_shorter_compute_type_gives_nearly_the_same_output(builder, policy):
    exact, short = predict(builder.tiny(), builder.batch), predict(builder.tiny(dtype=policy), builder.batch)
    tolerance = 0.15 if policy == "mixed_bfloat16" else 0.02
    assert np.abs(exact - short).mean() < tolerance * exact.std()


@every_builder
def test_the_output_lies_in_its_range_even_for_weights_and_inputs_far_too_large(builder):
    model = builder.tiny(seed=1)  # Whose few features are not all of one sign.
    model.set_weights([20 * held for held in model.get_weights()])
    output = predict(model, 100 * builder.batch)
    assert np.isfinite(output).all()
    if builder.bounds is not None:
        low, high = builder.bounds
        assert output.min() >= low and output.max() <= high
        assert output.min() < low + 0.1 * (high - low) and output.max() > high - 0.1 * (high - low)
    else:
        assert np.abs(output).max() > 1  # No activation holds a critic's score back.


@every_builder
def test_the_same_seed_builds_the_same_network_and_another_seed_another(builder):
    one, again, other = (builder.tiny(seed=seed).get_weights() for seed in (3, 3, 4))
    for held, same in zip(one, again, strict=True):
        np.testing.assert_array_equal(held, same)
    kernels = [(a, b) for a, b in zip(one, other, strict=True) if a.ndim == 5]
    assert kernels and all(not np.array_equal(a, b) for a, b in kernels)


@every_builder
def test_no_two_kernels_of_a_network_begin_alike(builder):
    kernels = [held for held in builder.tiny().get_weights() if held.ndim == 5]
    for i, one in enumerate(kernels):
        assert all(one.shape != other.shape or not np.array_equal(one, other) for other in kernels[:i])


@every_builder
def test_building_leaves_the_global_generators_alone(builder):
    np.random.seed(5)  # noqa: NPY002
    tf.random.set_seed(5)
    untouched = np.random.random(), float(tf.random.uniform(()))  # noqa: NPY002
    np.random.seed(5)  # noqa: NPY002
    tf.random.set_seed(5)
    builder.tiny()
    assert (np.random.random(), float(tf.random.uniform(()))) == untouched  # noqa: NPY002


@every_builder
def test_a_network_is_named_as_asked_and_so_are_its_ends(builder):
    model = builder.tiny(name="somebody")
    assert model.name == "somebody"
    assert (model.layers[0].name, model.layers[-1].name) == ("input", "output")


@every_builder
def test_every_trainable_weight_gets_a_gradient(builder):
    model = shaken(builder.tiny())
    with tf.GradientTape() as tape:
        output = model(builder.batch, training=True)
        loss = tf.reduce_mean(output * patches(output.shape[1:4], seed=1)[..., :1])
    for weight, slope in zip(model.trainable_weights, tape.gradient(loss, model.trainable_weights), strict=True):
        assert slope is not None, weight.path
        assert np.isfinite(slope.numpy()).all(), weight.path


@every_builder
def test_a_sample_of_a_batch_does_not_change_what_another_gives(builder):
    model, batch = builder.tiny(), builder.batch
    together = predict(model, batch)
    for i in range(2):
        np.testing.assert_allclose(predict(model, batch[i : i + 1])[0], together[i], atol=1e-5)


@one_of_each
@pytest.mark.parametrize("policy", POLICIES)
def test_a_network_saved_and_read_back_gives_the_same_output(kind, policy, tmp_path):
    model, batch = shaken(BUILDERS[kind].tiny(dtype=policy)), BUILDERS[kind].batch
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(predict(again, batch), predict(model, batch))
    assert [type(layer) for layer in again.layers] == [type(layer) for layer in model.layers]


@one_of_each
def test_a_network_rebuilt_from_its_configuration_with_its_weights_gives_the_same_output(kind):
    model, batch = shaken(BUILDERS[kind].tiny(normalization="batch")), BUILDERS[kind].batch
    again = type(model).from_config(model.get_config())
    again.set_weights(model.get_weights())
    np.testing.assert_array_equal(predict(again, batch), predict(model, batch))


@one_of_each
def test_a_network_exported_as_a_savedmodel_predicts_alike_for_any_shape_and_batch(kind, tmp_path):
    model = shaken(BUILDERS[kind].tiny())
    model.export(str(tmp_path / "exported"))
    loaded = tf.saved_model.load(str(tmp_path / "exported"))
    for batch in (BUILDERS[kind].batch, BUILDERS[kind].batch_of((1, 3, 2), n=1)):
        np.testing.assert_allclose(loaded.serve(tf.constant(batch)).numpy(), predict(model, batch), atol=1e-5)


@every_generator
@pytest.mark.parametrize(
    ("policy", "tolerance"), [("float32", 1e-4), ("mixed_bfloat16", 0.15), ("mixed_float16", 0.02)]
)
def test_a_generator_and_its_quick_form_in_another_compute_type_give_nearly_the_same_output(kind, policy, tolerance):
    model, batch = shaken(BUILDERS[kind].tiny()), BUILDERS[kind].batch
    exact, quick = predict(model, batch), predict(quickened(model, policy), batch)
    assert np.abs(quick - exact).mean() < tolerance * exact.std()


# --- normalisation


@one_of_each
def test_each_normalisation_puts_its_own_layers_into_a_network(kind):
    layers_of = {
        name: [type(layer) for layer in BUILDERS[kind].tiny(normalization=name).layers]
        for name in ("instance", "batch", "none")
    }
    n_instance = layers_of["instance"].count(InstanceNormalization)
    assert n_instance > 0
    assert layers_of["batch"].count(keras.layers.BatchNormalization) == n_instance
    assert layers_of["batch"].count(InstanceNormalization) == 0
    assert layers_of["instance"].count(keras.layers.BatchNormalization) == 0
    for one in (InstanceNormalization, keras.layers.BatchNormalization):
        assert one not in layers_of["none"]


@one_of_each
@pytest.mark.parametrize("normalization", ["batch", "none"])
def test_the_other_normalisations_give_an_output_of_the_same_shape(kind, normalization):
    builder = BUILDERS[kind]
    # In training, where batch normalisation takes the batch's own mean and variance.
    output = np.asarray(builder.tiny(normalization=normalization)(builder.batch, training=True))
    assert output.shape == (2, *builder.scores((builder.side,) * 3))
    # Without any, He's initialiser keeps the signal alive.
    assert np.isfinite(output).all() and output.std() > 1e-3


@one_of_each
def test_a_normalisation_that_does_not_exist_is_refused_by_name(kind):
    with pytest.raises((ValueError, errors.UserError), match="layer"):
        BUILDERS[kind].tiny(normalization="layer")


# --- the generator


def convolution(n_in, n_out, size):
    return n_in * n_out * size**3 + n_out


@pytest.mark.parametrize(("filters", "blocks", "end_kernel"), [(32, 9, 7), (4, 2, 3), (8, 0, 5)])
def test_the_generator_has_as_many_parameters_as_its_layers_add_up_to(filters, blocks, end_kernel):
    n = filters
    # c7s1-n, d2n, d4n, R4n x blocks, u2n, un, c7s1-2: each but the last with a scale and a shift a channel.
    expected = convolution(2, n, end_kernel) + 2 * n
    expected += convolution(n, 2 * n, 3) + 4 * n + convolution(2 * n, 4 * n, 3) + 8 * n
    expected += 2 * blocks * (convolution(4 * n, 4 * n, 3) + 8 * n)
    expected += convolution(4 * n, 2 * n, 3) + 4 * n + convolution(2 * n, n, 3) + 2 * n
    expected += convolution(n, 2, end_kernel)
    model = resnet_generator(2, 2, filters=filters, blocks=blocks, end_kernel=end_kernel)
    assert n_parameters(model) == model.count_params() == expected
    if (filters, blocks) == (32, 9):
        # The published code's design with blocks that add: 8.6 million.
        assert round(expected / 1e6, 1) == 8.6


def test_the_published_codes_generator_grows_to_1280_channels_and_26_and_a_half_million_parameters():
    published = {"residual": "concatenate", "output_normalization": "instance"}
    model = resnet_generator(2, 2, **published)
    joined = [layer.output.shape[-1] for layer in model.layers if isinstance(layer, keras.layers.Concatenate)]
    assert joined == [128 * k for k in range(2, 11)]
    # As counted in the published code's own network.
    assert n_parameters(model) == model.count_params() == 26_483_270
    assert round(resnet_generator(2, 2).count_params() / 1e6, 1) == 8.6


def test_a_concatenating_block_keeps_its_input_beside_what_it_makes_of_it():
    model = shaken(resnet_generator(2, 2, filters=4, blocks=1, end_kernel=3, residual="concatenate"))
    (joining,) = (layer for layer in model.layers if isinstance(layer, keras.layers.Concatenate))
    made, kept = joining.input
    inner = keras.Model(model.input, [made, kept, joining.output])
    new, old, both = (np.asarray(one) for one in inner(patches(), training=False))
    np.testing.assert_array_equal(both, np.concatenate([new, old], axis=-1))
    # What is kept is what came in: the rectified output of the encoder.
    assert old.min() == 0 and new.min() < 0


def test_an_output_normalised_before_tanh_has_mean_nought_and_variance_one_there():
    model = resnet_generator(2, 2, filters=4, blocks=1, end_kernel=3, output_normalization="instance")
    logits, output = (np.asarray(one) for one in with_logits(model)(patches(), training=False))
    np.testing.assert_allclose(logits.mean(axis=(1, 2, 3)), 0, atol=1e-4)
    np.testing.assert_allclose(logits.std(axis=(1, 2, 3)), 1, atol=0.02)
    np.testing.assert_allclose(output, np.tanh(logits), atol=1e-6)


@pytest.mark.parametrize("choice", ["residual", "output_normalization"])
def test_a_design_that_does_not_exist_is_refused_by_name(choice):
    with pytest.raises(ValueError, match=f"{choice} is 'multiply'"):
        resnet_generator(2, 2, filters=4, blocks=1, end_kernel=3, **{choice: "multiply"})


def test_the_generators_images_and_masks_may_differ_in_channels():
    model = resnet_generator(1, 3, filters=4, blocks=1, end_kernel=3)
    assert predict(model, patches()[..., :1]).shape == (2, 8, 8, 8, 3)


def test_a_residual_block_whose_last_scale_is_nought_changes_nothing():
    plain = resnet_generator(2, 2, filters=4, blocks=0, end_kernel=3)
    deep = resnet_generator(2, 2, filters=4, blocks=2, end_kernel=3)
    trunk = deep.get_weights()
    # Three convolutions of the encoder with kernel, bias, scale and shift each; then four weights a convolution.
    n_encoder, n_trunk = 3 * 4, 2 * 2 * 4
    for last_scale in (n_encoder + 6, n_encoder + 14):
        assert trunk[last_scale].shape == (16,)
        trunk[last_scale] = np.zeros(16, np.float32)
    deep.set_weights(trunk)
    plain.set_weights(trunk[:n_encoder] + trunk[n_encoder + n_trunk :])
    np.testing.assert_allclose(predict(deep, patches()), predict(plain, patches()), atol=1e-6)


@every_generator
@pytest.mark.parametrize("policy", POLICIES)
def test_the_logits_are_those_of_the_output_and_share_its_weights(kind, policy):
    model, batch = shaken(BUILDERS[kind].tiny(dtype=policy)), BUILDERS[kind].batch
    both = with_logits(model)
    logits, output = (np.asarray(one) for one in both(batch, training=False))
    assert logits.dtype == output.dtype == np.float32
    np.testing.assert_allclose(np.tanh(logits), output, atol=1e-6)
    np.testing.assert_array_equal(output, predict(model, batch))
    # As a probability: (tanh(x) + 1) / 2 is sigmoid(2 x).
    np.testing.assert_allclose((output + 1) / 2, expit(2 * logits), atol=1e-6)
    assert [id(weight) for weight in both.weights] == [id(weight) for weight in model.weights]
    model.set_weights([0 * held for held in model.get_weights()])
    assert np.abs(np.asarray(both(batch, training=False)[0])).max() == 0


@every_generator
def test_asking_a_generator_for_its_logits_warns_of_nothing(kind):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with_logits(BUILDERS[kind].tiny())(BUILDERS[kind].batch, training=True)


@every_generator
def test_a_generator_read_back_from_its_file_still_has_its_logits(kind, tmp_path):
    model, batch = shaken(BUILDERS[kind].tiny()), BUILDERS[kind].batch
    model.save(tmp_path / "model.keras")
    logits, output = with_logits(keras.models.load_model(tmp_path / "model.keras"))(batch, training=False)
    np.testing.assert_allclose(np.tanh(np.asarray(logits)), predict(model, batch), atol=1e-6)
    np.testing.assert_array_equal(np.asarray(output), predict(model, batch))


# --- the critic


@pytest.mark.parametrize(("filters", "levels"), [(64, 4), (4, 4), (4, 2), (4, 6)])
def test_the_critic_has_as_many_parameters_as_its_layers_add_up_to(filters, levels):
    widths = [filters * min(2**level, 8) for level in range(levels)]
    expected = convolution(2, widths[0], 4)
    for n_in, n_out in [*itertools.pairwise(widths), (widths[-1], widths[-1])]:
        expected += convolution(n_in, n_out, 4) + 2 * n_out
    expected += convolution(widths[-1], 1, 4)
    model = patchgan(2, filters=filters, levels=levels)
    assert n_parameters(model) == model.count_params() == expected


def test_the_papers_critic_judges_a_patch_of_64_at_4_by_4_by_4_places():
    model = patchgan(2, filters=1)
    assert predict(model, patches((64, 64, 64), n=1)).shape == (1, 4, 4, 4, 1)
    widths = [layer.filters for layer in patchgan(2).layers if isinstance(layer, keras.layers.Conv3D)]
    assert widths == [64, 128, 256, 512, 512, 1]


def test_a_critics_score_depends_on_its_own_patch_alone():
    # Without normalisation, which looks at the whole.
    model = patchgan(2, filters=2, levels=2, normalization="none")
    batch = patches((48, 8, 8), n=1)
    changed = batch.copy()
    changed[:, 40:] *= -1
    difference = np.abs(predict(model, batch) - predict(model, changed)).max(axis=(0, 2, 3, 4))
    # Four convolutions of 4 see 4 + 3 * 2 + 3 * 4 + 3 * 4 = 34 voxels: score i those from 4 i - 11 to 4 i + 22.
    np.testing.assert_array_equal(np.flatnonzero(difference), [i for i in range(12) if 4 * i + 22 >= 40])


# --- instance normalisation


def instance_normalized(x, gamma=1.0, beta=0.0, epsilon=1e-5):
    x = x.astype(np.float64)
    axes = tuple(range(1, x.ndim - 1))
    return (x - x.mean(axes, keepdims=True)) / np.sqrt(x.var(axes, keepdims=True) + epsilon) * gamma + beta


def a_layer(**settings):
    layer = InstanceNormalization(**settings)
    layer.build((None, None, None, None, 3))
    return layer


def channels(shape=(2, 4, 5, 6, 3), seed=0):
    """Samples and channels that differ in mean and deviation."""
    rng = np.random.default_rng(seed)
    scale, shift = rng.uniform(0.5, 5, (2, shape[0], *(1,) * (len(shape) - 2), shape[-1]))
    return (rng.standard_normal(shape) * scale + 3 * shift).astype(np.float32)


def test_a_normalised_channel_has_mean_nought_and_variance_one_in_each_sample():
    output = np.asarray(a_layer()(channels()))
    np.testing.assert_allclose(output.mean((1, 2, 3)), 0, atol=1e-5)
    np.testing.assert_allclose(output.var((1, 2, 3)), 1, rtol=1e-3)


@pytest.mark.parametrize("epsilon", [1e-5, 0.5])
def test_instance_normalisation_equals_its_formula_in_numpy_with_scale_and_shift(epsilon):
    layer, gamma, beta = a_layer(epsilon=epsilon), [0.5, -2.0, 3.0], [1.0, 0.0, -4.0]
    layer.set_weights([np.array(gamma), np.array(beta)])
    expected = instance_normalized(channels(), gamma, beta, epsilon)
    np.testing.assert_allclose(np.asarray(layer(channels())), expected, atol=1e-4)


def test_instance_normalisation_equals_group_normalisation_with_a_group_a_channel():
    layer, oracle = a_layer(epsilon=1e-3), keras.layers.GroupNormalization(groups=-1, epsilon=1e-3)
    oracle.build((None, None, None, None, 3))
    weights = [np.array([0.5, -2.0, 3.0]), np.array([1.0, 0.0, -4.0])]
    layer.set_weights(weights)
    oracle.set_weights(weights)
    np.testing.assert_allclose(np.asarray(layer(channels())), np.asarray(oracle(channels())), atol=1e-4)


def test_its_gradients_equal_those_of_group_normalisation():
    layer, oracle = a_layer(epsilon=1e-3), keras.layers.GroupNormalization(groups=-1, epsilon=1e-3)
    oracle.build((None, None, None, None, 3))
    x, weight, slopes = tf.constant(channels()), tf.constant(channels(seed=1)), []
    for one in (layer, oracle):
        with tf.GradientTape() as tape:
            tape.watch(x)
            loss = tf.reduce_mean(one(x) * weight)
        slopes.append(tape.gradient(loss, [x, *one.trainable_weights]))
    for found, expected in zip(*slopes, strict=True):
        np.testing.assert_allclose(found.numpy(), expected.numpy(), atol=1e-4)


def test_samples_of_a_batch_are_normalised_each_by_itself_in_training_too():
    layer, batch = a_layer(), channels()
    other = np.concatenate([batch[:1], 100 * batch[1:] + 7])
    for training in (False, True):
        one, two = (np.asarray(layer(each, training=training)) for each in (batch, other))
        np.testing.assert_array_equal(one[0], two[0])
        np.testing.assert_allclose(np.asarray(layer(batch[:1], training=training))[0], one[0], atol=1e-6)


def test_a_constant_channel_becomes_its_shift():
    layer = a_layer()
    layer.set_weights([np.array([2.0, 2.0, 2.0]), np.array([0.0, 1.0, -1.0])])
    output = np.asarray(layer(np.full((1, 4, 4, 4, 3), 1000, np.float32)))
    np.testing.assert_allclose(output, np.broadcast_to([0.0, 1.0, -1.0], output.shape), atol=1e-6)


def test_a_large_offset_does_not_eat_up_the_variance():
    rng = np.random.default_rng(0)
    x = (1000 + rng.standard_normal((1, 8, 8, 8, 3))).astype(np.float32)
    np.testing.assert_allclose(np.asarray(a_layer()(x)), instance_normalized(x), atol=2e-3)


@pytest.mark.parametrize("policy", POLICIES[1:])
def test_it_computes_in_float32_and_answers_in_the_compute_type(policy):
    layer = a_layer(dtype=policy)
    compute_type = keras.DTypePolicy(policy).compute_dtype
    assert {weight.dtype for weight in layer.weights} == {"float32"}
    # Squares of 1000 and sums of 512 of them lie beyond float16; means of a short type would be rough.
    x = tf.cast(1000 * channels((1, 8, 8, 8, 3)), compute_type)
    output = layer(x)
    assert output.dtype == compute_type
    expected = instance_normalized(tf.cast(x, tf.float32).numpy())
    np.testing.assert_allclose(tf.cast(output, tf.float32).numpy(), expected, rtol=1e-2, atol=1e-2)


def test_it_works_on_planes_as_on_volumes():
    planes = channels((2, 6, 7, 3))
    layer = InstanceNormalization()
    np.testing.assert_allclose(np.asarray(layer(planes)), instance_normalized(planes), atol=1e-4)


def test_it_is_saved_with_its_settings_and_weights(tmp_path):
    inputs = keras.Input((None, None, None, 3))
    model = shaken(keras.Model(inputs, InstanceNormalization(epsilon=0.25, name="normalised")(inputs)))
    model.save(tmp_path / "layer.keras")
    again = keras.models.load_model(tmp_path / "layer.keras")
    assert again.get_layer("normalised").epsilon == 0.25
    np.testing.assert_array_equal(predict(again, channels()), predict(model, channels()))
    rebuilt = InstanceNormalization.from_config(model.get_layer("normalised").get_config())
    assert (rebuilt.epsilon, rebuilt.name) == (0.25, "normalised")
