"""Synthetic masks: groups of objects placed at random in a volume so that no two groups overlap."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from scipy import ndimage

from tfcyclegan3d import errors
from tfcyclegan3d.synthesis.groups import Group, draw_group
from tfcyclegan3d.synthesis.prior import NUCLEI_AND_GOLGI, Prior
from tfcyclegan3d.volumes import Volume

logger = logging.getLogger(__name__)

# Places tried for one group, in batches: the first batch usually holds a free one, the last tells a full volume.
BATCHES = (4, 32, 128)
# Groups of a kind in a row for which no place was found before the volume counts as full: counted by kind, because
# small objects still fit where large ones do not, and filling up with them would change the mixture.
PATIENCE = 5
# Voxels of a group looked up before the whole group is: enough to dismiss nearly every taken place.
PROBES = 48


@dataclass(frozen=True)
class DrawnObject:
    """One object as it was drawn, before the elastic deformation and the cut at the volume's border.

    Parameters
    ----------
    class_name : str
        Its class.
    number : int
        Its value in ``SyntheticMasks.objects``, from 1; the members of a pair carry the same.
    centre : (z, y, x)
        In voxels.
    semi_axes : (a, b, c)
        In the prior's unit of length, the principal first; all alike for a sphere.
    offset : (z, y, x)
        Shift from its anchor before the pair was rotated, in the prior's unit of length.
    angle : float
        Rotation in the XY plane, in degrees from X towards Y; in any orientation, that of the principal axis.
    principal_axis : (z, y, x)
        Unit vector of the principal semi-axis.
    """

    class_name: str
    number: int
    centre: tuple[float, float, float]
    semi_axes: tuple[float, float, float]
    offset: tuple[float, float, float]
    angle: float
    principal_axis: tuple[float, float, float]

    @property
    def pair(self) -> int:
        """The number of the pair (the group) it belongs to."""
        return self.number


@dataclass(frozen=True, eq=False)
class SyntheticMasks(Volume):
    """Synthetic masks with the objects they were drawn from; ``array`` is ZYXC uint8, 0 or 1.

    Parameters
    ----------
    objects : np.ndarray
        ZYXC uint16 (uint32 beyond 65535 groups): instance numbers per class, 0 for background.
    table : tuple of DrawnObject
        Every object of which at least one voxel lies in the volume.
    """

    objects: np.ndarray = field(kw_only=True)
    table: tuple[DrawnObject, ...] = field(kw_only=True)


def synthesize_masks(
    shape: Sequence[int],
    prior: Prior = NUCLEI_AND_GOLGI,
    seed: int | Sequence[int] | np.random.Generator = 0,
    voxel_size_um: tuple[float, float, float] | None = None,
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
        The same seed gives the same masks, bit for bit.
    voxel_size_um : (z, y, x), optional
        Voxel size to record, in micrometres; it does not change what is drawn.

    Returns
    -------
    SyntheticMasks
        With fewer groups than asked for, and a warning in the log, where no more fitted.

    Raises
    ------
    OptionError
        Where the shape is not three positive whole numbers, is larger than memory, or the seed is negative.
    """
    sides = _checked_shape(shape)
    rng = _generator(seed)
    objects, taken = _empty(sides, len(prior.objects))
    table: list[DrawnObject] = []
    wanted_groups, wanted_voxels = _draw_amount(prior, taken.size, rng)
    gap = np.ceil(prior.minimum_gap / np.asarray(prior.voxel_aspect)).astype(int)
    number = covered = 0
    failures = dict.fromkeys(prior.class_names, 0)
    for group in _groups(prior, rng):
        if number >= wanted_groups or covered >= wanted_voxels:
            break
        if max(failures.values()) >= PATIENCE:
            _warn_full(number, wanted_groups, covered / taken.size, wanted_voxels / taken.size)
            break
        origin = _find_place(group, taken, gap, rng)
        kind = group.members[0].class_name
        failures[kind] = failures[kind] + 1 if origin is None else 0
        if origin is None:
            continue
        number += 1
        if number > np.iinfo(objects.dtype).max:
            objects = objects.astype(np.uint32)
        covered += _mark(group, origin, taken)
        table.extend(_draw_into(objects, group, origin, number, prior.class_names))
    return SyntheticMasks(
        (objects > 0).astype(np.uint8), voxel_size_um, "synthetic masks", objects=objects, table=tuple(table)
    )


def _groups(prior: Prior, rng: np.random.Generator) -> Iterator[Group]:
    """Draw groups without end, the kinds taking turns."""
    for kind in itertools.cycle(prior.groups()):
        yield draw_group(kind, prior, rng)


