"""Layers the networks share that Keras has not, or has too slowly."""

from __future__ import annotations

import keras
from keras import ops


@keras.saving.register_keras_serializable(package="tfcyclegan3d")
class InstanceNormalization(keras.layers.Layer):
    """Normalise each channel of each sample over space, then scale and shift it.

    Computed in float32 whatever the compute type of the layers around it. The same function as
    ``keras.layers.GroupNormalization(groups=-1)``, which reshapes on the way and takes longer on a CPU in bfloat16.

    Parameters
    ----------
    epsilon : float
        Added to the variance.
    **kwargs
        Of every Keras layer.

    References
    ----------
    Ulyanov, Vedaldi, Lempitsky, "Instance Normalization", arXiv:1607.08022.
    """

    def __init__(self, epsilon: float = 1e-5, **kwargs) -> None:
        super().__init__(**kwargs)
        self.epsilon = epsilon

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Make the scale and the shift, one number of each a channel."""
        shape = (input_shape[-1],)
        self.gamma = self.add_weight(name="gamma", shape=shape, initializer="ones", dtype="float32", autocast=False)
        self.beta = self.add_weight(name="beta", shape=shape, initializer="zeros", dtype="float32", autocast=False)

    def call(self, inputs):
        """Return ``inputs`` (BZYXC) normalised, in the same shape and type."""
        axes = tuple(range(1, len(inputs.shape) - 1))
        full = ops.cast(inputs, "float32")
        centred = full - ops.mean(full, axes, keepdims=True)
        variance = ops.mean(ops.square(centred), axes, keepdims=True)
        return ops.cast(centred * (self.gamma * ops.rsqrt(variance + self.epsilon)) + self.beta, inputs.dtype)

    def get_config(self) -> dict:
        """Return what rebuilds the layer."""
        return {**super().get_config(), "epsilon": self.epsilon}
