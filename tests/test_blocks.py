"""Blocks: disjoint, covering, each with its surroundings, wherever the grid begins."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tfcyclegan3d import errors, preprocessing
from tfcyclegan3d.inference import tile_shape
from tfcyclegan3d.inference.blocks import common, inside, plan_overlapping, plan_with_halo, refined, rounded_halo
from tfcyclegan3d.tiling import Tile, padding_to, plan_tiles

few = settings(deadline=None, max_examples=60)
SHAPES = st.tuples(*[st.integers(1, 70)] * 3)


@st.composite
def halo_plans(draw: st.DrawFn):
    """Draw a volume and a plan of it, shifted or not."""
    multiple = draw(st.sampled_from([1, 4, 8]))
    halo = draw(st.integers(0, 9))
    least = 2 * rounded_halo(halo, multiple) + multiple
    largest = draw(st.tuples(*[st.integers(least, least + 40)] * 3))
    shape = draw(SHAPES)
    offset = tuple(multiple * draw(st.integers(0, 5)) for _ in range(3))
    return shape, halo, multiple, largest, plan_with_halo(shape, largest, halo, multiple, offset)


def counted(shape, tiles):
    counts = np.zeros(shape, int)
    for tile in tiles:
        counts[tile.slices] += 1
    return counts


@few
@given(halo_plans())
def test_every_voxel_belongs_to_one_block(drawn):
    shape, _, _, _, plan = drawn
    assert (counted(shape, [block.owned for block in plan.blocks]) == 1).all()


@few
@given(halo_plans())
def test_tiles_are_of_one_shape_begin_at_multiples_and_show_the_halo_or_the_end_of_the_volume(drawn):
    shape, halo, multiple, largest, plan = drawn
    for block in plan.blocks:
        (tile,) = block.tiles
        assert tile.shape == plan.tile_shape
        for axis in range(3):
            padded = -(-shape[axis] // multiple) * multiple
            assert tile.start[axis] % multiple == tile.shape[axis] % multiple == 0
            assert 0 <= tile.start[axis] <= tile.stop[axis] <= padded
            assert tile.shape[axis] <= max(largest[axis], padded if padded <= largest[axis] else 0)
            assert tile.start[axis] <= max(0, block.owned.start[axis] - halo)
            assert tile.stop[axis] >= min(padded, block.owned.stop[axis] + halo)


@few
@given(halo_plans())
def test_blocks_are_merged_with_one_voxel_of_their_neighbours(drawn):
    shape, _, _, _, plan = drawn
    for block in plan.blocks:
        for axis in range(3):
            assert block.merged.start[axis] == max(0, block.owned.start[axis] - 1)
            assert block.merged.stop[axis] == min(shape[axis], block.owned.stop[axis] + 1)


def test_a_volume_that_fits_into_one_tile_is_one_block_without_halo():
    plan = plan_with_halo((61, 100, 7), (64, 128, 64), 16, 4)
    assert [block.tiles[0] for block in plan.blocks] == [Tile((0, 0, 0), (64, 100, 8))]
    assert plan.blocks[0].owned == Tile((0, 0, 0), (61, 100, 7))


def test_two_blocks_need_a_halo_on_one_side_only():
    plan = plan_with_halo((8, 96, 8), (64, 64, 64), 16, 4)
    assert [(block.owned.start[1], block.owned.stop[1]) for block in plan.blocks] == [(0, 48), (48, 96)]
    assert [(block.tiles[0].start[1], block.tiles[0].stop[1]) for block in plan.blocks] == [(0, 64), (32, 96)]


def test_a_shifted_grid_has_its_borders_elsewhere():
    borders = [
        {block.owned.start[2] for block in plan_with_halo((8, 8, 200), (8, 8, 64), 8, 4, (0, 0, shift)).blocks}
        for shift in (0, 12)
    ]
    assert borders[0] & borders[1] == {0}


def test_a_tile_that_would_be_all_halo_is_refused_with_what_it_needs():
    with pytest.raises(errors.OptionError, match="at least 36 voxels, of which 32 are halo"):
        plan_with_halo((8, 8, 100), (32, 32, 32), 16, 4)


@few
@given(st.tuples(*[st.integers(1, 20)] * 3), st.tuples(*[st.integers(3, 12)] * 3), st.data())
def test_of_overlapping_tiles_a_block_takes_all_that_touch_it(shape, tile, data):
    overlap = tuple(data.draw(st.integers(0, side // 2)) for side in tile)
    plan = plan_overlapping(shape, tile, overlap, tiles_per_side=2)
    assert (counted(shape, [block.owned for block in plan.blocks]) == 1).all()
    padding = padding_to(shape, tile)
    padded = [side + sum(pads) for side, pads in zip(shape, padding, strict=True)]
    everywhere = {
        Tile(tuple(a - before for a, (before, _) in zip(one.start, padding, strict=True)), one.shape)
        for one in plan_tiles(padded, tile, overlap)
    }
    for block in plan.blocks:
        assert set(block.tiles) == {one for one in everywhere if common(one, block.merged)}


@few
@given(SHAPES, SHAPES, st.data())
def test_what_boxes_share_is_what_arrays_share(one_start, other_start, data):
    one, other = (Tile(start, data.draw(st.tuples(*[st.integers(1, 20)] * 3))) for start in (one_start, other_start))
    sets = [set(itertools.product(*(range(part.start, part.stop) for part in box.slices))) for box in (one, other)]
    shared = common(one, other)
    assert (set() if shared is None else set(itertools.product(*(range(p.start, p.stop) for p in shared.slices)))) == (
        sets[0] & sets[1]
    )
    if shared is not None:
        volume = np.arange(90**3).reshape(90, 90, 90)
        np.testing.assert_array_equal(volume[one.slices][inside(shared, one)], volume[shared.slices])


@few
@given(SHAPES, st.tuples(*[st.integers(1, 4)] * 3))
def test_blocks_of_the_coarse_grid_tile_the_fine_one(fine, factors):
    coarse = preprocessing.downsample(np.zeros((*fine, 1)), factors).shape[:3]
    plan = plan_with_halo(coarse, (24, 24, 24), 4, 4)
    owned = [refined(block.owned, factors, fine) for block in plan.blocks]
    assert (counted(fine, owned) == 1).all()


@few
@given(SHAPES, st.sampled_from([2**12, 2**15, 2**18]))
def test_the_tile_of_least_work_fits_and_no_other_makes_the_network_see_less(shape, n_voxels):
    largest = tile_shape.least_work(shape, 8, 4, n_voxels)

    def seen(largest):
        plan = plan_with_halo(shape, largest, 8, 4)
        return len(plan.blocks) * int(np.prod(plan.tile_shape))

    assert np.prod(largest) <= n_voxels or max(largest) <= 32
    for other in itertools.product((32, 48, 64), repeat=3):
        if np.prod(other) <= n_voxels:
            assert seen(largest) <= seen(other)
