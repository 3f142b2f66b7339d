"""Stitching invents nothing: what a network leaves alone comes back as it was."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tfcyclegan3d import errors
from tfcyclegan3d import tiling as tiling_of
from tfcyclegan3d.inference import stitching
from tfcyclegan3d.inference.stitching import blending_window, predict_tiles


def identity(batch: np.ndarray) -> np.ndarray:
    """Stand for a network that returns its input."""
    return batch


@st.composite
def tilings(draw: st.DrawFn) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]:
    """Draw a volume of any size, a tile and an overlap."""
    tile_shape = draw(st.tuples(*[st.integers(1, 8)] * 3))
    overlap = tuple(draw(st.integers(0, size // 2)) if size > 1 else 0 for size in tile_shape)
    return draw(st.tuples(*[st.integers(1, 13)] * 3)), tile_shape, overlap


def noise(shape: tuple[int, ...]) -> np.ndarray:
    return np.random.default_rng(3).uniform(-1, 1, shape).astype(np.float32)


@settings(deadline=None, max_examples=60)
@given(tilings(), st.integers(1, 4), st.integers(1, 2))
def test_an_identity_network_returns_its_input_for_any_volume_tile_and_overlap(tiling, batch_size, n_channels):
    shape, tile_shape, overlap = tiling
    array = noise((*shape, n_channels))
    stitched = predict_tiles(array, identity, tile_shape, overlap, n_outputs=n_channels, batch_size=batch_size)
    assert stitched.shape == array.shape
    assert stitched.dtype == np.float32
    np.testing.assert_allclose(stitched, array, rtol=0, atol=1e-6)


@settings(deadline=None, max_examples=30)
@given(tilings(), st.integers(1, 3))
def test_a_constant_network_gives_that_constant_everywhere(tiling, n_outputs):
    shape, tile_shape, overlap = tiling
    constants = np.linspace(0.2, 0.9, n_outputs, dtype=np.float32)

    def predict(batch):
        return np.broadcast_to(constants, (*batch.shape[:4], n_outputs))

    stitched = predict_tiles(noise((*shape, 1)), predict, tile_shape, overlap, n_outputs=n_outputs)
    assert stitched.shape == (*shape, n_outputs)
    np.testing.assert_allclose(stitched, np.broadcast_to(constants, stitched.shape), rtol=0, atol=1e-6)


def test_overlapping_predictions_are_averaged_with_the_windows_weights():
    numbers = iter([0.0, 1.0])

    def predict(batch):
        return np.full((*batch.shape[:4], 1), next(numbers), np.float32)

    stitched = predict_tiles(np.zeros((1, 1, 6, 1)), predict, (1, 1, 4), (0, 0, 2), n_outputs=1)
    np.testing.assert_allclose(stitched[0, 0, :, 0], [0, 0, 1 / 3, 2 / 3, 1, 1], atol=1e-6)


@settings(deadline=None, max_examples=40)
@given(tilings(), st.integers(1, 3))
def test_a_threshold_of_the_highest_prediction_is_the_union_of_the_tiles_thresholded_masks(tiling, batch_size):
    shape, tile_shape, overlap = tiling
    rng = np.random.default_rng(5)
    predictions = []

    def predict(batch):
        predictions.extend(made := rng.random((*batch.shape[:4], 2)).astype(np.float32))
        return np.stack(made)

    highest = predict_tiles(
        noise((*shape, 1)), predict, tile_shape, overlap, n_outputs=2, merge="maximum", batch_size=batch_size
    )
    padding = tiling_of.padding_to(shape, tile_shape)
    tiles = tiling_of.plan_tiles(
        [side + sum(added) for side, added in zip(shape, padding, strict=True)], tile_shape, overlap
    )
    union = np.zeros((*(side + sum(added) for side, added in zip(shape, padding, strict=True)), 2), bool)
    for tile, made in zip(tiles, predictions, strict=False):
        union[tile.slices] |= made > 0.5
    np.testing.assert_array_equal(highest > 0.5, union[tiling_of.crop_of(padding)])


def test_the_highest_of_negative_predictions_is_theirs_not_nought():
    array = noise((5, 6, 7, 1)) - 2
    stitched = predict_tiles(array, identity, (4, 4, 4), (2, 2, 2), n_outputs=1, merge="maximum")
    np.testing.assert_array_equal(stitched, array)


@given(st.tuples(*[st.integers(1, 9)] * 3), st.data())
def test_the_window_is_positive_separable_symmetric_and_highest_in_the_middle(tile_shape, data):
    overlap = tuple(data.draw(st.integers(0, size - 1)) for size in tile_shape)
    window = blending_window(tile_shape, overlap)
    assert window.dtype == np.float32
    assert window.shape == tile_shape
    assert window.min() > 0
    assert window.max() <= 1
    assert window[tuple(size // 2 for size in tile_shape)] == window.max()
    np.testing.assert_array_equal(window, window[::-1, ::-1, ::-1])
    middle = [size // 2 for size in tile_shape]
    z, y, x = window[:, middle[1], middle[2]], window[middle[0], :, middle[2]], window[middle[0], middle[1], :]
    product = z[:, None, None] * y[None, :, None] * x[None, None, :] / window.max() ** 2
    np.testing.assert_allclose(window, product, rtol=1e-5)


def test_the_window_rises_over_the_overlap():
    np.testing.assert_allclose(blending_window((1, 1, 6), (0, 0, 2))[0, 0], [1 / 3, 2 / 3, 1, 1, 2 / 3, 1 / 3])


def test_every_batch_has_one_shape_and_surplus_tiles_are_dropped():
    shapes = []

    def predict(batch):
        shapes.append(batch.shape)
        assert batch.dtype == np.float32
        return batch

    array = np.arange(5 * 4 * 4, dtype=np.uint16).reshape(5, 4, 4, 1)
    stitched = predict_tiles(array, predict, (1, 4, 4), (0, 0, 0), n_outputs=1, batch_size=3)
    assert shapes == [(3, 1, 4, 4, 1)] * 2
    np.testing.assert_array_equal(stitched, array)


def test_progress_counts_every_tile_once_and_ends_at_the_total():
    seen = []
    array = np.zeros((5, 4, 4, 1), np.float32)
    predict_tiles(array, identity, (1, 4, 4), (0, 0, 0), n_outputs=1, batch_size=2, on_tile=lambda *n: seen.append(n))
    assert seen == [(1, 5), (2, 5), (3, 5), (4, 5), (5, 5)]


def test_the_input_is_not_modified():
    array = noise((5, 9, 9, 1))
    before = array.copy()

    def predict(batch):
        batch *= 0
        return batch

    predict_tiles(array, predict, (4, 4, 4), (2, 2, 2), n_outputs=1)
    predict_tiles(array, predict, (8, 16, 16), (0, 0, 0), n_outputs=1)
    np.testing.assert_array_equal(array, before)


def test_a_volume_smaller_than_a_tile_is_shown_to_the_network_with_reflected_surroundings():
    shown = []

    def predict(batch):
        shown.append(batch.copy())
        return batch

    predict_tiles(np.array([1, 2, 3]).reshape(1, 1, 3, 1), predict, (1, 1, 6), (0, 0, 0), n_outputs=1)
    np.testing.assert_array_equal(shown[0].ravel(), [2, 1, 2, 3, 2, 1])


def test_a_prediction_of_another_shape_is_refused_with_both_shapes():
    with pytest.raises(ValueError, match=r"\(1, 4, 4, 4, 2\), not \(1, 4, 4, 4, 1\)"):
        predict_tiles(np.zeros((4, 4, 4, 2)), identity, (4, 4, 4), (0, 0, 0), n_outputs=1)


def test_a_voxel_no_tile_covers_is_an_error(monkeypatch):
    plan = stitching.plan_tiles
    monkeypatch.setattr(stitching, "plan_tiles", lambda *arguments: plan(*arguments)[:-1])
    with pytest.raises(RuntimeError, match="8 of 32 voxels were covered by no tile"):
        predict_tiles(np.zeros((2, 2, 8, 1)), identity, (2, 2, 2), (0, 0, 0), n_outputs=1)


def test_an_overlap_as_large_as_the_tile_is_refused():
    with pytest.raises(errors.OptionError, match="tile overlap"):
        predict_tiles(np.zeros((8, 8, 8, 1)), identity, (4, 4, 4), (4, 4, 4), n_outputs=1)
