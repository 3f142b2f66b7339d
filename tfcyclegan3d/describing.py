"""What a stack holds, in words and numbers: axes, shape, type, voxel size, intensities."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from tfcyclegan3d.stored_stacks import read_stored

PERCENTILES = (1, 50, 95, 98, 99.8)


def describe(path: str | Path, axes: str | None = None, *, allow_missing_chunks: bool = False) -> dict[str, Any]:
    """Describe a stack as `read_volume` reads it, in values that JSON can hold.

    Returns
    -------
    dict
        ``path``; ``axes`` and ``stored_shape`` as the file has them; ``shape`` as read, (z, y, x, channels); ``dtype``;
        ``voxel_size_um`` (z, y, x) or None; ``channels``, for each a dict of ``min``, ``max``, ``mean`` and
        ``percentiles``, the latter by ``"1"``, ``"50"``, ``"95"``, ``"98"`` and ``"99.8"``.

    Raises
    ------
    UserError
        As `read_volume` does.
    """
    stored = read_stored(path, axes, allow_missing_chunks=allow_missing_chunks)
    return {
        "path": str(path),
        "axes": stored.axes,
        "stored_shape": list(stored.shape),
        "shape": list(stored.array.shape),
        "dtype": stored.array.dtype.name,
        "voxel_size_um": list(stored.voxel_size_um) if stored.voxel_size_um else None,
        "channels": [_statistics(stored.array[..., channel]) for channel in range(stored.array.shape[-1])],
    }


def _statistics(values: np.ndarray) -> dict[str, Any]:
    values = values.astype(np.uint8) if values.dtype == bool else values
    percentiles = np.percentile(values, PERCENTILES)
    return {
        "min": values.min().item(),
        "max": values.max().item(),
        "mean": float(values.mean(dtype=np.float64)),
        "percentiles": {str(rank): float(value) for rank, value in zip(PERCENTILES, percentiles, strict=True)},
    }
