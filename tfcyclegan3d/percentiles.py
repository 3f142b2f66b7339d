"""Exact percentiles of float32 values that come in parts, in a few megabytes however many they are.

The order of float32 is that of their bits, once those of negative values are inverted: counting the upper halves of the
bits and then, for the values wanted, the lower halves finds each exactly in two passes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np

N_HALVES = 2**16


class Counting:
    """Counts of each channel's values, by the upper halves of their bits.

    Parameters
    ----------
    n_channels : int
        Channels.

    Attributes
    ----------
    minimum, maximum : ndarray of float32, shape (C,)
        Of what has been counted.
    """

    def __init__(self, n_channels: int) -> None:
        self._counts = np.zeros((n_channels, N_HALVES), np.int64)
        self.minimum = np.full(n_channels, np.inf, np.float32)
        self.maximum = np.full(n_channels, -np.inf, np.float32)

    def take(self, part: np.ndarray) -> None:
        """Count the values of a part, ...C float32, all of them finite."""
        axes = tuple(range(part.ndim - 1))
        self.minimum = np.minimum(self.minimum, part.min(axis=axes))
        self.maximum = np.maximum(self.maximum, part.max(axis=axes))
        for k, counts in enumerate(self._counts):
            counts += np.bincount(_ordered(part[..., k]) >> 16, minlength=N_HALVES)

    def percentiles(self, ranks: np.ndarray, parts: Callable[[], Iterable[np.ndarray]]) -> np.ndarray:
        """Return `numpy.percentile` of each channel, to the last bit.

        Parameters
        ----------
        ranks : ndarray, shape (C, R)
            In [0, 100].
        parts : callable
            Returns the parts that were counted, in any order.

        Returns
        -------
        ndarray of float64, shape (C, R)
        """
        sought = [_Sought(counts, rank) for counts, rank in zip(self._counts, ranks, strict=True)]
        for part in parts():
            for k, one in enumerate(sought):
                one.take(part[..., k])
        return np.array([one.found() for one in sought], np.float64)


class _Sought:
    """The values between which the percentiles of one channel lie."""

    def __init__(self, counts: np.ndarray, ranks: np.ndarray) -> None:
        below = np.concatenate([[0], np.cumsum(counts)])
        self._places = np.true_divide(ranks, 100) * (below[-1] - 1)
        wanted = np.concatenate([np.floor(self._places), np.ceil(self._places)]).astype(np.int64)
        self._upper = np.searchsorted(below, wanted, side="right") - 1
        self._within = wanted - below[self._upper]
        self._counts = {half: np.zeros(N_HALVES, np.int64) for half in np.unique(self._upper).tolist()}

    def take(self, values: np.ndarray) -> None:
        ordered = _ordered(values)
        halves = ordered >> 16
        for half, counts in self._counts.items():
            counts += np.bincount(ordered[halves == half] & 0xFFFF, minlength=N_HALVES)

    def found(self) -> np.ndarray:
        lower = [
            np.searchsorted(np.cumsum(self._counts[half]), place, side="right")
            for half, place in zip(self._upper.tolist(), self._within.tolist(), strict=True)
        ]
        first, second = _float_of_ordered(self._upper << 16 | np.array(lower)).reshape(2, -1)
        share = self._places - np.floor(self._places)
        # NumPy's own way, in float32 and float64 as there, so that the result is the same to the last bit.
        step = second - first
        return np.where(share < 0.5, first + step * share, second - step * (1 - share))


def _ordered(values: np.ndarray) -> np.ndarray:
    bits = np.ascontiguousarray(values, np.float32).view(np.uint32).ravel()
    return np.where(bits >> 31, ~bits, bits | 0x80000000)


def _float_of_ordered(ordered: np.ndarray) -> np.ndarray:
    bits = ordered.astype(np.uint32)
    return np.where(bits >> 31, bits & 0x7FFFFFFF, ~bits).view(np.float32)
