"""Run a callable over a volume tile by tile and merge the results; knows arrays, and no network.

Overlapping predictions are summed with weights that fall towards a tile's faces, where a network sees least context,
and divided by the sum of the weights that really fell on each voxel; or the highest is taken.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np

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
    window = blending_window(tile_shape, overlap)
    merged = np.full((*padded.shape[:3], n_outputs), -np.inf if merge == "maximum" else 0, np.float32)
    weights = np.zeros(padded.shape[:3], np.float32)
    for first in range(0, len(tiles), batch_size):
        batch = tiles[first : first + batch_size]
        results = _predict_batch(padded, predict, batch, batch_size, n_outputs)
        for done, (tile, result) in enumerate(zip(batch, results, strict=True), start=first + 1):
            place = merged[tile.slices]
            if merge == "maximum":
                np.maximum(place, result, out=place)
            else:
                place += result * window[..., np.newaxis]
            weights[tile.slices] += window
            if on_tile is not None:
                on_tile(done, len(tiles))
    _check_covered(weights)
    if merge == "mean":
        merged /= weights[..., np.newaxis]
    return merged[crop_of(padding)]


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
