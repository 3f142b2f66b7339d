"""Precision, recall and Dice against hand-computed values and a count voxel by voxel; the Otsu baseline."""

from __future__ import annotations

from itertools import product
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import ndimage

from tfcyclegan3d import errors
from tfcyclegan3d.contents import resembles_intensities
from tfcyclegan3d.evaluation.classes import default_class_names
from tfcyclegan3d.evaluation.overlap import (
    Overlap,
    evaluate,
    mean_overlap,
    overlap,
)
from tfcyclegan3d.synthesis.masks import synthesize_masks
from tfcyclegan3d.synthesis.prior import NUCLEI_AND_GOLGI
from tfcyclegan3d.synthesis.simulation import simulate_stack
from tfcyclegan3d.thresholding import otsu_mask

masks = hnp.arrays(bool, (3, 4, 2))


def counted(prediction: np.ndarray, truth: np.ndarray) -> tuple[int, int, int]:
    """Count true positives, false positives and false negatives one voxel after another."""
    true_positive = false_positive = false_negative = 0
    for voxel in product(*map(range, prediction.shape)):
        true_positive += bool(prediction[voxel] and truth[voxel])
        false_positive += bool(prediction[voxel] and not truth[voxel])
        false_negative += bool(truth[voxel] and not prediction[voxel])
    return true_positive, false_positive, false_negative


@given(masks, masks)
def test_the_counts_are_those_of_a_loop_over_all_voxels(prediction, truth):
    result = overlap(prediction, truth)
    assert (result.true_positive, result.false_positive, result.false_negative) == counted(prediction, truth)


@given(masks, masks)
def test_dice_is_the_harmonic_mean_of_precision_and_recall_and_symmetric(prediction, truth):
    result, swapped = overlap(prediction, truth), overlap(truth, prediction)
    for figure in (result.precision, result.recall, result.dice):
        assert 0 <= figure <= 1
    assert (result.precision, result.recall, result.dice) == (swapped.recall, swapped.precision, swapped.dice)
    if result.precision + result.recall > 0:
        harmonic = 2 * result.precision * result.recall / (result.precision + result.recall)
        assert result.dice == pytest.approx(harmonic)


def test_figures_computed_by_hand():
    prediction = np.zeros((2, 5, 10), bool)
    truth = np.zeros((2, 5, 10), bool)
    prediction[0, 0, :8] = True
    truth[0, 0, 2:] = True
    truth[1, 0, :4] = True
    # TP = 6, FP = 2, FN = 2 + 4 = 6: precision 6/8, recall 6/12, Dice 12/20.
    assert overlap(prediction, truth) == Overlap(0.75, 0.5, 0.6, 6, 2, 6)


@pytest.mark.parametrize(("predicted", "true", "figure"), [(False, False, 1.0), (True, False, 0.0), (False, True, 0.0)])
def test_empty_masks_score_1_when_both_are_empty_and_0_when_one_is(predicted, true, figure):
    result = overlap(np.full((2, 2, 2), predicted), np.full((2, 2, 2), true))
    assert (result.precision, result.recall, result.dice) == (figure, figure, figure)


def test_masks_of_different_shapes_are_refused():
    with pytest.raises(errors.ShapeMismatchError, match=r"\(2, 2, 2\).*\(2, 2, 3\)"):
        overlap(np.zeros((2, 2, 2), bool), np.zeros((2, 2, 3), bool))


def test_the_mean_counts_every_stack_alike_and_is_not_the_dice_of_the_totals():
    mean = mean_overlap([Overlap(1.0, 0.5, 2 / 3, 1, 0, 1), Overlap(0.5, 1.0, 0.8, 100, 100, 0)])
    assert (mean.precision, mean.recall, mean.dice) == pytest.approx((0.75, 0.75, (2 / 3 + 0.8) / 2))
    assert (mean.true_positive, mean.false_positive, mean.false_negative) == (101, 100, 1)


def test_a_mean_of_nothing_is_an_error():
    with pytest.raises(ValueError, match="no overlap"):
        mean_overlap([])


TRUTH = np.random.default_rng(5).random((3, 6, 7)) > 0.6


@pytest.mark.parametrize(
    "encode",
    [
        lambda mask: mask,
        lambda mask: mask.astype(np.uint8),
        lambda mask: mask.astype(np.uint8) * 255,
        lambda mask: mask * np.arange(1, mask.size + 1, dtype=np.uint16).reshape(mask.shape),
        lambda mask: (mask * np.arange(1, mask.size + 1).reshape(mask.shape)).astype(np.float32),
        lambda mask: np.where(mask, 0.51, 0.49).astype(np.float32),
        lambda mask: mask[..., np.newaxis],
        lambda mask: SimpleNamespace(array=mask[..., np.newaxis], name="stack"),
    ],
    ids=["bool", "0/1", "0/255", "instances", "float instances", "probabilities", "ZYXC", "volume"],
)
def test_every_way_to_write_a_mask_gives_the_same_score(encode):
    assert evaluate(encode(TRUTH), TRUTH)["nuclei"].dice == 1
    assert evaluate(TRUTH, encode(TRUTH))["nuclei"].dice == 1


def test_a_probability_of_exactly_one_half_is_background():
    assert evaluate(np.full((2, 2, 2), 0.5), np.zeros((2, 2, 2)))["nuclei"].false_positive == 0


def test_each_channel_is_scored_under_its_own_name():
    prediction = np.stack([TRUTH, ~TRUTH], axis=-1)
    truth = np.stack([TRUTH, TRUTH], axis=-1)
    scores = evaluate(prediction, truth)
    assert {name: score.dice for name, score in scores.items()} == {"golgi": 1, "nuclei": 0}
    assert list(evaluate(prediction, truth, ["lysosomes", "er"])) == ["lysosomes", "er"]


