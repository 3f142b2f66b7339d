"""Outlines move outwards where objects come out smaller than told, and nowhere else."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from tfcyclegan3d import config as configuration
from tfcyclegan3d import preprocessing, presets
from tfcyclegan3d.inference.predictor import SegmentationModel
from tfcyclegan3d.models.outputs import halved_at, move_levels
from tfcyclegan3d.models.resnet_generator import resnet_generator
from tfcyclegan3d.training.outlines import (
    LEVELS,
    MOST_GROWTH,
    _middle_mean,
    find_outlines,
    outline_levels,
    told_diameters,
)
from tfcyclegan3d.training.preparation import prepare
from tfcyclegan3d.training.run import train
from tfcyclegan3d.volumes import Volume

from .tiny import TINY

CENTRES = ((12, 12, 12), (12, 12, 36), (12, 36, 12), (12, 36, 36))


def balls(diameter, spacing=(1.0, 1.0, 1.0), centres=CENTRES, width=2.0, shape=(24, 48, 48)):
    """Probabilities of balls that are one half on a sphere of a diameter and fall within ``width`` on each side."""
    grid = np.indices(shape).astype(np.float64)
    scale = np.reshape(spacing, (3, 1, 1, 1))
    away = np.min([np.sqrt((((grid - np.reshape(c, (3, 1, 1, 1))) * scale) ** 2).sum(0)) for c in centres], axis=0)
    return np.clip(0.5 - (away - diameter / 2) / (2 * width), 0, 1).astype(np.float32)[..., np.newaxis]


def levels_of(probabilities, told, spacing=(1.0, 1.0, 1.0)):
    return outline_levels([2 * probabilities - 1], lambda image: (image + 1) / 2, told, spacing, 4)


def test_small_objects_get_the_first_level_at_which_they_are_as_large_as_told():
    level, before, after = levels_of(balls(10.0), {0: 11.2})[0]
    # The radius grows by 4 voxels for each whole of probability: by 0.6 voxels at 0.5 - 0.6 / 4.
    assert level == pytest.approx(0.35) == LEVELS[3]
    assert before == pytest.approx(10.0, abs=0.3)
    assert 11.2 <= after == pytest.approx(10 + 8 * 0.15, abs=0.3)


def test_what_no_level_reaches_gets_the_last_one():
    assert levels_of(balls(10.0, width=0.3), {0: 11.2})[0][0] == LEVELS[-1]


@pytest.mark.parametrize("told", [12.25, 13.0, 20.0])
def test_objects_grow_by_no_more_than_a_share_however_large_they_are_told_to_be(told):
    level, before, after = levels_of(balls(10.0), {0: told})[0]
    assert level == levels_of(balls(10.0), {0: (1 + MOST_GROWTH) * before})[0][0] > LEVELS[-1]
    assert (1 + MOST_GROWTH) * before <= after < (1.05 + MOST_GROWTH) * before


def test_no_level_is_taken_at_which_much_of_the_mask_lies_away_from_every_object():
    haze = np.zeros((24, 48, 48, 1), np.float32)
    haze[:, ::3] = 0.22
    assert levels_of(np.maximum(balls(10.0, width=0.3), haze), {0: 11.2})[0][0] == pytest.approx(0.25)
    haze[:, ::3] = 0.48
    assert levels_of(np.maximum(balls(10.0, width=0.3), haze), {0: 11.2}) == {}
    # What lacks more than outlines could give is told of, though.
    level, before, after = levels_of(np.maximum(balls(10.0, width=0.3), haze), {0: 14.0})[0]
    assert (level, before) == (0.5, after)


@pytest.mark.parametrize("told", [6.0, 9.5, 10.2])
def test_objects_about_as_large_as_told_or_larger_are_left_as_they_are(told):
    assert levels_of(balls(10.0), {0: told}) == {}


def test_the_middle_half_of_the_objects_counts_not_the_one_in_the_middle():
    centres = [(12, y, x) for y in (10, 30) for x in (10, 30, 50, 70)]

    def seen(*diameters):
        each = [balls(one, centres=[at], shape=(24, 40, 80)) for one, at in zip(diameters, centres, strict=True)]
        return np.max(each, axis=0)

    # A median of 9.9 either way; pieces and giants do not count.
    assert set(levels_of(seen(7, 7, 7.5, 9.9, 10, 10, 10.1, 10.2), {0: 10.0})) == {0}
    assert levels_of(seen(5, 5, 9.8, 9.9, 10, 10, 10.1, 14), {0: 10.0}) == {}


@pytest.mark.parametrize("n", [5, 6, 7, 8, 9, 11, 12])
def test_two_pieces_among_a_few_whole_objects_count_for_nothing(n):
    values = np.array([3.0, 4.0] + [10.0] * (n - 2))[:, np.newaxis]
    assert _middle_mean(values) == 10


def test_many_pieces_do_not_make_objects_seem_small():
    """Where pieces are a third of all, the middle half holds some of them."""
    pieces = [(6, y, x) for y, x in ((4, 4), (4, 24), (24, 4), (44, 24), (24, 24))]
    whole, broken = balls(10.0), balls(4.6, centres=pieces)
    assert levels_of(np.maximum(whole, broken), {0: 10.0}) == {}
    found = levels_of(np.maximum(whole, broken), {0: 11.2})[0]
    assert found == pytest.approx(levels_of(whole, {0: 11.2})[0])
    assert levels_of(broken, {0: 8.0})[0][1] == pytest.approx(4.6, abs=0.3)  # Where all are small, all count.


def test_a_clump_of_objects_makes_the_others_no_pieces():
    clump = balls(26.0, centres=[(24, 24, 80)], shape=(48, 48, 110))
    others = balls(10.0, centres=[(24, y, x) for _, y, x in CENTRES], shape=(48, 48, 110))
    assert levels_of(np.maximum(others, clump), {0: 11.2})[0][1] == pytest.approx(10, abs=0.4)


def test_half_a_voxel_is_tolerated_of_small_objects():
    assert levels_of(balls(7.0), {0: 7.1}) == {}
    assert set(levels_of(balls(7.0), {0: 7.6})) == {0}


def test_lengths_are_those_of_the_spacing_and_channels_are_looked_at_one_by_one():
    spacing = (2.0, 1.0, 1.0)
    flat = balls(10.0, spacing, [(8, y, x) for _, y, x in CENTRES], shape=(16, 48, 48))
    both = np.concatenate([flat, flat], axis=-1)
    assert levels_of(both, {0: 9.0, 1: 11.2}, spacing)[1][0] == pytest.approx(0.3)
    assert set(levels_of(both, {0: 9.0, 1: 11.2}, spacing)) == {1}


def test_objects_that_a_face_cuts_do_not_count_nor_do_too_few():
    cut = [(0, 12, 12), (0, 36, 36), (0, 12, 36), (12, 36, 12)]
    assert levels_of(balls(10.0, centres=cut), {0: 12.0}) == {}
    assert levels_of(np.zeros((24, 48, 48, 1), np.float32), {0: 12.0}) == {}


def test_what_was_a_level_becomes_one_half_in_its_channel_alone():
    network = resnet_generator(2, 2, filters=4, blocks=1, seed=1)
    batch = np.random.default_rng(0).uniform(-1, 1, (1, 16, 16, 16, 2)).astype(np.float32)
    before = (np.asarray(network(batch)) + 1) / 2
    move_levels(network, {1: 0.3})
    after = (np.asarray(network(batch)) + 1) / 2
    np.testing.assert_allclose(after[..., 0], before[..., 0], atol=1e-6)
    odds = before[..., 1] / (1 - before[..., 1]) / (0.3 / 0.7)
    np.testing.assert_allclose(after[..., 1], odds / (1 + odds), atol=1e-5)
    np.testing.assert_array_equal(after[..., 1] > 0.5001, before[..., 1] > 0.3001)
    np.testing.assert_allclose(after[..., 1], halved_at(0.3, before[..., 1]), atol=1e-5)
    assert halved_at(0.3, np.float32([0, 0.3, 1])).tolist() == pytest.approx([0, 0.5, 1])


def test_outlines_of_networks_that_are_certain_run_between_the_voxels_of_their_grid():
    """Balls 10 voxels of 2 across, in or out: a level moves them by less than a voxel of the grid."""
    coarse = (balls(10.0) > 0.5).astype(np.float32)
    image, spacing = 2 * coarse - 1, (1.0, 1.0, 1.0)

    def levels_at(factors):
        return outline_levels([image], lambda image: (image + 1) / 2, {0: 22.0}, spacing, 4, factors)

    level, before, after = levels_at((2, 2, 2))[0]
    assert 0.01 < level < 0.5
    assert before == pytest.approx(20, abs=0.6)
    assert 22 <= after < 23
    fine = preprocessing.upsample(coarse, (2, 2, 2), (48, 96, 96))
    assert (fine > level).sum() / 4 == pytest.approx(np.pi / 6 * after**3, rel=0.05)


def test_a_prediction_moves_outlines_on_the_stacks_own_grid():
    config = TINY.replace({"classes": ["nuclei"], "inference.statistics": "tile", "inference.overlap": 0})
    config = config.replace({"preprocessing.downsampling": [1, 2, 2], "training.mixed_precision": "off"})
    network = resnet_generator(1, 1, filters=4, blocks=1, seed=1)
    stack = Volume(np.random.default_rng(0).integers(0, 999, (16, 32, 40, 1), dtype=np.uint16))
    learned = SegmentationModel(network, config).predict(stack).array
    moved = SegmentationModel(network, config.replace({"inference.outline_levels": [0.2]})).predict(stack).array
    np.testing.assert_allclose(moved, halved_at(0.2, learned), atol=1e-6)
    np.testing.assert_array_equal(moved > 0.5001, learned > 0.2001)


def prepared(**changes):
    config = TINY.replace({"synthesis.diameters": {"nuclei": 8}, "training.match_diameters": True, **changes})
    image = np.random.default_rng(0).integers(0, 999, (24, 48, 48), dtype=np.uint16)
    return prepare([Volume(image[..., np.newaxis])], None, config)


class Balls(keras.layers.Layer):
    """Logits of balls of 10 voxels, whatever the input."""

    def call(self, inputs):
        return 0 * inputs + np.arctanh(np.clip(2 * balls(10.0)[np.newaxis] - 1, -0.999, 0.999))


def network_of_balls():
    inputs = keras.Input((None, None, None, 1), name="input")
    x = keras.layers.Conv3D(1, 1, kernel_initializer="ones")(Balls()(inputs))
    x = keras.layers.Activation("linear", name="logits")(x)
    return keras.Model(inputs, keras.layers.Activation("tanh", name="output")(x))


@pytest.mark.parametrize(
    ("changes", "is_moved"),
    [
        ({"synthesis.diameters": {"nuclei": 11.2}}, True),
        ({"synthesis.diameters": {"nuclei": 9}}, False),
        ({"synthesis.diameters": {"nuclei": 11.2}, "training.match_diameters": False}, False),
        ({"synthesis.diameters": {"nuclei": 11.2}, "model.output_normalization": "instance"}, False),
    ],
)
def test_outlines_are_moved_by_told_diameters_alone_and_where_that_is_asked_for(changes, is_moved):
    material = prepared(**{"preprocessing.downsampling": [1, 1, 1], "inference.statistics": "tile", **changes})
    network = network_of_balls()
    levels, notes = find_outlines(network, material, told_diameters(material))
    assert bool(notes) == is_moved
    assert np.all(network.layers[2].bias == 0)
    if is_moved:
        assert levels == (0.35,)
        assert "nuclei" in notes[0] and "11.2" in notes[0] and "0.35" in notes[0]
    else:
        assert levels is None


@pytest.mark.parametrize("is_reached", [False, True])
def test_where_what_was_told_is_not_reached_there_is_a_note(is_reached):
    level, before, after = levels_of(balls(10.0), {0: 20.0})[0]
    told = ((1 + MOST_GROWTH) * before + after) / 2 if is_reached else 14
    material = prepared(
        **{
            "preprocessing.downsampling": [1, 1, 1],
            "inference.statistics": "tile",
            "synthesis.diameters": {"nuclei": told},
        }
    )
    network = network_of_balls()
    levels, notes = find_outlines(network, material, told_diameters(material))
    assert levels == (level,)
    assert f"told to be {told:.3g}" in notes[0]
    assert ("no further; check the diameter" in notes[0]) != is_reached


def test_presets_of_the_paper_move_no_outlines():
    assert presets.fast().training.match_diameters and presets.best().training.match_diameters
    assert not presets.paper().training.match_diameters and not presets.authors().training.match_diameters


def test_a_run_keeps_where_outlines_run_and_says_so(tmp_path, monkeypatch):
    looked_at = []

    def find(network, material, told):
        assert told == {0: 8.0} if material.config.training.match_diameters else told == {}
        assert material.config.synthesis.diameters == {"nuclei": 8}
        assert material.config.inference.outline_levels is None
        looked_at.append(network.name)
        return (0.25,), ["outlines were moved"]

    monkeypatch.setattr("tfcyclegan3d.training.cyclegan_trainer.find_outlines", find)
    config = TINY.replace({"training.epochs": 1, "training.steps_per_epoch": 1, "synthesis.diameters": {"nuclei": 8}})
    image = np.random.default_rng(0).integers(0, 999, (16, 24, 24), dtype=np.uint16)
    train([Volume(image[..., np.newaxis])], None, config, tmp_path / "run", progress=False)
    assert looked_at == ["image_to_mask"]
    assert "outlines were moved" in (tmp_path / "run" / "manifest.json").read_text()
    assert configuration.load(tmp_path / "run" / "config.json").inference.outline_levels == (0.25,)
    # Going on, it begins with outlines as learned, whatever the configuration says.
    images = [Volume(image[..., np.newaxis])]
    going_on = configuration.load(tmp_path / "run" / "config.json").replace({"training.epochs": 2})
    train(images, None, going_on, tmp_path / "run", resume=True, progress=False)
    assert looked_at == ["image_to_mask"] * 2
