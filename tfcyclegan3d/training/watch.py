"""Watch a training: read the monitors each epoch, and decide whether it goes on, stops, or goes back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np

from tfcyclegan3d.config_monitors import MonitorsConfig
from tfcyclegan3d.training.monitors import MONITORS
from tfcyclegan3d.training.probes import Observation

GO_ON, STOP, GO_BACK = "go on", "stop", "go back"


@dataclass(frozen=True)
class Reading:
    """What a monitor shows.

    Parameters
    ----------
    monitor : str
        A key of ``MONITORS``.
    value : float
        The worst class's; NaN where it cannot be told, which never fails.
    class_name : str
        That class; ``""`` where the value is of all of them.
    fails : bool
        The value lies on the bad side of the threshold.
    """

    monitor: str
    value: float
    class_name: str
    fails: bool

    @property
    def text(self) -> str:
        """What it means, and what may help, in one line."""
        about = MONITORS[self.monitor]
        return f"{about.means.format(name=self.class_name)} ({self.monitor} {self.value:.3g}): {about.remedy}"


@dataclass(frozen=True)
class Decision:
    """What is to be done now, and why."""

    action: Literal["go on", "stop", "go back"]
    reasons: tuple[str, ...] = ()


@dataclass(frozen=True)
class Return:
    """One return to an earlier state: from which epoch to which, and why."""

    from_epoch: int
    to_epoch: int
    why: str


def read_monitors(config: MonitorsConfig, seen: Observation, classes: Sequence[str]) -> list[Reading]:
    """Read every monitor on what was observed."""
    readings = []
    for name, monitor in MONITORS.items():
        threshold = config.of(name).threshold
        values = np.atleast_1d(monitor.measure(seen)).astype(np.float64)
        if np.isnan(values).all():
            readings.append(Reading(name, float("nan"), "", False))
            continue
        worst = int(np.nanargmin(values) if monitor.fails == "below" else np.nanargmax(values))
        value = float(values[worst])
        class_name = classes[worst] if values.size == len(classes) else ""
        readings.append(Reading(name, value, class_name, monitor.is_bad(value, threshold)))
    return readings


class Watch:
    """Count failures and draw the consequences.

    A monitor's consequence follows once it fails in ``patience`` epochs on end, not before ``grace`` of the training
    is done, nor in its start, which learns from known pairs and finds its way without going back. Going back takes the
    training to the newest checkpoint at which nothing failed whose consequence is more than a warning; each time the
    learning rates are multiplied by ``rollback_rate``. After ``max_rollbacks`` of them the training stops.

    Parameters
    ----------
    config : MonitorsConfig
        Thresholds and consequences.
    start_fraction : float
        Share of the training that the start takes.
    """

    def __init__(self, config: MonitorsConfig, start_fraction: float = 0.0) -> None:
        self._config = config
        self._earliest = max(config.grace, start_fraction)
        self._counts = dict.fromkeys(MONITORS, 0)
        self.good_epoch = 0
        self.returns: list[Return] = []

    @property
    def rate(self) -> float:
        """Factor of the learning rates."""
        return self._config.rollback_rate ** len(self.returns)

    def judge(self, epoch: int, readings: Sequence[Reading], progress: float, is_saved: bool = True) -> Decision:
        """Take an epoch's readings in and say what follows; only a saved epoch is one to go back to."""
        for reading in readings:
            self._counts[reading.monitor] = self._counts[reading.monitor] + 1 if reading.fails else 0
        severe = [reading for reading in readings if self._config.is_severe(reading.monitor)]
        if is_saved and not any(reading.fails for reading in severe):
            self.good_epoch = epoch
        due = [one for one in severe if self._counts[one.monitor] >= self._config.of(one.monitor).patience]
        if progress < self._earliest or not due:
            return Decision(GO_ON)
        reasons = tuple(one.text for one in due)
        if any(self._config.of(one.monitor).consequence == "stop" for one in due):
            return Decision(STOP, reasons)
        # Before anything was good there is nothing to go back to, and more training may yet help.
        return self._going_back(reasons) if self.good_epoch > 0 else Decision(GO_ON)

    def judge_divergence(self, step: int) -> Decision:
        """Say what follows a loss that is not finite."""
        reason = f"a loss is not finite at step {step} (divergence): a lower training.generator_learning_rate may help"
        return Decision(STOP, (reason,)) if self._config.divergence == "stop" else self._going_back((reason,))

    def _going_back(self, reasons: tuple[str, ...]) -> Decision:
        return Decision(GO_BACK if len(self.returns) < self._config.max_rollbacks else STOP, reasons)

    def gone_back(self, from_epoch: int, why: str) -> None:
        """Note a return to the last good epoch; counting begins anew."""
        self.returns.append(Return(from_epoch, self.good_epoch, why))
        self._counts = dict.fromkeys(MONITORS, 0)

    def record(self) -> dict[str, Any]:
        """Return plain values that ``restore`` takes."""
        return {
            "counts": self._counts,
            "good_epoch": self.good_epoch,
            "returns": [asdict(one) for one in self.returns],
        }

    def restore(self, record: Mapping[str, Any]) -> None:
        """Go on from a record."""
        self._counts = dict.fromkeys(MONITORS, 0) | dict(record["counts"])
        self.good_epoch = int(record["good_epoch"])
        self.returns = [Return(**one) for one in record["returns"]]
