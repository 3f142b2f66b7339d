"""The fused Adam is Keras' Adam, in one kernel."""

from __future__ import annotations

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfcyclegan3d.precision import scaled
from tfcyclegan3d.training.fused_adam import FusedAdam

SHAPES = [(3, 4, 5), (7,), (1, 2, 3, 4, 5)]


def variables_of(dtype="float32"):
    rng = np.random.default_rng(1)
    return [keras.Variable(rng.standard_normal(shape), dtype=dtype) for shape in SHAPES]


def gradients_of(step):
    rng = np.random.default_rng(step + 10)
    return [tf.constant(10.0 ** rng.integers(-6, 3) * rng.standard_normal(shape), tf.float32) for shape in SHAPES]


def stepped(optimizer, variables, steps, in_graph=True):
    optimizer.build(variables)
    step = tf.function(lambda gradients: optimizer.apply(gradients, variables)) if in_graph else None
    for index in steps:
        if step is None:
            optimizer.apply(gradients_of(index), variables)
        else:
            step(gradients_of(index))
    return [np.asarray(variable) for variable in (*variables, *optimizer.variables)]


def assert_alike(found, wanted):
    for own, other in zip(found, wanted, strict=True):
        np.testing.assert_allclose(own, other, rtol=1e-4, atol=1e-6 * np.abs(other).max())


@pytest.mark.parametrize("settings", [{}, {"beta_1": 0.5}, {"beta_2": 0.9, "epsilon": 1e-3}])
@pytest.mark.parametrize("in_graph", [True, False])
def test_weights_and_moments_are_those_of_keras_adam(settings, in_graph):
    wanted, found = (
        stepped(kind(1e-2, **settings), variables_of(), range(8), in_graph)
        for kind in (keras.optimizers.Adam, FusedAdam)
    )
    before = [np.asarray(variable) for variable in variables_of()]
    assert all(np.abs(now - then).max() > 0.01 for now, then in zip(found, before, strict=False))
    assert_alike(found, wanted)


def test_the_rate_may_change_between_steps():
    found = []
    for kind in (keras.optimizers.Adam, FusedAdam):
        optimizer, variables = kind(1e-2), variables_of()
        stepped(optimizer, variables, range(3))
        optimizer.learning_rate.assign(1e-4)
        found.append(stepped(optimizer, variables, range(3, 6)))
    assert_alike(*found)


def test_a_step_whose_gradients_overflow_is_left_out():
    optimizer, variables = scaled(FusedAdam(1e-2), "mixed_float16"), variables_of()
    before = [np.asarray(variable) for variable in variables]
    optimizer.build(variables)
    optimizer.apply([gradient * np.inf for gradient in gradients_of(0)], variables)
    for variable, then in zip(variables, before, strict=True):
        np.testing.assert_array_equal(np.asarray(variable), then)
    optimizer.apply(gradients_of(1), variables)
    assert all(np.abs(np.asarray(now) - then).max() > 0 for now, then in zip(variables, before, strict=True))


def test_variables_have_the_order_and_the_shapes_of_keras_adam_so_that_states_may_be_exchanged():
    found = []
    for kind in (keras.optimizers.Adam, FusedAdam):
        optimizer = kind(1e-2)
        optimizer.build(variables_of())
        found.append([(tuple(variable.shape), variable.dtype) for variable in optimizer.variables])
    assert found[0] == found[1]
