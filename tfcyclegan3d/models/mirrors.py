"""Mirror images of a batch, over which a prediction is a mean (``inference.flips``)."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

# Axes of BZYXC along which each image of a batch is mirrored, for each setting.
MIRRORS: dict[str, tuple[tuple[int, ...], ...]] = {
    "none": ((),),
    "plane": ((), (2,), (3,), (2, 3)),
    "all": ((), (1,), (2,), (3,), (1, 2), (1, 3), (2, 3), (1, 2, 3)),
}


def mean_over_mirrors(predict: Callable[[np.ndarray], np.ndarray], batch: np.ndarray, flips: str) -> np.ndarray:
    """Return the mean of what is predicted for a batch (BZYXC) and its mirror images, each turned back."""
    mirrors = MIRRORS[flips]
    return sum(np.flip(predict(np.flip(batch, axes)), axes) for axes in mirrors) / len(mirrors)
