"""An exponential moving average of weights: steadier from step to step than the weights themselves."""

from __future__ import annotations

from collections.abc import Sequence

import tensorflow as tf


class WeightAverage:
    """Keep ``average = m * average + (1 - m) * weight`` beside each weight.

    Parameters
    ----------
    variables : sequence of keras.Variable
        What to average.
    momentum : float
        m, in [0, 1); the average spans about 1 / (1 - m) steps. It starts smaller, as (1 + n) / (10 + n) at step n, so
        that the random initial weights are soon forgotten.

    References
    ----------
    Yazici et al., "The Unusual Effectiveness of Averaging in GAN Training", ICLR 2019.
    """

    def __init__(self, variables: Sequence, momentum: float) -> None:
        self._weights = [variable.value for variable in variables]
        self._momentum = momentum
        self.averages = [tf.Variable(weight, trainable=False) for weight in self._weights]
        self.n_updates = tf.Variable(0.0, trainable=False)

    def update(self) -> None:
        """Take the weights of this step in; callable in a graph."""
        momentum = tf.minimum(self._momentum, (1 + self.n_updates) / (10 + self.n_updates))
        for average, weight in zip(self.averages, self._weights, strict=True):
            average.assign_sub((1 - momentum) * (average - weight))
        self.n_updates.assign_add(1)
