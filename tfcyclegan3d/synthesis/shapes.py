"""Solid shapes as functions of space: how deep a point lies inside.

A shape is a few ellipsoids, asked at points and not stored as voxels, so that sub-voxel centres, rotation, anisotropic
grids and elastic deformation (which only moves the points asked) cost no interpolation.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tfcyclegan3d.synthesis.object_prior import ObjectPrior

# Of a ribbon's fragments: how their half-length, half-width and half-thickness scatter about what an even division of
# the ribbon gives, and how far a fragment strays along the bend, in shares of its length.
FRAGMENT_SCATTER = ((0.8, 1.3), (0.6, 1.0), (0.6, 1.0))
FRAGMENT_JITTER = 0.2


@dataclass(frozen=True, eq=False)
class Ellipsoid:
    """One ellipsoid.

    Parameters
    ----------
    centre : np.ndarray
        (3,), ZYX, in any unit of length.
    semi_axes : np.ndarray
        (3,), a, b, c in the same unit, lying along X, Y, Z before rotation; all alike for a sphere.
    rotation : np.ndarray
        (3, 3), acting on ZYX vectors.
    """

    centre: np.ndarray
    semi_axes: np.ndarray
    rotation: np.ndarray

    @property
    def half_extent(self) -> np.ndarray:
        """Half the sides, (3,) ZYX, of the smallest upright box around it."""
        return np.sqrt(np.square(self.rotation * self.semi_axes[::-1]).sum(axis=1))

    def depth(self, points: np.ndarray | Sequence[np.ndarray]) -> np.ndarray:
        """Return how deep points lie inside: 1 at the centre, 0 on the surface, negative outside.

        Parameters
        ----------
        points : array of shape (3, ...) or three arrays that broadcast
            ZYX positions.

        Returns
        -------
        np.ndarray
            1 minus the squared distance in units of the surface, of the broadcast shape.
        """
        to_unit_ball = (self.rotation / self.semi_axes[::-1]).T.astype(np.float32)
        shift = (to_unit_ball @ self.centre).astype(np.float32)
        if isinstance(points, np.ndarray):
            turned = to_unit_ball @ points.reshape(3, -1) - shift[:, None]
            return (1.0 - np.einsum("ij,ij->j", turned, turned)).reshape(points.shape[1:])
        z, y, x = points
        return 1.0 - sum(
            np.square(row[0] * z + row[1] * y + (row[2] * x - middle))
            for row, middle in zip(to_unit_ball, shift, strict=True)
        )

    def moved(self, rotation: np.ndarray, shift: np.ndarray) -> Ellipsoid:
        """Return it turned about the origin, then shifted."""
        return Ellipsoid(rotation @ self.centre + shift, self.semi_axes, rotation @ self.rotation)


def draw_parts(one: ObjectPrior, semi_axes: np.ndarray, rng: np.random.Generator) -> list[Ellipsoid]:
    """Draw the ellipsoids that an object of a class is made of, about the origin, its principal axis along X.

    Parameters
    ----------
    one : ObjectPrior
        The class.
    semi_axes : np.ndarray
        (3,), as drawn for this object.
    rng : np.random.Generator
        Of what else is drawn.
    """
    if one.shape != "ribbon":
        return [Ellipsoid(np.zeros(3), semi_axes, np.eye(3))]
    n = int(rng.integers(*one.fragments, endpoint=True))
    bend = max(np.deg2rad(rng.uniform(*one.bend_degrees)), 1e-6)  # A straight one is part of a very large circle.
    roll = rotation_about_x(rng.uniform(0.0, 360.0))
    places = ((np.arange(n) + 0.5 + rng.uniform(-FRAGMENT_JITTER, FRAGMENT_JITTER, n)) / n - 0.5) * 2 * semi_axes[0]
    scatter = np.stack([rng.uniform(low, high, n) for low, high in FRAGMENT_SCATTER], axis=1)
    angles = places * bend / (2 * semi_axes[0])
    # On a circle of this radius the places are as far apart as along the straight ribbon.
    radius = 2 * semi_axes[0] / bend
    along, across = radius * np.sin(angles), radius * (1 - np.cos(angles))
    centres = np.stack([np.zeros(n), across - across.mean(), along - along.mean()], axis=1)
    return [
        Ellipsoid(centre, scale * semi_axes / (n, 1, 1), rotation_in_plane(np.rad2deg(angle))).moved(roll, np.zeros(3))
        for centre, scale, angle in zip(centres, scatter, angles, strict=True)
    ]


def rotation_in_plane(degrees: float) -> np.ndarray:
    """Return the (3, 3) float64 matrix that turns a ZYX vector by ``degrees`` from X towards Y."""
    cosine, sine = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
    return np.array([[1.0, 0.0, 0.0], [0.0, cosine, sine], [0.0, -sine, cosine]])


def rotation_about_x(degrees: float) -> np.ndarray:
    """Return the (3, 3) float64 matrix that turns a ZYX vector by ``degrees`` from Y towards Z."""
    cosine, sine = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
    return np.array([[cosine, sine, 0.0], [-sine, cosine, 0.0], [0.0, 0.0, 1.0]])


def rotation_in_space(quaternion: Sequence[float]) -> np.ndarray:
    """Return the (3, 3) float64 rotation matrix of a quaternion of any length; four normal numbers make it uniform."""
    w, x, y, z = np.asarray(quaternion, dtype=np.float64) / np.linalg.norm(quaternion)
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
            [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
            [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
        ]
    )


def bounds(parts: Sequence[Ellipsoid], voxel_size: Sequence[float]) -> tuple[np.ndarray, np.ndarray]:
    """Return the first and the last voxel, each (3,) int, of the smallest upright box around a shape."""
    low = np.min([part.centre - part.half_extent for part in parts], axis=0)
    high = np.max([part.centre + part.half_extent for part in parts], axis=0)
    return np.floor(low / voxel_size).astype(int), np.ceil(high / voxel_size).astype(int)


def union(parts: Sequence[Ellipsoid], points: np.ndarray | Sequence[np.ndarray]) -> np.ndarray:
    """Return which points (as `Ellipsoid.depth` takes them) lie inside any part."""
    inside = parts[0].depth(points) > 0
    for part in parts[1:]:
        inside |= part.depth(points) > 0
    return inside
