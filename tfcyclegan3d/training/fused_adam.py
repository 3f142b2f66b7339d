"""Adam whose update of a variable is one kernel, not fourteen that each read and write all of it."""

from __future__ import annotations

import keras
import tensorflow as tf


class FusedAdam(keras.optimizers.Adam):
    """Keras' Adam, updating with TensorFlow's kernel for it.

    Variables and results are those of ``keras.optimizers.Adam``, to rounding, without AMSGrad; gradients are dense.
    The kernel needs no memory beside the variables, of which Keras' operations take several copies.

    References
    ----------
    Kingma, Ba, "Adam: A Method for Stochastic Optimization", ICLR 2015, the last paragraph of section 2.
    """

    def update_step(self, gradient, variable, learning_rate) -> None:
        """Take one step along a gradient, in a graph or out of it."""
        index, kind = self._get_variable_index(variable), variable.dtype
        n_steps = tf.cast(self.iterations + 1, kind)
        beta_1, beta_2 = tf.cast(self.beta_1, kind), tf.cast(self.beta_2, kind)
        tf.raw_ops.ResourceApplyAdam(
            var=_handle(variable),
            m=_handle(self._momentums[index]),
            v=_handle(self._velocities[index]),
            beta1_power=beta_1**n_steps,
            beta2_power=beta_2**n_steps,
            lr=tf.cast(learning_rate, kind),
            beta1=beta_1,
            beta2=beta_2,
            epsilon=tf.cast(self.epsilon, kind),
            grad=tf.cast(gradient, kind),
        )


def _handle(variable: keras.Variable | tf.Variable) -> tf.Tensor:
    return (variable.value if isinstance(variable, keras.Variable) else variable).handle
