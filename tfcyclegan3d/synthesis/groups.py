"""One group of objects, such as a nucleus with its Golgi: drawn from the prior, deformed, and rasterised in a box."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tfcyclegan3d.synthesis import deform, shapes
from tfcyclegan3d.synthesis.prior import ObjectPrior, Prior


@dataclass(frozen=True, eq=False)
class Member:
    """One object of a group.

    Parameters
    ----------
    class_name : str
        Its class.
    semi_axes : (a, b, c)
        In units of length, along X, Y, Z before rotation; all alike for a sphere.
    offset : (z, y, x)
        Shift from its anchor before rotation, in units of length.
    centre : (z, y, x)
        Before the deformation, in voxels from the group's origin.
    inside : np.ndarray
        ZYX bool in the group's box.
    """

    class_name: str
    semi_axes: tuple[float, float, float]
    offset: tuple[float, float, float]
    centre: tuple[float, float, float]
    inside: np.ndarray


@dataclass(frozen=True, eq=False)
class Group:
    """Objects drawn together, in the small box around them.

    Parameters
    ----------
    members : tuple of Member
        The first has no anchor; its centre lies within half a voxel of the origin.
    corner : np.ndarray
        (3,) int: the box's first voxel, counted from the origin.
    rotation : np.ndarray
        (3, 3), acting on ZYX vectors.
    """

    members: tuple[Member, ...]
    corner: np.ndarray
    rotation: np.ndarray

    @property
    def solid(self) -> np.ndarray:
        """ZYX bool: the voxels of any member."""
        return np.logical_or.reduce([member.inside for member in self.members])

    @property
    def principal_axis(self) -> tuple[float, float, float]:
        """Unit vector (z, y, x) along which the principal semi-axes lie."""
        return tuple(float(one) for one in self.rotation[:, 2])

    @property
    def angle(self) -> float:
        """Direction of the principal axis in the XY plane, in degrees from X towards Y, in [-180, 180]."""
        return float(np.rad2deg(np.arctan2(self.rotation[1, 2], self.rotation[2, 2])))


def draw_group(kind: tuple[ObjectPrior, ...], prior: Prior, rng: np.random.Generator) -> Group:
    """Draw one group of a kind.

    Parameters
    ----------
    kind : tuple of ObjectPrior
        Its classes, each after its anchor, as ``prior.groups()`` gives them.
    prior : Prior
        Rotation, deformation and grid.
    rng : np.random.Generator
        Where the numbers come from.

    Returns
    -------
    Group
        Where objects are smaller than a voxel, ``inside`` may be empty.
    """
    aspect = np.asarray(prior.voxel_aspect)
    rotation = _draw_rotation(prior, rng)
    centres, drawn = {None: rng.uniform(-0.5, 0.5, 3) * aspect}, []
    for one in kind:
        lows, highs = np.transpose(one.semi_axes)
        semi_axes = np.broadcast_to(rng.uniform(lows, highs), 3)
        offset = rng.uniform(*one.offset, 3)
        centres[one.name] = centres[one.anchor] + rotation @ offset
        drawn.append((one.name, semi_axes, offset, centres[one.name]))
    displacements = deform.draw_displacements(rng, prior.elastic_displacement / aspect)

    extents = np.array([shapes.ellipsoid_half_extent(semi_axes, rotation) for _, semi_axes, _, _ in drawn])
    middles = np.array([centre for *_, centre in drawn])
    margin = deform.reach(displacements)
    low = np.floor((middles - extents).min(axis=0) / aspect).astype(int) - margin
    high = np.ceil((middles + extents).max(axis=0) / aspect).astype(int) + margin
    points = _positions(high - low + 1, displacements if prior.elastic_displacement else None)
    lengths = [
        (axis + first) * side for axis, first, side in zip(points, np.float32(low), np.float32(aspect), strict=True)
    ]
    insides = [shapes.ellipsoid_depth(lengths, centre, semi_axes, rotation) > 0 for _, semi_axes, _, centre in drawn]
    window, cut = _tight_box(np.logical_or.reduce(insides))
    members = tuple(
        Member(name, _triple(semi_axes), _triple(offset), _triple(centre / aspect), inside[window])
        for (name, semi_axes, offset, centre), inside in zip(drawn, insides, strict=True)
    )
    return Group(members, low + cut, rotation)


def _draw_rotation(prior: Prior, rng: np.random.Generator) -> np.ndarray:
    if prior.orientation == "any":
        return shapes.rotation_in_space(rng.standard_normal(4))
    return shapes.rotation_in_plane(rng.uniform(*prior.rotation_degrees))


def _positions(shape: np.ndarray, displacements: np.ndarray | None) -> np.ndarray | list[np.ndarray]:
    if displacements is None:
        return np.ogrid[tuple(slice(0, side) for side in shape)]
    return deform.displaced_positions(tuple(int(side) for side in shape), displacements)


def _tight_box(solid: np.ndarray) -> tuple[tuple[slice, ...], np.ndarray]:
    """Return the smallest window around what is True, and its first voxel; the whole where nothing is."""
    if not solid.any():
        return (slice(None),) * 3, np.zeros(3, dtype=int)
    spans = [np.flatnonzero(solid.any(axis=axes)) for axes in ((1, 2), (0, 2), (0, 1))]
    return tuple(slice(span[0], span[-1] + 1) for span in spans), np.array([span[0] for span in spans])


def _triple(values: np.ndarray) -> tuple[float, float, float]:
    return tuple(float(one) for one in values)
