"""Synthetic masks: a scene drawn from a prior, as arrays."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from tfcyclegan3d import errors
from tfcyclegan3d.synthesis.placement import draw_scene
from tfcyclegan3d.synthesis.prior import NUCLEI_AND_GOLGI, Prior
from tfcyclegan3d.synthesis.scene import DrawnObject, Scene
from tfcyclegan3d.volumes import Volume

logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class SyntheticMasks(Volume):
    """Synthetic masks with the objects they were drawn from; ``array`` is ZYXC uint8, 0 or 1.

    Parameters
    ----------
    scene : Scene
        The objects, and what of the prior's density could not be placed.
    """

    scene: Scene = field(kw_only=True)

    @cached_property
    def objects(self) -> np.ndarray:
        """ZYXC uint16 (uint32 beyond 65535 groups): instance numbers per class, 0 for background."""
        return self.scene.numbers()

    @property
    def table(self) -> tuple[DrawnObject, ...]:
        """Every object of which at least one voxel lies in the volume."""
        return self.scene.table


def synthesize_masks(
    shape: Sequence[int],
    prior: Prior = NUCLEI_AND_GOLGI,
    seed: int | Sequence[int] | np.random.Generator = 0,
    voxel_size_um: tuple[float, float, float] | None = None,
    workers: int | None = None,
) -> SyntheticMasks:
    """Draw synthetic masks.

    Centres lie anywhere in the volume, so that objects are cut by its border as in a real stack. Groups are placed
    one after another by rejection; members of one group may overlap each other, each in its own channel.

    Parameters
    ----------
    shape : (z, y, x)
        Sides of the volume, in voxels.
    prior : Prior
        What to draw.
    seed : int, sequence of int or np.random.Generator
        The same seed gives the same masks, bit for bit, whatever the number of workers.
    voxel_size_um : (z, y, x), optional
        Voxel size in micrometres: recorded, and needed by a prior in micrometres.
    workers : int, optional
        Threads; as many as there are processors without it.

    Returns
    -------
    SyntheticMasks
        With fewer objects than asked for, and a warning in the log, where no more fitted.

    Raises
    ------
    OptionError
        Where the shape is not three positive whole numbers, is larger than memory, or the seed is negative.
    PriorError
        Where an object of the prior cannot fit into the volume, or its unit needs a voxel size.
    """
    scene = synthesize_scene(shape, prior, seed, voxel_size_um, workers)
    for shortfall in scene.shortfalls:
        logger.warning("the volume is full: %s", shortfall)
    try:
        mask = scene.mask()
    except MemoryError as error:
        raise too_large(shape) from error
    return SyntheticMasks(mask, voxel_size_um, "synthetic masks", scene=scene)


def synthesize_scene(
    shape: Sequence[int],
    prior: Prior = NUCLEI_AND_GOLGI,
    seed: int | Sequence[int] | np.random.Generator = 0,
    voxel_size_um: tuple[float, float, float] | None = None,
    workers: int | None = None,
) -> Scene:
    """Draw the objects of synthetic masks without painting them; see `synthesize_masks`.

    Returns
    -------
    Scene
        With what could not be placed in ``shortfalls``; nothing is logged.
    """
    sides = _checked_shape(shape)
    voxel_size = prior.voxel_size(voxel_size_um)
    prior.check_fits(sides, voxel_size)
    if workers is not None and workers < 1:
        raise errors.OptionError("workers", workers, "give at least 1")
    try:
        return draw_scene(sides, prior, voxel_size, seed_sequence(seed), workers)
    except (MemoryError, OverflowError) as error:
        raise too_large(shape) from error


def _checked_shape(shape: Sequence[int]) -> tuple[int, int, int]:
    remedy = "give three whole numbers above 0: Z,Y,X"
    try:
        sides = tuple(int(side) for side in shape)
    except (TypeError, ValueError) as error:
        raise errors.OptionError("shape", shape, remedy) from error
    if len(sides) != 3 or any(side < 1 or side != given for side, given in zip(sides, shape, strict=True)):
        raise errors.OptionError("shape", shape, remedy)
    if np.prod(sides, dtype=np.float64) > np.iinfo(np.intp).max:
        raise too_large(shape)
    return sides


def too_large(shape: Sequence[int]) -> errors.OptionError:
    """Return the error of a volume larger than memory."""
    return errors.OptionError("shape", shape, "that is larger than this machine's memory, give less")


def seed_sequence(seed: int | Sequence[int] | np.random.Generator) -> np.random.SeedSequence:
    """Return where everything random comes from, or say why the seed is none."""
    if isinstance(seed, np.random.Generator):
        seed = [int(one) for one in seed.integers(0, 2**32, size=4)]
    try:
        return np.random.SeedSequence(seed)
    except (TypeError, ValueError) as error:
        raise errors.OptionError("seed", seed, "give a whole number of 0 or more") from error
