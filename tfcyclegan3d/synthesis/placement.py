"""Placing groups at random in a volume so that no two overlap."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from tfcyclegan3d.synthesis.groups import Group, draw_group
from tfcyclegan3d.synthesis.layer import Layer, draw_layer
from tfcyclegan3d.synthesis.prior import GroupKind, Prior
from tfcyclegan3d.synthesis.prior_values import Triple
from tfcyclegan3d.synthesis.scene import DrawnObject, PlacedObject, Scene

# Places tried for one group, in batches: the first batch usually holds a free one, the last tells a full volume.
BATCHES = (4, 32, 128)
# Groups of a kind in a row for which no place was found before the volume counts as full for that kind.
PATIENCE = 5
# Share of what was wanted that is about as good as all of it.
NEARLY = 0.8
# Groups of a kind in a row that no voxel showed, before it is given up: small objects may well miss every voxel.
MOST_EMPTY = 500
# Voxels of a group looked up before the whole group is: enough to dismiss nearly every taken place.
PROBES = 48
UM3_PER_MM3 = 1e9


@dataclass
class Quota:
    """How much of a kind of group is wanted, and how far that has come; one of the two limits is infinite.

    Parameters
    ----------
    kind : GroupKind
        The kind.
    groups : iterator of Group
        Where they come from.
    wanted_groups, wanted_voxels : float
        At which to stop.
    """

    kind: GroupKind
    groups: Iterator[Group]
    wanted_groups: float
    wanted_voxels: float
    n_groups: int = 0
    n_voxels: int = 0
    n_failures: int = 0
    n_empty: int = 0

    @property
    def is_met(self) -> bool:
        """Whether no more of it is wanted."""
        return self.n_groups >= self.wanted_groups or self.n_voxels >= self.wanted_voxels

    @property
    def is_given_up(self) -> bool:
        """Whether no place was found for too many of it in a row."""
        return self.n_failures >= PATIENCE or self.n_empty >= MOST_EMPTY

    def shortfall(self, n_volume: int) -> str:
        """Say how much was placed of what was asked for, and why no more."""
        if np.isfinite(self.wanted_groups):
            amount = f"{self.n_groups} of {self.wanted_groups:.0f}"
        else:
            amount = (
                f"{self.n_voxels / n_volume:.1%} of the volume filled instead of {self.wanted_voxels / n_volume:.1%}"
            )
        share = max(self.n_groups / self.wanted_groups, self.n_voxels / self.wanted_voxels)
        remedy = "it can be used as it is" if share >= NEARLY else "ask for fewer or smaller objects"
        reason = f"no free place was left for the next; {remedy}"
        if self.n_empty >= MOST_EMPTY:
            reason = "the objects are too thin for these voxels to show; ask for thicker ones"
        return f"{' and '.join(self.kind.class_names)}: {amount}, because {reason}"


def draw_scene(
    shape: tuple[int, int, int],
    prior: Prior,
    voxel_size: Triple,
    seed: np.random.SeedSequence,
    workers: int | None = None,
) -> Scene:
    """Draw groups and place them one after another by rejection, the kinds taking turns.

    Centres lie anywhere in the volume, so that objects are cut by its border as in a real stack. The members of a group
    may overlap each other, each in its own channel.

    Parameters
    ----------
    shape : (z, y, x)
        In voxels.
    prior : Prior
        What to draw.
    voxel_size : (z, y, x)
        In the prior's unit.
    seed : np.random.SeedSequence
        The same gives the same scene, bit for bit: what is drawn for the n-th group of a kind depends on the seed and n
        alone, not on the workers.
    workers : int, optional
        Threads that draw groups ahead of their placing; as many as there are processors without it.
    """
    taken = np.zeros(shape, bool)
    amounts, drawing = seed.spawn(2)
    rng = np.random.default_rng(amounts)
    layer = draw_layer(prior, shape, voxel_size, rng)
    kinds = prior.groups()
    quotas = [
        Quota(
            kind, _drawn_groups(kind, prior, voxel_size, stream, workers), *wanted_amount(kind, shape, voxel_size, rng)
        )
        for kind, stream in zip(kinds, drawing.spawn(len(kinds)), strict=True)
    ]
    gap = np.ceil(prior.minimum_gap / np.asarray(voxel_size)).astype(int)
    placed: list[PlacedObject] = []
    number = 0
    while open_quotas := [one for one in quotas if not (one.is_met or one.is_given_up)]:
        for quota in open_quotas:
            group = next(quota.groups)
            if not group.solid.any():
                quota.n_empty += 1
                continue
            quota.n_empty = 0
            origin = _find_place(group, taken, gap, layer, rng)
            quota.n_failures = quota.n_failures + 1 if origin is None else 0
            if origin is not None:
                number += 1
                quota.n_groups += 1
                quota.n_voxels += _mark(group, origin, taken)
                placed.extend(_placed(group, origin, number, shape, prior.class_names))
    for quota in quotas:
        quota.groups.close()
    shortfalls = tuple(one.shortfall(taken.size) for one in quotas if not one.is_met)
    return Scene(shape, prior.class_names, prior.unit, tuple(placed), shortfalls)


def wanted_amount(
    kind: GroupKind, shape: Sequence[int], voxel_size: Triple, rng: np.random.Generator
) -> tuple[float, float]:
    """Draw the number of groups of a kind and of covered voxels at which to stop; one of them is infinite.

    Parameters
    ----------
    kind : GroupKind
        Whose density to draw from.
    shape, voxel_size : (z, y, x)
        Of the volume.
    rng : np.random.Generator
        Where the numbers come from.
    """
    root = kind.root
    if root.count is not None:
        return int(rng.integers(*root.count, endpoint=True)), np.inf
    if root.per_mm3 is not None:
        volume_mm3 = np.prod(shape) * np.prod(voxel_size) / UM3_PER_MM3
        # Rounded at random, so that small volumes hold as many on average.
        return int(rng.uniform(*root.per_mm3) * volume_mm3 + rng.uniform()), np.inf
    return np.inf, rng.uniform(*root.fill_fraction) * float(np.prod(shape))


def _drawn_groups(
    kind: GroupKind, prior: Prior, voxel_size: Triple, stream: np.random.SeedSequence, workers: int | None
) -> Iterator[Group]:
    """Draw groups of a kind without end, each from a generator of its own."""

    def draw(index: int) -> Group:
        own = np.random.SeedSequence(stream.entropy, spawn_key=(*stream.spawn_key, index))
        return draw_group(kind, prior, voxel_size, np.random.default_rng(own))

    return _in_order(draw, workers or os.cpu_count() or 1)


def _in_order(draw: Callable[[int], Group], workers: int) -> Iterator[Group]:
    """Give ``draw(0)``, ``draw(1)``, ... without end, drawn a few ahead by threads."""
    with ThreadPoolExecutor(workers) as pool:
        ahead = deque(pool.submit(draw, index) for index in range(2 * workers))
        index = len(ahead)
        while True:
            try:
                yield ahead.popleft().result()
            except GeneratorExit:
                for one in ahead:
                    one.cancel()
                raise
            ahead.append(pool.submit(draw, index))
            index += 1


def _find_place(
    group: Group, taken: np.ndarray, gap: np.ndarray, layer: Layer | None, rng: np.random.Generator
) -> np.ndarray | None:
    """Return a free voxel for the group's origin, or None where every place tried is taken."""
    solid = np.pad(group.solid, [(one, one) for one in gap])
    corner = group.corner - gap
    if gap.any():
        solid = ndimage.maximum_filter(solid, size=tuple(2 * gap + 1), mode="constant")
    probes = np.argwhere(solid)
    probes = corner + probes[rng.integers(len(probes), size=PROBES)]
    for tries in BATCHES:
        origins = layer.origins(tries, taken.shape, rng) if layer else rng.integers(0, taken.shape, size=(tries, 3))
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
    here = tuple(slice(int(first), int(last)) for first, last in zip(low, high, strict=True))
    there = tuple(slice(int(first), int(last)) for first, last in zip(low - corner, high - corner, strict=True))
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


def _placed(
    group: Group, origin: np.ndarray, number: int, shape: Sequence[int], class_names: Sequence[str]
) -> Iterator[PlacedObject]:
    """Give the group's objects that have a voxel in the volume."""
    for member in group.members:
        here, there = _overlap(shape, origin + group.corner, member.inside.shape)
        inside = member.inside[there]
        n_voxels = int(np.count_nonzero(inside))
        if not n_voxels:
            continue
        drawn = DrawnObject(
            class_name=member.class_name,
            number=number,
            centre=tuple(float(one) for one in origin + np.asarray(member.centre)),
            semi_axes=member.semi_axes,
            offset=member.offset,
            angle=member.angle,
            principal_axis=member.principal_axis,
            n_voxels=n_voxels,
            is_cut=n_voxels < np.count_nonzero(member.inside),
        )
        corner = tuple(span.start for span in here)
        channel = class_names.index(member.class_name)
        yield PlacedObject(drawn, channel, corner, inside.shape, np.packbits(inside))
