"""How every network that gives an image or a mask ends."""

from __future__ import annotations

import math
from collections.abc import Mapping

import keras
from keras import layers, ops

LOGITS = "logits"


def outputs_of(x):
    """Return tanh of ``x`` (BZYXC) in float32, the layer before it being called ``"logits"``."""
    x = layers.Activation("linear", dtype="float32", name=LOGITS)(x)
    return layers.Activation("tanh", dtype="float32", name="output")(x)


def with_logits(network: keras.Model) -> keras.Model:
    """Return a model that shares ``network``'s weights and gives [logits, output].

    Where the output is a probability p = (tanh(x) + 1) / 2, it equals sigmoid(2 x), so twice these logits are what a
    cross-entropy wants.
    """
    return keras.Model(network.input, [network.get_layer(LOGITS).output, network.outputs[0]], name=network.name)


def halved_at(level: float, probabilities):
    """Return probabilities of which what was ``level`` is one half, shifted in log odds.

    Parameters
    ----------
    level : float
        In (0, 1); at one half nothing changes.
    probabilities : ndarray or tensor of float32
        In [0, 1]; 0 and 1 stay what they are.
    """
    if level == 0.5:
        return probabilities
    inside = probabilities * (1 - level)
    return inside / (inside + (1 - probabilities) * level)


def move_levels(network: keras.Model, levels: Mapping[int, float]) -> None:
    """Shift the last biases so that what was a probability of ``levels[k]`` in channel k becomes one half.

    Parameters
    ----------
    network : keras.Model
        That ends as ``outputs_of`` says, with no normalisation after its last convolution; changed in place.
    levels : dict of int to float
        Probabilities in (0, 1), by channel.

    Raises
    ------
    ValueError
        Where the logits do not come from a convolution with a bias.
    """
    convolution = network.get_layer(LOGITS).input._keras_history.operation
    if not isinstance(convolution, layers.Conv3D) or not convolution.use_bias:
        raise ValueError(f"{network.name} ends with {convolution.name}, not with a convolution with a bias")
    bias = ops.convert_to_numpy(convolution.bias).copy()
    for channel, level in levels.items():
        bias[channel] -= math.log(level / (1 - level)) / 2
    convolution.bias.assign(bias)
