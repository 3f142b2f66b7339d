"""How every network that gives an image or a mask ends."""

from __future__ import annotations

import keras
from keras import layers

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
