"""From stacks and their masks to what a method that learns from pairs trains on, and what it is validated on."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tfcyclegan3d import errors
from tfcyclegan3d.config import Config
from tfcyclegan3d.scratch import ScratchFile
from tfcyclegan3d.stacks import grids_of
from tfcyclegan3d.synthesis.classes import check_channels, classes_of, taken_for
from tfcyclegan3d.synthesis.diameters import diameters_in_voxels
from tfcyclegan3d.training import on_disk, settling
from tfcyclegan3d.volumes import Volume, check_image

VALIDATION_SHARE = 0.25  # Of the stacks, or of the only one, where nobody says how many.


@dataclass(frozen=True)
class Pairs:
    """Images (ZYXC float32 in [-1, 1]) and masks (ZYXC, the share of a voxel that is covered) on the networks' grid."""

    images: list[np.ndarray]
    masks: list[np.ndarray]


@dataclass(frozen=True)
class PreparedPairs:
    """What a training on pairs needs.

    Parameters
    ----------
    config : Config
        With nothing left open: the run can be repeated from it.
    training, validation : Pairs
        No stack is in both, unless there is one alone, whose parts they then are.
    notes : list of str
        What was found or assumed, for the user to read.
    mask_seconds : float
        Spent on making the masks, where they are synthetic.
    """

    config: Config
    training: Pairs
    validation: Pairs
    notes: list[str]
    mask_seconds: float = 0.0

    @property
    def arrays(self) -> dict[str, list[np.ndarray]]:
        """Everything trained on, by what to call it."""
        return {"stacks": self.training.images, "truths": self.training.masks}


def prepare_pairs(
    images: Sequence[Volume], truths: Sequence[Volume], config: Config, scratch_folder: Path | None = None
) -> PreparedPairs:
    """Check stacks and truths, settle what the configuration leaves open, and bring everything to the networks' grid.

    Parameters
    ----------
    images : sequence of Volume
        One channel a class.
    truths : sequence of Volume
        Of each image, on its grid; 0 for background.
    config : Config
        As the user gave it.
    scratch_folder : Path, optional
        On whose disk to put what the training draws patches from.

    Raises
    ------
    UserError
        For stacks, truths or settings that do not fit each other, or a disk that is full.
    """
    _check_pairs(images, truths)
    notes: list[str] = []
    grids = grids_of(images)
    classes = config.classes or classes_of(grids[0])
    check_channels([*grids, *grids_of(truths)], classes)
    if not config.classes:
        notes += taken_for(classes)
    config = settling.with_classes(config, classes)
    settling.note_unlike_voxels(grids, notes)
    voxel_size = settling.voxel_aspect(grids[0])
    given = diameters_in_voxels(config.synthesis.diameters or {}, classes, grids[0], grids)
    smallest = min(given.values()) if given else settling.smallest_diameter(truths, voxel_size)
    config = settling.with_grid(config, smallest, grids, voxel_size, notes)
    scratch = ScratchFile(scratch_folder)
    factors = config.preprocessing.downsampling
    coarse = Pairs(on_disk.images(images, config.preprocessing, scratch), on_disk.coverages(truths, factors, scratch))
    return divided(coarse, config, notes)


def divided(pairs: Pairs, config: Config, notes: list[str]) -> PreparedPairs:
    """Share pairs out to train and to validate on, and settle the last of the configuration.

    Parameters
    ----------
    pairs : Pairs
        All there are; the last ones validate.
    config : Config
        With classes and grid settled.
    notes : list of str
        Takes what a user should know of it.

    Raises
    ------
    ConfigError
        For settings that leave nothing to train on, or patches or tiles that the network cannot take.
    VolumeContentError
        Where no truth trained on holds an object.
    """
    n_stacks, n_validation = len(pairs.images), config.supervised.n_validation
    if n_stacks == 1:
        if n_validation is not None:
            remedy = "give more stacks, or leave it out: a part of the only one then validates"
            raise errors.ConfigError("supervised.n_validation", n_validation, remedy)
        training, validation = _parts(pairs)
        notes.append("one stack: a quarter at one end of it validates, and is not trained on")
    else:
        if n_validation is None:
            n_validation = max(1, round(VALIDATION_SHARE * n_stacks))
        if n_validation >= n_stacks:
            raise errors.ConfigError(
                "supervised.n_validation", n_validation, f"leave at least one of the {n_stacks} stacks to train on"
            )
        first = n_stacks - n_validation
        training = Pairs(pairs.images[:first], pairs.masks[:first])
        validation = Pairs(pairs.images[first:], pairs.masks[first:])
        notes.append(f"trained on {first} stack(s), validated on {n_validation}, the last one(s) given")
    check_sides(config)
    if not any(mask.any() for mask in training.masks):
        raise errors.VolumeContentError(
            "--truth", "the truth of the stacks trained on holds no object", "check that it is the truth"
        )
    # Losses on pairs balance classes by themselves.
    losses = dataclasses.replace(config.losses, foreground_weights=(1.0,) * len(config.classes))
    return PreparedPairs(dataclasses.replace(config, losses=losses), training, validation, notes)


def check_sides(config: Config) -> None:
    """Refuse patches and tiles that do not divide down to the coarsest grid of a network that learns from pairs.

    Raises
    ------
    ConfigError
    """
    step = 16 if config.method == "vox2vox" else 2 ** (config.supervised.levels - 1)
    for name, sides in (
        ("training.patch_shape", config.training.patch_shape),
        ("inference.tile_shape", config.inference.tile_shape),
    ):
        if any(side % step for side in sides):
            raise errors.ConfigError(name, list(sides), f"give three multiples of {step}, as {config.method} needs")


def _check_pairs(images: Sequence[Volume], truths: Sequence[Volume]) -> None:
    if not len(images):
        raise errors.OptionError("images", [], "give at least one stack")
    if len(truths) != len(images):
        raise errors.OptionError(
            "--truth", f"{len(truths)} for {len(images)} stack(s)", "give the truth of each stack, in the same order"
        )
    for image, truth in zip(images, truths, strict=True):
        check_image(image)
        if image.shape != truth.shape:
            raise errors.ShapeMismatchError(image.name, image.shape, truth.name, truth.shape)


def _parts(pairs: Pairs) -> tuple[Pairs, Pairs]:
    """Cut the only stack in two: what trains, and the end of a long side that holds most nearly its share of objects.

    An end without an object would tell nothing.
    """
    (image,), (mask,) = pairs.images, pairs.masks
    sides, total = mask.shape[:3], np.maximum(mask.sum(axis=(0, 1, 2), dtype=np.float64), 1e-12)
    best, parts = math.inf, None
    for axis in [axis for axis in range(3) if 2 * sides[axis] >= max(sides)]:
        length = max(1, round(VALIDATION_SHARE * sides[axis]))
        for kept, held_back in (
            (slice(0, sides[axis] - length), slice(sides[axis] - length, None)),
            (slice(length, None), slice(0, length)),
        ):
            share = mask[_across(axis, held_back)].sum(axis=(0, 1, 2), dtype=np.float64) / total
            unlike = float(np.abs(share - VALIDATION_SHARE).max())
            if unlike < best:
                best, parts = unlike, (_across(axis, kept), _across(axis, held_back))
    training, validation = (Pairs([image[part]], [mask[part]]) for part in parts)
    return training, validation


def _across(axis: int, part: slice) -> tuple[slice, ...]:
    return tuple(part if k == axis else slice(None) for k in range(4))
