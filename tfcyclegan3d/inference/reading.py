"""What the networks see of a stack: its voxels averaged to their grid, stretched and reflected, box by box."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from tfcyclegan3d import preprocessing
from tfcyclegan3d.config_sections import PreprocessingConfig
from tfcyclegan3d.contents import check_finite, check_varied, n_not_finite
from tfcyclegan3d.inference.blocks import Tile, refined
from tfcyclegan3d.percentiles import Counting
from tfcyclegan3d.sources import Source


class CoarseReader:
    """A stack on the networks' grid.

    Parameters
    ----------
    source : Source
        The stack.
    config : PreprocessingConfig
        With the downsampling settled.
    bounds : ndarray, shape (C, 2), optional
        Intensities that become -1 and 1; those of the whole stack, which is then read twice, if not given.

    Attributes
    ----------
    shape : (int, int, int)
        Of the coarse grid, ZYX.

    Raises
    ------
    VolumeContentError
        For a stack with a constant channel, or NaN or infinite values, where the bounds are to be found.
    """

    def __init__(self, source: Source, config: PreprocessingConfig, bounds: np.ndarray | None = None) -> None:
        self._source, self._factors = source, config.downsampling
        self._fine = source.grid.shape
        self.shape = tuple(-(-side // factor) for side, factor in zip(self._fine, self._factors, strict=True))
        self.bounds = self._find_bounds(config) if bounds is None else bounds

    def read(self, tile: Tile) -> np.ndarray:
        """Return a box, ZYXC float32 in [-1, 1]; what lies beyond the stack is its reflection."""
        places = [_reflected(a, b, side) for a, b, side in zip(tile.start, tile.stop, self.shape, strict=True)]
        start = tuple(int(along.min()) for along in places)
        shape = tuple(int(along.max()) + 1 - a for along, a in zip(places, start, strict=True))
        stretched = preprocessing.stretch(self._coarse(Tile(start, shape)), self.bounds)
        if shape == tile.shape:
            return stretched
        return stretched[np.ix_(*(along - a for along, a in zip(places, start, strict=True)))]

    def _coarse(self, box: Tile) -> np.ndarray:
        fine = refined(box, self._factors, self._fine)
        return preprocessing.downsample(self._source.read(fine.slices), self._factors)

    def _slabs(self) -> Iterator[np.ndarray]:
        """Yield the source's slabs, moved to the borders of coarse voxels."""
        for slab in self._source.slabs():
            box = tuple(
                slice(-(-part.start // factor) * factor, min(-(-part.stop // factor) * factor, side))
                for part, factor, side in zip(slab, self._factors, self._fine, strict=True)
            )
            if all(part.start < part.stop for part in box):
                yield self._source.read(box)

    def _find_bounds(self, config: PreprocessingConfig) -> np.ndarray:
        grid = self._source.grid
        counting = Counting(grid.n_channels)
        n_bad, extremes = 0, []
        for values in self._slabs():
            n_bad += (bad := n_not_finite(values))
            extremes.append((values.min(axis=(0, 1, 2)), values.max(axis=(0, 1, 2))))
            if not bad:
                counting.take(preprocessing.downsample(values, self._factors))
        check_finite(n_bad, grid.name)
        check_varied(np.min([least for least, _ in extremes], 0), np.max([most for _, most in extremes], 0), grid.name)
        again = (preprocessing.downsample(values, self._factors) for values in self._slabs())
        return preprocessing.counted_bounds(counting, lambda: again, config.percentiles)


def _reflected(start: int, stop: int, length: int) -> np.ndarray:
    """Return the voxels of an axis that ``numpy.pad(mode="reflect")`` puts at start, start + 1, ..., stop - 1."""
    if length == 1:
        return np.zeros(stop - start, np.intp)
    period = 2 * (length - 1)
    places = np.arange(start, stop) % period
    return np.where(places < length, places, period - places)
