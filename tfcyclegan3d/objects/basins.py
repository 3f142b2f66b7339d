"""Basins of a landscape turned upside down, one for each of its hills, and which of them make one object.

A mask has more hills than objects. What makes two hills two objects is the valley between them, as it is for h-maxima,
but relative to the lower hill, so that one number serves small and large objects. Basins are kept as a table of hills
and of the passes between them: blocks of a stack fill it one after the other, and what is merged is settled for all of
them at once.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import ndimage
from skimage.morphology import local_maxima
from skimage.segmentation import watershed

TOUCHING = np.ones((3, 3, 3), bool)


@dataclass(frozen=True, eq=False)
class Basins:
    """The basins of an array.

    Parameters
    ----------
    numbers : ndarray of int32, ZYX
        From 1, 0 in the background.
    tops : ndarray of int, (n, 3)
        First voxel of each one's hilltop.
    heights : ndarray of float32, (n,)
        Of the hilltops.
    """

    numbers: np.ndarray
    tops: np.ndarray
    heights: np.ndarray


def find_basins(heights: np.ndarray) -> Basins:
    """Give every hill of a landscape its basin, by watershed.

    Parameters
    ----------
    heights : ndarray of float32, ZYX
        0 in the background.
    """
    foreground = heights > 0
    if not foreground.any():
        return Basins(np.zeros(heights.shape, np.int32), np.zeros((0, 3), int), np.zeros(0, np.float32))
    # A landscape of one height has no hill in scikit-image's eyes, and one basin in ours.
    level = heights[foreground].min() == heights[foreground].max()
    hilltops = foreground if level else local_maxima(heights, connectivity=3).astype(bool) & foreground
    markers, _ = ndimage.label(hilltops, TOUCHING)
    numbers = watershed(-heights, markers, mask=foreground).astype(np.int32, copy=False)
    flat = np.flatnonzero(markers)
    _, first = np.unique(markers.ravel()[flat], return_index=True)
    tops = np.stack(np.unravel_index(flat[first], heights.shape), axis=1)
    return Basins(numbers, tops, heights[tuple(tops.T)])


class Relief:
    """The table of all basins of a stack, filled part by part.

    Basins have numbers from 1 in the order in which they are added.
    """

    def __init__(self) -> None:
        self._tops: list[np.ndarray] = []
        self._heights: list[np.ndarray] = []
        self._passes: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
        self._counts: list[tuple[np.ndarray, np.ndarray]] = []
        self.n_basins = 0

    def add_basins(self, tops: np.ndarray, heights: np.ndarray) -> np.ndarray:
        """Add basins, with hilltops (n, 3) in voxels of the stack, and return their numbers."""
        self._tops.append(np.asarray(tops))
        self._heights.append(np.asarray(heights))
        numbers = np.arange(self.n_basins + 1, self.n_basins + 1 + len(tops))
        self.n_basins += len(tops)
        return numbers

    def add_voxels(self, numbers: np.ndarray) -> None:
        """Count the voxels of an array of basin numbers."""
        self._counts.append(_counted(numbers[numbers > 0]))

    def add_passes(self, numbers: np.ndarray, heights: np.ndarray) -> None:
        """Add the faces at which basins of an array meet, with the height of the lower voxel of each."""
        for axis in range(3):
            before, after = (slice(None),) * axis + (slice(None, -1),), (slice(None),) * axis + (slice(1, None),)
            self.add_faces(numbers[before], numbers[after], np.minimum(heights[before], heights[after]))

    def add_faces(self, ones: np.ndarray, others: np.ndarray, heights: np.ndarray) -> None:
        """Add faces between voxels of two arrays of basin numbers, of one shape, with their heights."""
        meeting = (ones != others) & (ones > 0) & (others > 0)
        if meeting.any():
            ends = np.stack([ones[meeting], others[meeting]]).astype(np.int64)
            self._passes.append(_gathered(ends.min(axis=0), ends.max(axis=0), heights[meeting]))

    def objects(self, valley: float, least_voxels: float) -> np.ndarray:
        """Return the object of each basin.

        Parameters
        ----------
        valley : float
            In [0, 1): two hills are two objects where the highest pass between them lies lower than the lower hilltop
            by more than this share of its height.
        least_voxels : float
            What is smaller joins the object with which it shares most faces, or is no object where there is none.

        Returns
        -------
        ndarray of int32, (n_basins + 1,)
            Number of the object, from 1 in the order of the hilltops in the stack (Z, Y, X), for each number of a
            basin; 0 for 0 and for what is no object.
        """
        sizes = np.zeros(self.n_basins + 1, np.int64)
        for numbers, counts in self._counts:
            sizes[numbers] += counts
        heights = np.concatenate([[0.0], *self._heights])
        tops = np.concatenate([np.zeros((1, 3), int), *self._tops])
        merging = _Merging(heights, sizes)
        ones, others, passes, faces = self._all_passes()
        for k in np.argsort(-passes, kind="stable"):
            merging.join_hills(ones[k], others[k], passes[k] / (1 - valley))
        merging.join_small(ones, others, faces, least_voxels)
        roots = merging.roots()
        kept = np.unique(roots[1:])
        kept = kept[merging.sizes[kept] >= max(1, least_voxels)]
        order = np.lexsort(tops[kept].T[::-1])
        objects = np.zeros(self.n_basins + 1, np.int32)
        objects[kept[order]] = np.arange(1, len(kept) + 1)
        return objects[roots]

    def _all_passes(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Return the numbers of both basins of each pass, its height, and how many faces they share."""
        if not self._passes:
            nothing = np.zeros(0, np.int64)
            return nothing, nothing, np.zeros(0, np.float32), nothing
        pairs = np.concatenate([pairs for pairs, _, _ in self._passes])
        heights = np.concatenate([heights for _, heights, _ in self._passes])
        faces = np.concatenate([faces for _, _, faces in self._passes])
        pairs, heights, faces = _gathered(pairs[:, 0], pairs[:, 1], heights, faces)
        return pairs[:, 0], pairs[:, 1], heights, faces


