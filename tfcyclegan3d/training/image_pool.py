"""A pool of past fakes, so that the critics do not forget them."""

from __future__ import annotations

import tensorflow as tf

from tfcyclegan3d.training import replicas


class ImagePool(tf.Module):
    """Keep up to ``size`` fakes; give back, at even odds, the newest one or an older one in exchange for it.

    The pool lives in variables, so that a whole training step is one graph and a checkpoint holds the pool. Replicas
    that share a batch each hold the same whole pool and exchange the whole batch with it, of which each takes its part:
    fakes are small beside the gradients that replicas send each other, and the pool is what it would be on one device.

    Parameters
    ----------
    size : int
        0 gives every fake straight back.
    patch_shape : tuple of int
        ZYXC of one fake.
    seed : int
        Of the draws.

    References
    ----------
    Shrivastava et al., "Learning from Simulated and Unsupervised Images through Adversarial Training", CVPR 2017,
    section 2.3; 50 fakes in the CycleGAN paper.
    """

    def __init__(self, size: int, patch_shape: tuple[int, ...], seed: int) -> None:
        super().__init__()
        self.size = size
        self._seed = seed
        self.kept = tf.Variable(tf.zeros((max(size, 1), *patch_shape), tf.float16), trainable=False)
        self.n_seen = tf.Variable(0, dtype=tf.int64, trainable=False)

    def exchange(self, fakes: tf.Tensor) -> tf.Tensor:
        """Return as many fakes as given (BZYXC float32; B known), each the new one or an older one."""
        if self.size == 0:
            return fakes
        joint = replicas.joint_batch(fakes)
        return replicas.own_part(tf.stack([self._exchange_one(fake) for fake in tf.unstack(joint)]))

    def _exchange_one(self, fake: tf.Tensor) -> tf.Tensor:
        filling = self.n_seen < self.size
        odds = tf.random.stateless_uniform((2,), seed=tf.stack([tf.constant(self._seed, tf.int64), self.n_seen]))
        drawn = tf.cast(odds[1] * self.size, tf.int64)
        place = tf.where(filling, self.n_seen, tf.minimum(drawn, self.size - 1))
        keep_new = tf.logical_or(filling, odds[0] < 0.5)
        older = tf.cast(self.kept[place], fake.dtype)
        with tf.control_dependencies([older]):
            given = tf.where(tf.logical_and(keep_new, tf.logical_not(filling)), older, fake)
            stored = tf.where(keep_new, tf.cast(fake, tf.float16), self.kept[place])
            self.kept.scatter_update(tf.IndexedSlices(stored, place))
            self.n_seen.assign_add(1)
        return given
