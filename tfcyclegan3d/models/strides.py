"""By how much a network divides the sides of its input."""

from __future__ import annotations

import math

import keras


def multiple_of(network: keras.Model) -> int:
    """Return what Z, Y and X of a network's input must be multiples of.

    That is the product of all its strides down, and 2 at least, as ``quickened`` networks ask for.
    """
    down = keras.layers.Conv3D | keras.layers.MaxPooling3D
    layers = [
        layer
        for layer in network.layers
        if isinstance(layer, down) and not isinstance(layer, keras.layers.Conv3DTranspose)
    ]
    return math.lcm(2, math.prod(max(layer.strides) for layer in layers))
