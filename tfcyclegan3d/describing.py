"""What a stack holds, in words and numbers: axes, shape, type, voxel size, intensities."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from tfcyclegan3d.percentiles import Counting
from tfcyclegan3d.sources import Source, open_source
from tfcyclegan3d.stored_stacks import read_stored

PERCENTILES = (1, 50, 95, 98, 99.8)


def describe(path: str | Path, axes: str | None = None, *, allow_missing_chunks: bool = False) -> dict[str, Any]:
    """Describe a stack as `read_volume` reads it, in values that JSON can hold.

    It is looked at in parts, so that it may be larger than memory. Percentiles are exact, but in large stacks of types
    that float32 does not hold, which are rounded to it.

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
    source = open_source(path, axes, allow_missing_chunks=allow_missing_chunks)
    # The chunks have been looked for already, or need not be there.
    stored = read_stored(path, axes, values=False, allow_missing_chunks=True)
    return {
        "path": str(path),
        "axes": stored.axes,
        "stored_shape": list(stored.shape),
        "shape": list(stored.array.shape),
        "dtype": source.dtype.name,
        "voxel_size_um": list(stored.voxel_size_um) if stored.voxel_size_um else None,
        "channels": _statistics(source),
    }


def _statistics(source: Source) -> list[dict[str, Any]]:
    """Return what is to be said of the values of each channel."""
    counting = Counting(source.grid.n_channels)
    least, most, totals = [], [], []
    for part in _parts(source):
        channels = [part[..., k] for k in range(source.grid.n_channels)]
        least.append([values.min() for values in channels])
        most.append([values.max() for values in channels])
        totals.append([values.sum(dtype=np.float64) for values in channels])
        counting.take(part.astype(np.float32, copy=False))
    if len(totals) == 1:
        percentiles = np.array([np.percentile(values, PERCENTILES) for values in channels], np.float64)
    else:
        ranks = np.broadcast_to(PERCENTILES, (len(channels), len(PERCENTILES)))
        percentiles = counting.percentiles(ranks, lambda: _parts(source))
    return [
        {
            "min": min(low).item(),
            "max": max(high).item(),
            "mean": float(sum(total) / math.prod(source.grid.shape)),
            "percentiles": {str(rank): value for rank, value in zip(PERCENTILES, found, strict=True)},
        }
        for low, high, total, found in zip(
            *(zip(*of_parts, strict=True) for of_parts in (least, most, totals)), percentiles.tolist(), strict=True
        )
    ]


def _parts(source: Source) -> Iterator[np.ndarray]:
    """Yield the values of a stack in parts, truth values as 0 and 1."""
    for box in source.slabs():
        values = source.read(box)
        yield values.astype(np.uint8) if values.dtype == bool else values
