"""Losses: pure functions of tensors, each with its formula and source.

Masks lie in [-1, 1] (-1 background, 1 object, between them a voxel that an object covers in part), class by class in
the last axis. Every loss is the mean over a batch's samples of what the formula gives for one of them, "mean" and
"sum" in it being over that sample's voxels: so the loss of a batch is the mean of the losses of its equal parts, and
devices that share a batch find its gradient by averaging theirs. Classes are summed with their weights, as in the
published code (3.5 x Golgi + 1 x nuclei).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

from keras import ops

Tensor: TypeAlias = Any  # Of whichever backend Keras runs on.


def least_squares_generator_loss(fake_scores: Tensor) -> Tensor:
    """``mean((D(fake) - 1)^2)``, at least 0.

    References
    ----------
    Mao et al., "Least Squares Generative Adversarial Networks", ICCV 2017, equation 9 with a = 0, b = c = 1.
    """
    return ops.mean(ops.square(fake_scores - 1.0))


def least_squares_critic_loss(real_scores: Tensor, fake_scores: Tensor) -> Tensor:
    """``(mean((D(real) - 1)^2) + mean(D(fake)^2)) / 2``, at least 0; 0.25 when the critic cannot tell.

    The half slows the critic against the generator, as in the CycleGAN paper (section 7.2 of its appendix).
    """
    return 0.5 * (ops.mean(ops.square(real_scores - 1.0)) + ops.mean(ops.square(fake_scores)))


def weighted_l1(target: Tensor, output: Tensor, class_weights: Sequence[float]) -> Tensor:
    """``sum over classes k of w_k * mean |target_k - output_k|``.

    The cycle and identity loss of the paper (section III.C), class 0 being Golgi with w = 3.5, class 1 nuclei with 1.
    """
    error = ops.mean(ops.abs(target - output), axis=(0, 1, 2, 3))
    return ops.sum(error * _per_class(class_weights, error))


def balanced_l1(
    target: Tensor, output: Tensor, class_weights: Sequence[float], foreground_weights: Sequence[float]
) -> Tensor:
    """L1 in which voxels of ``target``'s foreground weigh ``foreground_weights[k]`` times those of its background.

    ``sum_k w_k * mean(b_k |target_k - output_k|) / mean(b_k)`` with b_k = foreground_weights[k] in an object, 1 in the
    background, and in proportion where a voxel is covered in part. With a few per cent of foreground, plain L1 has its
    minimum near "everything is background".
    """
    balance = 1.0 + (_per_class(foreground_weights, output) - 1.0) * (target + 1.0) / 2.0
    axes = (1, 2, 3)
    each = ops.mean(balance * ops.abs(target - output), axis=axes) / ops.mean(balance, axis=axes)
    error = ops.mean(each, axis=0)
    return ops.sum(error * _per_class(class_weights, error))


def balanced_cross_entropy(target: Tensor, logits: Tensor, foreground_weights: Sequence[float]) -> Tensor:
    """Mean over classes of the cross-entropy, object voxels weighing ``foreground_weights[k]`` times the background.

    ``logits`` are those of a tanh output, so the probability is sigmoid(2 logits). Computed as
    ``softplus(-x)`` on the foreground and ``softplus(x)`` on the background, x = 2 logits, which never saturates.
    """
    x = 2.0 * logits
    foreground = (target + 1.0) / 2.0
    weights = _per_class(foreground_weights, x)
    return ops.mean(weights * foreground * ops.softplus(-x) + (1.0 - foreground) * ops.softplus(x))


def soft_dice_loss(
    target: Tensor, output: Tensor, class_weights: Sequence[float] | None = None, smooth: float = 1.0
) -> Tensor:
    """``mean over classes of 1 - (2 sum(t p) + s) / (sum t + sum p + s)``, t and p being target and output in [0, 1].

    With ``class_weights`` w the mean is ``sum_k w_k (1 - dice_k) / sum_k w_k``.

    References
    ----------
    Milletari, Navab, Ahmadi, "V-Net", 3DV 2016, with plain sums in the denominator.
    """
    t, p = (target + 1.0) / 2.0, (output + 1.0) / 2.0
    axes = (1, 2, 3)
    score = (2.0 * ops.sum(t * p, axis=axes) + smooth) / (ops.sum(t, axis=axes) + ops.sum(p, axis=axes) + smooth)
    if class_weights is not None:
        total = float(sum(class_weights))
        score = score * _per_class([len(class_weights) * weight / total for weight in class_weights], score)
    return 1.0 - ops.mean(score)


def segmentation_loss(
    target: Tensor, logits: Tensor, output: Tensor, foreground_weights: Sequence[float], n_classes: int | None = None
) -> Tensor:
    """``balanced_cross_entropy(target, logits) + soft_dice_loss(target, output)``.

    Logits take part because a tanh which has saturated at "all background" has no gradient left to come back with.
    Channels beyond the first ``n_classes`` hold centres, which are shares and not masks: their cross-entropy with every
    voxel weighing alike is added, which is least where the probability is the share. A Dice loss is least where it is
    0 or 1.
    """
    if n_classes is not None and n_classes < target.shape[-1]:
        of_masks = segmentation_loss(
            target[..., :n_classes], logits[..., :n_classes], output[..., :n_classes], foreground_weights
        )
        alike = [1.0] * (target.shape[-1] - n_classes)
        return of_masks + balanced_cross_entropy(target[..., n_classes:], logits[..., n_classes:], alike)
    return balanced_cross_entropy(target, logits, foreground_weights) + soft_dice_loss(target, output)


def paired_loss(
    mask: Tensor,
    mask_logits: Tensor,
    mask_output: Tensor,
    image: Tensor,
    image_output: Tensor,
    foreground_weights: Sequence[float],
) -> Tensor:
    """``segmentation_loss`` of the mask plus ``mean |image - image_output|``: both directions on pairs.

    Images have one channel a class.
    """
    of_mask = segmentation_loss(mask, mask_logits, mask_output, foreground_weights, image.shape[-1])
    return of_mask + ops.mean(ops.abs(image - image_output))


def _per_class(weights: Sequence[float], like: Tensor) -> Tensor:
    """Return one number a class as a tensor of the type of ``like``, to be multiplied along the last axis."""
    return ops.convert_to_tensor(weights, dtype=like.dtype)
