"""How a training stands beside its variables: the clock, what the monitors counted, which candidates are remembered."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Protocol

import tensorflow as tf

from tfcyclegan3d.config_sections import TrainingConfig
from tfcyclegan3d.training.selection import Choice
from tfcyclegan3d.training.watch import Watch

# The clock leads only once it is this share of its time ahead: building the graphs takes seconds before the first step,
# and a training that would end in time anyway stays the same on every machine.
CLOCK_SLACK = 0.1


@dataclass
class Clock:
    """Where a training stands in time.

    Parameters
    ----------
    epoch, step : int
        Epochs and steps done.
    seconds : float
        Time spent, the runs before a resumption included.
    losses : dict of str to [float, int]
        Sum and count of each loss over the steps since the last row of the log.
    """

    epoch: int = 0
    step: int = 0
    seconds: float = 0.0
    losses: dict[str, list[float]] = field(default_factory=dict)

    def add(self, losses: Mapping[str, float]) -> None:
        """Take the losses of a step in."""
        for name, value in losses.items():
            total, count = self.losses.get(name, (0.0, 0))
            self.losses[name] = [total + value, count + 1]

    def next_epoch(self) -> dict[str, float]:
        """Begin an epoch and return the mean losses of the one before."""
        means = {name: total / count for name, (total, count) in self.losses.items()}
        self.epoch += 1
        self.losses = {}
        return means

    def progress(self, training: TrainingConfig) -> float:
        """Return the share of the training done: by steps, or by the clock where that is ahead."""
        share = self.step / (training.epochs * training.steps_per_epoch)
        if training.max_minutes is not None:
            by_clock = self.seconds / (60 * training.max_minutes)
            share = max(share, (by_clock - CLOCK_SLACK) / (1 - CLOCK_SLACK))
        return share


class Choosing(Protocol):
    """How a training chooses the epoch whose networks it keeps."""

    variables: Sequence[tf.Variable]
    best: Choice | None
    epochs: set[int]
    is_final: bool

    def record(self) -> Any:
        """Return plain values that ``restore`` takes; the variables are kept apart."""
        ...

    def restore(self, record: Any) -> None:
        """Go on from a record, the variables having been assigned."""
        ...


@dataclass
class Course:
    """What a checkpoint records beside the variables.

    Parameters
    ----------
    clock : Clock
        Epochs, steps, time.
    watch : Watch
        Counts and consequences of the monitors.
    selection : Choosing
        Of the epoch that is kept; its variables are kept with those of the networks.
    stopped_by : tuple of str
        What ended the training before its time.
    ended : bool
        No more epochs are wanted, since the choice would not change any more.
    """

    clock: Clock
    watch: Watch
    selection: Choosing
    stopped_by: tuple[str, ...] = ()
    ended: bool = False

    def variables(self) -> dict[str, object]:
        """Return the variables that a checkpoint has to hold beside those of the trainer, by name."""
        return {f"selection/{i}": variable for i, variable in enumerate(self.selection.variables)}

    def record(self) -> dict[str, Any]:
        """Return plain values that ``restore`` takes."""
        return {
            "clock": asdict(self.clock),
            "watch": self.watch.record(),
            "selection": self.selection.record(),
            "ended": self.ended,
        }

    def restore(self, record: Mapping[str, Any]) -> None:
        """Go on from a record, the variables having been assigned."""
        self.clock = Clock(**record["clock"])
        self.watch.restore(record["watch"])
        self.selection.restore(record["selection"])
        self.ended = record.get("ended", False)  # Checkpoints of version 0.1 do not say.
