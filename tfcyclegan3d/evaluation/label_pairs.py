"""Which labelled objects of two stacks share voxels, and how many: a sparse table; arrays only."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

# Voxels looked at in one go: what is made of them takes some 16 bytes each.
SLAB_VOXELS = 2**23
# A table of so many entries at most is counted densely; a larger one by sorting.
DENSE_ENTRIES = 2**26


@dataclass(frozen=True)
class LabelPairs:
    """The pairs of objects that share voxels.

    Parameters
    ----------
    predicted, true : ndarray of int64, shape (N,)
        Place of each pair's objects in the two lists of sizes.
    shared : ndarray of int64, shape (N,)
        Voxels that the two share, at least 1.
    predicted_sizes, true_sizes : ndarray of int64
        Voxels of each object, in the order of the labels.
    """

    predicted: np.ndarray
    true: np.ndarray
    shared: np.ndarray
    predicted_sizes: np.ndarray
    true_sizes: np.ndarray

    @property
    def iou(self) -> np.ndarray:
        """Intersection over union of each pair, float64 in (0, 1]."""
        union = self.predicted_sizes[self.predicted] + self.true_sizes[self.true] - self.shared
        iou: np.ndarray = self.shared / union
        return iou


def label_pairs(predicted: np.ndarray, true: np.ndarray) -> LabelPairs:
    """Count the voxels that every two objects share.

    Parameters
    ----------
    predicted, true : ndarray of int, of one shape
        0 outside, a number of its own for each object, with gaps between them or not.

    Returns
    -------
    LabelPairs
    """
    predicted_lookup, predicted_sizes = _numbered(predicted)
    true_lookup, true_sizes = _numbered(true)
    n_true = len(true_sizes) + 1
    n_entries = (len(predicted_sizes) + 1) * n_true
    dense = np.zeros(n_entries, np.int64) if n_entries <= DENSE_ENTRIES else None
    found: list[tuple[np.ndarray, np.ndarray]] = []
    for ours, theirs in zip(_slabs(predicted), _slabs(true), strict=True):
        both = (ours != 0) & (theirs != 0)
        codes = predicted_lookup(ours[both]) * n_true + true_lookup(theirs[both])
        if dense is not None:
            dense += np.bincount(codes, minlength=n_entries)
        else:
            found.append(np.unique(codes, return_counts=True))
    if dense is not None:
        codes = np.flatnonzero(dense)
        shared = dense[codes]
    else:
        codes, places = np.unique(np.concatenate([one for one, _ in found]), return_inverse=True)
        counts = np.concatenate([count for _, count in found])
        shared = np.bincount(places, counts, len(codes)).astype(np.int64)
    return LabelPairs(codes // n_true - 1, codes % n_true - 1, shared, predicted_sizes, true_sizes)


def _numbered(labels: np.ndarray) -> tuple[Callable[[np.ndarray], np.ndarray], np.ndarray]:
    """Return what numbers labels 1, 2, ... in their order, and the objects' sizes."""
    highest = int(labels.max(initial=0))
    if highest < DENSE_ENTRIES:
        counts = np.zeros(highest + 1, np.int64)
        for slab in _slabs(labels):
            counts += np.bincount(slab.astype(np.int64), minlength=highest + 1)
        values = np.flatnonzero(counts[1:]) + 1
        numbers = np.zeros(highest + 1, np.int64)
        numbers[values] = np.arange(1, len(values) + 1)
        return numbers.__getitem__, counts[values]
    values, counts = np.unique(labels, return_counts=True)
    counts, values = counts[values != 0], values[values != 0]
    return lambda those: np.searchsorted(values, those) + 1, counts


def _slabs(labels: np.ndarray) -> Iterator[np.ndarray]:
    """Yield all voxels, some at a time."""
    flat = labels.reshape(-1)
    for start in range(0, max(flat.size, 1), SLAB_VOXELS):
        yield flat[start : start + SLAB_VOXELS]
