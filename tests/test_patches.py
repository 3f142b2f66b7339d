"""Patches are pure functions of seed and index, cut and augmented alike in image and mask."""

import dataclasses
import itertools
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tfcyclegan3d import errors, patches
from tfcyclegan3d.preprocessing import CoarseObjects
from tfcyclegan3d.synthesis.microscope import ANY, Microscope

few = settings(max_examples=25, deadline=None)
PATCH = (8, 12, 12)
# Nothing blurs, bleeds or hides: an object is bright, all else dark, voxel by voxel.
TRANSPARENT = Microscope(
    brightness=(1.0, 1.0),
    object_spread=(0.0, 0.0),
    texture=(0.0, 0.0),
    blur=(0.0, 0.0),
    haze=(0.0, 0.0),
    bleed_through=(0.0, 0.0),
    background=(1e-6, 1e-6),
    unevenness=(0.0, 0.0),
    debris=(0.0, 0.0),
    attenuation=(0.0, 0.0),
    photons=(1e6, 1e6),
    read_noise=(1e-6, 1e-6),
)


def distinct(shape, seed=0):
    """A volume (ZYXC in [-1, 1]) without two equal values, so that any voxel can be found again."""
    n_voxels = int(np.prod(shape))
    values = np.linspace(-1, 1, n_voxels, dtype=np.float32)
    return np.random.default_rng(seed).permutation(values).reshape(shape)


def blocks(shape=(20, 30, 40), n_classes=2, seed=0):
    """Numbered objects (ZYXC) that cover whole voxels: boxes of every size, other ones in every class."""
    rng = np.random.default_rng(seed)
    numbers = np.zeros((*shape, n_classes), np.uint16)
    for number, k in itertools.product(range(1, 9), range(n_classes)):
        corner = [int(rng.integers(side)) for side in shape]
        numbers[(*(slice(first, first + int(rng.integers(2, 8))) for first in corner), k)] = number
    return CoarseObjects.of(numbers, (1, 1, 1))


def sources(seed=(5,)):
    return {
        "volumes": patches.VolumePatches([distinct((9, 20, 15, 2)), distinct((16, 13, 30, 2), 1)], PATCH, seed),
        "rendered": patches.RenderedPatches([blocks(), blocks(seed=1)], PATCH, ANY, (1.0, 99.8), seed),
        "rendered one by one": patches.RenderedPatches(
            [blocks(), blocks(seed=1)], PATCH, ANY, (1.0, 99.8), seed, strengths_per="patch"
        ),
    }


# ---- purity


@pytest.mark.parametrize("kind", ["volumes", "rendered", "rendered one by one"])
def test_a_patch_depends_on_seed_and_index_alone_in_whatever_order_they_are_drawn(kind):
    one, other = sources()[kind], sources()[kind]
    forwards = [one.draw(index) for index in range(10)]
    backwards = [other.draw(index) for index in reversed(range(10))][::-1]
    for patch, again in zip(forwards, backwards, strict=True):
        for array, array_again in zip(patch, again, strict=True):
            np.testing.assert_array_equal(array, array_again)


@pytest.mark.parametrize("kind", ["volumes", "rendered", "rendered one by one"])
def test_other_seeds_and_other_indices_give_other_patches(kind):
    one, other = sources((5,))[kind], sources((6,))[kind]
    drawn = [one.draw(index)[0].tobytes() for index in range(6)] + [
        other.draw(index)[0].tobytes() for index in range(6)
    ]
    assert len(set(drawn)) == 12


@pytest.mark.parametrize("kind", ["volumes", "rendered", "rendered one by one"])
def test_a_dataset_begun_at_step_n_goes_on_as_one_begun_at_the_start(kind):
    from_start = patches.dataset(sources()[kind], batch_size=2).take(5)
    resumed = patches.dataset(sources()[kind], batch_size=2, first_step=3).take(2)
    wanted, source = list(from_start)[3:], sources()[kind]
    for step, (batch, batch_again) in enumerate(zip(wanted, resumed, strict=True), start=3):
        for position, (array, array_again) in enumerate(zip(batch, batch_again, strict=True)):
            np.testing.assert_array_equal(array, array_again)
            oracle = [source.draw(2 * step + sample)[position] for sample in range(2)]
            np.testing.assert_array_equal(array, np.stack(oracle))


