"""Solid shapes as functions of space: how deep a point lies inside, and which voxels of a box are inside.

A shape is asked at points, not stored as voxels, so that sub-voxel centres, rotation, anisotropic grids and elastic
deformation (which only moves the points asked) cost no interpolation.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def rotation_in_plane(degrees: float) -> np.ndarray:
    """Return the (3, 3) float64 matrix that turns a ZYX vector by ``degrees`` from X towards Y."""
    cosine, sine = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
    return np.array([[1.0, 0.0, 0.0], [0.0, cosine, sine], [0.0, -sine, cosine]])


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


def ellipsoid_half_extent(semi_axes: Sequence[float], rotation: np.ndarray) -> np.ndarray:
    """Return half the sides, (3,) ZYX, of the smallest upright box around an ellipsoid.

    Parameters
    ----------
    semi_axes : (a, b, c)
        Semi-axes lying along X, Y, Z before rotation; any unit of length.
    rotation : np.ndarray
        (3, 3), acting on ZYX vectors.
    """
    return np.sqrt(np.square(rotation * np.asarray(semi_axes, dtype=np.float64)[::-1]).sum(axis=1))


def ellipsoid_depth(
    points: np.ndarray | tuple[np.ndarray, ...],
    centre: Sequence[float],
    semi_axes: Sequence[float],
    rotation: np.ndarray,
) -> np.ndarray:
    """Return how deep points lie inside an ellipsoid: 1 at the centre, 0 on the surface, negative outside.

    Parameters
    ----------
    points : array of shape (3, ...) or three arrays that broadcast
        ZYX positions, in the unit of the semi-axes.
    centre : (z, y, x)
        Centre, in the same unit.
    semi_axes : (a, b, c)
        Semi-axes lying along X, Y, Z before rotation; all alike for a sphere.
    rotation : np.ndarray
        (3, 3), acting on ZYX vectors.

    Returns
    -------
    np.ndarray
        1 minus the squared distance in units of the surface, of the broadcast shape.
    """
    to_unit_ball = (rotation / np.asarray(semi_axes, dtype=np.float64)[::-1]).T
    z, y, x = (np.asarray(axis) - middle for axis, middle in zip(points, centre, strict=True))
    squares = 0.0
    for row in to_unit_ball.astype(np.float32):
        squares = squares + np.square(row[0] * z + row[1] * y + row[2] * x)
    return 1.0 - squares


def ellipsoid(
    semi_axes: Sequence[float],
    rotation: np.ndarray | None = None,
    centre: Sequence[float] = (0, 0, 0),
    voxel_aspect: Sequence[float] = (1, 1, 1),
) -> tuple[np.ndarray, np.ndarray]:
    """Rasterise an ellipsoid into the small box around it.

    Parameters
    ----------
    semi_axes : (a, b, c)
        Semi-axes lying along X, Y, Z before rotation, in units of length.
    rotation : np.ndarray, optional
        (3, 3), acting on ZYX vectors; none by default.
    centre : (z, y, x)
        Centre in voxels; may lie between voxels.
    voxel_aspect : (z, y, x)
        Size of a voxel along each axis, in units of length.

    Returns
    -------
    inside : np.ndarray
        ZYX bool, True where a voxel's centre lies inside.
    corner : np.ndarray
        (3,) int: the voxel at which the box begins.
    """
    rotation = np.eye(3) if rotation is None else rotation
    aspect = np.asarray(voxel_aspect, dtype=np.float64)
    reach = ellipsoid_half_extent(semi_axes, rotation) / aspect
    corner = np.floor(np.asarray(centre) - reach).astype(int)
    end = np.ceil(np.asarray(centre) + reach).astype(int) + 1
    points = np.ogrid[tuple(slice(low, high) for low, high in zip(corner, end, strict=True))]
    scaled = tuple(axis * side for axis, side in zip(points, aspect, strict=True))
    return ellipsoid_depth(scaled, np.asarray(centre) * aspect, semi_axes, rotation) > 0, corner


def sphere(
    radius: float, centre: Sequence[float] = (0, 0, 0), voxel_aspect: Sequence[float] = (1, 1, 1)
) -> tuple[np.ndarray, np.ndarray]:
    """Rasterise a sphere into the small box around it; see `ellipsoid`."""
    return ellipsoid((radius,) * 3, None, centre, voxel_aspect)
