"""Where outlines run in the end: further out, where objects come out smaller than the user says they are.

Networks that learned from renderings put a border where optics puts it, at half of an object's brightness. People often
see it further out, most of all around dim objects. The one number that they give of their objects says so.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import keras
import numpy as np
import tensorflow as tf
from scipy import ndimage

from tfcyclegan3d import preprocessing, tiling
from tfcyclegan3d.config import Config
from tfcyclegan3d.models.frozen import FrozenNetwork
from tfcyclegan3d.models.mirrors import mean_over_mirrors
from tfcyclegan3d.models.strides import multiple_of
from tfcyclegan3d.objects.instances import label_objects
from tfcyclegan3d.precision import policy_for
from tfcyclegan3d.synthesis.diameters import diameter_in_voxels
from tfcyclegan3d.training.preparation import Prepared

# Probabilities at which an outline may run, from the usual one outwards. The longer a network learns, the more certain
# it is, and the closer together these lie.
LEVELS = (0.5, 0.45, 0.4, 0.35, 0.3, 0.25, 0.2, 0.15, 0.1, 0.05, 0.03, 0.02, 0.01, 0.005)
# What objects may lack of what is told, as a share and in voxels along X: 16 stands for any from 15.5 to 16.5.
TOLERANCE, TOLERATED_VOXELS = 0.03, 0.5
# Share of the objects left out at either end: a median of eight depends on which one happens to be the fourth.
TRIMMED = 0.25
# Objects of less than that share of the diameter in which half of all the objects' voxels lie, or of the one told if it
# is smaller, are pieces, or specks.
LEAST_SHARE = 0.5
# Share by which diameters may grow: where more is lacking, what was told may be wrong, or what was found.
MOST_GROWTH = 0.2
# Objects that are not cut, below which they say little.
LEAST_OBJECTS = 4
# Voxels of a stack that are looked at, on the networks' grid and on its own, and stacks.
MOST_COARSE, MOST_FINE, MOST_STACKS = 2**20, 2**22, 4
# What lies further than that share of a diameter from an object's outline is not part of it, whatever its probability.
REACH = 0.25
# Share of a mask that may lie away from every object; at levels where more does, a network tells nothing any more.
MOST_AWAY = 0.1

Forward = Callable[[np.ndarray], np.ndarray]


def find_outlines(
    network: keras.Model, prepared: Prepared, told: Mapping[int, float]
) -> tuple[tuple[float, ...] | None, list[str]]:
    """Find how far outwards outlines have to be moved where the training's stacks show objects smaller than told.

    Parameters
    ----------
    network : keras.Model
        An ``image_to_mask`` in float32.
    prepared : Prepared
        What it was trained on.
    told : dict of int to float
        From ``told_diameters``; nothing is done without any.

    Returns
    -------
    (tuple of float or None, list of str)
        At which probability the outlines of each class are to run, None where none is moved; and what was found, for
        the user to read.
    """
    if not told:
        return None, []
    config, size = prepared.config, prepared.voxel_size
    factors = config.preprocessing.downsampling
    spacing = [side / size[2] for side in size]
    forward = _forward(network, config)
    found = outline_levels(prepared.images, forward, told, spacing, multiple_of(network), factors)
    moved = {k: level for k, (level, _, _) in found.items() if level != LEVELS[0]}
    notes = []
    for k, (level, before, after) in found.items():
        what = f"outlines are moved to where the probability was {level:g}, {after:.3g} voxels across"
        if k not in moved:
            what = "outlines stay where they are"
        if after < told[k] - _tolerated(told[k]):
            what += ", and no further; check the diameter, and whether objects are found whole"
        notes.append(f"{config.classes[k]}: told to be {told[k]:.3g} voxels across, found {before:.3g}: {what}")
    if not moved:
        return None, notes
    return tuple(moved.get(k, LEVELS[0]) for k in range(len(config.classes))), notes


def told_diameters(prepared: Prepared) -> dict[int, float]:
    """Return the diameters that outlines are to follow, in voxels along X, by channel: those that the user told.

    None where that is not asked for, or an instance normalisation before tanh would undo it.

    Raises
    ------
    OptionError
        For micrometres where the voxel size is not known.
    """
    config, prior = prepared.config, prepared.prior
    if prior is None or not config.training.match_diameters or config.model.output_normalization != "none":
        return {}
    voxel_size_um = prepared.voxel_size if prior.unit == "um" else None
    diameters = config.synthesis.diameters or {}
    return {
        k: diameter_in_voxels(name, diameters[name], voxel_size_um)
        for k, name in enumerate(config.classes)
        if name in diameters
    }


def _forward(network: keras.Model, config: Config) -> Forward:
    """Return what gives the probabilities that a prediction of an image as a whole would."""
    frozen = None
    if config.inference.statistics == "stack":
        frozen = FrozenNetwork(
            network,
            policy_for(config.training.mixed_precision),
            lambda function: tf.function(function, reduce_retracing=True),
        )
    graph = tf.function(lambda batch: (frozen.folded if frozen else network)(batch, training=False))

    def probabilities_of(image: np.ndarray) -> np.ndarray:
        batch = image[np.newaxis]
        if frozen is not None and frozen.needs_statistics:
            frozen.set_statistics(frozen.statistics_of(batch))
        made = mean_over_mirrors(lambda mirrored: graph(tf.constant(mirrored)).numpy(), batch, config.inference.flips)
        return (made[0] + 1) / 2

    return probabilities_of


def outline_levels(
    images: Sequence[np.ndarray],
    probabilities_of: Forward,
    diameters: Mapping[int, float],
    spacing: Sequence[float],
    multiple: int,
    factors: tuple[int, int, int] = (1, 1, 1),
) -> dict[int, tuple[float, float, float]]:
    """Return for each channel at which probability its objects are as large as told.

    Parameters
    ----------
    images : sequence of ndarray
        ZYXC float32 in [-1, 1], as the networks see stacks; of large ones the middle is looked at.
    probabilities_of : callable
        From such an image, its sides multiples of ``multiple``, to probabilities in [0, 1] of the same grid.
    diameters : dict of int to float
        Typical diameter, of a ball of the same volume, by channel, in voxels of the stack along X; others are left out.
    spacing : (z, y, x)
        Sides of a voxel of the stacks in the unit of the diameters.
    multiple : int
        Of voxels that the network takes along each axis.
    factors : (int, int, int)
        By which the stacks' own grid is finer than that of the images. Levels are those of probabilities interpolated
        to it, as a prediction is: where a network is so certain that its voxels differ by all there is, they still tell
        where between two of them an outline runs.

    Returns
    -------
    dict of int to (level, before, after)
        For the channels whose objects lack more of what is told than is tolerated: the highest of ``LEVELS`` at which
        the typical diameter, the mean of the middle half of all, reaches the one told, or ``MOST_GROWTH`` more than it
        is at one half, or the lowest at which no more than ``MOST_AWAY`` of the mask lies away from every object; and
        that diameter at one half and at the level, which is one half where none lower may be taken: such channels are
        left out unless ``MOST_GROWTH`` would not do either. Objects that are larger are left as they are: what is told
        is a diameter in the plane, and many are longer along Z.
    """
    found: dict[int, list[np.ndarray]] = {k: [] for k in diameters}
    n_voxels = {k: np.zeros((2, len(LEVELS))) for k in diameters}
    most = min(MOST_COARSE, MOST_FINE // math.prod(factors))
    for image in tiling.spread(images, MOST_STACKS):
        seen, smallest = _middle(image, most), (multiple,) * 3
        crop = tiling.crop_of(tiling.padding_to(seen.shape[:3], smallest, multiple))
        probabilities = probabilities_of(preprocessing.pad_to(seen, smallest, multiple))[crop]
        fine = tuple(side * factor for side, factor in zip(seen.shape[:3], factors, strict=True))
        for k, diameter in diameters.items():
            of_class = preprocessing.upsample(probabilities[..., k : k + 1], factors, fine)[..., 0]
            each, counts = _diameters(of_class, diameter, spacing)
            found[k].append(each)
            n_voxels[k] += counts
    levels = {}
    for k, told in diameters.items():
        each = _without_pieces(np.concatenate(found[k]), told)
        if len(each) < LEAST_OBJECTS:
            continue
        typical = _middle_mean(each)
        if typical[0] >= told - _tolerated(told):
            continue
        of_objects, away = n_voxels[k]
        near = away <= MOST_AWAY * (of_objects + away)
        last = max(int(np.logical_and.accumulate(near).sum()) - 1, 0)
        large = typical[: last + 1] >= min(told, (1 + MOST_GROWTH) * typical[0])
        chosen = int(np.argmax(large)) if large.any() else last
        if chosen > 0 or (1 + MOST_GROWTH) * typical[0] < told:
            levels[k] = (LEVELS[chosen], float(typical[0]), float(typical[chosen]))
    return levels


def _tolerated(told: float) -> float:
    """Return what a diameter may lack of the one told."""
    return max(TOLERANCE * told, TOLERATED_VOXELS)


def _without_pieces(diameters: np.ndarray, told: float) -> np.ndarray:
    """Leave out the objects (objects x levels) that are small beside those that hold most of the voxels.

    A few broken objects among the few that no face cuts would else make the others seem smaller than they are. Beside
    objects larger than told, which may be several in one, none is a piece for that.
    """
    ordered = np.sort(diameters[:, 0])
    held = np.cumsum(ordered**3)
    if len(held) == 0:
        return diameters
    large = min(ordered[np.searchsorted(held, held[-1] / 2)], told)
    return diameters[diameters[:, 0] >= LEAST_SHARE * large]


def _middle_mean(values: np.ndarray) -> np.ndarray:
    """Return the mean of what is neither among the lowest nor among the highest quarter along the first axis.

    At least a quarter is left out at either end, so that two pieces of broken objects among five count for nothing.
    """
    n_left_out = min(math.ceil(TRIMMED * len(values)), (len(values) - 1) // 2)
    kept: np.ndarray = np.sort(values, axis=0)[n_left_out : len(values) - n_left_out]
    return kept.mean(axis=0)


def _middle(image: np.ndarray, most: int) -> np.ndarray:
    """Return the middle of ZYXC, of at most so many voxels."""
    kept = tiling.shortened(image.shape[:3], most)
    starts = [(side - length) // 2 for side, length in zip(image.shape[:3], kept, strict=True)]
    return np.asarray(image[tuple(slice(a, a + length) for a, length in zip(starts, kept, strict=True))], np.float32)


def _diameters(probability: np.ndarray, told: float, spacing: Sequence[float]) -> tuple[np.ndarray, np.ndarray]:
    """Measure the objects of one class (ZYX) at each level.

    Returns
    -------
    (ndarray, ndarray)
        Diameters (objects x levels) of those that no face of the stack cuts, and the voxels of the mask (2 x levels)
        that belong to an object and that lie away from all of them.
    """
    numbers = label_objects(probability, threshold=LEVELS[0], diameter=told, spacing=spacing)
    n_objects = int(numbers.max())
    if n_objects == 0:
        n_away = [np.count_nonzero(probability > level) for level in LEVELS]
        return np.empty((0, len(LEVELS))), np.array([[0] * len(LEVELS), n_away])
    away, nearest = ndimage.distance_transform_edt(numbers == 0, spacing, return_indices=True)
    owners = numbers[tuple(nearest)]
    owners[away > REACH * told] = 0

    def counted(some: np.ndarray) -> np.ndarray:
        return np.bincount(some.ravel(), minlength=n_objects + 1)

    is_whole = (counted(numbers) == counted(numbers[1:-1, 1:-1, 1:-1]))[1:]
    n_voxels = np.stack([counted(owners[probability > level]) for level in LEVELS], axis=1)
    diameters = np.cbrt(6 / np.pi * n_voxels[1:][is_whole] * float(np.prod(spacing)))
    return diameters, np.stack([n_voxels[1:].sum(axis=0), n_voxels[0]])