@pytest.mark.parametrize(("kind", "n_arrays"), [("volumes", 1), ("rendered", 2), ("rendered one by one", 2)])
def test_batches_are_bzyxc_of_float32_within_the_networks_range(kind, n_arrays):
    source = sources()[kind]
    assert (source.n_arrays, source.n_channels, source.patch_shape) == (n_arrays, 2, PATCH)
    dataset = patches.dataset(source, batch_size=3)
    assert [tuple(spec.shape) for spec in dataset.element_spec] == [(3, *PATCH, 2)] * n_arrays
    for batch in dataset.take(4):
        assert len(batch) == n_arrays
        for array in batch:
            assert array.shape == (3, *PATCH, 2)
            assert array.dtype == np.float32
            assert array.numpy().min() >= -1
            assert array.numpy().max() <= 1


# ---- what a patch is


def brute_force_variants(patch):
    """Every flip and quarter turn of a patch, by transposing and indexing."""
    for z, y, x in itertools.product((1, -1), repeat=3):
        flipped = patch[::z, ::y, ::x]
        yield flipped
        if patch.shape[1] == patch.shape[2]:
            yield flipped.transpose(0, 2, 1, 3)


def test_a_patch_is_a_place_of_its_volume_flipped_and_turned():
    volume = distinct((9, 20, 15, 2))
    source = patches.VolumePatches([volume], PATCH, (1,))
    places = set()
    for index in range(20):
        (patch,) = source.draw(index)
        corner = np.argwhere(np.isin(volume[..., 0], patch[..., 0])).min(axis=0)
        cut = volume[tuple(slice(first, first + size) for first, size in zip(corner, PATCH, strict=True))]
        assert any(np.array_equal(variant, patch) for variant in brute_force_variants(cut))
        places.add(tuple(corner))
    assert len(places) > 8


def variants_drawn(patch_shape):
    """How often each variant of one volume, which fills the patch, is drawn in 1600."""
    source = patches.VolumePatches([distinct((*patch_shape, 1))], patch_shape, (3,))
    counts = {}
    for index in range(1600):
        (patch,) = source.draw(index)
        counts[patch.tobytes()] = counts.get(patch.tobytes(), 0) + 1
    return counts


def test_every_flip_and_quarter_turn_of_a_square_patch_is_drawn_equally_often():
    counts = variants_drawn((2, 4, 4))
    oracle = {np.ascontiguousarray(variant).tobytes() for variant in brute_force_variants(distinct((2, 4, 4, 1)))}
    assert counts.keys() == oracle
    assert len(oracle) == 16
    assert all(60 < count < 140 for count in counts.values())


def test_a_patch_that_is_not_square_is_flipped_and_turned_by_half_turns_only():
    counts = variants_drawn((2, 3, 4))
    oracle = {np.ascontiguousarray(variant).tobytes() for variant in brute_force_variants(distinct((2, 3, 4, 1)))}
    assert counts.keys() == oracle
    assert len(oracle) == 8
    assert all(140 < count < 260 for count in counts.values())


@few
@given(
    flips=st.tuples(st.booleans(), st.booleans(), st.booleans()),
    turns=st.integers(0, 3),
    side=st.integers(1, 5),
    depth=st.integers(1, 3),
)
def test_augmentation_moves_every_voxel_where_flips_and_turns_take_it(flips, turns, side, depth):
    patch = distinct((depth, side, side, 2))
    done = patches.Augmentation(flips, turns).apply(patch)
    for z, y, x in np.ndindex(depth, side, side):
        to = [side_ - 1 - i if flip else i for i, flip, side_ in zip((z, y, x), flips, patch.shape[:3], strict=True)]
        for _ in range(turns):  # A quarter turn takes Y to X: row 0, read from left to right, becomes column 0 upwards.
            to = [to[0], side - 1 - to[2], to[1]]
        np.testing.assert_array_equal(done[tuple(to)], patch[z, y, x])


