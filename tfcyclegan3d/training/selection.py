"""Choose, without a label, which epoch's networks a run keeps.

Networks that are right agree on the same answer, each wrong one errs in a way of its own: a candidate is scored by how
well its masks of the probes agree with the mean of all candidates' masks so far. Those of the start err alike, those of
the adversarial part err alike in another way: each part has as much of a say, however long it is.
``benchmarks/selection.py`` compares this with the other scores that were tried, and ``docs/selection.md`` shows what it
found.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import tensorflow as tf


@dataclass(frozen=True)
class Choice:
    """A candidate that is kept.

    Parameters
    ----------
    epoch : int
        Whose end it is of.
    which : {"averaged", "raw"}
        Of the weights.
    score : float
        Agreement with the mean of all candidates seen, in [0, 1].
    sound : bool
        No monitor failed whose consequence is more than a warning.
    settled : bool
        The losses ask for objects as large as they are by then.
    """

    epoch: int
    which: str
    score: float
    sound: bool
    settled: bool = True


def agreement(one: np.ndarray, other: np.ndarray) -> float:
    """Return ``mean over classes of 2 sum(p q) / (sum p^2 + sum q^2)`` of masks in [0, 1] (...C), in [0, 1].

    The Dice coefficient where both are 0 and 1; two empty masks agree wholly.
    """
    one, other = one.astype(np.float32, copy=False), other.astype(np.float32, copy=False)
    axes = tuple(range(one.ndim - 1))
    product, squares = (one * other).sum(axes), np.square(one).sum(axes) + np.square(other).sum(axes)
    return float(np.mean(np.where(squares > 0, 2 * product / np.maximum(squares, 1e-12), 1.0)))


class Selection:
    """Rank candidates as they come, and remember the best few.

    Later candidates know more, so the n-th epoch weighs n times the first in the mean of its part of the training, the
    start or the adversarial one; the mean of both parts' means is what candidates are compared with.

    Parameters
    ----------
    shape : tuple of int
        NZYXC of what the candidates predict for the probes.
    keep : int
        Candidates remembered; only they can still become the choice once the mean has moved.
    """

    def __init__(self, shape: Sequence[int], keep: int) -> None:
        self._keep = keep
        # Of the start and of the adversarial part.
        self._sums = tf.Variable(tf.zeros((2, *shape)), trainable=False)
        self._weights = tf.Variable(tf.zeros(2), trainable=False)
        self._kept = tf.Variable(tf.zeros((keep, *shape), tf.uint8), trainable=False)
        self.choices: list[Choice] = []

    @property
    def variables(self) -> list[tf.Variable]:
        """What a checkpoint has to hold beside the record."""
        return [self._sums, self._weights, self._kept]

    @property
    def best(self) -> Choice | None:
        """The choice as of now: sound ones first."""
        return self.choices[0] if self.choices else None

    @property
    def is_final(self) -> bool:
        """Never: a later epoch may always agree better."""
        return False

    @property
    def epochs(self) -> set[int]:
        """Epochs whose checkpoints are still needed."""
        return {choice.epoch for choice in self.choices}

    def consider(
        self,
        epoch: int,
        predicted: Mapping[str, np.ndarray],
        sound: bool,
        settled: bool = True,
        adversarial: bool = False,
    ) -> dict[str, float]:
        """Take an epoch's candidates in and rank all that are remembered anew.

        The first sound and settled epoch makes the selection forget all before it, which err alike: their losses asked
        for larger objects. Once a sound one is remembered, unsound ones have no say in the mean.

        Parameters
        ----------
        epoch : int
            From 1.
        predicted : mapping of str to ndarray, NZYXC in [-1, 1]
            What each candidate makes of the probes.
        sound : bool
            No monitor failed whose consequence is more than a warning.
        settled : bool
            The losses ask for objects as large as they are by then.
        adversarial : bool
            The epoch is one of the adversarial part.

        Returns
        -------
        dict of str to float
            Their scores as of now.
        """
        if sound and settled and not all(choice.settled for choice in self.choices):
            self._forget()
        entries = [(choice, kept) for choice, kept in zip(self.choices, self._kept.numpy(), strict=False)]
        has_say = sound or not any(choice.sound for choice in self.choices)
        sums, weights = self._sums.numpy(), self._weights.numpy()
        for which, masks in predicted.items():
            kept = (masks > 0).astype(np.uint8)
            if has_say:
                sums[int(adversarial)] += np.float32(epoch) * kept
                weights[int(adversarial)] += epoch
            entries.append((Choice(epoch, which, 0.0, sound, settled), kept))
        mean = np.mean([total / weight for total, weight in zip(sums, weights, strict=True) if weight > 0], axis=0)
        ranked = [(replace(one, score=agreement(kept, mean)), kept) for one, kept in entries]
        ranked.sort(key=lambda entry: (entry[0].sound, entry[0].score), reverse=True)
        self._sums.assign(sums)
        self._weights.assign(weights)
        self.choices = [choice for choice, _ in ranked[: self._keep]]
        blank = np.zeros_like(ranked[0][1])
        self._kept.assign(np.stack([kept for _, kept in ranked[: self._keep]] + [blank] * (self._keep - len(ranked))))
        return {one.which: one.score for one, _ in ranked if one.epoch == epoch}

    def _forget(self) -> None:
        self.choices = []
        self._sums.assign(tf.zeros_like(self._sums))
        self._weights.assign(tf.zeros_like(self._weights))

    def record(self) -> list[dict[str, Any]]:
        """Return plain values that ``restore`` takes; the variables are kept apart."""
        return [asdict(choice) for choice in self.choices]

    def restore(self, record: Sequence[Mapping[str, Any]]) -> None:
        """Go on from a record, the variables having been assigned."""
        self.choices = [Choice(**choice) for choice in record]
