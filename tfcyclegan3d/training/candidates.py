"""The generators as they could be kept: with the weights of the last step, or with averaged ones."""

from __future__ import annotations

from collections.abc import Sequence

import keras
import numpy as np
import tensorflow as tf

from tfcyclegan3d.config_sections import ModelConfig
from tfcyclegan3d.training.averaging import WeightAverage
from tfcyclegan3d.training.networks import Networks, generator_of
from tfcyclegan3d.training.probes import Forward

RAW, AVERAGED = "raw", "averaged"


class Candidates:
    """Copies of the generators that take the weights of the moment when asked to.

    Copies are used again: what was returned before changes with the next question.

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
        generators = self._trained if which == RAW else self._following(which, self._policy)
        return tuple(self._forward(f"{which}/{network.name}", network) for network in generators)

    @property
    def critics(self) -> tuple[Forward, Forward]:
        """What (mask_critic, image_critic) say of a batch."""
        critics = (self._networks.mask_critic, self._networks.image_critic)
        return tuple(self._forward(network.name, network) for network in critics)

    def stored(
        self,
        image_to_mask: Sequence[np.ndarray],
        mask_to_image: Sequence[np.ndarray],
        averages: Sequence[np.ndarray],
        which: str,
    ) -> tuple[keras.Model, keras.Model]:
        """Return (image_to_mask, mask_to_image) in float32 with the weights a checkpoint holds of a candidate.

        ``averages`` begin with those of the trainable weights of both, in order.
        """
        return self._filled("float32", (image_to_mask, mask_to_image), averages if which == AVERAGED else None)

    def _following(self, which: str, dtype: str) -> tuple[keras.Model, keras.Model]:
        weights = [network.get_weights() for network in self._trained]
        return self._filled(dtype, weights, self._average.averages if which == AVERAGED else None)

    @property
    def _trained(self) -> tuple[keras.Model, keras.Model]:
        return self._networks.image_to_mask, self._networks.mask_to_image

    def _filled(self, dtype: str, weights: Sequence, averages: Sequence | None) -> tuple[keras.Model, keras.Model]:
        if dtype not in self._copies:
            channels = [(one.inputs[0].shape[-1], one.outputs[0].shape[-1]) for one in self._trained]
            self._copies[dtype] = tuple(
                generator_of(self._model, n_inputs, dtype, 0, network.name, n_outputs)
                for network, (n_inputs, n_outputs) in zip(self._trained, channels, strict=True)
            )
        remaining = iter(averages if averages is not None else ())
        for copy, own in zip(self._copies[dtype], weights, strict=True):
            copy.set_weights(own)
            if averages is not None:
                for variable in copy.trainable_variables:
                    variable.assign(next(remaining))
        return self._copies[dtype]

    def _forward(self, name: str, network: keras.Model) -> Forward:
        if name not in self._forwards:
            self._forwards[name] = compiled(network)
        return self._forwards[name]


def compiled(network: keras.Model) -> Forward:
    """Return what a network makes of a batch, as a graph."""
    graph = tf.function(lambda batch: network(batch, training=False), reduce_retracing=True)
    return lambda batch: graph(tf.constant(batch)).numpy()