@few
@given(sides=st.tuples(st.integers(2, 10), st.integers(2, 14), st.integers(2, 14)), index=st.integers(0, 99))
def test_volumes_smaller_than_a_patch_are_padded_by_reflection(sides, index):
    volume = distinct((*sides, 1))
    (patch,) = patches.VolumePatches([volume], PATCH, (0,)).draw(index)
    assert patch.shape == (*PATCH, 1)
    assert np.isin(patch, volume).all()
    # Along any line of the patch two neighbours are neighbours in the volume, and no value is repeated at its border.
    for axis, length in enumerate(PATCH):
        if length > 1:
            assert (np.diff(patch, axis=axis) != 0).all()


def test_a_volume_smaller_than_a_patch_along_every_axis_is_its_reflection():
    volume = distinct((5, 7, 9, 1))
    (patch,) = patches.VolumePatches([volume], PATCH, (0,)).draw(0)
    reflected = np.pad(volume, [(1, 2), (2, 3), (1, 2), (0, 0)], mode="reflect")
    assert any(np.array_equal(variant, patch) for variant in brute_force_variants(reflected))


def test_a_volume_eight_times_as_large_is_drawn_from_eight_times_as_often():
    small, large = np.full((8, 12, 12, 1), -1.0, np.float32), np.full((16, 24, 24, 1), 1.0, np.float32)
    source = patches.VolumePatches([small, large], PATCH, (2,))
    from_large = sum(source.draw(index)[0].flat[0] == 1 for index in range(900))
    assert 760 < from_large < 840  # 800 expected; 9.4 is the deviation of the draw.


def test_a_volume_that_is_padded_is_drawn_from_by_its_size_before():
    thin, full = np.full((1, 12, 12, 1), -1.0, np.float32), np.full((8, 12, 12, 1), 1.0, np.float32)
    source = patches.VolumePatches([thin, full], PATCH, (2,))
    from_full = sum(source.draw(index)[0].flat[0] == 1 for index in range(900))
    assert 760 < from_full < 840


# ---- rendered pairs


@few
@given(seed=st.integers(0, 1000), index=st.integers(0, 40), strengths_per=st.sampled_from(["volume", "patch"]))
def test_a_rendered_image_lies_voxel_by_voxel_on_its_mask(seed, index, strengths_per):
    source = patches.RenderedPatches(
        [blocks(seed=seed)], PATCH, TRANSPARENT, (0.0, 100.0), (seed,), strengths_per=strengths_per
    )
    image, mask = source.draw(index)
    assert image.shape == mask.shape == (*PATCH, 2)
    np.testing.assert_array_equal(image > 0, mask > 0)


def sparse_objects(shape=(40, 60, 60)):
    """One small object of class 0 in a corner, a larger one of class 1 elsewhere."""
    numbers = np.zeros((*shape, 2), np.uint16)
    numbers[:2, :3, -2:, 0] = 1
    numbers[20:30, 40:50, 10:25, 1] = 1
    return CoarseObjects.of(numbers, (1, 1, 1))


@pytest.mark.parametrize("strengths_per", ["volume", "patch"])
def test_patches_are_laid_onto_objects_of_every_class_as_often_as_asked(strengths_per):
    found = {}
    for share in (0.0, 0.5, 1.0):
        source = patches.RenderedPatches(
            [sparse_objects()], PATCH, TRANSPARENT, (0.0, 100.0), (4,), strengths_per=strengths_per, object_share=share
        )
        masks = np.stack([source.draw(index)[1] > 0 for index in range(120)])
        found[share] = masks.any(axis=(1, 2, 3)).mean(axis=0)
    assert found[1.0].sum() == pytest.approx(1.0)
    np.testing.assert_allclose(found[1.0], 0.5, atol=0.15)
    np.testing.assert_allclose(found[0.5], (found[0.0] + found[1.0]) / 2, atol=0.15)
    assert found[0.0][0] < 0.05


