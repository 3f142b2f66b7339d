"""Patches: sampled by seed and index, augmented, batched and prefetched. The only file that builds ``tf.data``.

Every sample is a pure function of a seed and of its index, so a training that is resumed at step n sees what it would
have seen, and the number of workers changes nothing.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
import tensorflow as tf
from scipy import ndimage

from tfcyclegan3d import errors, preprocessing
from tfcyclegan3d.preprocessing import CoarseObjects
from tfcyclegan3d.synthesis.cut import Cut
from tfcyclegan3d.synthesis.microscope import Microscope
from tfcyclegan3d.synthesis.rendering import Acquisition, render

Triple = tuple[int, int, int]

N_PREFETCHED = 8
# A volume of so many voxels is told the percentiles of by every second voxel along each axis, a smaller one by all.
MANY_VOXELS = 2**17


class PatchSource(Protocol):
    """Where patches come from."""

    n_arrays: int
    patch_shape: Triple
    n_channels: int
    n_mask_channels: int
    """Of the second array, where there are two."""

    def draw(self, index: int) -> tuple[np.ndarray, ...]:
        """Return the ``n_arrays`` aligned patches of an index, each ZYXC float32 in [-1, 1]."""
        ...


@dataclass(frozen=True)
class Augmentation:
    """A flip of each axis and a number of quarter turns in the plane, one draw of which serves aligned patches.

    Parameters
    ----------
    flips : tuple of bool
        Z, Y, X.
    quarter_turns : int
        0 to 3.
    """

    flips: tuple[bool, bool, bool]
    quarter_turns: int

    @classmethod
    def drawn(cls, rng: np.random.Generator, patch_shape: Triple) -> Augmentation:
        """Draw one uniformly; patches that are not square in the plane turn by half turns alone."""
        turns = int(rng.integers(4)) if patch_shape[1] == patch_shape[2] else 2 * int(rng.integers(2))
        return cls(tuple(bool(flip) for flip in rng.integers(0, 2, 3)), turns)

    def apply(self, patch: np.ndarray) -> np.ndarray:
        """Return ``patch`` (ZYXC) flipped and turned."""
        axes = [axis for axis, flip in enumerate(self.flips) if flip]
        return np.rot90(np.flip(patch, axes), self.quarter_turns, axes=(1, 2))


class VolumePatches:
    """Patches of whole volumes, at random places; a large volume is drawn from as much more often.

    Parameters
    ----------
    volumes : sequence of ndarray
        ZYXC float32 in [-1, 1], images or masks, in memory or on disk. What is cut of those smaller than a patch is
        padded by reflection.
    patch_shape : (int, int, int)
        Z, Y, X.
    seed : sequence of int
        Of places and augmentation.
    augmented : bool
        Whether patches are flipped and turned.
    as_range : callable, optional
        Brings what is cut of a volume to float32 in [-1, 1], where the volumes hold something else.
    """

    n_arrays = 1

    def __init__(
        self,
        volumes: Sequence[np.ndarray],
        patch_shape: Triple,
        seed: Sequence[int],
        augmented: bool = True,
        as_range: Callable[[np.ndarray], np.ndarray] = np.asarray,
    ) -> None:
        self._volumes = list(volumes)
        self._as_range = as_range
        sizes = np.array([volume[..., 0].size for volume in volumes], dtype=np.float64)
        self._share = sizes / sizes.sum()
        self._seed = tuple(seed)
        self._augmented = augmented
        self.patch_shape = tuple(patch_shape)
        self.n_channels = self.n_mask_channels = self._volumes[0].shape[-1]

    def draw(self, index: int) -> tuple[np.ndarray]:
        """Return the patch of an index."""
        rng = np.random.default_rng([*self._seed, index])
        volume = self._volumes[rng.choice(len(self._volumes), p=self._share)]
        return (self._as_range(_patches_at_random_place((volume,), self.patch_shape, rng, self._augmented)[0]),)


class RenderedPatches:
    """Patches of synthetic masks and of what a microscope drawn anew would show of them.

    A patch is contrast-stretched by the percentiles of its whole volume, as patches of the user's stacks are. Either a
    whole volume is rendered at a time and several patches are taken of it, or each patch is rendered by itself, with
    strengths of its own; then the percentiles are those of a coarse rendering of its volume with the same strengths.

    Parameters
    ----------
    objects : sequence of CoarseObjects
        Those of one mask volume each.
    patch_shape : (int, int, int)
        Z, Y, X.
    microscope : Microscope
        Where each rendering draws its strengths.
    percentiles : (float, float) or sequence of (float, float)
        Of the contrast stretching, of every class or a pair for each.
    seed : sequence of int
        Of everything random.
    patches_per_rendering : int
        How many consecutive indices share one rendering, where strengths are drawn per volume.
    strengths_per : {"volume", "patch"}
        What the microscope's strengths are drawn anew for.
    object_share : float
        Share of the patches, in [0, 1], that are laid onto an object, of every class as often; the others lie anywhere,
        which in a sparse volume is mostly background.

    Raises
    ------
    OptionError
        For another ``strengths_per``.
    """

    n_arrays = 2

    def __init__(
        self,
        objects: Sequence[CoarseObjects],
        patch_shape: Triple,
        microscope: Microscope,
        percentiles: Sequence[float] | Sequence[Sequence[float]],
        seed: Sequence[int],
        patches_per_rendering: int = 4,
        strengths_per: Literal["volume", "patch"] = "volume",
        object_share: float = 0.0,
    ) -> None:
        if strengths_per not in ("volume", "patch"):
            raise errors.OptionError("strengths_per", strengths_per, "give 'volume' or 'patch'")
        self._objects = list(objects)
        self._microscope = microscope
        self._percentiles = percentiles
        self._seed = tuple(seed)
        self._patches_per_rendering = patches_per_rendering
        self._strengths_per = strengths_per
        self._object_share = object_share
        self._lock = threading.Lock()
        self._rendered: tuple[int, np.ndarray, np.ndarray, np.ndarray] | None = None
        self.patch_shape = tuple(patch_shape)
        self.n_channels = self._objects[0].numbers.shape[-1]
        self.n_mask_channels = self._objects[0].shown.shape[-1]

    def draw(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """Return (image, mask) of an index."""
        if self._strengths_per == "patch":
            return self._render_patch(np.random.default_rng([*self._seed, 2, index]))
        image, mask, numbers = self._render(index // self._patches_per_rendering)
        rng = np.random.default_rng([*self._seed, 1, index])
        place = self._place(numbers, rng)
        augmentation = Augmentation.drawn(rng, self.patch_shape)
        return augmentation.apply(image[place]), augmentation.apply(mask[place])

    def _place(self, numbers: np.ndarray, rng: np.random.Generator) -> tuple[slice, slice, slice]:
        """Draw where in a volume of objects (ZYXC), at least as large as a patch, to cut."""
        if rng.random() < self._object_share:
            shown = [k for k in range(numbers.shape[-1]) if numbers[..., k].any()]
            if shown:
                voxels = np.flatnonzero(numbers[..., rng.choice(shown)])
                voxel = np.unravel_index(rng.choice(voxels), numbers.shape[:3])
                return _random_place(numbers.shape, self.patch_shape, rng, voxel)
        return _random_place(numbers.shape, self.patch_shape, rng)

    def _render(self, rendering: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        with self._lock:
            if self._rendered is None or self._rendered[0] != rendering:
                rng = np.random.default_rng([*self._seed, 0, rendering])
                drawn = self._objects[rng.integers(len(self._objects))].padded(self.patch_shape)
                image = render(drawn.numbers, self._microscope, rng, drawn.coverage)
                image = preprocessing.stretch(image, preprocessing.stretch_bounds(image, self._percentiles))
                self._rendered = rendering, image, mask_range(drawn.shown), drawn.numbers
            return self._rendered[1:]

    def _render_patch(self, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        drawn = self._objects[rng.integers(len(self._objects))].padded(self.patch_shape)
        shape = drawn.numbers.shape[:3]
        acquisition = Acquisition.drawn(drawn.numbers, self._microscope, rng)
        overview = Cut.whole(shape, 2 if drawn.numbers[..., 0].size >= MANY_VOXELS else 1)
        bounds = preprocessing.stretch_bounds(
            acquisition.image(drawn.numbers, rng, drawn.coverage, overview), self._percentiles
        )
        place = self._place(drawn.numbers, rng)
        image = acquisition.image(drawn.numbers, rng, drawn.coverage, Cut(shape, place))
        augmentation = Augmentation.drawn(rng, self.patch_shape)
        return (
            augmentation.apply(preprocessing.stretch(image, bounds)),
            augmentation.apply(mask_range(drawn.shown[place])),
        )


class PairedPatches:
    """Patches of stacks and of their masks at the same place, turned in the plane and flipped alike.

    Parameters
    ----------
    images : sequence of ndarray
        ZYXC float32 in [-1, 1].
    masks : sequence of ndarray
        As many, of the same shapes: the share of each voxel that objects cover, in [0, 1].
    patch_shape : (int, int, int)
        Z, Y, X.
    seed : sequence of int
        Of everything random.
    rotation : float
        Patches are turned by up to so many degrees either way, reflected where they then lack voxels.
    rotation_share : float
        Of the patches that are turned.
    """

    n_arrays = 2

    def __init__(
        self,
        images: Sequence[np.ndarray],
        masks: Sequence[np.ndarray],
        patch_shape: Triple,
        seed: Sequence[int],
        rotation: float = 0.0,
        rotation_share: float = 0.0,
    ) -> None:
        self._pairs = list(zip(images, masks, strict=True))
        sizes = np.array([image[..., 0].size for image in images], dtype=np.float64)
        self._share = sizes / sizes.sum()
        self._seed = tuple(seed)
        self._rotation, self._rotation_share = rotation, rotation_share
        self.patch_shape = tuple(patch_shape)
        self.n_channels, self.n_mask_channels = images[0].shape[-1], masks[0].shape[-1]

    def draw(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """Return (image, mask) of an index."""
        rng = np.random.default_rng([*self._seed, index])
        pair = self._pairs[rng.choice(len(self._pairs), p=self._share)]
        image, mask = _patches_at_random_place(pair, self.patch_shape, rng)
        if rng.random() < self._rotation_share:
            angle = rng.uniform(-self._rotation, self._rotation)
            image, mask = (
                ndimage.rotate(one, angle, axes=(1, 2), reshape=False, order=1, mode="reflect") for one in (image, mask)
            )
        return image, mask_range(mask)


def mask_range(coverage: np.ndarray) -> np.ndarray:
    """Return a mask in the networks' range, -1 to 1, from the share of each voxel that objects cover, 0 to 1."""
    return 2 * coverage.astype(np.float32) - 1


