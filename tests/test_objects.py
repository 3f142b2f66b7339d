"""Scores of objects against a count object by object, values by hand, and stardist's own where it is installed."""

from __future__ import annotations

from itertools import permutations
from time import perf_counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tfcyclegan3d import errors
from tfcyclegan3d.evaluation import label_pairs as pairs_module
from tfcyclegan3d.evaluation.label_pairs import label_pairs
from tfcyclegan3d.evaluation.objects import evaluate_objects, is_mask, mean_objects, object_scores
from tfcyclegan3d.volumes import Volume

# Numbers with gaps between them, more than one so that they are never a mask.
labels = hnp.arrays(np.uint16, (2, 4, 4), elements=st.sampled_from([0, 0, 2, 3, 7, 300]))
thresholds = st.sampled_from([0.1, 0.25, 0.5, 0.75, 1.0])


def counted(predicted: np.ndarray, true: np.ndarray) -> dict[tuple[int, int], tuple[int, float]]:
    """Return shared voxels and IoU of each pair of objects, one after another."""
    found = {}
    for one in set(predicted.flat) - {0}:
        for other in set(true.flat) - {0}:
            shared = int(np.sum((predicted == one) & (true == other)))
            if shared:
                found[int(one), int(other)] = shared, shared / int(np.sum((predicted == one) | (true == other)))
    return found


def best(predicted: np.ndarray, true: np.ndarray, threshold: float) -> tuple[int, float]:
    """Return the number of matches and their summed IoU, trying every one-to-one matching."""
    found = counted(predicted, true)
    rows, columns = sorted(set(predicted.flat) - {0}), sorted(set(true.flat) - {0})
    columns += [-1] * len(rows)
    ways = []
    for chosen in set(permutations(columns, len(rows))):
        ious = [found.get(pair, (0, 0.0))[1] for pair in zip(rows, chosen, strict=True)]
        ious = [iou for iou in ious if iou >= threshold - 1e-12]
        ways.append((len(ious), sum(ious)))
    return max(ways)


@settings(deadline=None)
@given(labels, labels, thresholds)
def test_no_other_matching_has_more_matches_or_a_larger_sum_of_overlaps(predicted, true, threshold):
    scores = object_scores(predicted, true, [threshold])
    n, total = best(predicted, true, threshold)
    n_predicted, n_true = len(set(predicted.flat) - {0}), len(set(true.flat) - {0})
    assert (scores.n_predicted, scores.n_true) == (n_predicted, n_true)
    at = scores.at[threshold]
    if n_predicted + n_true:
        assert at.matches == n
        assert at.f1 == pytest.approx(2 * n / (n_predicted + n_true))
        assert at.average_precision == pytest.approx(n / (n_predicted + n_true - n))
        assert at.panoptic_quality == pytest.approx(2 * total / (n_predicted + n_true))
        assert at.panoptic_quality == pytest.approx(at.f1 * at.segmentation_quality)
        assert (at.precision, at.recall) == (n / max(n_predicted, 1), n / max(n_true, 1))


@settings(deadline=None)
@given(labels, labels)
def test_merges_and_splits_are_those_of_a_count_object_by_object(predicted, true):
    found = counted(predicted, true)
    merges = splits = 0
    for one in set(predicted.flat) - {0}:
        merges += max(0, sum(s > 0.5 * np.sum(true == t) for (p, t), (s, _) in found.items() if p == one) - 1)
    for other in set(true.flat) - {0}:
        splits += max(0, sum(s > 0.5 * np.sum(predicted == p) for (p, t), (s, _) in found.items() if t == other) - 1)
    scores = object_scores(predicted, true)
    assert (scores.merges, scores.splits) == (merges, splits)
    swapped = object_scores(true, predicted)
    assert (swapped.merges, swapped.splits, swapped.count_error) == (splits, merges, -scores.count_error)


