"""Tiles cover every voxel, and cropping undoes padding."""

from __future__ import annotations

import dataclasses
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tfcyclegan3d import errors, tiling
from tfcyclegan3d.tiling import Tile, crop_of, padding_to, plan_slabs, plan_tiles, shortened, spread

unhurried = settings(deadline=None)
small_shapes = st.tuples(*[st.integers(1, 13)] * 3)


@st.composite
def plans(draw: st.DrawFn) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]:
    """Draw a tile, an overlap smaller than it and a volume at least as large."""
    tile_shape = draw(st.tuples(*[st.integers(1, 6)] * 3))
    overlap = tuple(draw(st.integers(0, size - 1)) for size in tile_shape)
    volume_shape = tuple(draw(st.integers(size, 15)) for size in tile_shape)
    return volume_shape, tile_shape, overlap


@given(plans())
def test_every_voxel_lies_in_a_tile_and_every_tile_in_the_volume(plan):
    volume_shape, tile_shape, overlap = plan
    count = np.zeros(volume_shape, int)
    tiles = plan_tiles(volume_shape, tile_shape, overlap)
    for tile in tiles:
        assert count[tile.slices].shape == tile.shape == tile_shape
        count[tile.slices] += 1
    assert count.min() >= 1
    assert len(set(tiles)) == len(tiles)


@given(plans())
def test_neighbouring_tiles_share_at_least_the_overlap(plan):
    volume_shape, tile_shape, overlap = plan
    tiles = plan_tiles(volume_shape, tile_shape, overlap)
    for axis in range(3):
        starts = sorted({tile.start[axis] for tile in tiles})
        for this, following in pairwise(starts):
            assert this + tile_shape[axis] - following >= overlap[axis]


def test_the_last_tile_is_shifted_back_to_the_end_of_the_volume():
    tiles = plan_tiles((4, 4, 11), (4, 4, 4), (0, 0, 1))
    assert [tile.start for tile in tiles] == [(0, 0, 0), (0, 0, 3), (0, 0, 6), (0, 0, 7)]
    assert tiles[-1].stop == (4, 4, 11)


def test_a_volume_of_one_tile_has_one_tile():
    assert plan_tiles((8, 8, 8), (8, 8, 8), (4, 4, 4)) == [Tile((0, 0, 0), (8, 8, 8))]


def test_no_tile_is_planned_twice_where_the_steps_end_at_the_volumes_end():
    assert [tile.start[2] for tile in plan_tiles((1, 1, 8), (1, 1, 4), (0, 0, 0))] == [0, 4]


def test_tiles_come_x_fastest():
    starts = [tile.start for tile in plan_tiles((2, 2, 2), (1, 1, 1), (0, 0, 0))]
    assert starts == sorted(starts)


def test_a_plan_holds_plain_integers_whatever_it_was_given():
    tile = plan_tiles(np.array([4, 4, 4]), np.array([2, 2, 2]), np.array([1, 1, 1]))[0]
    assert all(type(number) is int for number in (*tile.start, *tile.shape))


def test_a_tile_cannot_be_changed():
    with pytest.raises(dataclasses.FrozenInstanceError):
        Tile((0, 0, 0), (1, 1, 1)).start = (1, 1, 1)


@pytest.mark.parametrize("overlap", [(4, 0, 0), (0, -1, 0), (0, 0, 9)])
def test_an_overlap_that_leaves_no_step_is_refused_with_its_value(overlap):
    with pytest.raises(errors.OptionError, match=str(overlap[0])):
        plan_tiles((16, 16, 16), (4, 4, 4), overlap)


def test_an_empty_tile_is_refused():
    with pytest.raises(errors.OptionError, match="tile shape"):
        plan_tiles((16, 16, 16), (4, 0, 4), (0, 0, 0))


def test_a_tile_of_two_axes_is_refused():
    with pytest.raises(errors.OptionError, match="Z, Y, X"):
        plan_tiles((16, 16, 16), (4, 4), (0, 0, 0))


def test_a_volume_smaller_than_a_tile_is_a_fault_of_the_caller():
    with pytest.raises(ValueError, match="pad it first"):
        plan_tiles((3, 8, 8), (4, 4, 4), (0, 0, 0))