def dataset(source: PatchSource, batch_size: int, first_step: int = 0, samples: range | None = None) -> tf.data.Dataset:
    """Return an endless dataset of batches, from a given step on.

    Parameters
    ----------
    source : PatchSource
        Sample i of step s is ``source.draw(s * batch_size + i)``.
    batch_size : int
        Samples in a batch.
    first_step : int
        Where to begin.
    samples : range, optional
        Which samples of each batch to draw, all of them if not given.

    Returns
    -------
    tf.data.Dataset
        Of tuples of ``source.n_arrays`` tensors, BZYXC float32.
    """
    channels = (source.n_channels, source.n_mask_channels)[: source.n_arrays]

    def draw(index: np.ndarray) -> list[np.ndarray]:
        return [np.ascontiguousarray(patch, dtype=np.float32) for patch in source.draw(int(index))]

    def load(index: tf.Tensor) -> tuple[tf.Tensor, ...]:
        patches = tf.numpy_function(draw, [index], [tf.float32] * source.n_arrays, stateful=False)
        return tuple(tf.ensure_shape(one, (*source.patch_shape, n)) for one, n in zip(patches, channels, strict=True))

    indices = tf.data.Dataset.range(first_step * batch_size, np.iinfo(np.int64).max)
    n_drawn = batch_size
    if samples is not None and len(samples) < batch_size:
        n_drawn = len(samples)
        indices = indices.filter(
            lambda index: (index % batch_size >= samples.start) & (index % batch_size < samples.stop)
        )
    batches = indices.map(load).batch(n_drawn, drop_remainder=True).prefetch(N_PREFETCHED)
    # There is nothing to tune here, and ending an iterator waits for the tuner to wake up, up to a minute.
    options = tf.data.Options()
    options.autotune.enabled = False
    return batches.with_options(options)


