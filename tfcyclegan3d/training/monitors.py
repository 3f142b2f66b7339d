"""What can be wrong with a CycleGAN, measured without a label on fixed probes.

Each measure is a pure function of an `Observation` and gives one number a class (or a single one). Whether a number is
bad, and what follows, is decided in ``watch.py`` by the thresholds of the configuration.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np

from tfcyclegan3d.training.probes import Observation

SPACE = (0, 1, 2, 3)  # Every axis but the classes'.
FEW_VOXELS = 30  # A mask of fewer has no statistics worth comparing.
LEAST_VARIETY = 1e-3  # Inputs that differ less cannot tell whether outputs do.
LEAST_CYCLE_ERROR = 0.02  # Below it (of a range of 2), how the error grows is noise.


@dataclass(frozen=True)
class Monitor:
    """One thing that is watched.

    Parameters
    ----------
    measure : callable
        From an `Observation` to one number a class, or to a single one; NaN where it cannot be told.
    fails : {"below", "above"}
        Which side of its threshold is bad.
    asks : str
        What the number tells, for the report.
    means : str
        What a bad number means, for the user; ``{name}`` stands for the class.
    remedy : str
        What may help.
    """

    measure: Callable[[Observation], np.ndarray]
    fails: Literal["below", "above"]
    asks: str
    means: str
    remedy: str

    def is_bad(self, value: float, threshold: float) -> bool:
        """Tell on which side of a threshold a number lies; NaN is never bad."""
        return value < threshold if self.fails == "below" else value > threshold


def variety(seen: Observation) -> np.ndarray:
    """Return how much of the outputs' variance is between different inputs, of the generator where that is less.

    The sum over voxels of the variance over probes, as a share of the variance over voxels and probes alike, divided by
    the same of the inputs: 1 where outputs differ as inputs do, 0 where all are alike, NaN where the inputs are. The
    paper stops where it is 0 (section III.C).
    """
    pairs = ((seen.images, seen.predicted), (seen.masks, seen.translated))
    if min(_between(given) for given, _ in pairs) < LEAST_VARIETY:
        return np.array(np.nan)
    return np.min([min(1.0, _between(output) / _between(given)) for given, output in pairs])


def _between(batch: np.ndarray) -> float:
    """Return the mean over voxels of the variance over samples, as a share of the variance over both."""
    total = float(batch.reshape(-1, batch.shape[-1]).var(axis=0).mean())
    return float(batch.var(axis=0).mean()) / total if total > 1e-8 else 0.0


def covered(seen: Observation) -> np.ndarray:
    """Return the share of the images' voxels that are predicted to be objects, class by class."""
    return (seen.predicted > 0).mean(axis=SPACE)


def brightness_agreement(seen: Observation) -> np.ndarray:
    """Return each class's correlation between channel and predicted mask; below 0 dark voxels are called objects."""
    return np.diagonal(_correlations(seen.images, seen.predicted)).copy()


def swap_advantage(seen: Observation) -> np.ndarray:
    """Return by how much the masks correlate better with the channels in another order than in their own.

    Below 0 for masks in their places, above it for swapped ones; NaN for a single class.
    """
    table = np.nan_to_num(_correlations(seen.images, seen.predicted))
    n_classes = len(table)
    others = [order for order in itertools.permutations(range(n_classes)) if order != tuple(range(n_classes))]
    if not others:
        return np.array(np.nan)
    mean = {order: np.mean([table[order[k], k] for k in range(n_classes)]) for order in others}
    return np.array(max(mean.values()) - np.mean(np.diagonal(table)))


def _correlations(images: np.ndarray, masks: np.ndarray) -> np.ndarray:
    """Return the correlation of channel j with mask k at [j, k]; NaN where one of them is constant."""
    channels = images.reshape(-1, images.shape[-1]).T.astype(np.float64)
    classes = masks.reshape(-1, masks.shape[-1]).T.astype(np.float64)
    channels -= channels.mean(axis=1, keepdims=True)
    classes -= classes.mean(axis=1, keepdims=True)
    norms = np.linalg.norm(channels, axis=1)[:, None] * np.linalg.norm(classes, axis=1)[None, :]
    return np.where(norms > 1e-6, (channels @ classes.T) / np.maximum(norms, 1e-6), np.nan)


