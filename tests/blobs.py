"""Balls and ellipsoids of known measure, that several modules of tests use."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest


def ellipsoid(
    shape: Sequence[int],
    centre: Sequence[float],
    semi_axes: Sequence[float],
    spacing: Sequence[float] = (1.0, 1.0, 1.0),
    rotation: np.ndarray | None = None,
) -> np.ndarray:
    """Return the voxels (ZYX bool) whose centres lie in an ellipsoid; lengths in the unit of ``spacing``."""
    grids = np.meshgrid(*(np.arange(side) * step for side, step in zip(shape, spacing, strict=True)), indexing="ij")
    places = np.stack(grids, axis=-1) - np.asarray(centre)
    turned = places if rotation is None else places @ rotation
    return ((turned / np.asarray(semi_axes)) ** 2).sum(axis=-1) <= 1


def balls(shape: Sequence[int], centres: Sequence[Sequence[float]], radius: float) -> np.ndarray:
    """Return ZYX int32 with a ball around each centre, numbered from 1; where two meet, each has its half."""
    grids = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), axis=-1)
    distances = np.linalg.norm(grids[..., np.newaxis, :] - np.asarray(centres, float), axis=-1)
    return np.where(distances.min(axis=-1) <= radius, distances.argmin(axis=-1) + 1, 0).astype(np.int32)


def needs_pyarrow() -> None:
    """Skip a test where pyarrow is not installed, or was built for another NumPy."""
    try:
        import pyarrow  # noqa: F401
    except ImportError as error:
        pytest.skip(f"pyarrow: {error}")
