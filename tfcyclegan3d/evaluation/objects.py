"""Objects found and missed, at several overlaps; counts, merges and splits; arrays only."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from tfcyclegan3d import errors
from tfcyclegan3d.evaluation.classes import channels_of, shared_classes, title_of
from tfcyclegan3d.evaluation.label_pairs import LabelPairs, label_pairs
from tfcyclegan3d.evaluation.matching import best_matching

THRESHOLDS = (0.5, 0.75)
# Those of COCO and of StarDist's figures.
AVERAGED_THRESHOLDS = tuple(round(0.5 + 0.05 * k, 2) for k in range(10))
MAJORITY = 0.5
MASK_VALUES = (1, 255)


@dataclass(frozen=True)
class ObjectMatches:
    """One-to-one matches of predicted and true objects whose intersection over union reaches a threshold.

    Parameters
    ----------
    matches : float
        Number of pairs, TP. Objects left over are FP (predicted) and FN (true).
    precision, recall : float
        TP / (TP + FP) and TP / (TP + FN).
    f1 : float
        2 TP / (2 TP + FP + FN).
    average_precision : float
        TP / (TP + FP + FN), as StarDist calls it.
    panoptic_quality : float
        Sum of the matches' intersections over union / (TP + FP / 2 + FN / 2), which is ``f1 * segmentation_quality``.
    segmentation_quality : float
        Mean intersection over union of the matches.
    """

    matches: float
    precision: float
    recall: float
    f1: float
    average_precision: float
    panoptic_quality: float
    segmentation_quality: float


@dataclass(frozen=True)
class ObjectScores:
    """How well predicted objects meet the true ones, one class.

    Parameters
    ----------
    n_predicted, n_true : float
        Objects of each.
    count_error : float
        ``n_predicted - n_true``.
    absolute_count_error : float
        Its magnitude, which does not cancel out between stacks.
    merges : float
        True objects beyond the first that one predicted object covers more than half of, summed over the predicted.
    splits : float
        Predicted objects beyond the first that lie by more than half in one true object, summed over the true.
    mean_average_precision : float
        Mean of ``average_precision`` at 0.5, 0.55, ..., 0.95.
    at : dict of float to ObjectMatches
        By threshold.
    """

    n_predicted: float
    n_true: float
    count_error: float
    absolute_count_error: float
    merges: float
    splits: float
    mean_average_precision: float
    at: dict[float, ObjectMatches]

    def to_dict(self) -> dict[str, object]:
        """Return the figures as JSON can hold them, those of a threshold under ``"iou_0.5"`` and so on."""
        figures = dataclasses.asdict(self)
        at = figures.pop("at")
        return figures | {f"iou_{threshold:g}": matches for threshold, matches in at.items()}


def evaluate_objects(
    predicted_labels: object,
    true_labels: object,
    thresholds: Sequence[float] = THRESHOLDS,
    names: Sequence[str] | None = None,
) -> dict[str, ObjectScores]:
    """Score predicted objects against the true ones, class by class.

    Two objects may be matched where their intersection over union (IoU) is at least the threshold; of all ways to match
    them one to one, the one with the most matches is taken, and among those the one of the largest summed IoU.
    Average precision is StarDist's TP / (TP + FP + FN) [1]_, not the area under a curve; panoptic quality is that of
    [2]_; merges and splits are told by the majority test of the Cell Tracking Challenge [3]_ and counted as the
    operations that mend them: a predicted object that covers more than half of each of k true ones counts k - 1 merges,
    a true object in which more than half of each of k predicted ones lies counts k - 1 splits.

    Where there are no objects on either side, every figure from 0 to 1 is 1: finding nothing was right. Where one side
    alone has none, they are 0, so that leaving a class out is never rewarded.

    Parameters
    ----------
    predicted_labels, true_labels : Volume or array
        ZYXC with channel k holding class k, or ZYX for one class: 0 outside, a number of its own for each object. A
        stack of bool, or whose only value besides 0 is 1 or 255, holds masks: their objects are the parts connected
        by faces.
    thresholds : sequence of float
        Of the IoU, in (0, 1].
    names : sequence of str, optional
        One name per channel; ``default_class_names`` otherwise.

    Returns
    -------
    dict of str to ObjectScores
        In the order of the channels.

    Raises
    ------
    ShapeMismatchError
        If the two do not have the same shape ZYX.
    ChannelError
        If the numbers of channels differ, or there is not one name per channel.
    VolumeContentError
        If the values are not labels.
    OptionError
        For a threshold outside (0, 1], or two classes of one name.

    References
    ----------
    .. [1] Weigert et al., "Star-convex polyhedra for 3D object detection and segmentation in microscopy", WACV 2020,
       section 4; its package ``stardist`` computes the same in ``stardist.matching``.
    .. [2] Kirillov et al., "Panoptic Segmentation", CVPR 2019, equation 1.
    .. [3] Matula et al., "Cell tracking accuracy measurement based on comparison of acyclic oriented graphs", PLoS ONE
       10 (2015) e0144959, doi:10.1371/journal.pone.0144959: a predicted object finds a true one whose voxels it covers
       by more than half, and "splitting" undoes one that finds several. Splits are the same test the other way round.
    """
    for threshold in thresholds:
        if not 0 < threshold <= 1:
            raise errors.OptionError("thresholds", threshold, "give intersections over union above 0 and up to 1")
    titles = title_of(predicted_labels, "prediction"), title_of(true_labels, "truth")
    predicted, true = labels_of(predicted_labels, "prediction"), labels_of(true_labels, "truth")
    classes = shared_classes(predicted, true, titles, names)
    return {name: object_scores(predicted[..., k], true[..., k], thresholds) for k, name in enumerate(classes)}


def object_scores(predicted: np.ndarray, true: np.ndarray, thresholds: Sequence[float] = THRESHOLDS) -> ObjectScores:
    """Score the labels of one class, int of any one shape; see ``evaluate_objects``."""
    pairs = label_pairs(predicted, true)
    n_predicted, n_true = len(pairs.predicted_sizes), len(pairs.true_sizes)
    at = {threshold: _matches(pairs, threshold) for threshold in {*thresholds, *AVERAGED_THRESHOLDS}}
    covered = pairs.predicted[pairs.shared > MAJORITY * pairs.true_sizes[pairs.true]]
    contained = pairs.true[pairs.shared > MAJORITY * pairs.predicted_sizes[pairs.predicted]]
    return ObjectScores(
        n_predicted=n_predicted,
        n_true=n_true,
        count_error=n_predicted - n_true,
        absolute_count_error=abs(n_predicted - n_true),
        merges=len(covered) - len(np.unique(covered)),
        splits=len(contained) - len(np.unique(contained)),
        mean_average_precision=float(np.mean([at[one].average_precision for one in AVERAGED_THRESHOLDS])),
        at={float(threshold): at[threshold] for threshold in thresholds},
    )


def mean_objects(scores: Iterable[ObjectScores]) -> ObjectScores:
    """Average each figure over stacks, counts included: every stack counts alike, however many objects it holds.

    Parameters
    ----------
    scores : iterable of ObjectScores
        One per stack, at least one, all of the same thresholds.

    Returns
    -------
    ObjectScores

    Raises
    ------
    ValueError
        If there is none.
    """
    scores = list(scores)
    if not scores:
        raise ValueError("no scores to average")
    at = {
        threshold: ObjectMatches(**_means([one.at[threshold] for one in scores], ObjectMatches))
        for threshold in scores[0].at
    }
    return ObjectScores(**_means(scores, ObjectScores), at=at)


def is_mask(volume: object) -> bool:
    """Tell whether a stack holds masks, 0/1 or 0/255 in all its classes, rather than numbers of objects."""
    array = np.asarray(getattr(volume, "array", volume))
    if array.dtype.kind == "b" or array.size == 0:
        return True
    highest = array.max()
    return highest in MASK_VALUES and bool(np.all((array == 0) | (array == highest)))


def labels_of(volume: object, role: str) -> np.ndarray:
    """Return the numbers of a stack's objects, ZYXC of int; of masks, those of the parts connected by faces.

    Raises
    ------
    VolumeContentError
        If the values are neither labels nor masks.
    """
    array, title = channels_of(volume, role), title_of(volume, role)
    if array.dtype.kind not in "buif":
        raise errors.VolumeContentError(title, f"has values of type {array.dtype}", "give labels")
    if array.dtype.kind == "f":
        if not np.all(np.isfinite(array)) or np.any(array != np.rint(array)):
            raise errors.VolumeContentError(
                title,
                f"has values from {array.min():g} to {array.max():g} that are not whole numbers, as labels are",
                "give a number for each object, or a mask of 0 and 255",
            )
        array = array.astype(np.int64)
    if array.min() < 0:
        raise errors.VolumeContentError(title, f"has labels down to {array.min()}", "number objects 1, 2, ...")
    if not is_mask(array):
        return array
    return np.stack([ndimage.label(array[..., k])[0] for k in range(array.shape[-1])], axis=-1)


def _means(those: Sequence[object], kind: type) -> dict[str, float]:
    names = [field.name for field in dataclasses.fields(kind) if field.name != "at"]
    return {name: float(np.mean([getattr(one, name) for one in those])) for name in names}


def _matches(pairs: LabelPairs, threshold: float) -> ObjectMatches:
    iou = pairs.iou
    # A quotient of whole numbers that equals the threshold may miss it by a rounding.
    reached = iou >= threshold - 1e-12
    matched = best_matching(pairs.predicted[reached], pairs.true[reached], iou[reached])
    n_predicted, n_true, n = len(pairs.predicted_sizes), len(pairs.true_sizes), len(matched)
    if n_predicted + n_true == 0:
        return ObjectMatches(0, *(1.0,) * 6)
    halves, total = (n_predicted + n_true) / 2, float(matched.sum())
    return ObjectMatches(
        matches=n,
        precision=n / max(n_predicted, 1),
        recall=n / max(n_true, 1),
        f1=n / halves,
        average_precision=n / (n_predicted + n_true - n),
        panoptic_quality=total / halves,
        segmentation_quality=total / max(n, 1),
    )
