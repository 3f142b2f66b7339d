"""Intensities are stretched by the whole volume, grids go coarse and back without a shift, padding is undone."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tfcyclegan3d import preprocessing, tiling
from tfcyclegan3d.percentiles import Counting
from tfcyclegan3d.preprocessing import downsample, pad_to, stretch, stretch_bounds, upsample, working_factors
from tfcyclegan3d.synthesis import estimation

few = settings(max_examples=40, deadline=None)
shapes = st.tuples(*[st.integers(1, 9)] * 3)
factors = st.tuples(*[st.integers(1, 4)] * 3)


def noise(shape, seed=0, high=60000):
    return np.random.default_rng(seed).integers(0, high, shape).astype(np.uint16)


# --- contrast stretching


@pytest.mark.parametrize("percentiles", [(95, 98), (1, 99.8), (0, 100)])
def test_the_bounds_are_numpys_percentiles_of_each_channels_whole_volume(percentiles):
    volume = noise((5, 11, 13, 3))
    volume[..., 1] //= 7
    bounds = stretch_bounds(volume, percentiles)
    assert bounds.shape == (3, 2)
    for k in range(3):
        np.testing.assert_allclose(bounds[k], np.percentile(volume[..., k].ravel(), percentiles))


@few
@given(
    values=st.lists(st.floats(-(2.0**99), 2.0**99, width=32), min_size=2, max_size=60),
    ranks=st.tuples(st.floats(0, 100), st.floats(0, 100)),
)
def test_counted_percentiles_are_numpys_to_the_bit(values, ranks):
    array = np.array(values, np.float32).reshape(-1, 1)
    parts = [array[start : start + 7] for start in range(0, len(array), 7)]
    counting = Counting(1)
    for part in parts:
        counting.take(part)
    found = counting.percentiles(np.array([ranks]), lambda: reversed(parts))
    np.testing.assert_array_equal(found[0], np.percentile(array, ranks))
    assert (counting.minimum, counting.maximum) == (array.min(), array.max())


@pytest.mark.parametrize("make", ["random", "sparse", "negative", "extremes"])
def test_bounds_of_a_large_volume_are_those_of_a_small_one(make, monkeypatch):
    rng = np.random.default_rng(0)
    array = {
        "random": rng.normal(300, 50, (9, 40, 50, 2)),
        "sparse": np.where(rng.random((9, 40, 50, 2)) < 0.001, 5.0, 0.0),
        "negative": -rng.random((9, 40, 50, 2)) - 1,
        "extremes": rng.choice([0.0, -0.0, 1e-45, -1e-45, 3e38, -3e38, 1.0], (9, 40, 50, 2)),
    }[make].astype(np.float32)
    for percentiles in ((95, 98), (1, 99.8), (0, 100)):
        exact = preprocessing.stretch_bounds(array, percentiles)
        with monkeypatch.context() as patch:
            patch.setattr(preprocessing, "MOST_SORTED", 0)
            np.testing.assert_array_equal(preprocessing.stretch_bounds(array, percentiles), exact)


def test_stretching_maps_the_bounds_to_minus_one_and_one_what_lies_between_linearly_and_clips_the_rest():
    bounds = np.array([[100.0, 300.0], [0.0, 10.0]])
    volume = np.array([[50, 100, 150, 200, 300, 301], [-5, 0, 2.5, 5, 10, 1e9]]).T[None, None]
    expected = np.array([[-1, -1, -0.5, 0, 1, 1], [-1, -1, -0.5, 0, 1, 1]]).T[None, None]
    stretched = stretch(volume, bounds)
    assert stretched.dtype == np.float32
    np.testing.assert_allclose(stretched, expected, atol=1e-6)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int16, np.float32, np.float64])
def test_a_stretched_volume_fills_minus_one_to_one_and_has_as_much_at_each_end_as_the_percentiles_say(dtype):
    volume = noise((8, 20, 20, 2), high=250).astype(dtype)
    before = volume.copy()
    stretched = stretch(volume, stretch_bounds(volume, (20, 90)))
    assert (stretched.min(), stretched.max()) == (-1, 1)
    np.testing.assert_allclose((stretched == -1).mean(), 0.2, atol=0.01)
    np.testing.assert_allclose((stretched == 1).mean(), 0.1, atol=0.01)
    np.testing.assert_array_equal(volume, before)


@given(st.integers(0, 2**32 - 1), shapes, st.sampled_from([(95, 98), (1, 99.8), (0, 100), (0, 50)]))
@few
def test_stretching_keeps_the_order_of_intensities_and_stays_in_range(seed, shape, percentiles):
    volume = noise((*shape, 1), seed)
    stretched = stretch(volume, stretch_bounds(volume, percentiles))
    assert np.all(np.abs(stretched) <= 1)
    order = np.argsort(volume, axis=None, kind="stable")
    assert np.all(np.diff(stretched.ravel()[order]) >= 0)


def test_a_tile_stretched_by_the_volumes_bounds_is_the_tile_of_the_stretched_volume():
    volume = noise((12, 12, 12, 2))
    volume[6:] //= 10  # A dim half: bounds of its own would make it as bright as the other.
    bounds = stretch_bounds(volume, (5, 95))
    whole = stretch(volume, bounds)
    for tile in tiling.plan_tiles((12, 12, 12), (6, 6, 6), (2, 2, 2)):
        np.testing.assert_array_equal(stretch(volume[tile.slices], bounds), whole[tile.slices])
    dim = volume[6:]
    assert np.abs(stretch(dim, stretch_bounds(dim, (5, 95))) - whole[6:]).mean() > 0.5


def test_each_channel_may_have_percentiles_of_its_own():
    volume = noise((10, 10, 10, 2))
    bounds = stretch_bounds(volume, ((95, 99.8), (20, 98)))
    np.testing.assert_allclose(bounds[0], np.percentile(volume[..., 0], (95, 99.8)))
    np.testing.assert_allclose(bounds[1], np.percentile(volume[..., 1], (20, 98)))


def test_a_channel_that_is_almost_everywhere_nought_is_stretched_up_to_its_maximum():
    volume = np.zeros((10, 10, 10, 2), np.uint16)
    volume[0, 0, :5, 0] = [10, 20, 30, 40, 50]
    volume[..., 1] = noise((10, 10, 10))
    bounds = stretch_bounds(volume, (95, 98))
    np.testing.assert_array_equal(bounds[0], (0, 50))
    np.testing.assert_allclose(bounds[1], np.percentile(volume[..., 1], (95, 98)))
    np.testing.assert_allclose(stretch(volume, bounds)[0, 0, :6, 0], [-0.6, -0.2, 0.2, 0.6, 1, -1], atol=1e-6)


@pytest.mark.parametrize("value", [1, 255, 65535])
@pytest.mark.parametrize("share", [0.03, 0.1, 0.6])
def test_a_channel_with_many_saturated_voxels_shows_them_brightest_and_the_rest_darker(value, share):
    volume = np.zeros((10, 10, 10, 1), np.uint16)
    n_bright = int(share * volume.size)
    volume.reshape(-1)[:n_bright] = value
    stretched = stretch(volume, stretch_bounds(volume, (95, 98))).ravel()
    np.testing.assert_array_equal(stretched[:n_bright], 1)
    np.testing.assert_array_equal(stretched[n_bright:], -1)


@pytest.mark.parametrize("value", [0, 1000, 65535])
def test_a_channel_of_one_value_is_stretched_to_one_finite_value(value):
    volume = np.full((3, 4, 5, 1), value, np.uint16)
    stretched = stretch(volume, stretch_bounds(volume, (95, 98)))
    assert np.isfinite(stretched).all() and np.ptp(stretched) == 0


# --- grids


def mean_of_blocks(array, sides):
    """Block means by brute force, an incomplete block filled up with its last voxel."""
    shape = [-(-side // factor) for side, factor in zip(array.shape[:3], sides, strict=True)]
    result = np.zeros((*shape, array.shape[3]))
    for place in np.ndindex(*shape):
        inside = [
            [min(corner * factor + step, length - 1) for step in range(factor)]
            for corner, factor, length in zip(place, sides, array.shape[:3], strict=True)
        ]
        result[place] = np.mean([array[voxel] for voxel in itertools.product(*inside)], axis=0)
    return result


@given(shapes, factors, st.integers(1, 2))
@few
def test_downsampling_takes_the_mean_of_each_block_even_of_an_incomplete_one(shape, sides, n_channels):
    volume = noise((*shape, n_channels))
    coarse = downsample(volume, sides)
    assert coarse.dtype == np.float32
    np.testing.assert_allclose(coarse, mean_of_blocks(volume.astype(float), sides), rtol=1e-5)


@given(shapes, factors)
@few
def test_a_constant_volume_comes_back_from_the_coarse_grid_as_it_was(shape, sides):
    volume = np.full((*shape, 2), (3.5, 1000.25), np.float32)
    back = upsample(downsample(volume, sides), sides, shape)
    assert back.dtype == np.float32
    np.testing.assert_allclose(back, volume, rtol=1e-6)


@given(factors, st.integers(0, 2))
@few
def test_upsampling_keeps_the_centres_of_blocks_so_that_a_ramp_stays_a_ramp(sides, axis):
    shape = tuple(5 * factor for factor in sides)
    ramp = np.broadcast_to(np.indices(shape)[axis][..., None].astype(np.float32), (*shape, 2))
    back = upsample(downsample(ramp, sides), sides, shape)
    # Beyond the centres of the first and the last block there is nothing to interpolate from: edges stay flat.
    edge = sides[axis] // 2
    centre = [slice(None)] * 3
    centre[axis] = slice(edge, shape[axis] - edge)
    np.testing.assert_allclose(back[tuple(centre)], ramp[tuple(centre)], atol=1e-4)
    assert back.min() >= ramp.min() and back.max() <= ramp.max()


@given(shapes, factors)
@few
def test_upsampling_gives_the_shape_asked_for_and_reads_linearly_between_block_centres(shape, sides):
    coarse_shape = tuple(-(-side // factor) for side, factor in zip(shape, sides, strict=True))
    coarse = noise((*coarse_shape, 1), high=100).astype(np.float32)
    fine = upsample(coarse, sides, shape)
    assert fine.shape == (*shape, 1)
    expected = coarse.astype(float)
    for axis, (side, factor) in enumerate(zip(shape, sides, strict=True)):
        # Block i of factor f has its centre at voxel f (i + 1/2) - 1/2.
        centres = factor * (np.arange(coarse_shape[axis]) + 0.5) - 0.5
        expected = np.apply_along_axis(
            lambda line, centres=centres, side=side: np.interp(np.arange(side), centres, line), axis, expected
        )
    np.testing.assert_allclose(fine, expected, atol=1e-3)


def test_a_grid_that_stays_keeps_its_values():
    volume = noise((3, 4, 5, 2))
    np.testing.assert_array_equal(downsample(volume, (1, 1, 1)), volume)
    np.testing.assert_array_equal(upsample(volume, (1, 1, 1), (3, 4, 5)), volume)


@pytest.mark.parametrize(
    ("diameter", "aspect", "target", "expected"),
    [
        (8, (1, 1, 1), 8, (1, 1, 1)),
        (16, (1, 1, 1), 8, (2, 2, 2)),
        (3, (1, 1, 1), 8, (1, 1, 1)),  # Small objects are never made larger.
        (16, (2, 1, 1), 8, (1, 2, 2)),  # Voxels twice as deep as wide: 8 of them across along Z already.
        (16, (0.5, 1, 1), 8, (4, 2, 2)),
        (13.1, (1, 1, 1), 8, (1, 1, 1)),
        (13.3, (1, 1, 1), 8, (2, 2, 2)),
        (1000, (1, 1, 1), 8, (8, 8, 8)),
        (16, (1, 1, 1), 4, (4, 4, 4)),
    ],
)
def test_grids_are_coarsened_until_objects_are_about_as_large_as_wanted(diameter, aspect, target, expected):
    chosen = working_factors(diameter, aspect, target)
    assert chosen == expected
    assert all(type(factor) is int for factor in chosen)


@given(st.floats(8, 64), st.floats(0.25, 4))
def test_objects_are_within_a_factor_of_two_of_the_size_wanted_where_the_limits_allow_it(diameter, aspect):
    for factor, step in zip(working_factors(diameter, (aspect, 1, 1), 8.0), (aspect, 1, 1), strict=True):
        seen = diameter / step / factor
        if 1 < factor < 8:
            assert 8.0 / 2 < seen < 8.0 * 2


# --- padding


@given(shapes, st.tuples(*[st.integers(1, 24)] * 3), st.sampled_from([1, 2, 4, 8]))
@few
def test_cropping_undoes_padding_and_the_padded_shape_is_what_was_asked_for(shape, minimum, multiple):
    volume = noise((*shape, 2))
    padded = pad_to(volume, minimum, multiple)
    for side, before, least in zip(padded.shape, shape, minimum, strict=False):
        assert side % multiple == 0
        assert max(before, least) <= side < max(before, least) + multiple
    np.testing.assert_array_equal(padded[tiling.crop_of(tiling.padding_to(shape, minimum, multiple))], volume)


@given(st.integers(2, 9), st.integers(1, 30))
def test_padding_reflects_about_the_outermost_voxels(length, minimum):
    line = np.arange(length)
    padded = pad_to(line[None, None, :, None], (1, 1, minimum))[0, 0, :, 0]
    before = tiling.padding_to((length,), (minimum,))[0][0]
    # A reflection without repeating the edge has period 2 (n - 1).
    place = np.abs((np.arange(len(padded)) - before + length - 1) % (2 * (length - 1)) - (length - 1))
    np.testing.assert_array_equal(padded, place)


def test_a_single_slice_is_repeated_and_the_papers_stacks_become_64_slices():
    single = noise((1, 4, 4, 1))
    np.testing.assert_array_equal(pad_to(single, (8, 4, 4)), np.repeat(single, 8, axis=0))
    # The paper, section II.A: stacks of 55 to 61 slices.
    for depth in (55, 61):
        assert pad_to(noise((depth, 2, 2, 1)), (64, 2, 2)).shape == (64, 2, 2, 1)


# --- what a stack tells about its objects


def spheres(radius, places, shape, aspect=(1.0, 1.0, 1.0)):
    """Spheres of a radius in voxels of X, in voxels ``aspect`` as large along each axis."""
    grid = np.indices(shape)
    inside = np.zeros(shape, bool)
    for place in places:
        squares = sum(((axis - at) * step) ** 2 for axis, at, step in zip(grid, place, aspect, strict=True))
        inside |= squares <= radius**2
    return inside


def seen(inside, seed=0):
    """The objects as a noisy, fairly contrasted stack."""
    rng = np.random.default_rng(seed)
    return (rng.poisson(20 + 100 * inside) + rng.normal(0, 2, inside.shape)).astype(np.float32)


EIGHT_PLACES = list(itertools.product((12, 36), repeat=3))


@pytest.mark.parametrize("radius", [3, 5, 8, 10])
def test_the_fill_of_drawn_spheres_is_found_within_a_tenth_of_it_unless_they_are_small(radius):
    inside = spheres(radius, EIGHT_PLACES, (48, 48, 48))
    found = estimation.fill_fraction([seen(inside)[..., None]])
    # Otsu's threshold lies low where a class is rare, and smoothing by one voxel widens small spheres most.
    assert found == pytest.approx(inside.mean(), rel=0.5 if radius < 5 else 0.1)


def test_the_fill_counts_a_voxel_of_two_classes_once_and_takes_the_mean_of_the_stacks():
    one, other = spheres(8, [(12, 12, 12)], (24, 24, 24)), spheres(8, [(12, 12, 14)], (24, 24, 24))
    both = np.stack([seen(one), seen(other, 1)], axis=-1)
    together = estimation.fill_fraction([both])
    assert together == pytest.approx((one | other).mean(), rel=0.1)
    alone = estimation.fill_fraction([both[..., :1]])
    assert estimation.fill_fraction([both, both[..., :1]]) == pytest.approx((together + alone) / 2)


@pytest.mark.parametrize("radius", [4, 6, 8, 10])
def test_the_diameter_of_drawn_spheres_is_found_within_two_voxels(radius):
    found = estimation.diameter(seen(spheres(radius, EIGHT_PLACES, (48, 48, 48))), (1, 1, 1))
    assert found == pytest.approx(2 * radius, abs=2)


def test_the_diameter_is_counted_in_voxels_of_x_where_slices_are_thicker():
    inside = spheres(10, [(8, 16, 16), (8, 16, 48), (8, 48, 16), (8, 48, 48)], (16, 64, 64), aspect=(3, 1, 1))
    found = estimation.diameter(seen(inside), (3, 1, 1))
    assert found == pytest.approx(20, rel=0.2)


def test_the_diameter_of_an_ellipsoid_is_that_of_the_largest_ball_in_it():
    grid = np.indices((32, 32, 64)) - np.array([16, 16, 32])[:, None, None, None]
    inside = np.sum((grid / np.array([8, 8, 24])[:, None, None, None]) ** 2, axis=0) <= 1
    assert estimation.diameter(seen(inside), (1, 1, 1)) == pytest.approx(16, abs=2.5)


def test_specks_do_not_pull_the_diameter_down():
    specks = list(itertools.product((2, 24, 45), repeat=3))
    inside = spheres(9, EIGHT_PLACES, (48, 48, 48)) | spheres(2, specks, (48, 48, 48))
    assert estimation.diameter(seen(inside), (1, 1, 1)) == pytest.approx(18, abs=2)


def test_a_stack_without_objects_has_no_diameter_and_no_fill():
    empty = np.zeros((8, 8, 8))
    assert estimation.diameter(empty, (1, 1, 1)) is None
    assert estimation.fill_fraction([empty[..., None]]) == 0