@given(
    shape=st.tuples(*[st.integers(8, 20)] * 3),
    size=st.tuples(*[st.sampled_from([4, 8, 12])] * 3),
    seed=st.integers(0, 99),
)
def test_a_place_that_is_to_hold_a_voxel_holds_it_and_lies_within_the_volume(shape, size, seed):
    rng = np.random.default_rng(seed)
    voxel = [int(rng.integers(side)) for side in shape]
    place = patches._random_place(shape, size, rng, voxel)
    for at, side, length, where in zip(voxel, shape, size, place, strict=True):
        assert where.start >= 0 and where.stop - where.start == length
        assert where.stop <= max(side, length)
        assert where.start <= at < where.stop


def test_an_empty_volume_gives_patches_even_where_objects_are_asked_for():
    empty = CoarseObjects.of(np.zeros((16, 16, 16, 1), np.uint16), (1, 1, 1))
    source = patches.RenderedPatches([empty], PATCH, ANY, (1.0, 99.0), (0,), object_share=1.0)
    assert (source.draw(0)[1] == -1).all()


def test_consecutive_patches_share_a_rendering_and_the_next_ones_have_another(monkeypatch):
    renderings = []

    def rendered(numbers, microscope, rng, coverage):
        renderings.append(rng.integers(1 << 30))
        return np.where(numbers > 0, np.float32(1), np.float32(0)) + rng.random(numbers.shape, np.float32) / 10

    monkeypatch.setattr(patches, "render", rendered)
    source = patches.RenderedPatches([blocks()], PATCH, ANY, (1.0, 99.0), (0,), patches_per_rendering=3)
    for index in range(7):
        source.draw(index)
    assert len(renderings) == len(set(renderings)) == 3


@pytest.mark.parametrize(("strengths_per", "n_drawn"), [("volume", 2), ("patch", 8)])
def test_strengths_are_drawn_anew_for_each_rendered_volume_or_for_each_patch(strengths_per, n_drawn):
    drawn = []

    def draw(microscope, rng):
        drawn.append(strengths := Microscope.draw(microscope, rng))
        return strengths

    microscope = type("Observed", (Microscope,), {"draw": draw})()
    source = patches.RenderedPatches([blocks()], PATCH, microscope, (1.0, 99.0), (0,), strengths_per=strengths_per)
    for index in range(8):
        source.draw(index)
    assert len(drawn) == len({tuple(one.values()) for one in drawn}) == n_drawn


def test_a_patch_without_objects_is_dark_where_its_volume_has_some_though_it_is_rendered_by_itself():
    numbers = np.zeros((32, 80, 80, 1), np.uint16)
    numbers[8:24, 10:30, 10:30] = 1
    sharp = dataclasses.replace(TRANSPARENT, read_noise=(0.02, 0.02), photons=(500.0, 500.0))
    source = patches.RenderedPatches(
        [CoarseObjects.of(numbers, (1, 1, 1))], PATCH, sharp, (1.0, 99.8), (0,), strengths_per="patch"
    )
    drawn = [source.draw(index) for index in range(40)]
    empty = [image for image, mask in drawn if (mask < 0).all()]
    full = [image[mask > 0] for image, mask in drawn if (mask > 0).any()]
    assert len(empty) > 5 and len(full) > 2
    assert max(image.max() for image in empty) < 0
    assert all(values.mean() > 0.7 for values in full)


def test_patches_that_are_not_augmented_lie_as_they_do_in_their_volume():
    volume = distinct((12, 20, 24, 1))
    source = patches.VolumePatches([volume], PATCH, (7,), augmented=False)
    windows = np.lib.stride_tricks.sliding_window_view(volume[..., 0], PATCH)
    places = set()
    for index in range(12):
        (patch,) = source.draw(index)
        start = tuple(int(found[0]) for found in np.nonzero(windows[..., 0, 0, 0] == patch[0, 0, 0, 0]))
        np.testing.assert_array_equal(patch[..., 0], windows[start])
        places.add(start)
    assert len(places) > 6


