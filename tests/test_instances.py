"""Numbering objects: touching ones are parted, long ones are not, and blocks change nothing."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from tfcyclegan3d import errors
from tfcyclegan3d.objects import blockwise, numbering
from tfcyclegan3d.objects.basins import Relief
from tfcyclegan3d.objects.instances import label_objects, voronoi_otsu
from tfcyclegan3d.objects.landscape import core_of, distance, estimate_diameter, graded
from tfcyclegan3d.sources import ArraySource, open_source
from tfcyclegan3d.volumes import Volume, read_volume

from .blobs import balls, ellipsoid

SHAPE = (24, 60, 60)
# Some of which touch, in a chain of three and a pair.
CENTRES = [(11, 10, 10), (11, 10, 24), (12, 11, 38), (12, 40, 12), (11, 47, 24), (10, 40, 48)]


@pytest.fixture(scope="module")
def touching():
    return balls(SHAPE, CENTRES, 8.0)


def agreement(found, truth):
    """Return the mean over the true objects of the best intersection over union."""
    best = []
    for number in range(1, truth.max() + 1):
        true = truth == number
        ious = [((found == k) & true).sum() / ((found == k) | true).sum() for k in np.unique(found[true]) if k]
        best.append(max(ious, default=0))
    return np.mean(best)


def in_blocks(foreground, block_shape, **options):
    numbers = np.full(foreground.shape, -1, np.int32)

    def write(box, values):
        assert (numbers[box] == -1).all()
        numbers[box] = values

    objects = blockwise.number_blocks(
        lambda box: graded(foreground[box], 0.5), foreground.shape, write, block_shape=block_shape, **options
    )
    return objects[numbers]


# ---- in memory


@pytest.fixture
def unsure_between():
    """Probabilities of two balls and of a bridge between them, as wide as they are, of which a network is less sure."""
    z, y, x = np.indices((28, 28, 48))
    balls = [(z - 14) ** 2 + (y - 14) ** 2 + (x - at) ** 2 < 64 for at in (15, 32)]
    bridge = ((z - 14) ** 2 + (y - 14) ** 2 < 60) & (x > 15) & (x < 32)
    return np.where(balls[0] | balls[1], 1.0, np.where(bridge, 0.8, 0.02)).astype(np.float32)


def test_objects_are_parted_where_a_network_is_less_sure(unsure_between):
    assert label_objects(unsure_between > 0.5, diameter=16).max() == 1
    found = label_objects(unsure_between, diameter=16)
    assert found.max() == 2
    assert {found[14, 14, 15], found[14, 14, 32]} == {1, 2}
    np.testing.assert_array_equal(found > 0, unsure_between > 0.5)
    # Where it is nowhere sure, the foreground tells as much as before.
    np.testing.assert_array_equal(
        label_objects(0.9 * unsure_between, diameter=16), label_objects(unsure_between > 0.5, diameter=16)
    )


@pytest.mark.parametrize("level", [0.3, 0.1, 0.05])
def test_moved_outlines_leave_cores_where_they_were(unsure_between, level):
    """What was ``level`` is one half, in log odds, as `move_levels` does it."""
    odds = unsure_between.clip(1e-6, 1 - 1e-6) / (1 - unsure_between.clip(1e-6, 1 - 1e-6)) * (1 - level) / level
    moved = odds / (1 + odds)
    assert label_objects(moved, diameter=16, core=core_of(0.5, level)).max() == 2
    assert label_objects(moved, diameter=16).max() == (2 if level == 0.3 else 1)
    np.testing.assert_array_equal(moved > core_of(0.5, level), unsure_between > core_of(0.5))


def test_blocks_know_of_cores(unsure_between):
    found = in_blocks(unsure_between, (12, 20, 24), diameter=16)
    np.testing.assert_array_equal(found, label_objects(unsure_between, diameter=16))


def test_touching_balls_are_parted_and_numbered_in_order(touching):
    found = label_objects(touching > 0, diameter=16)
    assert found.dtype == np.int32
    assert found.max() == len(CENTRES)
    assert agreement(found, touching) > 0.97
    np.testing.assert_array_equal(found > 0, touching > 0)
    tops = [np.argwhere(found == k).mean(axis=0)[0] for k in range(1, 7)]
    assert tops[-1] - tops[0] > 0  # Hilltops come in the order of Z.


def test_without_a_diameter_it_is_estimated_from_the_mask(touching):
    assert estimate_diameter(touching > 0) == pytest.approx(16, rel=0.1)
    assert agreement(label_objects(touching > 0), touching) > 0.97


def test_a_long_object_stays_one_whatever_its_direction():
    turned = np.linalg.qr(np.random.default_rng(1).normal(size=(3, 3)))[0]
    mask = ellipsoid((60, 70, 70), (30, 35, 35), (25, 8, 9), rotation=turned)
    assert label_objects(mask, diameter=17).max() == 1


@pytest.mark.parametrize("seed", [163, 740, 807])
def test_a_few_scattered_voxels_have_a_diameter_though_the_smoothed_hill_peaks_beside_them(seed):
    rng = np.random.default_rng(seed)
    mask = rng.random((3, 5, 7)) < rng.random()
    assert estimate_diameter(mask) == pytest.approx(2, abs=1)
    assert label_objects(mask).max() > 0


def test_distances_are_those_of_anisotropic_voxels():
    """Of voxels three times as long along Z, balls half a diameter apart along it are balls all the same."""
    spacing = (3.0, 1.0, 1.0)
    one = ellipsoid((20, 30, 30), (20, 15, 15), (10, 10, 10), spacing)
    other = ellipsoid((20, 30, 30), (38, 15, 15), (10, 10, 10), spacing)
    mask = one | other
    assert ndimage.label(mask)[1] == 1
    found = label_objects(mask, diameter=20, spacing=spacing)
    assert found.max() == 2
    assert agreement(found, np.where(one, 1, np.where(other, 2, 0))) > 0.85
    expected = ndimage.distance_transform_edt(mask, sampling=spacing)
    np.testing.assert_allclose(distance(mask, spacing), expected, rtol=1e-6)


def test_specks_are_dropped_and_what_is_small_but_attached_is_kept_with_its_neighbour(touching):
    mask = touching > 0
    mask[0, 0, 0] = mask[20:22, 58, 58] = True
    assert label_objects(mask, diameter=16).max() == len(CENTRES)
    assert label_objects(mask, diameter=16, minimum_share=0).max() == len(CENTRES) + 2


def test_small_basins_join_the_neighbour_with_the_longest_border():
    relief = Relief()
    relief.add_basins(np.array([[0, 0, 0], [0, 0, 5], [0, 0, 9]]), np.array([5.0, 1.0, 5.0]))
    numbers = np.array([[[1, 1, 1, 2, 3, 3, 3], [1, 1, 1, 3, 3, 3, 3]]])
    relief.add_voxels(numbers)
    relief.add_passes(numbers, np.where(numbers == 2, 0.5, 0.6).astype(np.float32))
    # The second basin shares one face with the first and two with the third.
    np.testing.assert_array_equal(relief.objects(valley=0.1, least_voxels=2), [0, 1, 2, 2])


def test_the_valley_that_parts_two_hills_is_relative_to_the_lower():
    def objects(valley):
        relief = Relief()
        relief.add_basins(np.array([[0, 0, 0], [0, 0, 2]]), np.array([10.0, 4.0]))
        relief.add_voxels(np.array([[[1, 2]]]))
        relief.add_passes(np.array([[[1, 2]]]), np.array([[[3.0, 3.0]]], np.float32))
        return relief.objects(valley, 0).tolist()

    assert objects(0.2) == [0, 1, 2]  # 3 is less than 80 % of 4,
    assert objects(0.3) == [0, 1, 1]  # but more than 70 %.


def test_learned_centres_say_what_the_outline_does_not():
    mask = ellipsoid((20, 30, 60), (10, 15, 30), (8, 8, 26))
    assert label_objects(mask, diameter=16).max() == 1
    places = np.stack(np.meshgrid(*map(np.arange, mask.shape), indexing="ij"), axis=-1)
    centres = sum(np.exp(-((places - (10, 15, x)) ** 2).sum(axis=-1) / 18) for x in (18, 42))
    found = label_objects(mask, diameter=16, centres=centres)
    assert found.max() == 2
    assert set(np.unique(found[:, :, :29])) == {0, 1}
    assert set(np.unique(found[:, :, 32:])) == {0, 2}


def test_probabilities_are_cut_at_the_threshold(touching):
    probability = np.where(touching > 0, 0.97, 0.2).astype(np.float32)
    np.testing.assert_array_equal(label_objects(probability, diameter=16), label_objects(touching > 0, diameter=16))
    assert label_objects(probability, threshold=0.98, diameter=16).max() == 0


@pytest.mark.parametrize("diameter", [None, 6.0])
def test_empty_masks_hold_no_object_and_full_ones_one(diameter):
    assert label_objects(np.zeros((5, 6, 7)), diameter=diameter).max() == 0
    np.testing.assert_array_equal(label_objects(np.ones((5, 6, 7)), diameter=diameter), 1)


def test_one_giant_blob_is_one_object():
    mask = np.pad(np.ones((30, 60, 60), bool), 2)
    assert label_objects(mask, diameter=8).max() == 1


@pytest.mark.parametrize("diameter", [None, 60.0])
def test_a_blob_wider_than_the_stack_is_deep_is_one_object_in_memory_and_on_disk(tmp_path, diameter):
    mask = np.ones((8, 90, 90), bool)
    mask[:, :, :5] = False
    np.testing.assert_array_equal(label_objects(mask, diameter=diameter), mask)
    source = open_source(Volume(mask[..., np.newaxis] * np.uint8(255)))
    diameters = {} if diameter is None else {"nuclei": diameter}
    with numbering.numbered(source, ("nuclei",), diameters, tmp_path) as found:
        found.save(tmp_path / "objects.tif")
        assert found.diameters["nuclei"] == (diameter or estimate_diameter(mask))
    np.testing.assert_array_equal(read_volume(tmp_path / "objects.tif").array[..., 0], mask)


def test_wide_discs_of_a_thin_stack_are_objects():
    assert label_objects(balls((1, 120, 120), [(0, 30, 30), (0, 85, 85)], 22.0) > 0).max() == 2


def test_a_blob_as_wide_as_a_large_stack_makes_no_block_as_large_as_that(tmp_path, monkeypatch):
    mask = np.ones((8, 90, 90), bool)
    mask[:, :, :5] = False
    monkeypatch.setattr(blockwise, "MOST_VOXELS", 2**14)
    monkeypatch.setattr(blockwise, "WIDEST", 2**15)
    monkeypatch.setattr(numbering, "CHUNK", 16)
    read = []

    class Watched(ArraySource):
        def read(self, box):
            read.append(np.prod([part.stop - part.start for part in box]))
            return super().read(box)

    with numbering.numbered(Watched(Volume(mask * np.uint8(255))), ("nuclei",), {}, tmp_path) as found:
        found.save(tmp_path / "objects.tif")
    assert len(read) > 2
    assert max(read[1:]) <= 2**15  # The first is what the diameter was estimated of.
    np.testing.assert_array_equal(read_volume(tmp_path / "objects.tif").array[..., 0], mask)


def test_a_mask_of_which_nothing_is_large_enough_is_warned_of(tmp_path, caplog):
    mask = ellipsoid((20, 30, 30), (9, 9, 9), (3, 3, 3))
    assert label_objects(mask, diameter=20).max() == 0
    assert "is not empty, but nothing in it is large enough for objects of diameter 20" in caplog.text
    caplog.clear()
    source = open_source(Volume(mask * np.uint8(255), None, "cells"))
    with numbering.numbered(source, ("nuclei",), {"nuclei": 20.0}, tmp_path) as found:
        assert found.counts == {"nuclei": 0}
    assert "cells, nuclei: is not empty" in caplog.text
    caplog.clear()
    label_objects(mask, diameter=6)
    label_objects(np.zeros((4, 5, 6)), diameter=6)
    assert not caplog.text


@pytest.mark.parametrize(
    "options", [{"diameter": 0.0}, {"spacing": (1, 0, 1)}, {"valley": 1.0}, {"minimum_share": -1.0}]
)
def test_options_out_of_range_are_refused(options):
    with pytest.raises(errors.OptionError):
        label_objects(np.zeros((4, 4, 4)), **options)


def test_centres_of_another_shape_and_stacks_of_several_classes_are_refused():
    with pytest.raises(errors.ShapeMismatchError):
        label_objects(np.zeros((4, 4, 4)), centres=np.zeros((4, 4, 5)))
    with pytest.raises(errors.VolumeContentError, match="4 axes"):
        label_objects(np.zeros((4, 4, 4, 2)))


def test_voronoi_otsu_finds_the_blobs_of_an_image(touching):
    rng = np.random.default_rng(0)
    image = ndimage.gaussian_filter((touching > 0) * 100.0, 1) + rng.normal(10, 2, SHAPE)
    found = voronoi_otsu(image, spot_sigma=4)
    assert found.max() == len(CENTRES)
    assert agreement(found, touching) > 0.8


# ---- block by block


@pytest.mark.parametrize("block_shape", [(24, 30, 30), (12, 20, 60), (24, 60, 60), (10, 17, 23)])
def test_blocks_give_what_the_whole_gives_number_by_number(touching, block_shape):
    whole = label_objects(touching > 0, diameter=16)
    np.testing.assert_array_equal(in_blocks(touching > 0, block_shape, diameter=16), whole)


def test_a_blob_wider_than_what_blocks_see_stays_one():
    mask = np.pad(np.ones((26, 74, 74), bool), 3)
    assert max(blockwise.margin(4, (1, 1, 1))) < 20
    found = in_blocks(mask, (16, 20, 20), diameter=4)
    np.testing.assert_array_equal(found, mask)


def test_blocks_know_of_anisotropic_voxels_and_centres(touching):
    mask, spacing = (touching > 0)[::2], (2.0, 1.0, 1.0)
    centres = ndimage.gaussian_filter((touching > 0)[::2] * 1.0, 2)
    whole = label_objects(mask, diameter=16, spacing=spacing, centres=centres)
    numbers = np.zeros(mask.shape, np.int32)

    def write(box, values):
        numbers[box] = values

    objects = blockwise.number_blocks(
        lambda box: graded(mask[box], 0.5),
        mask.shape,
        write,
        diameter=16,
        spacing=spacing,
        centres=lambda box: centres[box],
        block_shape=(12, 30, 60),
    )
    np.testing.assert_array_equal(objects[numbers], whole)


def test_blocks_fit_into_memory_and_are_whole_multiples():
    shape = (61, 2694, 1981)
    sides = blockwise.block_shape_for(shape, 21, (1, 1, 1), (10, 128, 128))
    around = blockwise.margin(21, (1, 1, 1))
    seen = [min(side + 2 * more, whole) for side, more, whole in zip(sides, around, shape, strict=True)]
    assert np.prod(seen) <= blockwise.MOST_VOXELS
    assert all(side == whole or side % by == 0 for side, whole, by in zip(sides, shape, (10, 128, 128), strict=True))


def test_blocks_of_a_thin_stack_are_as_deep_as_it_is():
    sides = blockwise.block_shape_for((61, 2694, 1981), 26, (2, 1, 1), (6, 128, 128))
    assert sides == (61, 256, 512)


@pytest.mark.parametrize("suffix", [".tif", ".zarr"])
def test_a_stack_becomes_a_file_of_numbers(touching, tmp_path, monkeypatch, suffix):
    monkeypatch.setattr(numbering, "CHUNK", 20)
    monkeypatch.setattr(blockwise, "MOST_VOXELS", 2**15)
    monkeypatch.setattr(blockwise, "SMALLEST_SIDE", 20)
    mask = np.stack([touching > 0, np.zeros(SHAPE, bool)], axis=-1)
    source = open_source(Volume(mask * np.uint8(255), (0.5, 0.25, 0.25), "cells"))
    steps = []
    with numbering.numbered(
        source,
        ("nuclei", "none"),
        {"nuclei": 16},
        tmp_path,
        spacing=(1, 1, 1),
        on_block=lambda *step: steps.append(step),
    ) as found:
        found.save(tmp_path / f"objects{suffix}")
        assert found.counts == {"nuclei": 6, "none": 0}
    assert len(steps) > 4
    assert steps[-1][0] == steps[-1][1]
    read = read_volume(tmp_path / f"objects{suffix}")
    assert read.array.dtype == np.uint16
    assert read.voxel_size_um == pytest.approx((0.5, 0.25, 0.25))
    np.testing.assert_array_equal(read.array[..., 0], label_objects(touching > 0, diameter=16))
    assert not read.array[..., 1].any()
    assert [path.name for path in tmp_path.iterdir()] == [f"objects{suffix}"]
