"""What ``preprocessing`` does to arrays, as TensorFlow operations on batches, to be part of an exported graph.

Batches are BZYXC float32 of any size, which only the running graph knows. Results are those of ``preprocessing``, to
rounding.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import tensorflow as tf

Triple = tuple[int, int, int]
SPATIAL = (1, 2, 3)


def downsample(batch: tf.Tensor, factors: Triple) -> tf.Tensor:
    """Average blocks of ``factors`` voxels into one; a last, incomplete block is filled by repeating the edge."""
    if tuple(factors) == (1, 1, 1):
        return batch
    for axis, factor in zip(SPATIAL, factors, strict=True):
        length = tf.shape(batch)[axis]
        filled = tf.range(-(-length // factor) * factor)
        batch = tf.gather(batch, tf.minimum(filled, length - 1), axis=axis)
    return tf.nn.avg_pool3d(batch, factors, factors, "VALID")


def upsample(batch: tf.Tensor, factors: Triple, shape: tf.Tensor) -> tf.Tensor:
    """Undo the change of grid by linear interpolation, to the Z, Y and X of ``shape``."""
    if tuple(factors) == (1, 1, 1):
        return batch
    for axis, factor in zip(SPATIAL, factors, strict=True):
        last = tf.cast(tf.shape(batch)[axis] - 1, tf.float64)
        # Centres of blocks stay where they were.
        centres = (tf.range(tf.cast(shape[axis - 1], tf.float64), dtype=tf.float64) + 0.5) / factor - 0.5
        places = tf.clip_by_value(centres, 0.0, last)
        below = tf.floor(places)
        weights = tf.reshape(tf.cast(places - below, tf.float32), [-1] + [1] * (4 - axis))
        low = tf.gather(batch, tf.cast(below, tf.int32), axis=axis)
        high = tf.gather(batch, tf.cast(tf.minimum(below + 1, last), tf.int32), axis=axis)
        batch = low + (high - low) * weights
    return batch


def stretch(batch: tf.Tensor, percentiles: Sequence[float] | Sequence[Sequence[float]]) -> tf.Tensor:
    """Map the two percentiles of each channel of each sample to -1 and 1, and clip what lies outside."""
    low, high = (tf.cast(bound, tf.float32)[:, None, None, None] for bound in _bounds(batch, percentiles))
    return tf.clip_by_value((batch - low) * (2 / (high - low)) - 1, -1.0, 1.0)


def pad_to_multiple(batch: tf.Tensor, multiple: int) -> tf.Tensor:
    """Pad the ends of Z, Y and X by reflection, as far as it takes, to multiples of ``multiple``."""
    for axis in SPATIAL:
        length = tf.shape(batch)[axis]
        period = tf.maximum(2 * (length - 1), 1)  # Reflections repeat; a single plane is its own.
        places = tf.math.floormod(tf.range(-(-length // multiple) * multiple), period)
        batch = tf.gather(batch, tf.minimum(places, period - places), axis=axis)
    return batch


def crop(batch: tf.Tensor, shape: tf.Tensor) -> tf.Tensor:
    """Cut the first ``shape`` voxels along Z, Y and X out of a batch."""
    return tf.slice(batch, [0, 0, 0, 0, 0], tf.concat([[-1], shape, [-1]], axis=0))


def _bounds(batch: tf.Tensor, percentiles: Sequence[float] | Sequence[Sequence[float]]) -> tuple[tf.Tensor, tf.Tensor]:
    """Return the intensities, float64 of shape (B, C), that become -1 and 1."""
    n_channels = batch.shape[-1]
    ranks = np.broadcast_to(percentiles, (n_channels, 2)).astype(np.float64)
    channels = tf.transpose(batch, (0, 4, 1, 2, 3))
    ordered = tf.sort(tf.reshape(channels, (tf.shape(batch)[0], n_channels, -1)), axis=-1)
    places = tf.constant(ranks / 100) * tf.cast(tf.shape(ordered)[-1] - 1, tf.float64)
    share = places - tf.floor(places)
    first, second = (_at(ordered, rounded(places)) for rounded in (tf.floor, tf.math.ceil))
    # NumPy's own way, in float32 and float64 as there.
    step = tf.cast(second - first, tf.float64)
    first, second = tf.cast(first, tf.float64), tf.cast(second, tf.float64)
    low, high = tf.unstack(tf.where(share < 0.5, first + step * share, second - step * (1 - share)), axis=-1)
    smallest, largest = tf.cast(ordered[..., 0], tf.float64), tf.cast(ordered[..., -1], tf.float64)
    high = tf.where(high <= low, largest, high)
    low = tf.where(high <= low, smallest, low)
    return low, tf.where(high > low, high, low + tf.maximum(tf.cast(1, tf.float64), tf.abs(low)))


def _at(ordered: tf.Tensor, places: tf.Tensor) -> tf.Tensor:
    """Return the values (B, C, 2) of ordered ones (B, C, N) at the places (C, 2) of each sample."""
    indices = tf.broadcast_to(tf.cast(places, tf.int64), (tf.shape(ordered)[0], *places.shape))
    return tf.gather(ordered, indices, batch_dims=2)
