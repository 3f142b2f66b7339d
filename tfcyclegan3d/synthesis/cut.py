"""Part of a volume: a window of it, and every so many voxels of that."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

Slices = tuple[slice, slice, slice]


@dataclass(frozen=True)
class Cut:
    """Every ``step``-th voxel of a window of a volume.

    Parameters
    ----------
    shape : (z, y, x)
        Of the whole volume.
    window : (slice, slice, slice)
        From start to stop, without steps of their own.
    step : int
        Along each axis.
    """

    shape: tuple[int, int, int]
    window: Slices
    step: int = 1

    @classmethod
    def whole(cls, shape: Sequence[int], step: int = 1) -> Cut:
        """Return the cut that leaves nothing out, or every ``step``-th voxel of all."""
        return cls(tuple(shape), tuple(slice(0, side) for side in shape), step)

    @property
    def slices(self) -> Slices:
        """What to index an array of the whole volume with."""
        return tuple(slice(span.start, span.stop, self.step) for span in self.window)

    @property
    def places(self) -> list[np.ndarray]:
        """The planes, rows and columns of the volume that are in the cut."""
        return [np.arange(span.start, span.stop, self.step) for span in self.window]

    @property
    def relative_depth(self) -> np.ndarray:
        """Depth of each plane (Z11 float32): 0 for the volume's first, 1 for its last."""
        return (self.places[0] / max(self.shape[0] - 1, 1)).astype(np.float32)[:, None, None]

    def grown(self, margins: Sequence[int]) -> tuple[Cut, Slices]:
        """Return the cut with margins, in its own voxels, as far as the volume goes; and where it lies in that."""
        window, inner = [], []
        for span, margin, side, places in zip(self.window, margins, self.shape, self.places, strict=True):
            before = min(margin, span.start // self.step)
            window.append(slice(span.start - before * self.step, min(span.stop + margin * self.step, side)))
            inner.append(slice(before, before + len(places)))
        return Cut(self.shape, tuple(window), self.step), tuple(inner)
