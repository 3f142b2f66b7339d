"""Under every precision a step's losses are float32, small gradients survive, and a task is learned alike."""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import inspect

import keras
import numpy as np
import pytest
import tensorflow as tf
from scipy import ndimage

from tests.eagerly import run_eagerly
from tests.tiny import TINY
from tfcyclegan3d import losses
from tfcyclegan3d.config_sections import ModelConfig
from tfcyclegan3d.models.layers import InstanceNormalization
from tfcyclegan3d.models.outputs import LOGITS
from tfcyclegan3d.models.quick import quickened
from tfcyclegan3d.models.resnet_generator import OUTPUT_NORMALIZATION
from tfcyclegan3d.training.composites import SeparateStep
from tfcyclegan3d.training.cyclegan import CycleGANStep
from tfcyclegan3d.training.networks import build_networks, generator_of
from tfcyclegan3d.training.start import StartStep

POLICIES = ("float32", "mixed_bfloat16", "mixed_float16")
CONFIG = TINY.replace(
    {
        "losses.identity": 5.0,
        "losses.class_weights": [1.0],
        "losses.foreground_weights": [1.0],
        "model.blocks": 0,
        "model.critic_levels": 1,
        "training.patch_shape": [12, 12, 12],
    }
)
PUBLISHED = ModelConfig(filters=4, blocks=1, end_kernel=3, residual="concatenate", output_normalization="instance")
every_policy = pytest.mark.parametrize("policy", POLICIES)


def rendered_pair(seed=0):
    """Blobs and a dim, noisy picture of them, each BZYXC float32 in [-1, 1]."""
    rng = np.random.default_rng(seed)
    smooth = ndimage.gaussian_filter(rng.standard_normal((12, 12, 12)), 2)
    mask = np.where(smooth > np.quantile(smooth, 0.8), 1.0, -1.0)
    image = 0.5 * ndimage.gaussian_filter(mask, 0.7) + 0.1 * rng.standard_normal(mask.shape)
    return [tf.constant(array[None, ..., None], tf.float32) for array in (np.clip(image, -1, 1), mask)]


def steps_of(policy):
    """Every kind of step, as a function of nothing, with its optimisers."""
    image, mask = rendered_pair()
    foreground_weights = tf.constant([1.0])
    start = StartStep(build_networks(CONFIG.model, 1, policy, 0), 1e-3, policy, None)
    yield "start", lambda: start(image, mask, foreground_weights), [start.optimizer]
    for kind in (CycleGANStep, SeparateStep):
        networks = build_networks(CONFIG.model, 1, policy, 0)
        step = kind(networks, CONFIG.losses, CONFIG.training, policy, 0, None)
        batch = (image, mask, image, mask, tf.constant(1.0), foreground_weights)
        yield kind.__name__, lambda step=step, batch=batch: step(*batch), list(step.optimizers.values())


@pytest.fixture
def recorded(monkeypatch):
    """The types of all tensors that any loss is computed from, by its name."""
    types = {}
    for name, loss in inspect.getmembers(losses, inspect.isfunction):
        if name.startswith("_") or loss.__module__ != losses.__name__:
            continue

        def recording(*tensors, loss=loss, name=name):
            seen = [tensor.dtype for tensor in tensors if isinstance(tensor, tf.Tensor)]
            types.setdefault(name, set()).update(seen)
            return loss(*tensors)

        monkeypatch.setattr(losses, name, recording)
    return types


@every_policy
def test_every_loss_and_gradient_is_float32_and_every_optimiser_scales_its_loss_under_float16_alone(
    policy, recorded, monkeypatch
):
    slopes = set()
    for optimizer in (keras.optimizers.Optimizer, keras.optimizers.LossScaleOptimizer):
        monkeypatch.setattr(
            optimizer, "apply", lambda self, found, variables: slopes.update(one.dtype for one in found)
        )
    for kind, step, optimizers in steps_of(policy):
        with run_eagerly():
            returned = step()
        assert {loss.dtype for loss in returned.values()} == {tf.float32}, kind
        scales = [isinstance(one, keras.optimizers.LossScaleOptimizer) for one in optimizers]
        assert scales == [policy == "mixed_float16"] * {"start": 1, "CycleGANStep": 2, "SeparateStep": 4}[kind]
    used = {"least_squares_generator_loss", "least_squares_critic_loss", "weighted_l1", "balanced_l1"}
    assert used | {"balanced_cross_entropy", "soft_dice_loss"} <= set(recorded)
    assert slopes == set().union(*recorded.values()) == {tf.float32}


@every_policy
@pytest.mark.parametrize("normalization", ["instance", "batch"])
def test_the_statistics_of_a_normalisation_are_float32(policy, normalization):
    # Squares of these overflow float16, and their differences drown in bfloat16's eight bits.
    values = 900 + 16 * np.random.default_rng(0).standard_normal((1, 8, 8, 8, 1)).astype(np.float32)
    compute_dtype = keras.DTypePolicy(policy).compute_dtype
    inputs = tf.cast(values, compute_dtype)
    seen = tf.cast(inputs, tf.float64).numpy()
    layer = (
        InstanceNormalization(dtype=policy)
        if normalization == "instance"
        else keras.layers.BatchNormalization(dtype=policy, epsilon=1e-5)
    )
    output = tf.cast(layer(inputs, training=True), tf.float64).numpy()
    assert {weight.dtype for weight in layer.weights} == {"float32"}
    wanted = (seen - seen.mean()) / np.sqrt(seen.var() + 1e-5)
    np.testing.assert_allclose(output, wanted, atol=1e-4 if policy == "float32" else 0.02)


def test_the_three_precisions_learn_the_same_task_and_end_alike():
    image, mask = rendered_pair()
    foreground_weights = tf.constant([1.0])
    ends = {}
    for policy in POLICIES:
        step = StartStep(build_networks(CONFIG.model, 1, policy, 0), 5e-3, policy, None)
        series = [float(step(image, mask, foreground_weights)["supervised"]) for _ in range(30)]
        assert np.isfinite(series).all(), policy
        ends[policy] = np.mean(series[-5:]) / series[0]
    assert all(end < 0.4 for end in ends.values()), ends
    assert max(ends.values()) - min(ends.values()) < 0.03, ends


@pytest.mark.parametrize("policy", POLICIES[1:])
def test_a_network_that_predicts_in_a_shorter_type_ends_in_float32_all_the_same(policy):
    network = generator_of(PUBLISHED, 1, "float32", 0, "image_to_mask")
    copy = quickened(network, policy)
    computing = {layer.name: layer.compute_dtype for layer in copy.layers}
    assert {computing.pop(name) for name in ("input", OUTPUT_NORMALIZATION, LOGITS, "output")} == {"float32"}
    assert set(computing.values()) == {keras.DTypePolicy(policy).compute_dtype}
    image, _ = rendered_pair()
    assert np.abs(np.asarray(copy(image)) - np.asarray(network(image))).mean() < 0.05