class _Merging:
    """Sets of basins that grow: the one with the highest hilltop stands for its set."""

    def __init__(self, heights: np.ndarray, sizes: np.ndarray) -> None:
        self.heights, self.sizes = heights, sizes.copy()
        self._above = np.arange(len(heights))

    def root(self, number: int) -> int:
        while self._above[number] != number:
            self._above[number] = self._above[self._above[number]]
            number = self._above[number]
        return number

    def roots(self) -> np.ndarray:
        return np.array([self.root(number) for number in range(len(self._above))], int)

    def join_hills(self, one: int, other: int, height: float) -> None:
        """Join two sets if the lower of their hilltops is no higher than ``height``."""
        one, other = self.root(one), self.root(other)
        if one != other and min(self.heights[one], self.heights[other]) <= height:
            self._join(one, other)

    def join_small(self, ones: np.ndarray, others: np.ndarray, faces: np.ndarray, least: float) -> None:
        """Let sets of fewer than ``least`` voxels join the neighbour they share most faces with, the smallest first."""
        shared: dict[int, dict[int, int]] = {}
        for one, other, n_faces in zip(ones.tolist(), others.tolist(), faces.tolist(), strict=True):
            a, b = self.root(one), self.root(other)
            if a != b:
                for here, there in ((a, b), (b, a)):
                    shared.setdefault(here, {}).setdefault(there, 0)
                    shared[here][there] += n_faces
        small = [number for number in shared if self.sizes[number] < least]
        for number in sorted(small, key=lambda number: (self.sizes[number], number)):
            # Some of these have grown since.
            if self.root(number) == number and self.sizes[number] < least:
                neighbours = {self.root(there): n_faces for there, n_faces in shared[number].items()}
                neighbours.pop(number, None)
                if neighbours:
                    self._join(max(neighbours, key=lambda there: (neighbours[there], -there)), number)

    def _join(self, one: int, other: int) -> None:
        higher, lower = (one, other) if self.heights[one] >= self.heights[other] else (other, one)
        self._above[lower] = higher
        self.sizes[higher] += self.sizes[lower]


def _counted(numbers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    if numbers.size == 0:
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    low = int(numbers.min())
    counts = np.bincount(numbers - low)
    there = np.flatnonzero(counts)
    return there + low, counts[there]


def _gathered(
    ones: np.ndarray, others: np.ndarray, heights: np.ndarray, faces: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return each pair once (n, 2), with the greatest of its heights and the number of its faces."""
    width = int(others.max()) + 1
    keys, inverse = np.unique(ones * width + others, return_inverse=True)
    highest = np.zeros(len(keys), np.float32)
    np.maximum.at(highest, inverse, heights)
    n_faces = np.bincount(inverse, weights=faces, minlength=len(keys)).astype(np.int64)
    return np.stack([keys // width, keys % width], axis=1), highest, n_faces


def least_voxels(diameter: float, spacing: Sequence[float], share: float, shape: Sequence[int]) -> float:
    """Return the voxels of a share of a ball of this diameter, flattened where the stack is thinner than that."""
    lengths = (min(diameter / side, length) for side, length in zip(spacing, shape, strict=True))
    return share * np.pi / 6 * math.prod(lengths)
