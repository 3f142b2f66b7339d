"""The section of a configuration that says how a training is watched, and what follows."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from tfcyclegan3d.strict import require


@dataclass(frozen=True)
class MonitorConfig:
    """When something watched counts as failing, and what follows.

    Parameters
    ----------
    threshold : float
        Values on its bad side fail (which side that is, ``docs/watching.md`` says).
    consequence : {"warn", "stop", "rollback"}
        ``"warn"`` only says so at the end. The other two act on the training, and a run that ends failing them is not
        to be trusted (exit status 3).
    patience : int
        Epochs on end it must fail before the consequence follows.
    """

    threshold: float
    consequence: Literal["warn", "stop", "rollback"] = "warn"
    patience: int = 2


@dataclass(frozen=True)
class MonitorsConfig:
    """How a training is watched; ``docs/watching.md`` tells what each monitor measures.

    Parameters
    ----------
    collapse, empty, full, inversion, class_swap, hidden_information, invention, critic_saturation : MonitorConfig
        The monitors.
    divergence : {"stop", "rollback"}
        What follows a loss that is not finite.
    grace : float
        Share of the training before which no consequence but that of a divergence follows; nor does one in the start.
    rollback_rate : float
        Factor of the learning rates each time the training goes back.
    max_rollbacks : int
        So many times it goes back at most; then it stops.
    n_probes : int
        Patches, as large as the tiles of the prediction, that monitors and scores look at.
    """

    collapse: MonitorConfig = MonitorConfig(0.1, "rollback")
    empty: MonitorConfig = MonitorConfig(1e-4, "rollback")
    full: MonitorConfig = MonitorConfig(0.95, "rollback")
    inversion: MonitorConfig = MonitorConfig(-0.05, "rollback")
    class_swap: MonitorConfig = MonitorConfig(0.05, "rollback")
    hidden_information: MonitorConfig = MonitorConfig(2.0)
    invention: MonitorConfig = MonitorConfig(4.0)
    critic_saturation: MonitorConfig = MonitorConfig(0.005)
    divergence: Literal["stop", "rollback"] = "rollback"
    grace: float = 0.2
    rollback_rate: float = 0.5
    max_rollbacks: int = 3
    n_probes: int = 4

    def __post_init__(self) -> None:
        """Check the ranges."""
        for name, monitor in vars(self).items():
            if isinstance(monitor, MonitorConfig):
                key, threshold, patience = f"monitors.{name}", monitor.threshold, monitor.patience
                require(math.isfinite(threshold), f"{key}.threshold", threshold, "give a finite number")
                require(patience >= 1, f"{key}.patience", patience, "give at least 1")
        require(0 <= self.grace <= 1, "monitors.grace", self.grace, "give 0 to 1")
        require(0 < self.rollback_rate <= 1, "monitors.rollback_rate", self.rollback_rate, "give more than 0, up to 1")
        require(self.max_rollbacks >= 0, "monitors.max_rollbacks", self.max_rollbacks, "give 0 or more")
        require(2 <= self.n_probes <= 8, "monitors.n_probes", self.n_probes, "give 2 to 8")

    def of(self, monitor: str) -> MonitorConfig:
        """Return what is set for a monitor."""
        found: MonitorConfig = getattr(self, monitor)
        return found

    def is_severe(self, monitor: str) -> bool:
        """Tell whether a monitor's failure at the end makes a run one not to be trusted."""
        return self.of(monitor).consequence != "warn"
