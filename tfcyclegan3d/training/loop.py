"""The loop owns time: epochs, the clock, logs, previews, checkpoints, and stopping when asked to."""

from __future__ import annotations

import logging
import math
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from types import FrameType

from tfcyclegan3d import errors
from tfcyclegan3d.config import TrainingConfig
from tfcyclegan3d.progress import OnProgress
from tfcyclegan3d.training.checkpoints import latest_checkpoint, load_checkpoint, save_checkpoint
from tfcyclegan3d.training.run_folder import RunFolder
from tfcyclegan3d.training.trainer import CycleGANTrainer

logger = logging.getLogger(__name__)

# The clock leads only once it is this share of its time ahead: building the graphs takes seconds before the first step,
# and a training that would end in time anyway stays the same on every machine.
CLOCK_SLACK = 0.1

# Progress is told in parts of the whole, be it by steps or by the clock, so that the whole never changes.
PROGRESS_PARTS = 10_000

FINISHED, INTERRUPTED, DIVERGED = "finished", "interrupted", "diverged"


@dataclass
class Clock:
    """Where a training stands.

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


def fit(
    trainer: CycleGANTrainer,
    run: RunFolder,
    on_progress: OnProgress,
    clock: Clock,
    *,
    seconds_before: float = 0.0,
) -> str:
    """Train to the end of the schedule, or until the time is up or somebody interrupts.

    Each epoch leaves a row in the log, a preview, and a checkpoint; whatever happens, what was learned so far is saved.

    Parameters
    ----------
    trainer : CycleGANTrainer
        Does the steps.
    run : RunFolder
        Takes what is written.
    on_progress : OnProgress
        Called after each step.
    clock : Clock
        Where to go on from; moved on in place.
    seconds_before : float
        Time this run had already spent when the loop began.

    Returns
    -------
    {"finished", "interrupted", "diverged"}
    """
    training = trainer.config.training
    begun = time.monotonic() - clock.seconds - seconds_before
    verdict = FINISHED
    with _interruptions() as interrupted:
        while verdict == FINISHED and _progress(clock, training) < 1:
            verdict = _train_epoch(trainer, clock, begun, on_progress, interrupted)
            if verdict == DIVERGED:
                logger.warning("a loss is not finite at step %d: what is saved is from before", clock.step)
                break
            ends = _progress(clock, training) >= 1
            if ends or clock.step % training.steps_per_epoch == 0:
                _log_epoch(trainer, run, clock)
            if ends or verdict == INTERRUPTED or clock.epoch % training.checkpoint_every == 0:
                _save(trainer, run, clock)
    return verdict


def _train_epoch(
    trainer: CycleGANTrainer, clock: Clock, begun: float, on_progress: OnProgress, interrupted: Callable[[], bool]
) -> str:
    """Do the steps left of an epoch, and return how it ended."""
    training = trainer.config.training
    for _ in range(training.steps_per_epoch - clock.step % training.steps_per_epoch):
        progress = _progress(clock, training)
        of_step = {name: float(value) for name, value in trainer.step(clock.step, progress).items()}
        clock.step += 1
        clock.seconds = time.monotonic() - begun
        clock.add(of_step)
        done = round(PROGRESS_PARTS * min(_progress(clock, training), 1))
        on_progress(done, PROGRESS_PARTS, _shown(clock, training, of_step))
        if not all(map(math.isfinite, of_step.values())):
            return DIVERGED
        if _progress(clock, training) >= 1:
            break
        if interrupted():
            return INTERRUPTED
    return FINISHED


def _progress(clock: Clock, training: TrainingConfig) -> float:
    """Return the share of the training done: by steps, or by the clock where that is ahead."""
    share = clock.step / (training.epochs * training.steps_per_epoch)
    if training.max_minutes is not None:
        by_clock = clock.seconds / (60 * training.max_minutes)
        share = max(share, (by_clock - CLOCK_SLACK) / (1 - CLOCK_SLACK))
    return share


def _shown(clock: Clock, training: TrainingConfig, of_step: dict[str, float]) -> str:
    """Return a step's number and losses, short enough to stand beside a progress bar in 80 columns."""
    if "critics" in of_step:
        cycle = of_step["cycle_mask"] + of_step["cycle_image"]
        losses = f"cycle {cycle:.2f} critics {of_step['critics']:.2f}"
    else:
        losses = f"start {sum(of_step.values()):.2f}"
    return f"step {clock.step}/{training.epochs * training.steps_per_epoch} {losses}"


def _log_epoch(trainer: CycleGANTrainer, run: RunFolder, clock: Clock) -> None:
    means = clock.next_epoch()
    phase = "cyclegan" if "critics" in means else "start"
    run.log_epoch(clock.epoch, clock.step, clock.seconds / 60, phase, means)
    run.save_preview(clock.epoch, trainer.preview(f"epoch {clock.epoch}, step {clock.step}"))


def _save(trainer: CycleGANTrainer, run: RunFolder, clock: Clock) -> None:
    """Save the state, and then the networks, which a resumed training makes from the state anew."""
    save_checkpoint(
        run.checkpoints,
        clock.epoch,
        trainer.state(),
        {"clock": asdict(clock), "notes": trainer.notes},
        trainer.config.training.keep_checkpoints,
        interrupted=bool(clock.losses),
    )
    run.save_networks(*trainer.exported())


def restored(trainer: CycleGANTrainer, run: RunFolder) -> Clock:
    """Put a trainer and the run's folder where the newest checkpoint stands, or at the beginning before the first one.

    Nothing has changed where that fails.

    Raises
    ------
    ModelError
        Where the checkpoint is damaged or of other settings, or the checkpoints of a run that had some are gone.
    """
    path = latest_checkpoint(run.checkpoints)
    if path is None:
        if run.has_networks:
            raise errors.ModelError(run.path, "holds no checkpoint to resume from", "start again with --overwrite")
        clock = Clock()
    else:
        record = load_checkpoint(path, trainer.state())
        clock = Clock(**record["clock"])
        trainer.restored()
        trainer.recall(record["notes"])
    run.forget_epochs_after(clock.epoch)
    if path is not None:
        # A process that died between the two left the networks of the checkpoint before.
        run.save_networks(*trainer.exported())
    return clock


@contextmanager
def _interruptions() -> Iterator[Callable[[], bool]]:
    """Let the first Ctrl-C (or TERM) end the loop after the step it is in; a second one ends the program at once."""
    received: list[int] = []

    def note(number: int, _frame: FrameType | None) -> None:
        if received:
            raise KeyboardInterrupt
        received.append(number)
        logger.warning("stopping after this step and saving; press Ctrl-C again to stop at once without saving")

    try:
        previous = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    except ValueError:  # Not in the main thread, where nobody can press Ctrl-C either.
        previous = {}
    try:
        yield lambda: bool(received)
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
