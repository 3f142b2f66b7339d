"""Elastic deformation of a small box: where each voxel of it takes its value from.

Displacement vectors at a few control points are interpolated by splines, as in the paper. The published code spreads
its 3x3x3 points over 128 x 128 pixels of the whole depth, so that a pair is hardly bent; here they are spread over the
box around the pair, which deforms it visibly: with the paper's 0.75 voxels the volume of an object changes by about a
twentieth.
"""

from __future__ import annotations

from collections.abc import Sequence

import elasticdeform
import numpy as np

CONTROL_POINTS = 3
# A field through three control points an axis is smooth: seven nodes follow it, and deforming only these instead of
# every voxel of the box is what makes a whole volume a matter of a second.
MAXIMUM_NODES = 7


def draw_displacements(rng: np.random.Generator, standard_deviation: Sequence[float]) -> np.ndarray:
    """Draw the displacement vectors of the control points.

    Drawn here and handed to ``elasticdeform.deform_grid``, because ``deform_random_grid`` draws from numpy's global
    generator.

    Parameters
    ----------
    rng : np.random.Generator
        Where the numbers come from.
    standard_deviation : (z, y, x)
        In voxels.

    Returns
    -------
    np.ndarray
        (3, 3, 3, 3) float64: ZYX vectors, in voxels, at 3x3x3 control points spread over the box.
    """
    vectors = rng.standard_normal((3,) + (CONTROL_POINTS,) * 3)
    return vectors * np.reshape(standard_deviation, (3, 1, 1, 1))


def reach(displacements: np.ndarray) -> np.ndarray:
    """Return how far, (3,) int voxels along Z, Y, X, the deformation can move a point at most."""
    # The spline through the control points overshoots them by up to a quarter.
    return np.ceil(1.25 * np.abs(displacements).max(axis=(1, 2, 3))).astype(int)


def displaced_positions(
    shape: Sequence[int],
    displacements: np.ndarray,
    corner: Sequence[float] = (0, 0, 0),
    voxel_size: Sequence[float] = (1, 1, 1),
) -> np.ndarray:
    """Return the position in the undeformed box that each voxel of the deformed box shows.

    Everything asked at these positions is deformed together: the members of a pair, all channels alike.

    Parameters
    ----------
    shape : (z, y, x)
        Sides of the box, in voxels.
    displacements : np.ndarray
        (3, 3, 3, 3), in voxels, as `draw_displacements` gives them.
    corner : (z, y, x)
        The box's first voxel.
    voxel_size : (z, y, x)
        Sides of a voxel, in any unit.

    Returns
    -------
    np.ndarray
        (3, z, y, x) float32: ZYX positions in that unit; some lie outside the box.
    """
    nodes = np.minimum(shape, MAXIMUM_NODES)
    steps = np.where(nodes > 1, (np.asarray(shape) - 1) / np.maximum(nodes - 1, 1), 1.0)
    margin = np.maximum(1, np.ceil(reach(displacements) / steps)).astype(int)
    axes = [
        (np.arange(n + 2 * extra, dtype=np.float32) - extra) * np.float32(step)
        for n, extra, step in zip(nodes, margin, steps, strict=True)
    ]
    ramps = np.stack(np.meshgrid(*axes, indexing="ij"))
    inner = [slice(extra, extra + n) for n, extra in zip(nodes, margin, strict=True)]
    moved = elasticdeform.deform_grid(
        ramps, displacements / steps.reshape(3, 1, 1, 1), order=1, mode="nearest", crop=inner, axis=(1, 2, 3)
    )
    moved = (moved + np.reshape(corner, (3, 1, 1, 1))) * np.reshape(voxel_size, (3, 1, 1, 1))
    # One axis after the other, as matrix products, the fastest way to interpolate.
    along_z, along_y, along_x = (_weights(n, side) for n, side in zip(nodes, shape, strict=True))
    planes = np.tensordot(moved.astype(np.float32), along_z, (1, 1)).transpose(0, 3, 1, 2)
    return (np.matmul(along_y, planes).reshape(-1, nodes[2]) @ along_x.T).reshape(3, *shape)


def _weights(n: int, side: int) -> np.ndarray:
    """Return the (side, n) float32 matrix of linear interpolation from ``n`` evenly spread nodes to voxels."""
    place = np.arange(side) * ((n - 1) / max(side - 1, 1))
    return np.maximum(1 - np.abs(place[:, None] - np.arange(n)), 0).astype(np.float32)
