"""The layer that groups' centres lie in, where cells grow as a sheet and not through the whole depth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tfcyclegan3d.synthesis.prior import Prior
from tfcyclegan3d.synthesis.prior_values import Triple

# Rounds of places drawn before those found must do: a tilted layer may lie outside the volume in part.
ROUNDS = 8


@dataclass(frozen=True)
class Layer:
    """A slab about a tilted plane, in voxels.

    Parameters
    ----------
    depth : float
        Z of the plane in the middle of the volume.
    slopes : (float, float)
        Rise of the plane in Z per voxel along Y and along X.
    thickness : float
        Along Z.
    """

    depth: float
    slopes: tuple[float, float]
    thickness: float

    def origins(self, n: int, shape: Sequence[int], rng: np.random.Generator) -> np.ndarray:
        """Draw up to ``n`` voxels (n, 3) of the volume that lie in the layer, uniformly."""
        found = np.empty((0, 3), dtype=int)
        for _ in range(ROUNDS):
            yx = rng.integers(0, shape[1:], size=(n, 2))
            middle = self.depth + (yx - (np.asarray(shape[1:]) - 1) / 2) @ self.slopes
            z = np.floor(middle + rng.uniform(-0.5, 0.5, n) * self.thickness + 0.5).astype(int)
            inside = (z >= 0) & (z < shape[0])
            found = np.concatenate([found, np.column_stack([z, yx])[inside]])[:n]
            if len(found) == n:
                break
        return found


def draw_layer(prior: Prior, shape: Sequence[int], voxel_size: Triple, rng: np.random.Generator) -> Layer | None:
    """Draw the layer of one volume; None where the prior has none.

    Parameters
    ----------
    prior : Prior
        With or without ``layer_thickness``.
    shape : (z, y, x)
        Of the volume, in voxels.
    voxel_size : (z, y, x)
        In the prior's unit.
    rng : np.random.Generator
        Where the numbers come from.
    """
    if prior.layer_thickness is None:
        return None
    tilt = np.deg2rad(rng.uniform(*prior.layer_tilt_degrees))
    direction = rng.uniform(0, 2 * np.pi)
    # Measured across the layer, which a vertical line crosses at a slant.
    thickness = rng.uniform(*prior.layer_thickness) / np.cos(tilt) / voxel_size[0]
    rise = np.tan(tilt) * np.array([np.sin(direction), np.cos(direction)])
    slopes = rise * np.asarray(voxel_size[1:]) / voxel_size[0]
    room = max(shape[0] - thickness, 0)
    return Layer((shape[0] - 1) / 2 + rng.uniform(-0.5, 0.5) * room, (float(slopes[0]), float(slopes[1])), thickness)
