"""How fast a training goes, when it will be done, and what is told of that while it runs."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping
from statistics import median

from tfcyclegan3d.config_sections import TrainingConfig
from tfcyclegan3d.training.trainer import START

N_RECENT = 50  # Steps that tell the present rate.
# Duration of a step of the adversarial part, which passes both cycles and the critics, in steps of the start:
# 3.3 to 3.8 in trainings of `fast` on CPU cores, with all that comes between.
ADVERSARIAL_COST = 3.7


class Pace:
    """Rates of the steps just done.

    The rate is the median of a few steps; the time left follows from what a step of this phase took with all that the
    loop does between steps, and from how much longer one of the adversarial part takes. The step that builds a graph,
    the first of its phase, tells nothing about the others.
    """

    def __init__(self) -> None:
        self._recent: deque[float] = deque(maxlen=N_RECENT)
        self._of_epoch: list[float] = []
        self._phase: str | None = None
        self._phase_began, self._n_steps = 0.0, 0

    def note(self, phase: str, seconds: float, now: float) -> None:
        """Take the seconds of a step just done, and the time spent on the training by now."""
        if phase != self._phase:
            self._recent.clear()
            self._phase, self._phase_began, self._n_steps = phase, now, -1
        self._recent.append(seconds)
        self._of_epoch.append(seconds)
        self._n_steps += 1
        self._now = now

    def end_epoch(self) -> float:
        """Return the seconds per step (median) of the epoch's steps, and begin another."""
        seconds = median(self._of_epoch)
        self._of_epoch.clear()
        return seconds

    def seconds_left(self, step: int, training: TrainingConfig) -> float:
        """Return the time to the end, by the steps left or by ``max_minutes``, whichever is first.

        As long as nothing of the adversarial part was seen, its steps are taken to last ``ADVERSARIAL_COST`` times as
        long as those of the start.

        Parameters
        ----------
        step : int
            Steps done; at least one has been noted.
        training : TrainingConfig
            How many steps and minutes there are.

        Returns
        -------
        float
            In seconds; infinite as long as nothing tells.
        """
        n_steps = training.epochs * training.steps_per_epoch
        n_left = n_steps - step
        n_costlier = n_steps - max(math.ceil(training.start_fraction * n_steps), step) if self._phase == START else 0
        n_alike = n_left + (ADVERSARIAL_COST - 1) * n_costlier
        left = (self._now - self._phase_began) / self._n_steps * n_alike if self._n_steps else math.inf
        if training.max_minutes is not None:
            left = min(left, 60 * training.max_minutes - self._now)
        return max(left, 0.0) if n_left else 0.0

    @property
    def rate(self) -> str:
        """The present rate, in the unit that gives a number above 1."""
        seconds = max(median(self._recent), 1e-6)
        return f"{1 / seconds:.3g} steps/s" if seconds < 1 else f"{seconds:.3g} s/step"


def step_message(step: int, training: TrainingConfig, phase: str, losses: Mapping[str, float], pace: Pace) -> str:
    """Return a step's number, phase and rate, and below them its losses: two lines for 80 columns."""
    numbers = f"{phase} {step}/{training.epochs * training.steps_per_epoch} {pace.rate}"
    pairs = ("adversarial", "cycle", "identity")
    of_pairs = {pair: [value for name, value in losses.items() if name.startswith(pair)] for pair in pairs}
    shown = {pair: sum(values) for pair, values in of_pairs.items() if values}
    shown |= {name: value for name, value in losses.items() if not name.startswith(pairs)}
    return f"{numbers}\n" + "  ".join(f"{name} {value:.3g}" for name, value in shown.items())
