"""The compute type follows the machine, small gradients survive float16, and classes keep their colours."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfcyclegan3d import colours, precision

XEON = "flags\t\t: fpu sse avx2 avx512f avx512_bf16 amx_tile\n"
AMX = "flags\t\t: fpu sse avx2 amx_bf16 amx_tile\n"
ARM = "Features\t: fp asimd sve i8mm bf16 dgh\n"
OLD = "flags\t\t: fpu sse avx2 avx512f f16c\n"


@pytest.fixture
def machine(monkeypatch):
    """Pretend to be a machine with GPUs, and a /proc/cpuinfo (None where there is none)."""

    def pretend(n_gpus, cpuinfo):
        class File:
            def __init__(self, path):
                assert path == "/proc/cpuinfo"

            def read_text(self):
                if cpuinfo is None:
                    raise FileNotFoundError
                return cpuinfo

        found = [tf.config.PhysicalDevice(f"/physical_device:GPU:{i}", "GPU") for i in range(n_gpus)]
        monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: found if kind == "GPU" else [])
        monkeypatch.setattr(precision, "Path", File)

    return pretend


@pytest.mark.parametrize(
    ("asked", "expected"), [("off", "float32"), ("bfloat16", "mixed_bfloat16"), ("float16", "mixed_float16")]
)
def test_a_precision_that_is_asked_for_is_taken_on_any_machine(asked, expected, machine):
    for n_gpus, cpuinfo in ((0, OLD), (0, XEON), (1, OLD), (0, None)):
        machine(n_gpus, cpuinfo)
        assert precision.policy_for(asked) == expected
        assert keras.DTypePolicy(expected).variable_dtype == "float32"


@pytest.mark.parametrize(
    ("n_gpus", "cpuinfo", "expected"),
    [
        (1, XEON, "mixed_float16"),
        (2, None, "mixed_float16"),
        (0, XEON, "mixed_bfloat16"),
        (0, AMX, "mixed_bfloat16"),
        (0, ARM, "mixed_bfloat16"),
        (0, OLD, "float32"),
        (0, "", "float32"),
        (0, None, "float32"),
    ],
    ids=["GPU", "GPUs", "AVX-512", "AMX", "ARM", "neither", "nothing said", "no cpuinfo"],
)
def test_auto_takes_float16_on_a_gpu_bfloat16_where_the_cpu_has_it_and_float32_elsewhere(
    n_gpus, cpuinfo, expected, machine
):
    machine(n_gpus, cpuinfo)
    assert precision.policy_for("auto") == expected


def test_the_choice_is_the_same_each_time_on_this_machine():
    assert precision.policy_for("auto") in {"float32", "mixed_bfloat16", "mixed_float16"}
    assert precision.policy_for("auto") == precision.policy_for("auto")


@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16"])
def test_an_optimiser_is_left_as_it_is_where_small_numbers_do_not_vanish(policy):
    optimizer = keras.optimizers.SGD(0.1)
    assert precision.scaled(optimizer, policy) is optimizer
    # A step that scales all the same changes nothing.
    assert float(optimizer.scale_loss(tf.constant(3.0))) == 3.0


def test_an_optimiser_scales_the_loss_under_float16():
    optimizer = keras.optimizers.SGD(0.1)
    wrapped = precision.scaled(optimizer, "mixed_float16")
    assert isinstance(wrapped, keras.optimizers.LossScaleOptimizer)
    assert wrapped.inner_optimizer is optimizer
    wrapped.build([keras.Variable(0.0)])
    assert float(wrapped.scale_loss(tf.constant(1.0))) > 1000


def one_weight(policy):
    model = keras.Sequential(
        [keras.Input((1,)), keras.layers.Dense(1, use_bias=False, kernel_initializer="ones", dtype=policy)]
    )
    return model, model.trainable_variables


def train(policy, factor, n_steps, rate, inputs=1.0):
    """Train y = w x, w = 1, with the loss ``factor`` times (w x)^2 and return w after each step."""
    model, variables = one_weight(policy)
    optimizer = precision.scaled(keras.optimizers.SGD(rate), policy)
    optimizer.build(variables)

    @tf.function
    def step(x):
        with tf.GradientTape() as tape:
            # In the compute type up to the end, as in a network whose gradients are small.
            loss = tf.cast(tf.reduce_mean(tf.square(model(x, training=True))), tf.float32) * factor
            scaled_loss = optimizer.scale_loss(loss)
        optimizer.apply(tape.gradient(scaled_loss, variables), variables)

    weights = []
    for _ in range(n_steps):
        step(tf.constant([[inputs]]))
        weights.append(float(variables[0].numpy()[0, 0]))
    return weights, optimizer


@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16", "mixed_float16"])
def test_a_step_of_ones_own_trains_though_its_gradients_are_too_small_for_float16(policy):
    # The gradient is 2e-8 w, below the least number of float16 (6e-8); a rate of 5e6 makes it a step of w / 10.
    weights, _ = train(policy, 1e-8, 10, 5e6)
    np.testing.assert_allclose(weights, 0.9 ** np.arange(1, 11), rtol=0.03)


def test_without_scaling_such_a_step_would_not_move_at_all(monkeypatch):
    monkeypatch.setattr(precision, "scaled", lambda optimizer, policy: optimizer)
    weights, _ = train("mixed_float16", 1e-8, 3, 5e6)
    assert weights == [1.0, 1.0, 1.0]


def test_a_step_whose_scaled_gradient_overflows_is_left_out_and_the_scale_halved():
    weights, optimizer = train("mixed_float16", 10.0, 12, 1e-2)
    assert weights[0] == 1.0
    assert np.isfinite(weights).all() and weights[-1] < 0.9
    assert float(optimizer.dynamic_scale.numpy()) < optimizer.initial_scale


# --- colours

MAGENTA, GREEN, WHITE = (1, 0, 1), (0, 1, 0), (1, 1, 1)


def test_golgi_is_magenta_and_nuclei_green_in_pictures_in_whatever_order_they_come():
    np.testing.assert_array_equal(colours.picture_colours(("golgi", "nuclei")), [MAGENTA, GREEN])
    np.testing.assert_array_equal(colours.picture_colours(("nuclei", "golgi")), [GREEN, MAGENTA])


def test_a_single_class_is_white_in_pictures_whatever_it_is():
    for name in ("golgi", "nuclei", "mitochondria"):
        np.testing.assert_array_equal(colours.picture_colours((name,)), [WHITE])


def test_golgi_is_red_and_nuclei_green_in_stacks_as_in_the_paper():
    assert colours.stack_colours(("golgi", "nuclei")) == [(255, 0, 0), (0, 255, 0)]
    assert colours.stack_colours(("nuclei",)) == [(0, 255, 0)]


def test_other_classes_get_colours_of_their_own_that_change_nobody_elses():
    names = ("mitochondria", "nuclei", "lysosomes", "golgi", "vesicles")
    picked = colours.picture_colours(names)
    assert picked.shape == (5, 3)
    assert len({tuple(colour) for colour in picked}) == 5
    np.testing.assert_array_equal(picked[[1, 3]], [GREEN, MAGENTA])
    assert picked.min() >= 0 and picked.max() <= 1


def test_more_classes_than_colours_are_all_given_one():
    names = [f"class {i}" for i in range(11)]
    assert colours.picture_colours(names).shape == (11, 3)
    stack = colours.stack_colours(names)
    assert len(stack) == 11
    assert all(type(part) is int and 0 <= part <= 255 for colour in stack for part in colour)


def test_a_composite_adds_the_channels_in_their_colours():
    plane = np.array([[[0, 0], [1, 0], [0, 1]], [[0.5, 0], [1, 1], [0.25, 0.5]]])
    expected = [[(0, 0, 0), MAGENTA, GREEN], [(0.5, 0, 0.5), WHITE, (0.25, 0.5, 0.25)]]
    shown = colours.composite(plane, ("golgi", "nuclei"))
    np.testing.assert_allclose(shown, expected)
    assert shown.shape == (2, 3, 3)


def test_a_composite_of_one_class_is_grey_and_one_of_many_stays_in_range():
    plane = np.random.default_rng(0).random((4, 5, 1)).astype(np.float32)
    np.testing.assert_allclose(colours.composite(plane, ("nuclei",)), np.repeat(plane, 3, axis=-1), rtol=1e-6)
    many = colours.composite(np.ones((2, 2, 5)), ("golgi", "nuclei", "a", "b", "c"))
    np.testing.assert_array_equal(many, 1)
