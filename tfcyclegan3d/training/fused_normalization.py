"""Instance normalisation by one of TensorFlow's kernels: fewer passes over memory, the same function.

What lies between convolutions takes a large part of a step wherever these are quick, since each operation on its own
reads and writes all of a tensor.
"""

from __future__ import annotations

import tensorflow as tf

from tfcyclegan3d.models.layers import InstanceNormalization


class FusedInstanceNormalization(InstanceNormalization):
    """An instance normalisation that is the batch normalisation of one sample, for which TensorFlow has a kernel.

    Weights and results are those of ``InstanceNormalization``, to rounding; statistics are float32, too. Batches whose
    number of samples is not known beforehand are left to it.
    """

    def call(self, inputs):
        """Return ``inputs`` (BZYXC) normalised, in the same shape and type."""
        if inputs.shape[0] is None:
            return super().call(inputs)
        samples = [self._normalized(sample) for sample in tf.split(inputs, inputs.shape[0])]
        return samples[0] if len(samples) == 1 else tf.concat(samples, 0)

    def _normalized(self, sample):
        """Normalise 1ZYXC; the kernel wants two axes of space, and how they are cut does not matter to it."""
        shape = tf.shape(sample)
        flat = tf.reshape(sample, (1, shape[1] * shape[2], shape[3], sample.shape[-1]))
        scale, shift = tf.convert_to_tensor(self.gamma), tf.convert_to_tensor(self.beta)
        nothing = tf.zeros((0,), tf.float32)
        found = tf.raw_ops.FusedBatchNormV3(
            x=flat, scale=scale, offset=shift, mean=nothing, variance=nothing, epsilon=self.epsilon, is_training=True
        )
        return tf.ensure_shape(tf.reshape(found.y, shape), sample.shape)
