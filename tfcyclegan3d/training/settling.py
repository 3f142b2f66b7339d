"""What a configuration leaves open, settled by the user's stacks and masks: one function for each open choice."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from tfcyclegan3d import errors, micrometres, preprocessing
from tfcyclegan3d.config import Config
from tfcyclegan3d.preprocessing import CoarseObjects
from tfcyclegan3d.synthesis import estimation
from tfcyclegan3d.synthesis.scale_space import middle
from tfcyclegan3d.volumes import Grid, Volume

GOLGI_WEIGHT = 3.5  # Paper, section III.C: Golgi is under-represented; every other class weighs 1.
GOLGI_PERCENTILES, PERCENTILES = (95.0, 99.8), (95.0, 98.0)  # The paper's published code, class by class.


def voxel_aspect(volume: Volume | Grid) -> tuple[float, float, float]:
    """Return the size of a voxel along Z, Y, X relative to X; 1 along each where the stack does not say."""
    if volume.voxel_size_um is None:
        return (1.0, 1.0, 1.0)
    z, y, x = volume.voxel_size_um
    return (z / x, y / x, 1.0)


def note_unlike_voxels(grids: Sequence[Grid], notes: list[str]) -> None:
    """Note where stacks whose voxel size is known differ in it, since all are trained on as the first one is."""
    known = [grid for grid in grids if grid.voxel_size_um is not None]
    unlike = [one for one in known[1:] if not micrometres.voxels_alike(known[0].voxel_size_um, one.voxel_size_um)]
    if unlike:
        first, other = (f"{micrometres.shown(one.voxel_size_um)} in {one.name}" for one in (known[0], unlike[0]))
        notes.append(
            f"voxels differ in size: {first}, {other}; masks are drawn for the first stack's: train stacks of "
            "different voxels apart, or resample them"
        )


def smallest_diameter(masks: Sequence[Volume], voxel_size: Sequence[float]) -> float | None:
    """Return the diameter of the objects of the class with the smallest ones, in units of ``voxel_size``, if there are.

    Parameters
    ----------
    masks : sequence of Volume
        Object numbers or bool alike: what counts is where the objects are.
    voxel_size : (z, y, x)
        Sides of a voxel.
    """
    parts = (middle(mask.array[..., k], estimation.MOST_THRESHOLDED) for mask in masks for k in range(mask.n_channels))
    found = [estimation.diameter((part > 0).astype(np.uint8), voxel_size) for part in parts]
    return min((diameter for diameter in found if diameter), default=None)


def with_classes(config: Config, classes: tuple[str, ...]) -> Config:
    """Settle the classes, the weight of each in L1 terms, and the percentiles that each is stretched between.

    Raises
    ------
    ConfigError
        For numbers given for more or fewer classes.
    """
    weights = config.losses.class_weights
    if weights is None:
        weights = tuple(GOLGI_WEIGHT if name == "golgi" and len(classes) > 1 else 1.0 for name in classes)
    elif len(weights) != len(classes):
        raise errors.ConfigError(
            "losses.class_weights", list(weights), f"give one number for each of {', '.join(classes)}"
        )
    percentiles = config.preprocessing.percentiles
    if percentiles is None:
        percentiles = tuple(GOLGI_PERCENTILES if name == "golgi" else PERCENTILES for name in classes)
    elif np.ndim(percentiles) == 2 and len(percentiles) != len(classes):
        raise errors.ConfigError(
            "preprocessing.percentiles",
            [list(pair) for pair in percentiles],
            f"give one pair, or one for each of {', '.join(classes)}",
        )
    return dataclasses.replace(
        config,
        classes=classes,
        losses=dataclasses.replace(config.losses, class_weights=weights),
        preprocessing=dataclasses.replace(config.preprocessing, percentiles=percentiles),
    )


def with_grid(
    config: Config,
    smallest: float | None,
    grids: Sequence[Grid],
    voxel_size: Sequence[float],
    notes: list[str],
) -> Config:
    """Settle the downsampling.

    Parameters
    ----------
    config : Config
        Whose ``preprocessing.downsampling`` stays if it has one.
    smallest : float or None
        Diameter of the objects of the class with the smallest ones, in units of ``voxel_size``; None where there is
        none, which leaves the grid as it is.
    grids : sequence of Grid
        Of the stacks.
    voxel_size : (z, y, x)
        Sides of a voxel.
    notes : list of str
        Takes what a user should know of it.
    """
    factors, wanted = config.preprocessing.downsampling, config.preprocessing.working_diameter
    if factors is None:
        factors = preprocessing.working_factors(wanted if smallest is None else smallest, voxel_size, wanted)
        # A stack is not made thinner than half a patch, so that no more than half of a patch is reflection.
        thinnest = np.min([grid.shape for grid in grids], axis=0)
        factors = tuple(
            int(max(1, min(factor, side // (size // 2))))
            for factor, side, size in zip(factors, thinnest, config.training.patch_shape, strict=True)
        )
    if factors != (1, 1, 1):
        notes.append("networks see blocks of {} x {} x {} voxels (Z, Y, X) as one".format(*factors))
    return dataclasses.replace(config, preprocessing=dataclasses.replace(config.preprocessing, downsampling=factors))


def with_foreground_weights(config: Config, objects: Sequence[CoarseObjects]) -> Config:
    """Settle how much more object voxels weigh: the root of how much rarer they are, between 1 and 10.

    The inverse frequency itself would ask for over-segmentation; without any weight an empty mask is a good answer.

    Raises
    ------
    ConfigError
        For numbers given for more or fewer classes.
    """
    weights, n_classes = config.losses.foreground_weights, len(config.classes)
    if weights is None:
        fractions = np.mean([one.coverage.mean(axis=(0, 1, 2)) for one in objects], axis=0)
        rarity = np.sqrt((1 - fractions) / np.maximum(fractions, 1e-6))
        weights = tuple(round(float(weight), 3) for weight in np.clip(rarity, 1, 10))
    elif len(weights) == 1:
        weights = weights * n_classes
    elif len(weights) != n_classes:
        raise errors.ConfigError(
            "losses.foreground_weights", list(weights), f"give one number for each of {', '.join(config.classes)}"
        )
    return dataclasses.replace(config, losses=dataclasses.replace(config.losses, foreground_weights=weights))
