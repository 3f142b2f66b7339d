"""The area of an object's surface, computed part by part, so that one as large as a stack takes little memory."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np
from scipy import ndimage
from skimage.measure import marching_cubes, mesh_surface_area

# Standard deviation, in voxels, of the smoothing before the surface is laid: it takes away most of the staircase.
SIGMA = 1.0
# Voxels that SciPy's smoothing reaches, in which it ends at four standard deviations.
REACH = 4
# Voxels that are smoothed at once, of which each takes some 50 bytes.
MOST_SMOOTHED = 2**22


def surface_area(mask: np.ndarray, spacing: Sequence[float]) -> float:
    """Return the area of an object's surface: marching cubes over its smoothed outline, which keeps its volume.

    On the voxels themselves marching cubes lay a staircase, whose area exceeds a ball's by 8 % however fine the voxels.
    No surface is smaller than that of a ball of the same volume, as may come out for a few voxels. Where the stack's
    border cuts an object, the cut counts.

    Parameters
    ----------
    mask : ndarray of bool, ZYX
        At least one voxel.
    spacing : (z, y, x)
        Sides of a voxel.
    """
    outline = _Outline(mask)
    n_inside = int(np.count_nonzero(mask))
    below, above, highest = outline.values_around(outline.n_voxels - n_inside)
    # Equal where symmetry makes them so.
    level = float(below + above) / 2 if above < highest else float(below) / 2 + float(highest) / 2
    area = 0.0
    for part in outline.parts():
        if part.min() <= level < part.max():
            points, faces, _, _ = marching_cubes(part, level, spacing=tuple(spacing))
            area += float(mesh_surface_area(points, faces))
    return max(area, ball_area(n_inside * float(np.prod(spacing))))


def ball_area(volume: float) -> float:
    """Return the area of a ball's surface."""
    return float(np.pi ** (1 / 3) * (6 * volume) ** (2 / 3))


class _Outline:
    """A smoothed object with room around it, in parts along its longest axis, of which neighbours share a plane.

    Parameters
    ----------
    mask : ndarray of bool, ZYX
    """

    def __init__(self, mask: np.ndarray) -> None:
        self._mask = mask
        self._axis = int(np.argmax(mask.shape))
        self._shape = tuple(side + 2 * REACH for side in mask.shape)
        self.n_voxels = math.prod(self._shape)
        self._length = self._shape[self._axis]
        self._step = max(1, MOST_SMOOTHED // (self.n_voxels // self._length))
        # What is small is smoothed once.
        self._whole = self._smoothed(0, self._length) if self._step >= self._length - 1 else None

    def parts(self) -> Iterator[np.ndarray]:
        """Yield the parts, float32."""
        if self._whole is not None:
            yield self._whole
            return
        for start in range(0, self._length - 1, self._step):
            yield self._smoothed(start, min(start + self._step + 1, self._length))

    def values_around(self, rank: int) -> tuple[np.float32, np.float32, np.float32]:
        """Return the values before and at a place in the order of all of them, and the highest."""
        # Floats from nought on come in the order of their bits, by the upper half of which they are counted first.
        counts, highest = np.zeros(2**15, np.int64), np.float32(0)
        for values in self._flat():
            counts += np.bincount(_upper_bits(values), minlength=len(counts))
            highest = max(highest, values.max())
        up_to = np.cumsum(counts)
        first, last = np.searchsorted(up_to, (rank - 1, rank), side="right")
        near = np.concatenate([v[(first <= _upper_bits(v)) & (_upper_bits(v) <= last)] for v in self._flat()])
        rank -= int(up_to[first] - counts[first])
        below, above = np.partition(near, (rank - 1, rank))[rank - 1 : rank + 1]
        return below, above, highest

    def _flat(self) -> Iterator[np.ndarray]:
        """Yield the values of all voxels, each once."""
        for number, part in enumerate(self.parts()):
            own = np.moveaxis(part, self._axis, 0)
            yield (own[1:] if number else own).ravel()

    def _smoothed(self, start: int, stop: int) -> np.ndarray:
        """Return planes of the smoothed object, which are smoothed with as many around them as they depend on."""
        axis, first = self._axis, start - 2 * REACH  # The first plane that is looked at, counted in the mask.
        begin, end = max(0, first), min(self._mask.shape[axis], stop)
        seen = np.zeros((*self._shape[:axis], stop - start + 2 * REACH, *self._shape[axis + 1 :]), np.float32)
        inside = [slice(REACH, REACH + side) for side in self._mask.shape]
        inside[axis] = slice(begin - first, end - first)
        seen[tuple(inside)] = self._mask[_planes(axis, begin, end)]
        return ndimage.gaussian_filter(seen, SIGMA)[_planes(axis, REACH, REACH + stop - start)]


def _planes(axis: int, start: int, stop: int) -> tuple[slice, ...]:
    return (slice(None),) * axis + (slice(start, stop),)


def _upper_bits(values: np.ndarray) -> np.ndarray:
    return values.view(np.uint32) >> 16
