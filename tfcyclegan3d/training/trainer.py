"""What the loop asks of a trainer, whatever the method: do step n, judge an epoch, give the state."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

import keras
import tensorflow as tf
from matplotlib.figure import Figure

from tfcyclegan3d.config import Config
from tfcyclegan3d.training.course import Course
from tfcyclegan3d.training.distribution import Distribution
from tfcyclegan3d.training.watch import Decision

# Parts of a CycleGAN training: on rendered masks, and against critics.
START, ADVERSARIAL = "start", "cyclegan"

Generators = tuple[keras.Model, ...]
"""The networks a run keeps, in float32: ``image_to_mask`` first, others of the method after it."""


class Trainer(Protocol):
    """The networks of a method, their steps and their data."""

    config: Config
    distribution: Distribution
    policy: str
    notes: list[str]
    loss_names: tuple[str, ...]
    columns: tuple[str, ...]
    learning_rates: dict[str, float]

    def beginning(self) -> Course:
        """Return the course of a training that has not begun."""
        ...

    def step(self, index: int, progress: float, rate: float = 1.0) -> dict[str, tf.Tensor]:
        """Do step ``index``, ``progress`` of the way, at ``rate`` times the configured rates; return its losses."""
        ...

    def phase_of(self, losses: Mapping[str, object]) -> str:
        """Return which part of the training gives these losses."""
        ...

    def judge(self, course: Course, progress: float, is_saved: bool) -> tuple[Decision, dict[str, float] | None]:
        """Look at the networks after an epoch: what is to be done, and what the log takes (None: nothing to log).

        Where the epoch ``is_saved`` it may become the one chosen.
        """
        ...

    def finished(self, networks: Generators) -> Config:
        """Return what a prediction goes by, by networks about to be kept as a training has come to its end."""
        ...

    def checks(self, networks: Generators) -> tuple[bool, list[str]]:
        """Return whether networks about to be kept are not to be trusted, and what is wrong with them."""
        ...

    def state(self) -> dict[str, object]:
        """Return every variable that the training goes on from, by name."""
        ...

    def restored(self) -> None:
        """Follow the state after its variables have been assigned from a checkpoint, an earlier one too."""
        ...

    def recall(self, notes: Sequence[str]) -> None:
        """Put what was said before a resumption in front of what was said since, without repeating anything."""
        ...

    def preview(self, footer: str) -> Figure:
        """Draw what the networks make of a few fixed patches."""
        ...

    def present_networks(self) -> Generators:
        """Return the networks as they are now."""
        ...

    def stored_networks(self, checkpoint: Path, which: str) -> Generators:
        """Return the networks as a candidate was at a checkpoint."""
        ...


def recalled(before: Sequence[str], since: Sequence[str]) -> list[str]:
    """Return what was said before a resumption and what was said since, without repeating anything."""
    return [*before, *(note for note in since if note not in before)]
