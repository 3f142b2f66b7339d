"""Voxel-wise precision, recall and Dice coefficient, the figures of the paper's Table II; arrays only."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from tfcyclegan3d import errors
from tfcyclegan3d.evaluation.classes import channels_of, shared_classes, title_of

PROBABILITY_THRESHOLD = 0.5


@dataclass(frozen=True)
class Overlap:
    """How well a predicted mask covers the true one, counted in voxels.

    Parameters
    ----------
    precision : float
        Share of the predicted voxels that are true, in [0, 1].
    recall : float
        Share of the true voxels that are predicted, in [0, 1].
    dice : float
        Dice coefficient, in [0, 1].
    true_positive, false_positive, false_negative : int
        Numbers of voxels.
    """

    precision: float
    recall: float
    dice: float
    true_positive: int
    false_positive: int
    false_negative: int


def overlap(prediction: np.ndarray, truth: np.ndarray) -> Overlap:
    """Compare two masks voxel by voxel.

    precision = TP / (TP + FP), recall = TP / (TP + FN), Dice = 2 TP / (2 TP + FP + FN).

    Where both masks are empty all three are 1: finding nothing was right. Where one alone is empty all three are 0,
    the undefined one among them (precision of an empty prediction, recall of an empty truth) as scikit-learn's
    ``zero_division=0`` has it, so that leaving a class out is never rewarded.

    Parameters
    ----------
    prediction, truth : ndarray of bool
        Masks of one shape, any number of axes; a voxel is True inside an object.

    Returns
    -------
    Overlap

    Raises
    ------
    ShapeMismatchError
        If the shapes differ.
    """
    if prediction.shape != truth.shape:
        raise errors.ShapeMismatchError("prediction", prediction.shape, "truth", truth.shape)
    true_positive = int(np.count_nonzero(prediction & truth))
    false_positive = int(np.count_nonzero(prediction)) - true_positive
    false_negative = int(np.count_nonzero(truth)) - true_positive
    if true_positive + false_positive + false_negative == 0:
        precision = recall = dice = 1.0
    else:
        precision = true_positive / max(true_positive + false_positive, 1)
        recall = true_positive / max(true_positive + false_negative, 1)
        dice = 2 * true_positive / (2 * true_positive + false_positive + false_negative)
    return Overlap(precision, recall, dice, true_positive, false_positive, false_negative)


def mean_overlap(overlaps: Iterable[Overlap]) -> Overlap:
    """Average each figure over stacks, as the paper's Table II does: every stack counts alike, whatever its size.

    Parameters
    ----------
    overlaps : iterable of Overlap
        One per stack, at least one.

    Returns
    -------
    Overlap
        Means of precision, recall and Dice; the numbers of voxels are totals. The mean Dice is the mean of the
        stacks' Dice coefficients, not the Dice of the totals.

    Raises
    ------
    ValueError
        If there is none.
    """
    overlaps = list(overlaps)
    if not overlaps:
        raise ValueError("no overlap to average")
    return Overlap(
        precision=float(np.mean([one.precision for one in overlaps])),
        recall=float(np.mean([one.recall for one in overlaps])),
        dice=float(np.mean([one.dice for one in overlaps])),
        true_positive=sum(one.true_positive for one in overlaps),
        false_positive=sum(one.false_positive for one in overlaps),
        false_negative=sum(one.false_negative for one in overlaps),
    )


def evaluate(prediction: object, truth: object, class_names: Sequence[str] | None = None) -> dict[str, Overlap]:
    """Score a predicted stack against its truth, class by class.

    Parameters
    ----------
    prediction, truth : Volume or array
        ZYXC with channel k holding class k, or ZYX for one class. Any value but 0 is object: True, 1, 255 or an
        instance number. Floating-point values that all lie in [0, 1] are taken as probabilities and object is what
        lies above 0.5; other floating-point values must be whole numbers, as labels are.
    class_names : sequence of str, optional
        One name per channel; `default_class_names` otherwise.

    Returns
    -------
    dict of str to Overlap
        In the order of the channels.

    Raises
    ------
    ShapeMismatchError
        If the two do not have the same shape ZYX.
    ChannelError
        If the numbers of channels differ, or there is not one name per channel.
    VolumeContentError
        If the values are neither masks, labels nor probabilities.
    OptionError
        If two classes have one name.
    """
    predicted, true = mask_of(prediction, "prediction"), mask_of(truth, "truth")
    titles = title_of(prediction, "prediction"), title_of(truth, "truth")
    classes = shared_classes(predicted, true, titles, class_names)
    return {name: overlap(predicted[..., k], true[..., k]) for k, name in enumerate(classes)}


def mask_of(volume: object, role: str) -> np.ndarray:
    """Return the objects of a volume or an array as bool ZYXC."""
    array, name = channels_of(volume, role), title_of(volume, role)
    objects: np.ndarray = array != 0
    if array.dtype.kind in "bui":
        return objects
    if array.dtype.kind != "f":
        raise errors.VolumeContentError(name, f"has values of type {array.dtype}", "give a mask or labels")
    if array.min() >= 0 and array.max() <= 1:
        probable: np.ndarray = array > PROBABILITY_THRESHOLD
        return probable
    if not np.all(np.isfinite(array)) or np.any(array != np.rint(array)):
        raise errors.VolumeContentError(
            name,
            f"has values from {array.min():g} to {array.max():g}, which are neither a mask, labels nor probabilities",
            "give 0/255, 0/1, instance numbers, or probabilities between 0 and 1",
        )
    return objects
