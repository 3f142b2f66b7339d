"""The generators as they could be kept: with the weights of the last step, or with averaged ones."""

from __future__ import annotations

from collections.abc import Callable

import keras
import numpy as np
import tensorflow as tf

from tfcyclegan3d.config import ModelConfig
from tfcyclegan3d.training.averaging import WeightAverage
from tfcyclegan3d.training.networks import Networks, generator_of
from tfcyclegan3d.training.probes import Forward

RAW, AVERAGED = "raw", "averaged"


class Candidates:
    """Copies of the generators that follow the training when asked to.

    Parameters
    ----------
    networks : Networks
        Those trained.
    average : WeightAverage or None
        Of the generators' trainable weights.
    model : ModelConfig
        What they were built from.
    policy : str
        Keras dtype policy they are trained in, and looked at.
    """

    def __init__(self, networks: Networks, average: WeightAverage | None, model: ModelConfig, policy: str) -> None:
        self._networks = networks
        self._average = average
        self._model = model
        self._policy = policy
        self._copies: dict[str, tuple[keras.Model, keras.Model]] = {}
        self._forwards: dict[str, Forward] = {}

    @property
    def names(self) -> tuple[str, ...]:
        """Which there are, the steadier one first."""
        return (AVERAGED, RAW) if self._average is not None else (RAW,)

    def networks(self, which: str) -> tuple[keras.Model, keras.Model]:
        """Return (image_to_mask, mask_to_image) in float32 with the weights of a candidate as they are now."""
        return self._following(which, "float32")

    def forwards(self, which: str) -> tuple[Forward, Forward]:
        """Return what (image_to_mask, mask_to_image) of a candidate make of a batch, in the training's precision."""
        if which == RAW:
            generators = (self._networks.image_to_mask, self._networks.mask_to_image)
        else:
            generators = self._following(which, self._policy)
        return tuple(self._forward(f"{which}/{network.name}", network) for network in generators)

    @property
    def critics(self) -> tuple[Forward, Forward]:
        """What (mask_critic, image_critic) say of a batch."""
        critics = (self._networks.mask_critic, self._networks.image_critic)
        return tuple(self._forward(network.name, network) for network in critics)

    def _following(self, which: str, dtype: str) -> tuple[keras.Model, keras.Model]:
        trained = (self._networks.image_to_mask, self._networks.mask_to_image)
        if dtype not in self._copies:
            n_classes = trained[0].outputs[0].shape[-1]
            self._copies[dtype] = tuple(
                generator_of(self._model, n_classes, dtype, 0, network.name) for network in trained
            )
        averages = list(self._average.averages) if which == AVERAGED else None
        for network, copy in zip(trained, self._copies[dtype], strict=True):
            copy.set_weights(network.get_weights())
            if averages is not None:
                for variable in copy.trainable_variables:
                    variable.assign(averages.pop(0))
        return self._copies[dtype]

    def _forward(self, name: str, network: keras.Model) -> Forward:
        if name not in self._forwards:
            self._forwards[name] = _compiled(network)
        return self._forwards[name]


def _compiled(network: keras.Model) -> Callable[[np.ndarray], np.ndarray]:
    graph = tf.function(lambda batch: network(batch, training=False), reduce_retracing=True)
    return lambda batch: graph(tf.constant(batch)).numpy()
