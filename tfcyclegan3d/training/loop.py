"""The loop owns time: epochs, logs, previews, checkpoints, what monitors demand, and stopping when asked to."""

from __future__ import annotations

import logging
import math
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import numpy as np

from tfcyclegan3d import errors
from tfcyclegan3d.progress import OnProgress
from tfcyclegan3d.training.checkpoints import (
    checkpoint_of,
    forget_checkpoints_after,
    latest_checkpoint,
    load_checkpoint,
    save_checkpoint,
)
from tfcyclegan3d.training.course import Clock, Course
from tfcyclegan3d.training.pace import Pace, step_message
from tfcyclegan3d.training.run_folder import RunFolder
from tfcyclegan3d.training.trainer import Generators, Trainer
from tfcyclegan3d.training.watch import GO_BACK, GO_ON, STOP, Decision

logger = logging.getLogger(__name__)

# Progress is told in parts of the whole, be it by steps or by the clock, so that the whole never changes.
PROGRESS_PARTS = 10_000

ACTIONS = (GO_ON, STOP, GO_BACK)

FINISHED, INTERRUPTED, STOPPED, DIVERGED = "finished", "interrupted", "stopped", "diverged"


def fit(
    trainer: Trainer,
    run: RunFolder,
    on_progress: OnProgress,
    course: Course,
    *,
    seconds_before: float = 0.0,
) -> str:
    """Train until the schedule or the time is at its end, the choice is final, or something or somebody stops it.

    Each epoch leaves a row in the log, a preview, and a checkpoint; whatever happens, what was learned so far is saved.
    Workers of a cluster all do every step and stop or go back together, by the chief's clock and decisions; the chief
    alone writes.

    Parameters
    ----------
    trainer : Trainer
        Does the steps.
    run : RunFolder
        Takes what is written.
    on_progress : OnProgress
        Called after each step.
    course : Course
        Where to go on from; moved on in place.
    seconds_before : float
        Time this run had already spent when the loop began.

    Returns
    -------
    {"finished", "interrupted", "stopped", "diverged"}
    """
    training = trainer.config.training
    begun = time.monotonic() - course.clock.seconds - seconds_before
    verdict, pace = FINISHED, Pace()
    if trainer.distribution.is_chief and latest_checkpoint(run.checkpoints) is None:
        _save_state(trainer, run, course)  # What a training that diverges at once goes back to.
    with _interruptions() as interrupted:
        while verdict == FINISHED and not course.ended and course.clock.progress(training) < 1:
            verdict = _train_epoch(trainer, course, begun, pace, on_progress, interrupted)
            clock, decision = course.clock, Decision(GO_ON)
            if verdict == DIVERGED:
                decision = _agreed(trainer, course, course.watch.judge_divergence(clock.step))
            elif clock.progress(training) >= 1 or clock.step % training.steps_per_epoch == 0:
                decision = _end_epoch(trainer, run, course, pace)
            if decision.action == GO_BACK:
                _go_back(trainer, run, course, decision)
                verdict = FINISHED
            elif decision.action == STOP:
                course.stopped_by = decision.reasons
                logger.warning("stopped: %s", "; ".join(decision.reasons))
                verdict = DIVERGED if verdict == DIVERGED else STOPPED
            elif verdict == INTERRUPTED and trainer.distribution.is_chief:
                _save(trainer, run, course)  # An epoch's end need not have done so.
    return verdict


def _train_epoch(
    trainer: Trainer,
    course: Course,
    begun: float,
    pace: Pace,
    on_progress: OnProgress,
    interrupted: Callable[[], bool],
) -> str:
    """Do the steps left of an epoch, and return how it ended."""
    training, clock = trainer.config.training, course.clock
    for _ in range(training.steps_per_epoch - clock.step % training.steps_per_epoch):
        progress, step_begun = clock.progress(training), time.monotonic()
        of_step = trainer.step(clock.step, progress, course.watch.rate)
        of_step = {name: float(value) for name, value in of_step.items()}
        now = time.monotonic()
        clock.step += 1
        clock.seconds, stop = trainer.distribution.agreed(now - begun, interrupted())
        clock.add(of_step)
        phase = trainer.phase_of(of_step)
        pace.note(phase, now - step_begun, clock.seconds)
        done = round(PROGRESS_PARTS * min(clock.progress(training), 1))
        said = step_message(clock.step, training, phase, of_step, pace)
        on_progress(done, PROGRESS_PARTS, said, pace.seconds_left(clock.step, training))
        if not all(map(math.isfinite, of_step.values())):
            return DIVERGED
        if clock.progress(training) >= 1:
            break
        if stop:
            return INTERRUPTED
    return FINISHED


def _end_epoch(trainer: Trainer, run: RunFolder, course: Course, pace: Pace) -> Decision:
    """Let the chief look, log and save; return what it decides."""
    means = course.clock.next_epoch()
    decision = Decision(GO_ON)
    if trainer.distribution.is_chief:
        decision = _watch_epoch(trainer, run, course, pace, means)
    return _agreed(trainer, course, decision)


