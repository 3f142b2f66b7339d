"""One group of objects, such as a nucleus with its Golgi: drawn from the prior, deformed, and rasterised in a box."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tfcyclegan3d.synthesis import deform, shapes
from tfcyclegan3d.synthesis.object_prior import ObjectPrior
from tfcyclegan3d.synthesis.prior import GroupKind, Prior
from tfcyclegan3d.synthesis.shapes import Ellipsoid


@dataclass(frozen=True, eq=False)
class Member:
    """One object of a group.

    Parameters
    ----------
    class_name : str
        Its class.
    semi_axes : (a, b, c)
        In the prior's unit, along X, Y, Z before rotation; all alike for a sphere.
    offset : (z, y, x)
        Shift from its anchor before rotation, in the prior's unit.
    centre : (z, y, x)
        Before the deformation, in voxels from the group's origin.
    rotation : np.ndarray
        (3, 3), acting on ZYX vectors.
    inside : np.ndarray
        ZYX bool in the group's box.
    """

    class_name: str
    semi_axes: tuple[float, float, float]
    offset: tuple[float, float, float]
    centre: tuple[float, float, float]
    rotation: np.ndarray
    inside: np.ndarray

    @property
    def principal_axis(self) -> tuple[float, float, float]:
        """Unit vector (z, y, x) along which the principal semi-axis lies."""
        return tuple(float(one) for one in self.rotation[:, 2])

    @property
    def angle(self) -> float:
        """Direction of the principal axis in the XY plane, in degrees from X towards Y, in [-180, 180]."""
        return float(np.rad2deg(np.arctan2(self.rotation[1, 2], self.rotation[2, 2])))


@dataclass(frozen=True, eq=False)
class Group:
    """Objects drawn together, in the small box around them.

    Parameters
    ----------
    members : tuple of Member
        The first is the anchor of the others; its centre lies within half a voxel of the origin.
    corner : np.ndarray
        (3,) int: the box's first voxel, counted from the origin.
    """

    members: tuple[Member, ...]
    corner: np.ndarray

    @property
    def solid(self) -> np.ndarray:
        """ZYX bool: the voxels of any member."""
        return np.logical_or.reduce([member.inside for member in self.members])


def draw_group(kind: GroupKind, prior: Prior, voxel_size: Sequence[float], rng: np.random.Generator) -> Group:
    """Draw one group of a kind.

    Parameters
    ----------
    kind : GroupKind
        Its classes, as ``prior.groups()`` gives them.
    prior : Prior
        Rotation and deformation.
    voxel_size : (z, y, x)
        Sides of a voxel, in the prior's unit.
    rng : np.random.Generator
        Where the numbers come from.

    Returns
    -------
    Group
        Where objects are smaller than a voxel, ``inside`` may be empty.
    """
    sides = np.asarray(voxel_size, dtype=np.float64)
    turns = {None: _draw_rotation(prior, rng)}
    centres = {None: rng.uniform(-0.5, 0.5, 3) * sides}
    drawn = []
    for one in _present(kind, rng):
        anchor = one.anchor if one.anchor in turns else None
        lows, highs = np.transpose(one.semi_axes)
        semi_axes = np.broadcast_to(rng.uniform(lows, highs), 3)
        lows, highs = np.transpose(one.offset if anchor is not None else np.zeros((3, 2)))
        offset = rng.uniform(lows, highs)
        centre = centres[anchor] + turns[anchor] @ offset
        rotation = turns[anchor] @ _draw_alignment(one.alignment_degrees, prior.orientation, rng)
        parts = [part.moved(rotation, centre) for part in shapes.draw_parts(one, semi_axes, rng)]
        centres[one.name], turns[one.name] = centre, rotation
        drawn.append((one.name, semi_axes, offset, centre, rotation, parts))
    insides, corner = _rasterised([parts for *_, parts in drawn], prior.elastic_displacement, sides, rng)
    members = tuple(
        Member(name, _triple(semi_axes), _triple(offset), _triple(centre / sides), rotation, inside)
        for (name, semi_axes, offset, centre, rotation, _), inside in zip(drawn, insides, strict=True)
    )
    return Group(members, corner)


def share_of_groups(kind: GroupKind, member: ObjectPrior) -> float:
    """Return the share of a kind's groups that hold an object of a class."""
    alone = {one.name: one.unpaired / (1 - one.unpaired) for one in kind.members}
    return (1 + alone[member.name]) / (1 + sum(alone.values()))


def _present(kind: GroupKind, rng: np.random.Generator) -> tuple[ObjectPrior, ...]:
    """Draw whether the group is whole, or which of its classes stands alone.

    Weighing a lone object by u / (1 - u) beside 1 for the whole group makes the share u of its class's objects lone.
    """
    if len(kind.members) == 1:
        return kind.members
    weights = np.array([1.0] + [one.unpaired / (1 - one.unpaired) for one in kind.members])
    drawn = int(rng.choice(len(weights), p=weights / weights.sum()))
    return kind.members if drawn == 0 else kind.members[drawn - 1 : drawn]


def _draw_rotation(prior: Prior, rng: np.random.Generator) -> np.ndarray:
    if prior.orientation == "any":
        return shapes.rotation_in_space(rng.standard_normal(4))
    return shapes.rotation_in_plane(rng.uniform(*prior.rotation_degrees))


def _draw_alignment(degrees: tuple[float, float], orientation: str, rng: np.random.Generator) -> np.ndarray:
    """Draw a rotation that turns the principal axis by an angle: to either side in the plane, or all around."""
    if degrees == (0.0, 0.0):
        return np.eye(3)
    turn = shapes.rotation_in_plane(rng.uniform(*degrees) * rng.choice((-1, 1)))
    return turn if orientation == "in-plane" else shapes.rotation_about_x(rng.uniform(0.0, 360.0)) @ turn


def _rasterised(
    objects: Sequence[Sequence[Ellipsoid]], displacement: float, sides: np.ndarray, rng: np.random.Generator
) -> tuple[list[np.ndarray], np.ndarray]:
    """Deform the box around some objects and return the voxels of each in it, and where it begins."""
    vectors = deform.draw_displacements(rng, displacement / sides)
    low, high = shapes.bounds([part for parts in objects for part in parts], sides)
    margin = deform.reach(vectors)
    low, high = low - margin, high + margin
    box = tuple(int(side) for side in high - low + 1)
    if displacement > 0:
        points = deform.displaced_positions(box, vectors, low, sides)
    else:
        axes = np.ogrid[tuple(slice(first, last + 1) for first, last in zip(low, high, strict=True))]
        points = [axis * np.float32(side) for axis, side in zip(axes, sides, strict=True)]
    insides = [shapes.union(parts, points) for parts in objects]
    window, cut = _tight_box(np.logical_or.reduce(insides))
    return [inside[window] for inside in insides], low + cut


def _tight_box(solid: np.ndarray) -> tuple[tuple[slice, ...], np.ndarray]:
    """Return the smallest window around what is True, and its first voxel; the whole where nothing is."""
    if not solid.any():
        return (slice(None),) * 3, np.zeros(3, dtype=int)
    spans = [np.flatnonzero(solid.any(axis=axes)) for axes in ((1, 2), (0, 2), (0, 1))]
    return tuple(slice(span[0], span[-1] + 1) for span in spans), np.array([span[0] for span in spans])


def _triple(values: np.ndarray) -> tuple[float, float, float]:
    return tuple(float(one) for one in values)