def hidden_information(seen: Observation) -> np.ndarray:
    """Return how many times larger the cycle's error is once the mask half-way is rounded, blurred or noised.

    A mask says where objects are; a generator that hides the image in its small values (Chu, Zhmoginov, Sandler,
    "CycleGAN, a Master of Steganography", arXiv:1712.02950) loses it when they are disturbed. The worst of the three.
    """
    image = seen.images[0]
    plain = max(float(np.abs(seen.cycled - image).mean()), LEAST_CYCLE_ERROR)
    errors = [float(np.abs(again - image).mean()) for again in seen.disturbed.values()]
    return np.array(max(errors) / plain)


def invention(seen: Observation) -> np.ndarray:
    """Return by what factor the predicted masks differ from the synthetic ones, class by class, at least 1.

    The larger of the factors between their shares of the volume and between their surface-to-volume ratios (faces
    between object and background for each object voxel), which specks and frayed borders raise.
    """
    predicted, drawn = seen.predicted > 0, seen.masks > 0
    factors = [
        _factor(predicted.mean(axis=SPACE), drawn.mean(axis=SPACE)),
        _factor(surface(predicted), surface(drawn)),
    ]
    enough = np.minimum(predicted.sum(axis=SPACE), drawn.sum(axis=SPACE)) >= FEW_VOXELS
    return np.where(enough, np.max(factors, axis=0), np.nan)


def _factor(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    ratio = np.maximum(one, 1e-6) / np.maximum(other, 1e-6)
    return np.maximum(ratio, 1 / ratio)


def surface(masks: np.ndarray) -> np.ndarray:
    """Return faces between object and background for each object voxel, of NZYXC bool, class by class."""
    faces = np.zeros(masks.shape[-1])
    for axis in (1, 2, 3):
        faces += np.diff(masks.astype(np.int8), axis=axis).astype(bool).sum(axis=SPACE)
    return faces / np.maximum(masks.sum(axis=SPACE), 1)


def critic_loss(seen: Observation) -> np.ndarray:
    """Return the smaller of the two critics' losses: 0.25 where they cannot tell, 0 where they know all."""

    def loss(real: np.ndarray, fake: np.ndarray) -> float:
        return float(0.5 * (np.square(real - 1).mean() + np.square(fake).mean()))

    return np.array(min(loss(*seen.mask_scores), loss(*seen.image_scores)))


MONITORS: dict[str, Monitor] = {
    "collapse": Monitor(
        variety,
        "below",
        "how much outputs differ between inputs",
        "the networks give nearly the same output for different inputs (mode collapse)",
        "lower training.generator_learning_rate, or train on more stacks",
    ),
    "empty": Monitor(
        covered,
        "below",
        "share of the images predicted to be objects",
        "the predicted masks of {name} are empty",
        "train longer, or check the objects' size",
    ),
    "full": Monitor(
        covered,
        "above",
        "share of the images predicted to be objects",
        "the predicted masks of {name} are full",
        "train longer, or check the objects' size",
    ),
    "inversion": Monitor(
        brightness_agreement,
        "below",
        "correlation between a channel and its mask",
        "the predicted masks of {name} mark the dark voxels, not the bright ones",
        "start again with another --seed",
    ),
    "class_swap": Monitor(
        swap_advantage,
        "above",
        "how much better masks fit the other channels",
        "the classes look swapped: masks fit the other channels better than their own",
        "check the order of --classes and --channels, or start again with another --seed",
    ),
    "hidden_information": Monitor(
        hidden_information,
        "above",
        "how the cycle's error grows when the mask is disturbed",
        "the masks carry hidden information: images come back from them only as long as they are left untouched",
        "raise losses.cycle_noise",
    ),
    "invention": Monitor(
        invention,
        "above",
        "by what factor predicted masks differ from synthetic ones",
        "the predicted masks of {name} differ much from the synthetic ones in fill or surface",
        "check the objects' size and density (a prior fitted by 'tfcyclegan3d synthesize --like STACK --fit')",
    ),
    "critic_saturation": Monitor(
        critic_loss,
        "below",
        "loss of the surer critic",
        "a critic tells real from fake without fail, which teaches the generators nothing",
        "lower training.critic_learning_rate, or raise losses.critic_noise",
    ),
}
