"""The same networks for other programs: in float32, and made of Keras' own layers."""

from __future__ import annotations

from collections.abc import Callable

import keras
from keras import layers

from tfcyclegan3d.models.layers import InstanceNormalization


def in_float32(network: keras.Model) -> keras.Model:
    """Return a copy of a network, with weights of its own, whose layers all compute in float32."""
    return _copied(network, lambda layer: layer.__class__.from_config(_settings_of(layer)))


def portable(network: keras.Model) -> keras.Model:
    """Return a network of Keras' own layers, in float32, that gives probabilities: it loads without this package.

    Parameters
    ----------
    network : keras.Model
        From BZYXC in [-1, 1] to the same; it is not changed.

    Returns
    -------
    keras.Model
        From BZYXC in [-1, 1] to BZYXC in [0, 1], float32, with weights of its own.
    """

    def convert(layer: keras.layers.Layer) -> keras.layers.Layer:
        settings = _settings_of(layer)
        if isinstance(layer, InstanceNormalization):
            # The same function, in more operations.
            return layers.GroupNormalization(-1, epsilon=layer.epsilon, name=layer.name, dtype="float32")
        return layer.__class__.from_config(settings)

    copy = _copied(network, convert)
    probabilities = layers.Rescaling(0.5, 0.5, name="probabilities", dtype="float32")(copy.outputs[0])
    return keras.Model(copy.inputs[0], probabilities, name="image_to_probability")


def with_first_outputs(network: keras.Model, n_outputs: int) -> keras.Model:
    """Return a copy of a network that gives the first channels of its output alone, which are what they were."""
    convolutions = [layer for layer in network.layers if isinstance(layer, layers.Conv3D)]

    def convert(layer: keras.layers.Layer) -> keras.layers.Layer:
        settings = layer.get_config()
        if layer is convolutions[-1]:
            settings["filters"] = n_outputs
        return layer.__class__.from_config(settings)

    copy = keras.models.clone_model(network, clone_function=convert)
    # What differs is the last convolution, and what follows it.
    kept = zip(network.get_weights(), copy.get_weights(), strict=True)
    copy.set_weights([old if old.shape == new.shape else old[..., :n_outputs] for old, new in kept])
    return copy


def _settings_of(layer: keras.layers.Layer) -> dict:
    return {**layer.get_config(), "dtype": "float32"}


def _copied(network: keras.Model, convert: Callable[[keras.layers.Layer], keras.layers.Layer]) -> keras.Model:
    given = network.inputs[0]
    # Older Keras gives the input of a clone the type that its first convolution computes in.
    inputs = keras.Input(given.shape[1:], dtype="float32", name=given.name)
    inputs = [inputs] if isinstance(network.input, list) else inputs
    copy = keras.models.clone_model(network, input_tensors=inputs, clone_function=convert)
    copy.set_weights(network.get_weights())
    return copy
