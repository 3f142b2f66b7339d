"""Validation on stacks with their truth: which epoch was best, and when to stop waiting for a better one."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from tfcyclegan3d import preprocessing, tiling
from tfcyclegan3d.training.pairs import Pairs
from tfcyclegan3d.training.selection import Choice

MOST_TILES = 24  # Looked at in an epoch, spread over the stacks.


class Validation:
    """Tiles of stacks and their masks, on which networks are scored.

    Parameters
    ----------
    pairs : Pairs
        Those held back.
    tile_shape : (int, int, int)
        Z, Y, X.
    """

    def __init__(self, pairs: Pairs, tile_shape: tuple[int, int, int]) -> None:
        places = []
        for number, image in enumerate(pairs.images):
            sides = tuple(np.maximum(image.shape[:3], tile_shape).tolist())
            places += [(number, tile) for tile in tiling.plan_tiles(sides, tile_shape, (0, 0, 0))]
        places = tiling.spread(places, MOST_TILES)

        def cut(arrays: Sequence[np.ndarray]) -> np.ndarray:
            return np.stack(
                [preprocessing.pad_to(np.asarray(arrays[i][tile.slices]), tile_shape) for i, tile in places]
            )

        self.images = cut(pairs.images)
        self.masks = cut(pairs.masks) > 0.5

    def dice(self, forward: Callable[[np.ndarray], np.ndarray]) -> list[float]:
        """Return each class's Dice coefficient, ``2 TP / (2 TP + FP + FN)`` over all tiles; 1 where both are empty.

        Parameters
        ----------
        forward : callable
            From BZYXC in [-1, 1] to the same.
        """
        found = np.concatenate([forward(image[np.newaxis]) for image in self.images]) > 0
        axes = tuple(range(found.ndim - 1))
        both, sizes = (found & self.masks).sum(axes), found.sum(axes) + self.masks.sum(axes)
        return np.where(sizes > 0, 2 * both / np.maximum(sizes, 1), 1.0).tolist()


class BestEpoch:
    """The epoch with the highest validation score, and how long ago it was.

    Parameters
    ----------
    patience : int
        Epochs without a better one after which the training is over.
    """

    variables: tuple = ()

    def __init__(self, patience: int) -> None:
        self._patience = patience
        self._latest = 0
        self.best: Choice | None = None

    @property
    def epochs(self) -> set[int]:
        """Epochs whose checkpoints are still needed."""
        return {self.best.epoch} if self.best is not None else set()

    @property
    def is_final(self) -> bool:
        """Whether no better epoch is waited for any more."""
        return self.best is not None and self._latest - self.best.epoch >= self._patience

    def consider(self, epoch: int, score: float) -> None:
        """Take an epoch's score in."""
        self._latest = epoch
        if self.best is None or score > self.best.score:
            self.best = Choice(epoch, "raw", score, sound=True)

    def record(self) -> dict[str, Any]:
        """Return plain values that ``restore`` takes."""
        return {"latest": self._latest, "best": asdict(self.best) if self.best is not None else None}

    def restore(self, record: Mapping[str, Any]) -> None:
        """Go on from a record."""
        self._latest = int(record["latest"])
        self.best = Choice(**record["best"]) if record["best"] is not None else None