def _patches_at_random_place(
    volumes: tuple[np.ndarray, ...], patch_shape: Triple, rng: np.random.Generator, augmented: bool = True
) -> tuple[np.ndarray, ...]:
    """Cut the same place out of aligned volumes, pad it to a patch by reflection, and augment it alike.

    Where a volume is smaller than a patch, all of it is cut, so that padding the cut is as good as cutting the padded.
    """
    place = _random_place(volumes[0].shape, patch_shape, rng)
    patches = tuple(preprocessing.pad_to(volume[place], patch_shape) for volume in volumes)
    augmentation = Augmentation.drawn(rng, patch_shape)
    return tuple(map(augmentation.apply, patches)) if augmented else patches


def _random_place(
    shape: Sequence[int], patch_shape: Triple, rng: np.random.Generator, voxel: Sequence[int] | None = None
) -> tuple[slice, slice, slice]:
    """Draw which voxels of a volume (ZYX, or ZYXC) a patch is made of, with what lies beyond a small volume's end.

    With a ``voxel`` (z, y, x), one of the places that hold it.
    """
    lowest, highest = [0, 0, 0], [max(side - size, 0) for side, size in zip(shape[:3], patch_shape, strict=True)]
    if voxel is not None:
        lowest = [max(0, int(at) - size + 1) for at, size in zip(voxel, patch_shape, strict=True)]
        lowest = [min(pair) for pair in zip(lowest, highest, strict=True)]
        highest = [min(int(at), end) for at, end in zip(voxel, highest, strict=True)]
    starts = [int(rng.integers(low, high + 1)) for low, high in zip(lowest, highest, strict=True)]
    return tuple(slice(first, first + size) for first, size in zip(starts, patch_shape, strict=True))