def test_unnamed_classes_are_called_as_the_channels_of_the_paper():
    assert default_class_names(1) == ("nuclei",)
    assert default_class_names(2) == ("golgi", "nuclei")
    assert default_class_names(3) == ("class_0", "class_1", "class_2")


def test_a_stack_and_a_truth_of_different_sizes_are_refused_with_their_names():
    volume = SimpleNamespace(array=np.zeros((2, 3, 4, 1)), name="a.tif")
    with pytest.raises(errors.ShapeMismatchError, match=r"a\.tif has shape \(2, 3, 4\) but truth .*\(2, 3, 5\)"):
        evaluate(volume, np.zeros((2, 3, 5)))


def test_different_numbers_of_channels_are_refused():
    with pytest.raises(errors.ChannelError, match="2 channels, but truth has 1"):
        evaluate(np.zeros((2, 3, 4, 2)), np.zeros((2, 3, 4)))


def test_names_that_do_not_fit_the_channels_are_refused():
    with pytest.raises(errors.ChannelError, match="2 classes are named: a, b"):
        evaluate(np.zeros((2, 3, 4)), np.zeros((2, 3, 4)), ["a", "b"])
    with pytest.raises(errors.OptionError, match="a,a"):
        evaluate(np.zeros((2, 3, 4, 2)), np.zeros((2, 3, 4, 2)), ["a", "a"])


@pytest.mark.parametrize(
    "values",
    [
        np.linspace(-1, 1, 8),
        np.linspace(0, 255, 8),
        np.full(8, np.nan),
        np.full(8, np.inf),
        np.full(8, 1j),
    ],
)
def test_values_that_are_no_mask_labels_or_probabilities_are_refused(values):
    with pytest.raises(errors.VolumeContentError, match="prediction"):
        evaluate(values.reshape(2, 2, 2), np.zeros((2, 2, 2)))


@pytest.mark.parametrize("shape", [(4, 4), (1, 2, 3, 4, 5), (0, 4, 4)])
def test_arrays_that_are_no_stack_are_refused(shape):
    with pytest.raises(errors.VolumeContentError):
        evaluate(np.zeros(shape), np.zeros(shape))


def test_otsu_separates_bright_objects_from_a_noisy_background_in_each_channel():
    rng = np.random.default_rng(0)
    truth = np.zeros((12, 24, 24, 2), bool)
    truth[3:9, 4:14, 4:14, 0] = truth[2:10, 10:20, 12:22, 1] = True
    image = (rng.poisson(np.where(truth, 60, 10)) * np.array([1, 200])).astype(np.uint16)
    for score in evaluate(otsu_mask(image), truth).values():
        assert score.dice > 0.9
    assert otsu_mask(image[..., 0]).shape == truth.shape[:3]


def test_otsu_without_smoothing_is_a_threshold_of_the_raw_values():
    image = np.array([0, 1, 0, 1, 9, 10, 9, 10], np.uint8).reshape(2, 2, 2)
    np.testing.assert_array_equal(otsu_mask(image, sigma=0), image > 5)


def test_a_saturated_voxel_does_not_hide_the_objects_from_otsu():
    rng = np.random.default_rng(0)
    image = rng.normal(100, 10, (10, 30, 30))
    image[2:8, 5:25, 5:25] += 300
    image[0, 0, 0] = 5000
    assert evaluate(otsu_mask(image, sigma=0), image > 250)["nuclei"].dice > 0.99


@given(st.floats(0, 1000, width=32), st.sampled_from([0.0, 1.0, 2.5]))
def test_otsu_finds_nothing_in_a_channel_of_one_value(value, sigma):
    assert not otsu_mask(np.full((4, 5, 6), value, np.float32), sigma).any()


def test_otsu_refuses_what_is_no_stack():
    with pytest.raises(ValueError, match="2 axes"):
        otsu_mask(np.zeros((4, 4)))
    with pytest.raises(ValueError, match="sigma"):
        otsu_mask(np.zeros((4, 4, 4)), sigma=-1)


def instance_numbers():
    drawn = synthesize_masks((20, 60, 60), NUCLEI_AND_GOLGI, seed=1)
    return drawn.objects


def test_an_image_is_told_from_masks_instance_numbers_and_probabilities():
    numbers = instance_numbers()
    assert numbers.max() > 3
    with_gaps = np.random.default_rng(0).permutation(60_000)[: numbers.max() + 1].astype(np.uint16)
    with_gaps[0] = 0
    touching = np.repeat(np.repeat(np.arange(1, 1 + 8 * 8).reshape(1, 8, 8), 4, axis=1), 4, axis=2).repeat(4, axis=0)
    smooth = ndimage.gaussian_filter(np.random.default_rng(0).random((6, 20, 20)), 2)
    for one in (
        numbers, numbers.astype(np.float32), with_gaps[numbers], numbers > 0, (numbers > 0) * np.uint8(255), touching,
        np.zeros((4, 4, 4), np.uint8), np.eye(4, dtype=np.uint8)[np.newaxis] * 9, smooth, np.ones((2, 3, 3), np.int32),
    ):  # fmt: skip
        assert not resembles_intensities(one)
    image = simulate_stack((16, 40, 40), seed=1).image
    dim = np.random.default_rng(0).poisson(6, (8, 20, 20)).astype(np.uint8)
    for one in (image, image.array[..., 0].astype(np.float32), dim, (smooth * 50_000).astype(np.uint16)):
        assert resembles_intensities(one)
