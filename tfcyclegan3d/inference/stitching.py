"""Run a callable over a volume tile by tile and merge the results; knows arrays, and no network.

Overlapping predictions are summed with weights that fall towards a tile's faces, where a network sees least context,
and divided by the sum of the weights that really fell on each voxel; or the highest is taken.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np

from tfcyclegan3d.inference.blocks import common, inside
from tfcyclegan3d.tiling import Tile, crop_of, padding_to, plan_tiles


def blending_window(tile_shape: Sequence[int], overlap: Sequence[int]) -> np.ndarray:
    """Return the weight of every voxel of a tile when overlapping tiles are blended.

    Along each axis the weight rises in equal steps over the overlap, stays at 1 in the middle and falls again; the
    window is the product of the three. Where tiles overlap by at most half a tile the weights of neighbours sum to 1.

    Parameters
    ----------
    tile_shape : sequence of int
        Shape of a tile, ZYX, voxels.
    overlap : sequence of int
        Voxels shared by neighbouring tiles along Z, Y, X; 0 gives a weight of 1 everywhere.

    Returns
    -------
    ndarray of float32, ZYX
        Weights in (0, 1]: never 0, as a voxel at a volume's corner lies in one tile alone.
    """
    window = np.ones((), np.float32)
    for size, shared in zip(tile_shape, overlap, strict=True):
        from_face = np.minimum(np.arange(1, size + 1), np.arange(size, 0, -1))
        ramp = np.minimum(from_face / (shared + 1), 1.0).astype(np.float32)
        window = window[..., np.newaxis] * ramp
    return window


def predict_tiles(
    array: np.ndarray,
    predict: Callable[[np.ndarray], np.ndarray],
    tile_shape: Sequence[int],
    overlap: Sequence[int],
    *,
    n_outputs: int,
    merge: Literal["mean", "maximum"] = "mean",
    batch_size: int = 1,
    on_tile: Callable[[int, int], None] | None = None,
) -> np.ndarray:
    """Predict a volume of any size tile by tile.

    Parameters
    ----------
    array : ndarray, ZYXC
        Input, any real type; it is not modified. A volume smaller than a tile is padded by reflection first, and the
        padding cropped away from the result.
    predict : callable
        Takes a float32 batch BZYXC of exactly `batch_size` tiles and returns one BZYXC of `n_outputs` channels.
    tile_shape : sequence of int
        Shape of a tile, ZYX, voxels.
    overlap : sequence of int
        Voxels shared by neighbouring tiles along Z, Y, X.
    n_outputs : int
        Channels that `predict` returns.
    merge : {"mean", "maximum"}
        What a voxel takes where tiles overlap: their mean, weighted by `blending_window`, or the highest. Where the
        highest exceeds a threshold, any tile does, which is what the paper's published code predicts.
    batch_size : int, default 1
        Tiles per call. The last batch is filled up by repeating its last tile, so that a traced function is never
        traced again for another shape; the surplus results are dropped.
    on_tile : callable, optional
        Called with the number of tiles done and of tiles in all, after each tile.

    Returns
    -------
    ndarray of float32, ZYXC
        The merged predictions, of the input's ZYX and `n_outputs` channels.

    Raises
    ------
    OptionError
        If tile shape and overlap do not go together.
    ValueError
        If `predict` returns another shape than it should.
    RuntimeError
        If a voxel was covered by no tile.
    """
    padding = padding_to(array.shape[:3], tile_shape)
    padded = np.pad(array, (*padding, (0, 0)), mode="reflect") if any(map(any, padding)) else array
    tiles = plan_tiles(padded.shape[:3], tile_shape, overlap)
    merger = Merger(Tile((0, 0, 0), padded.shape[:3]), n_outputs, tile_shape, overlap, merge)
    for first in range(0, len(tiles), batch_size):
        batch = tiles[first : first + batch_size]
        results = _predict_batch(padded, predict, batch, batch_size, n_outputs)
        for done, (tile, result) in enumerate(zip(batch, results, strict=True), start=first + 1):
            merger.add(tile, result)
            if on_tile is not None:
                on_tile(done, len(tiles))
    return merger.merged()[crop_of(padding)]


class Merger:
    """Predictions of overlapping tiles, merged over a box of a volume.

    Parameters
    ----------
    box : Tile
        What is wanted; tiles may reach beyond it.
    n_outputs : int
        Channels.
    tile_shape, overlap : sequence of int
        Of the tiles, ZYX.
    merge : {"mean", "maximum"}
        As in `predict_tiles`.
    """

    def __init__(
        self,
        box: Tile,
        n_outputs: int,
        tile_shape: Sequence[int],
        overlap: Sequence[int],
        merge: Literal["mean", "maximum"],
    ) -> None:
        self._box, self._merge = box, merge
        self._window = blending_window(tile_shape, overlap)
        self._merged = np.full((*box.shape, n_outputs), -np.inf if merge == "maximum" else 0, np.float32)
        self._weights = np.zeros(box.shape, np.float32)

    def add(self, tile: Tile, result: np.ndarray) -> None:
        """Take in what was predicted for a tile, ZYXC float32."""
        shared = common(tile, self._box)
        if shared is None:
            return
        here, there = inside(shared, self._box), inside(shared, tile)
        if self._merge == "maximum":
            np.maximum(self._merged[here], result[there], out=self._merged[here])
        else:
            self._merged[here] += result[there] * self._window[there][..., np.newaxis]
        self._weights[here] += self._window[there]

    def merged(self) -> np.ndarray:
        """Return the box, ZYXC float32.

        Raises
        ------
        RuntimeError
            If a voxel was covered by no tile.
        """
        _check_covered(self._weights)
        if self._merge == "mean":
            self._merged /= self._weights[..., np.newaxis]
        return self._merged


def _predict_batch(
    padded: np.ndarray,
    predict: Callable[[np.ndarray], np.ndarray],
    tiles: Sequence[Tile],
    batch_size: int,
    n_outputs: int,
) -> np.ndarray:
    """Predict at most `batch_size` tiles; return float32 of shape (number of tiles, Z, Y, X, `n_outputs`)."""
    filled = [*tiles, *[tiles[-1]] * (batch_size - len(tiles))]
    inputs = np.stack([padded[tile.slices] for tile in filled]).astype(np.float32, copy=False)
    results = np.asarray(predict(inputs), np.float32)
    wanted = (*inputs.shape[:4], n_outputs)
    if results.shape != wanted:
        raise ValueError(f"the prediction of a batch of shape {inputs.shape} has shape {results.shape}, not {wanted}")
    return results[: len(tiles)]


def _check_covered(weights: np.ndarray) -> None:
    """Check that the sums of weights, ZYX, are above 0 everywhere."""
    uncovered = np.count_nonzero(weights == 0)
    if uncovered:
        raise RuntimeError(f"{uncovered} of {weights.size} voxels were covered by no tile")