@given(small_shapes, small_shapes, st.integers(1, 8))
def test_padding_reaches_the_minimum_and_the_multiple_with_as_little_as_can_be(shape, minimum, multiple):
    for length, least, (before, after) in zip(shape, minimum, padding_to(shape, minimum, multiple), strict=True):
        padded = before + length + after
        assert before >= 0
        assert 0 <= after - before <= 1
        assert padded >= least
        assert padded % multiple == 0
        assert padded - multiple < max(length, least)


def test_each_axis_can_have_a_multiple_of_its_own():
    assert padding_to((5, 5, 5), (1, 1, 1), (1, 2, 4)) == ((0, 0), (0, 1), (1, 2))


def test_a_shape_that_fits_is_not_padded():
    assert padding_to((16, 32, 32), (16, 16, 16), 16) == ((0, 0), (0, 0), (0, 0))


@given(small_shapes, small_shapes, st.integers(1, 8), st.integers(1, 2))
def test_cropping_undoes_reflection_padding_even_of_one_slice_stacks(shape, minimum, multiple, n_channels):
    array = np.arange(np.prod(shape) * n_channels, dtype=np.float32).reshape(*shape, n_channels)
    padding = padding_to(shape, minimum, multiple)
    padded = np.pad(array, (*padding, (0, 0)), mode="reflect")
    assert np.array_equal(padded[crop_of(padding)], array)
    assert np.isin(padded, array).all()


def test_reflection_padding_repeats_the_only_slice_and_reflects_as_often_as_needed():
    assert np.pad([7], (2, 3), mode="reflect").tolist() == [7] * 6
    assert np.pad([1, 2], (3, 4), mode="reflect").tolist() == [2, 1, 2, 1, 2, 1, 2, 1, 2]


@unhurried
@given(
    shape=st.tuples(*[st.integers(1, 9)] * 4),
    order=st.permutations([0, 1, 2]),
    multiples=st.tuples(*[st.integers(1, 4)] * 3),
    n_values=st.integers(1, 200),
)
def test_slabs_follow_each_other_as_the_array_is_stored_and_are_no_larger_than_they_must(
    shape, order, multiples, n_values
):
    array = np.zeros(shape).transpose(*np.argsort(order), 3)
    assert 1 in shape or tiling.storage_order(array.strides) == tuple(order)
    slabs = [array[slab] for slab in plan_slabs(array.shape, order, multiples, n_values)]
    for number, slab in enumerate(slabs, start=1):
        assert not slab.any()
        slab[:] = number
    assert array.all()
    # Of blocks of so many voxels, no slab holds a part, and their numbers rise in the order of the array.
    each = tuple(slice(None, None, step) for step in multiples)
    blocks = array[each]
    repeated = blocks.repeat(multiples[0], 0).repeat(multiples[1], 1).repeat(multiples[2], 2)
    np.testing.assert_array_equal(repeated[tuple(map(slice, array.shape))], array)
    assert (np.diff(blocks.transpose(*order, 3).ravel()) >= 0).all()
    first, second = order[:2]
    for slab in slabs:
        least = min(multiples[first], array.shape[first]) * min(multiples[second], array.shape[second])
        assert slab.size <= max(n_values, least * array.shape[order[2]] * array.shape[3])


@unhurried
@given(shape=st.tuples(*[st.integers(1, 40)] * 3), n_voxels=st.integers(1, 9000))
def test_a_shortened_shape_fits_and_could_not_be_longer(shape, n_voxels):
    short = shortened(shape, n_voxels)
    longest = max(short)
    assert all(one == min(side, longest) for one, side in zip(short, shape, strict=True))
    if np.prod(shape) <= n_voxels:
        assert short == shape
    else:
        assert np.prod(short) <= n_voxels < np.prod([min(side, longest + 1) for side in shape])


def test_items_are_spread_from_the_first_to_the_last():
    assert spread(range(5), 5) == list(range(5))
    assert spread(range(101), 5) == [0, 25, 50, 75, 100]
