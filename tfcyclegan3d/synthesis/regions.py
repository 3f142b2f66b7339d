"""Regions of a labelled volume: their second moments, their brightness, and which of them are parts of one object."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(eq=False)
class Moments:
    """Sums over the voxels of each label, which add up when labels are merged.

    Parameters
    ----------
    volume : np.ndarray
        (n,) float64, in voxels; entry 0 is of the background and empty.
    first, second : np.ndarray
        (n, 3) and (n, 3, 3) float64: sums of the positions and of their products, in units of length.
    voxel : np.ndarray
        (3,): size of a voxel along Z, Y, X.
    """

    volume: np.ndarray
    first: np.ndarray
    second: np.ndarray
    voxel: np.ndarray

    @classmethod
    def of(cls, labels: np.ndarray, voxel: np.ndarray) -> Moments:
        """Sum over each label of a ZYX int array."""
        n = int(labels.max()) + 1
        flat = np.flatnonzero(labels)
        label = labels.ravel()[flat]
        position = [one * side for one, side in zip(np.unravel_index(flat, labels.shape), voxel, strict=True)]
        first = np.stack([np.bincount(label, one, n) for one in position], axis=1)
        second = np.empty((n, 3, 3))
        for i, j in ((0, 0), (0, 1), (0, 2), (1, 1), (1, 2), (2, 2)):
            second[:, i, j] = second[:, j, i] = np.bincount(label, position[i] * position[j], n)
        return cls(np.bincount(label, minlength=n).astype(float), first, second, voxel)

    def centres(self) -> np.ndarray:
        """Return the centres of mass, (n, 3), in units of length."""
        return self.first / np.maximum(self.volume, 1)[:, None]

    def covariance(self) -> np.ndarray:
        """Return the covariances of the positions, (n, 3, 3), in squared units of length."""
        return _covariance(self.volume, self.first, self.second, self.voxel)

    def ellipsoid_likeness(self) -> np.ndarray:
        """Return each volume divided by that of the ellipsoid of the same covariance, (n,)."""
        return _likeness(self.volume, self.covariance(), self.voxel)

    def likeness_together(self, i: int, j: int) -> float:
        """Return the likeness that two labels would have as one."""
        volume = self.volume[i] + self.volume[j]
        covariance = _covariance(volume, self.first[i] + self.first[j], self.second[i] + self.second[j], self.voxel)
        return float(_likeness(volume, covariance, self.voxel))

    def absorb(self, i: int, j: int) -> None:
        """Add label ``j`` to label ``i``."""
        for sums in (self.volume, self.first, self.second):
            sums[i] += sums[j]
            sums[j] = 0


def _covariance(volume: np.ndarray, first: np.ndarray, second: np.ndarray, voxel: np.ndarray) -> np.ndarray:
    n = np.maximum(volume, 1)
    mean = first / n[..., None]
    # A voxel is a box and not a point: its own variance is added.
    return second / n[..., None, None] - mean[..., :, None] * mean[..., None, :] + np.diag(voxel**2 / 12)


def _likeness(volume: np.ndarray, covariance: np.ndarray, voxel: np.ndarray) -> np.ndarray:
    """1 for an ellipsoid, 0.82 for two that touch end to end or side by side, lower the less compact."""
    same_moments = 4 / 3 * np.pi * 5**1.5 * np.sqrt(np.maximum(np.linalg.det(covariance), 1e-30))
    return volume * voxel.prod() / same_moments


def median_inside(labels: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Return the median of ``values`` over each label, (n,); 0 where a label has no voxel."""
    flat = np.flatnonzero(labels)
    label, value = labels.ravel()[flat], values.ravel()[flat]
    order = np.lexsort((value, label))
    count = np.bincount(label, minlength=int(labels.max()) + 1)
    middle = np.cumsum(count) - count + (count - 1) // 2
    medians = np.zeros(len(count))
    medians[count > 0] = value[order][middle[count > 0]]
    return medians


