"""What a training step asks of the replicas it runs on, which share one joint batch in equal, consecutive parts.

On one device the joint batch is the step's own, and each of these does what it would without any replicas.
"""

from __future__ import annotations

from collections.abc import Sequence

import keras
import tensorflow as tf

# From this version on Keras' optimisers add up the gradients of all replicas; those before, which meant to, applied
# each replica's own to its copy of the weights (keras-team/keras, pull request 19969).
SUMMING_KERAS = (3, 5)


def first_sample(n_own: int) -> tf.Tensor:
    """Return which sample (int64) of the joint batch is the first of this replica's ``n_own``."""
    return tf.cast(tf.distribute.get_replica_context().replica_id_in_sync_group, tf.int64) * n_own


def joint_size(n_own: int) -> int:
    """Return how many samples the joint batch has, of which each replica has ``n_own``."""
    return tf.distribute.get_replica_context().num_replicas_in_sync * n_own


def joint_batch(own: tf.Tensor) -> tf.Tensor:
    """Return the samples (BZYXC, B known) of every replica, in their order, on each of them."""
    context = tf.distribute.get_replica_context()
    if context.num_replicas_in_sync == 1:
        return own
    return tf.ensure_shape(context.all_gather(own, axis=0), (joint_size(own.shape[0]), *own.shape[1:]))


def own_part(joint: tf.Tensor) -> tf.Tensor:
    """Return the samples of a joint batch that are this replica's."""
    n_replicas = tf.distribute.get_replica_context().num_replicas_in_sync
    if n_replicas == 1:
        return joint
    n_own = joint.shape[0] // n_replicas
    return tf.ensure_shape(joint[first_sample(n_own) : first_sample(n_own) + n_own], (n_own, *joint.shape[1:]))


def apply_mean_gradients(
    optimizer: keras.optimizers.Optimizer, gradients: Sequence[tf.Tensor], variables: Sequence
) -> None:
    """Let an optimiser take a step along the mean of the replicas' gradients.

    Where losses are means over samples, that is the gradient of the joint batch. A loss scale which has made the
    gradients of one replica overflow keeps all of them from the step, since their weights must stay the same.
    """
    context = tf.distribute.get_replica_context()
    if context.num_replicas_in_sync > 1:
        if tuple(map(int, keras.__version__.split(".")[:2])) < SUMMING_KERAS:
            gradients = context.all_reduce(tf.distribute.ReduceOp.MEAN, list(gradients))
        else:
            gradients = [gradient / context.num_replicas_in_sync for gradient in gradients]
            if isinstance(optimizer, keras.optimizers.LossScaleOptimizer):
                gradients = _finite_everywhere_or_nowhere(gradients, context)
    optimizer.apply(gradients, variables)


def _finite_everywhere_or_nowhere(
    gradients: Sequence[tf.Tensor], context: tf.distribute.ReplicaContext
) -> list[tf.Tensor]:
    """Make gradients NaN on every replica where some on any replica are not finite."""
    finite = tf.reduce_all([tf.reduce_all(tf.math.is_finite(gradient)) for gradient in gradients])
    n_bad = context.all_reduce(tf.distribute.ReduceOp.SUM, tf.where(finite, 0.0, 1.0))
    return [gradient + tf.cast(tf.where(n_bad > 0, float("nan"), 0.0), gradient.dtype) for gradient in gradients]