def _agreed(trainer: Trainer, course: Course, decision: Decision) -> Decision:
    """Return the chief's decision on every worker, whose networks may differ from the chief's by rounding."""
    if trainer.distribution.n_workers == 1:
        return decision
    numbers = np.array([ACTIONS.index(decision.action), course.watch.good_epoch, course.ended], dtype=np.float64)
    action, course.watch.good_epoch, ended = (int(number) for number in trainer.distribution.of_chief(numbers))
    course.ended = bool(ended)
    return Decision(ACTIONS[action], decision.reasons or ("the chief of the cluster decided so",))


def _watch_epoch(trainer: Trainer, run: RunFolder, course: Course, pace: Pace, means: Mapping[str, float]) -> Decision:
    """Let the trainer judge its networks, log, and save; return what it demands."""
    training, clock = trainer.config.training, course.clock
    progress = clock.progress(training)
    is_saved = progress >= 1 or clock.epoch % training.checkpoint_every == 0
    decision, found = trainer.judge(course, progress, is_saved)
    if found is None:
        return decision
    course.ended = course.selection.is_final
    values = means | trainer.learning_rates | found
    run.log_epoch(clock.epoch, clock.step, clock.seconds / 60, trainer.phase_of(means), pace.end_epoch(), values)
    run.save_preview(clock.epoch, trainer.preview(f"epoch {clock.epoch}, step {clock.step}"))
    if is_saved and decision.action != GO_BACK:
        _save(trainer, run, course)
    return decision


def _save(trainer: Trainer, run: RunFolder, course: Course) -> None:
    """Save the state, and then the networks chosen, which a resumed training makes from the checkpoints anew."""
    _save_state(trainer, run, course)
    _save_choice(trainer, run, course)


def _save_state(trainer: Trainer, run: RunFolder, course: Course) -> None:
    save_checkpoint(
        run.checkpoints,
        course.clock.epoch,
        trainer.state() | course.variables(),
        course.record() | {"notes": trainer.notes},
        trainer.config.training.keep_checkpoints,
        protected={course.watch.good_epoch, *course.selection.epochs},
        interrupted=bool(course.clock.losses),
    )


def _save_choice(trainer: Trainer, run: RunFolder, course: Course) -> None:
    run.save_networks(*chosen_networks(trainer, run, course))


def chosen_networks(trainer: Trainer, run: RunFolder, course: Course) -> Generators:
    """Return the networks of the choice, or those of now where none has been made.

    Raises
    ------
    ModelError
        Where the checkpoint it was made from is gone or damaged.
    """
    best = course.selection.best
    if best is None:
        return trainer.present_networks()
    return trainer.stored_networks(_checkpoint(run, best.epoch), best.which)


def _go_back(trainer: Trainer, run: RunFolder, course: Course, decision: Decision) -> None:
    """Put everything but the time spent where the last good epoch left it, with a lower rate from there."""
    watch, left, seconds, distribution = course.watch, course.clock.epoch, course.clock.seconds, trainer.distribution
    course.clock = Clock(epoch=watch.good_epoch, seconds=seconds)
    if distribution.is_chief:
        record = load_checkpoint(_checkpoint(run, watch.good_epoch), trainer.state() | course.variables())
        course.selection.restore(record["selection"])
        course.clock.step = int(record["clock"]["step"])
    course.clock.step = int(distribution.of_chief(np.array(float(course.clock.step))))
    if distribution.n_workers > 1:
        for variable in trainer.state().values():
            variable.assign(distribution.of_chief(variable.numpy()).astype(variable.numpy().dtype))
    trainer.restored()
    watch.gone_back(left, decision.reasons[0])
    logger.warning(
        "going back to epoch %d, %g times the learning rates from there: %s",
        course.clock.epoch,
        watch.rate,
        "; ".join(decision.reasons),
    )
    if not distribution.is_chief:
        return
    # In this order a program that dies in between repeats the epochs and comes to the same decision.
    _save_state(trainer, run, course)
    forget_checkpoints_after(run.checkpoints, course.clock.epoch)
    run.forget_epochs_after(course.clock.epoch)


def _checkpoint(run: RunFolder, epoch: int) -> Path:
    path = checkpoint_of(run.checkpoints, epoch)
    if path is None:
        raise errors.ModelError(
            run.checkpoints, f"lacks the checkpoint of epoch {epoch}", "start again with --overwrite"
        )
    return path


def restored(trainer: Trainer, run: RunFolder, course: Course) -> None:
    """Put trainer, course and folder where the newest checkpoint stands, or at the beginning before the first one.

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
    else:
        record = load_checkpoint(path, trainer.state() | course.variables())
        course.restore(record)
        trainer.restored()
        trainer.recall(record["notes"])
    if not trainer.distribution.is_chief:
        return
    run.forget_epochs_after(course.clock.epoch)
    if course.selection.best is not None:
        # A process that died between the two left the networks of the checkpoint before.
        _save_choice(trainer, run, course)


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