def test_strengths_per_anything_else_are_refused():
    with pytest.raises(errors.OptionError, match="strengths_per: received 'batch'"):
        patches.RenderedPatches([blocks()], PATCH, ANY, (1.0, 99.0), (0,), strengths_per="batch")


@pytest.mark.parametrize("percentiles", [(5.0, 90.0), ((5.0, 90.0), (20.0, 70.0))])
def test_rendered_patches_are_stretched_by_the_percentiles_of_the_whole_rendering(monkeypatch, percentiles):
    numbers = blocks((16, 24, 24))
    light = distinct((16, 24, 24, 2), seed=9) * 50 + 200
    monkeypatch.setattr(patches, "render", lambda *_: light)
    source = patches.RenderedPatches([numbers], PATCH, ANY, percentiles, (0,))
    pairs = np.broadcast_to(percentiles, (2, 2))
    bounds = [np.percentile(light[..., k], pairs[k]) for k in range(2)]
    oracle = np.stack([(light[..., k] - low) * 2 / (high - low) - 1 for k, (low, high) in enumerate(bounds)], axis=-1)
    oracle = np.clip(oracle, -1, 1)
    drawn = np.concatenate([source.draw(index)[0].reshape(-1, 2) for index in range(12)])
    for k in range(2):
        nearest = np.sort(oracle[..., k].ravel())
        found = nearest[np.clip(np.searchsorted(nearest, drawn[:, k]), 0, nearest.size - 1)]
        np.testing.assert_allclose(drawn[:, k], found, atol=2e-4)
    for k, (low, high) in enumerate(pairs):
        assert (drawn[:, k] == -1).mean() == pytest.approx(low / 100, abs=0.03)
        assert (drawn[:, k] == 1).mean() == pytest.approx(1 - high / 100, abs=0.04)


def test_a_mask_is_the_share_of_its_voxels_that_objects_cover():
    numbers = np.zeros((16, 24, 24, 1), np.uint16)
    numbers[3:11, 5:17, 2:20] = 4
    drawn = CoarseObjects.of(numbers, (2, 2, 2))
    masks = [patches.RenderedPatches([drawn], PATCH, ANY, (1.0, 99.0), (0,)).draw(index)[1] for index in range(4)]
    for mask in masks:  # The patch is the whole volume, flipped and turned.
        shares = np.unique((mask + 1) / 2, return_counts=True)
        oracle = np.unique((numbers > 0).reshape(8, 2, 12, 2, 12, 2).mean(axis=(1, 3, 5)), return_counts=True)
        for found, wanted in zip(shares, oracle, strict=True):
            np.testing.assert_array_equal(found, wanted)


def test_the_range_of_a_mask_is_minus_one_to_one():
    made = patches.mask_range(np.array([0, 0.25, 0.5, 1]))
    assert made.dtype == np.float32
    assert made.tolist() == [-1, -0.5, 0, 1]


def test_the_benchmark_prints_a_table_with_a_line_for_volumes_and_one_for_patches():
    root = Path(__file__).parents[1]
    options = ("--seconds", "0.01", "--sizes", "32^3 x 1", "--microscopes", "CLEAN", "--threads", "1")
    done = subprocess.run(
        [sys.executable, root / "benchmarks" / "rendering.py", *options],
        env=os.environ | {"PYTHONPATH": str(root)},
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    lines = [[cell.strip() for cell in line.split("|")[1:-1]] for line in done.stdout.splitlines()]
    assert [line[:4] for line in lines[2:]] == [["32^3 x 1", "CLEAN", per, "1"] for per in ("volume", "patch")]
    (of_volumes, shared), (of_patches, single) = ([float(cell) for cell in line[4:]] for line in lines[2:])
    assert shared == pytest.approx(4 * of_volumes, rel=0.05) and shared > 0
    assert single == of_patches > 0
