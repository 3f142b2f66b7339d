"""Networks whose instance normalisations take their statistics from a whole volume, not from each tile.

With statistics of its own, a tile's result depends on where it was cut: the known cause of seams. With those of the
volume, the network is the same function everywhere, and each normalisation is a scale and a shift that the convolution
before it takes over, so that it costs nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import keras
import numpy as np

from tfcyclegan3d.models.layers import InstanceNormalization
from tfcyclegan3d.models.portable import in_float32
from tfcyclegan3d.models.quick import quickened

Statistics = dict[str, tuple[np.ndarray, np.ndarray]]


class FrozenNetwork:
    """A network that is told the statistics of its instance normalisations.

    Parameters
    ----------
    network : keras.Model
        Each of its instance normalisations follows a convolution without activation; it is not changed.
    dtype : str, optional
        Keras dtype policy to compute in, as ``quickened`` takes it.
    traced : callable, optional
        Makes a graph of a function, as ``tf.function`` does: a graph keeps no layer's output longer than needed.
    """

    def __init__(
        self, network: keras.Model, dtype: str | None = None, traced: Callable[[Callable], Callable] | None = None
    ) -> None:
        self._network = network = in_float32(network)
        self._gauge = gauge = _with_batch_normalization(network)
        self._see = (traced or (lambda function: function))(lambda batch: gauge(batch, training=True))
        self._layers = {layer.name: _convolution_before(layer) for layer in network.layers if _is_normalization(layer)}
        self.folded = quickened(_without_normalization(network), dtype)
        """The network itself, from BZYXC to the same, once ``set_statistics`` has been called."""

    @property
    def needs_statistics(self) -> bool:
        """Whether there is a normalisation that takes statistics."""
        return bool(self._layers)

    def statistics_of(self, batch: np.ndarray) -> Statistics:
        """Return the means and variances that each normalisation sees over a whole batch.

        Parameters
        ----------
        batch : ndarray of float32, BZYXC
            Patches from all over a volume, all of which pass through the network together.

        Returns
        -------
        dict
            By the normalisation's name, (means, variances), float32 of one number a channel.
        """
        self._see(
            keras.ops.convert_to_tensor(batch)
        )  # With a momentum of 0, what it remembers is what it has just seen.
        layers = (self._gauge.get_layer(name) for name in self._layers)
        return {layer.name: (np.array(layer.moving_mean), np.array(layer.moving_variance)) for layer in layers}

    def set_statistics(self, statistics: Statistics) -> None:
        """Fold the normalisations, by these statistics, into the convolutions before them."""
        for name, convolution in self._layers.items():
            layer, (mean, variance) = self._network.get_layer(name), statistics[name]
            scale = np.array(layer.gamma) / np.sqrt(variance + layer.epsilon)
            kernel, *bias = self._network.get_layer(convolution).get_weights()
            transposed = isinstance(self._network.get_layer(convolution), keras.layers.Conv3DTranspose)
            # Kernels are ZYX, inputs, outputs, those of transposed convolutions ZYX, outputs, inputs.
            kernel = kernel * (scale[:, np.newaxis] if transposed else scale)
            shift = np.array(layer.beta) + ((bias[0] if bias else 0) - mean) * scale
            self.folded.get_layer(convolution).set_weights([kernel, shift])


def flattened(statistics: Statistics) -> dict[str, np.ndarray]:
    """Return statistics as arrays by name, as ``numpy.savez`` takes them."""
    return {
        f"{name}/{kind}": array for name, pair in statistics.items() for kind, array in zip(_KINDS, pair, strict=True)
    }


def unflattened(arrays: dict[str, np.ndarray]) -> Statistics:
    """Undo ``flattened``."""
    names: Sequence[str] = dict.fromkeys(key.rpartition("/")[0] for key in arrays)
    return {name: tuple(arrays[f"{name}/{kind}"] for kind in _KINDS) for name in names}


_KINDS = ("mean", "variance")


def _is_normalization(layer: keras.layers.Layer) -> bool:
    return isinstance(layer, InstanceNormalization)


def _convolution_before(layer: keras.layers.Layer) -> str:
    convolution = layer.input._keras_history.operation
    while isinstance(convolution, keras.layers.Dropout):  # Which does nothing once training is over.
        convolution = convolution.input._keras_history.operation
    if not isinstance(convolution, keras.layers.Conv3D | keras.layers.Conv3DTranspose) or (
        convolution.activation is not keras.activations.linear
    ):
        raise ValueError(f"{layer.name} follows {convolution.name}, not a convolution without activation")
    return convolution.name


def _with_batch_normalization(network: keras.Model) -> keras.Model:
    """Return a float32 copy with batch normalisations, which see a batch as a whole and remember what they saw."""

    def convert(layer: keras.layers.Layer) -> keras.layers.Layer:
        if _is_normalization(layer):
            return keras.layers.BatchNormalization(momentum=0.0, epsilon=layer.epsilon, name=layer.name)
        if isinstance(layer, keras.layers.Dropout):
            return keras.layers.Identity(name=layer.name)
        return layer.__class__.from_config(layer.get_config())

    copy = keras.models.clone_model(network, clone_function=convert)
    for layer, copied in zip(network.layers, copy.layers, strict=True):
        weights = layer.get_weights()
        if _is_normalization(layer):
            weights += [np.zeros_like(weights[0]), np.ones_like(weights[0])]
        copied.set_weights(weights)
    return copy


def _without_normalization(network: keras.Model) -> keras.Model:
    """Return a copy whose instance normalisations do nothing and whose convolutions all have a bias."""

    def convert(layer: keras.layers.Layer) -> keras.layers.Layer:
        settings = layer.get_config()
        if _is_normalization(layer):
            return keras.layers.Identity(name=layer.name, dtype=settings["dtype"])
        if "use_bias" in settings:
            settings["use_bias"] = True
        return layer.__class__.from_config(settings)

    copy = keras.models.clone_model(network, clone_function=convert)
    for layer, copied in zip(network.layers, copy.layers, strict=True):
        weights = layer.get_weights()
        if weights and not _is_normalization(layer) and len(weights) == len(copied.get_weights()):
            copied.set_weights(weights)
    return copy