def _draw_amount(prior: Prior, n_voxels: int, rng: np.random.Generator) -> tuple[float, float]:
    """Return the number of groups and of covered voxels at which to stop; one of them is infinite."""
    if prior.count is not None:
        low, high = prior.count
        return int(rng.integers(low, high, endpoint=True)) * len(prior.groups()), np.inf
    return np.inf, rng.uniform(*prior.fill_fraction) * n_voxels


def _find_place(group: Group, taken: np.ndarray, gap: np.ndarray, rng: np.random.Generator) -> np.ndarray | None:
    """Return a free voxel for the group's origin, or None where every place tried is taken."""
    solid = np.pad(group.solid, [(one, one) for one in gap])
    corner = group.corner - gap
    probes = np.argwhere(solid)
    if not len(probes):
        return None
    if gap.any():
        solid = ndimage.maximum_filter(solid, size=tuple(2 * gap + 1), mode="constant")
        probes = np.argwhere(solid)
    probes = corner + probes[rng.integers(len(probes), size=PROBES)]
    for tries in BATCHES:
        origins = rng.integers(0, taken.shape, size=(tries, 3))
        for origin in origins[~_any_taken(taken, origins[:, None] + probes)]:
            here, there = _overlap(taken.shape, origin + corner, solid.shape)
            if not (taken[here] & solid[there]).any() and _reaches_inside(group, origin, taken.shape):
                return origin
    return None


def _any_taken(taken: np.ndarray, places: np.ndarray) -> np.ndarray:
    """Return for each row of (n, probes, 3) places whether one is taken; places outside the volume are free."""
    inside = ((places >= 0) & (places < taken.shape)).all(axis=-1)
    z, y, x = np.moveaxis(np.where(inside[..., None], places, 0), -1, 0)
    return (taken[z, y, x] & inside).any(axis=1)


def _overlap(
    shape: Sequence[int], corner: np.ndarray, box: Sequence[int]
) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
    """Return where a box lies in the volume, and which part of the box that is."""
    low, high = np.maximum(corner, 0), np.minimum(corner + box, shape)
    high = np.maximum(low, high)
    here = tuple(slice(*span) for span in zip(low, high, strict=True))
    there = tuple(slice(*span) for span in zip(low - corner, high - corner, strict=True))
    return here, there


def _reaches_inside(group: Group, origin: np.ndarray, shape: Sequence[int]) -> bool:
    solid = group.solid
    return bool(solid[_overlap(shape, origin + group.corner, solid.shape)[1]].any())


def _mark(group: Group, origin: np.ndarray, taken: np.ndarray) -> int:
    """Mark the group's voxels as taken and return how many there are in the volume."""
    solid = group.solid
    here, there = _overlap(taken.shape, origin + group.corner, solid.shape)
    taken[here] |= solid[there]
    return int(np.count_nonzero(solid[there]))


def _draw_into(
    objects: np.ndarray, group: Group, origin: np.ndarray, number: int, class_names: Sequence[str]
) -> Iterator[DrawnObject]:
    """Write the group's number into its classes' channels and give the objects that have a voxel there."""
    for member in group.members:
        here, there = _overlap(objects.shape[:3], origin + group.corner, member.inside.shape)
        inside = member.inside[there]
        if inside.any():
            objects[(*here, class_names.index(member.class_name))][inside] = number
            centre = tuple(float(one) for one in origin + np.asarray(member.centre))
            yield DrawnObject(
                member.class_name, number, centre, member.semi_axes, member.offset, group.angle, group.principal_axis
            )


def _warn_full(number: int, wanted_groups: float, fill: float, wanted_fill: float) -> None:
    wanted = f"{wanted_groups} groups" if np.isfinite(wanted_groups) else f"a fill of {wanted_fill:.3f}"
    logger.warning(
        "the volume is full with %d groups (a fill of %.3f), %s were asked for: ask for fewer or smaller objects",
        number,
        fill,
        wanted,
    )


def _checked_shape(shape: Sequence[int]) -> tuple[int, int, int]:
    remedy = "give three whole numbers above 0: Z,Y,X"
    try:
        sides = tuple(int(side) for side in shape)
    except (TypeError, ValueError) as error:
        raise errors.OptionError("shape", shape, remedy) from error
    if len(sides) != 3 or any(side < 1 or side != given for side, given in zip(sides, shape, strict=True)):
        raise errors.OptionError("shape", shape, remedy)
    return sides


def _generator(seed: int | Sequence[int] | np.random.Generator) -> np.random.Generator:
    try:
        return np.random.default_rng(seed)
    except (TypeError, ValueError) as error:
        raise errors.OptionError("seed", seed, "give a whole number of 0 or more") from error


def _empty(shape: tuple[int, int, int], n_classes: int) -> tuple[np.ndarray, np.ndarray]:
    try:
        return np.zeros((*shape, n_classes), np.uint16), np.zeros(shape, bool)
    except (MemoryError, ValueError) as error:
        raise errors.OptionError("shape", shape, "that is larger than this machine's memory, give less") from error