@settings(deadline=None)
@given(labels, labels)
def test_stardist_finds_the_same(predicted, true):
    matching = pytest.importorskip("stardist.matching", reason="stardist is not installed").matching
    if not predicted.any() and not true.any():
        return
    for threshold, ours in object_scores(predicted, true, [0.3, 0.5, 0.75, 0.9]).at.items():
        theirs = matching(true.astype(int), predicted.astype(int), thresh=threshold)
        assert (ours.matches, ours.precision, ours.recall) == (theirs.tp, theirs.precision, theirs.recall)
        assert ours.f1 == pytest.approx(theirs.f1)
        assert ours.average_precision == pytest.approx(theirs.accuracy)
        assert ours.panoptic_quality == pytest.approx(theirs.panoptic_quality)


@pytest.mark.parametrize("most", [0, 2**26])
def test_shared_voxels_are_counted_alike_densely_and_sparsely_in_one_slab_or_many(monkeypatch, most):
    rng = np.random.default_rng(1)
    predicted, true = (rng.integers(0, 6, (5, 6, 7)) * 11 for _ in range(2))
    monkeypatch.setattr(pairs_module, "DENSE_ENTRIES", most)
    monkeypatch.setattr(pairs_module, "SLAB_VOXELS", 13)
    pairs = label_pairs(predicted, true)
    numbers = zip(pairs.predicted, pairs.true, pairs.shared, strict=True)
    expected = {(p // 11 - 1, t // 11 - 1, shared) for (p, t), (shared, _) in counted(predicted, true).items()}
    assert set(numbers) == expected


def row(*numbers: int) -> np.ndarray:
    return np.array(numbers)[np.newaxis, np.newaxis]


def test_figures_computed_by_hand():
    # One object of 4 voxels met by 3 of them and 1 beyond (3/5), one met exactly, one missed, one of nothing.
    true = row(1, 1, 1, 1, 0, 2, 2, 0, 3, 0, 0)
    predicted = row(0, 5, 5, 5, 5, 6, 6, 0, 0, 0, 9)
    scores = evaluate_objects(predicted, true)["nuclei"]
    assert (scores.n_predicted, scores.n_true, scores.count_error, scores.merges, scores.splits) == (3, 3, 0, 0, 0)
    half, most = scores.at[0.5], scores.at[0.75]
    assert (half.matches, most.matches) == (2, 1)
    assert half.f1 == pytest.approx(2 / 3)
    assert half.average_precision == pytest.approx(2 / 4)
    assert half.panoptic_quality == pytest.approx((0.6 + 1) / 3)
    assert half.segmentation_quality == pytest.approx(0.8)
    # 2 of 4 up to an overlap of 0.6, which is met, then 1 of 5.
    assert scores.mean_average_precision == pytest.approx((3 * 2 / 4 + 7 * 1 / 5) / 10)
    assert scores.to_dict()["iou_0.75"]["matches"] == 1


def test_one_object_over_three_is_two_merges_and_three_in_one_are_two_splits():
    one, three = row(1, 1, 1, 1, 1, 1), row(1, 1, 2, 2, 3, 3)
    merged, split = object_scores(one, three), object_scores(three, one)
    assert (merged.merges, merged.splits, merged.count_error) == (2, 0, -2)
    assert (split.merges, split.splits, split.count_error) == (0, 2, 2)


def test_nothing_found_where_there_is_nothing_is_right_and_anywhere_else_is_worth_nothing():
    nothing, something = np.zeros((2, 3, 3), np.uint8), np.full((2, 3, 3), 4, np.uint8)
    both = evaluate_objects(nothing, nothing)["nuclei"]
    assert both.at[0.5].f1 == both.at[0.75].panoptic_quality == both.mean_average_precision == 1
    for pair in ((nothing, something), (something, nothing)):
        score = evaluate_objects(*pair)["nuclei"]
        figures = score.at[0.5]
        assert figures.precision == figures.recall == figures.f1 == figures.average_precision == 0
        assert score.absolute_count_error == 1 and score.merges == score.splits == 0


def test_the_objects_of_a_mask_are_its_connected_parts_and_numbers_are_taken_as_they_are():
    parts = row(1, 1, 0, 1)
    assert is_mask(parts) and is_mask(parts * 255) and is_mask(parts > 0) and not is_mask(parts * 2)
    for mask in (parts, parts * 255, parts.astype(bool)):
        assert evaluate_objects(mask, row(4, 4, 0, 7))["nuclei"].at[0.5].matches == 2
    assert evaluate_objects(parts * 2, row(4, 4, 0, 7))["nuclei"].n_predicted == 1
    # An object of one class of several may well have the number 1 and two parts.
    both = np.stack([row(1, 1, 0, 1), row(1, 1, 0, 2)], -1)
    assert evaluate_objects(both, both)["golgi"].n_predicted == 1


def test_classes_are_scored_channel_by_channel_in_their_order():
    rng = np.random.default_rng(2)
    predicted, true = (rng.integers(0, 4, (2, 4, 4, 2)) for _ in range(2))
    scores = evaluate_objects(Volume(predicted, None, "a"), Volume(true, None, "b"), names=("er", "nuclei"))
    assert list(scores) == ["er", "nuclei"]
    assert scores["nuclei"] == object_scores(predicted[..., 1], true[..., 1])


def test_means_count_every_stack_alike_and_errors_of_count_do_not_cancel_out():
    few, many = object_scores(row(1, 0, 0), row(1, 0, 2)), object_scores(row(1, 3, 2), row(0, 0, 2))
    mean = mean_objects([few, many])
    assert (mean.count_error, mean.absolute_count_error, mean.n_true) == (0.5, 1.5, 1.5)
    assert mean.at[0.5].f1 == pytest.approx((few.at[0.5].f1 + many.at[0.5].f1) / 2)
    with pytest.raises(ValueError, match="no scores"):
        mean_objects([])


@pytest.mark.parametrize(
    ("predicted", "true", "error", "said"),
    [
        (row(1, 2), row(1, 2, 3), errors.ShapeMismatchError, "(1, 1, 2)"),
        (np.zeros((1, 1, 2, 2), int), row(1, 2), errors.ChannelError, "2 channels"),
        (row(0.5, 2), row(1, 2), errors.VolumeContentError, "whole numbers"),
        (row(-3, 2), row(1, 2), errors.VolumeContentError, "-3"),
        (np.zeros((3, 3), int), row(1, 2), errors.VolumeContentError, "2 axes"),
        (np.zeros((0, 3, 3), int), row(1, 2), errors.VolumeContentError, "is empty"),
        (row(1j, 2), row(1, 2), errors.VolumeContentError, "complex"),
    ],
)
def test_what_cannot_be_compared_is_said(predicted, true, error, said):
    with pytest.raises(error) as raised:
        evaluate_objects(predicted, true)
    assert said in str(raised.value)


def test_thresholds_and_names_that_cannot_be_are_refused():
    with pytest.raises(errors.OptionError, match=r"1\.5"):
        evaluate_objects(row(1, 2), row(1, 2), thresholds=[1.5])
    with pytest.raises(errors.ChannelError, match="2 classes are named"):
        evaluate_objects(row(1, 2), row(1, 2), names=("a", "b"))


def test_five_thousand_objects_are_scored_in_seconds():
    rng = np.random.default_rng(3)
    block = np.zeros((4, 20, 25), np.int32)
    block[1:, :13, :13] = 1
    true = np.kron(np.arange(1, 5001, dtype=np.int32).reshape(10, 25, 20), block)
    predicted = np.roll(true, 1, 1) * 3
    lookup = np.append(0, rng.permutation(true.max() * 3) + 1)
    begun = perf_counter()
    scores = object_scores(lookup[predicted], true)
    assert perf_counter() - begun < 20
    assert scores.at[0.5].matches == scores.n_true == 5000
    assert scores.at[0.5].segmentation_quality == pytest.approx(12 / 14)