def touches_border(labels: np.ndarray) -> np.ndarray:
    """Return which labels, (n,) bool, have a voxel in the volume's outermost planes."""
    touching = np.zeros(int(labels.max()) + 1, bool)
    for axis in range(3):
        for end in (0, -1):
            touching[np.take(labels, end, axis)] = True
    return touching


def merge_parts(
    labels: np.ndarray, brightness: np.ndarray, voxel: np.ndarray, valley: float, least_gain: float
) -> np.ndarray:
    """Merge neighbouring labels that together look more like one ellipsoid than apart, the best pair first.

    Parameters
    ----------
    labels : np.ndarray
        ZYX int, 0 for background.
    brightness : np.ndarray
        ZYX, above the background.
    voxel : np.ndarray
        (3,): size of a voxel along Z, Y, X.
    valley : float
        Pairs with a border darker than this share of the darker one's median are left apart.
    least_gain : float
        Pairs whose ellipsoid likeness rises by less over the mean of the two are left apart.

    Returns
    -------
    np.ndarray
        ZYX int labels, numbered without gaps if 0 is among them.
    """
    sums = Moments.of(labels, voxel)
    level = median_inside(labels, brightness)
    likeness = sums.ellipsoid_likeness()
    edges = _borders(labels, brightness)
    neighbours: dict[int, set[int]] = {}
    for i, j in edges:
        neighbours.setdefault(i, set()).add(j)
        neighbours.setdefault(j, set()).add(i)

    def gain(i: int, j: int) -> float:
        light, area = edges[min(i, j), max(i, j)]
        if light / area < valley * min(level[i], level[j]):
            return -np.inf
        apart = np.average([likeness[i], likeness[j]], weights=[sums.volume[i], sums.volume[j]])
        return sums.likeness_together(i, j) - float(apart)

    owner = np.arange(len(level))
    gains = {pair: gain(*pair) for pair in edges}
    while gains:
        i, j = max(gains, key=gains.__getitem__)
        if gains[i, j] < least_gain:
            break
        level[i] = np.average([level[i], level[j]], weights=[sums.volume[i], sums.volume[j]])
        likeness[i] = sums.likeness_together(i, j)
        sums.absorb(i, j)
        owner[owner == j] = i
        for k in neighbours.pop(j):
            light, area = edges.pop((min(j, k), max(j, k)))
            del gains[min(j, k), max(j, k)]
            neighbours[k].discard(j)
            if k != i:
                shared = edges.get((min(i, k), max(i, k)), (0.0, 0.0))
                edges[min(i, k), max(i, k)] = (shared[0] + light, shared[1] + area)
                neighbours[i].add(k)
                neighbours[k].add(i)
        for k in neighbours[i]:
            gains[min(i, k), max(i, k)] = gain(i, k)
    return np.unique(owner, return_inverse=True)[1].astype(labels.dtype)[labels]


def _borders(labels: np.ndarray, brightness: np.ndarray) -> dict[tuple[int, int], tuple[float, float]]:
    """Return for each pair of touching labels, the lower first, the light summed over their border and its area."""
    n = int(labels.max()) + 1
    keys, lights = [], []
    for axis in range(3):
        label, bright = np.moveaxis(labels, axis, 0), np.moveaxis(brightness, axis, 0)
        meet = (label[:-1] != label[1:]) & (label[:-1] > 0) & (label[1:] > 0)
        one, other = label[:-1][meet].astype(np.int64), label[1:][meet].astype(np.int64)
        keys.append(np.minimum(one, other) * n + np.maximum(one, other))
        lights.append(np.minimum(bright[:-1][meet], bright[1:][meet]))
    pairs, index = np.unique(np.concatenate(keys), return_inverse=True)
    light, area = np.bincount(index, np.concatenate(lights), len(pairs)), np.bincount(index, minlength=len(pairs))
    return {
        (int(pair // n), int(pair % n)): (float(one), float(other))
        for pair, one, other in zip(pairs, light, area, strict=True)
    }
