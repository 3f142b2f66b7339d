"""Train on a user's stacks, from volumes to a finished run folder."""

from __future__ import annotations

import dataclasses
import hashlib
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfcyclegan3d import config as configuration
from tfcyclegan3d import errors, kernels, presets
from tfcyclegan3d.config import Config
from tfcyclegan3d.precision import policy_for
from tfcyclegan3d.progress import progress_bar
from tfcyclegan3d.stacks import Stack, Stacks
from tfcyclegan3d.training import manifest as manifests
from tfcyclegan3d.training.course import Clock, Course
from tfcyclegan3d.training.cyclegan_trainer import CycleGANTrainer
from tfcyclegan3d.training.distribution import Distribution, choose
from tfcyclegan3d.training.loop import FINISHED, INTERRUPTED, chosen_networks, fit, restored
from tfcyclegan3d.training.pairs import PreparedPairs, prepare_pairs
from tfcyclegan3d.training.preparation import Prepared, prepare
from tfcyclegan3d.training.report import for_notebook, write_report
from tfcyclegan3d.training.run_folder import RunFolder
from tfcyclegan3d.training.supervised_trainer import SupervisedTrainer
from tfcyclegan3d.training.trainer import Trainer
from tfcyclegan3d.version import __version__
from tfcyclegan3d.volumes import Grid

logger = logging.getLogger(__name__)

# Trained to the end, but the networks kept fail a monitor whose consequence is more than a warning.
FAILING = "failing"
# A training the clock ends before this share of its steps is called short.
SHORT = 0.5


@dataclass(frozen=True)
class Material:
    """What a training is given.

    Parameters
    ----------
    inputs : list of dict
        Name and sha256 of each stack, as the manifest has them.
    prepare : callable
        From a configuration to what a trainer takes.
    grids : sequence of Grid
        Of the stacks that are images, as the manifest has them, too.
    """

    inputs: list[dict[str, Any]]
    prepare: Callable[[Config], Prepared | PreparedPairs]
    grids: Sequence[Grid]


@dataclass(frozen=True)
class Run:
    """A finished (or interrupted) training.

    Parameters
    ----------
    path : Path
        The run folder.
    config : Config
        With nothing left open.
    verdict : {"finished", "failing", "stopped", "diverged", "interrupted"}
        How it ended: as planned; so, but with networks that its own checks say not to trust; before, by a monitor or by
        losses that are not finite; or by the user.
    warnings : tuple of str
        What the run's own checks found wrong.
    worker : int
        Of a cluster; worker 0 alone wrote the folder.
    """

    path: Path
    config: Config
    verdict: str
    warnings: tuple[str, ...]
    worker: int = 0

    @property
    def exit_status(self) -> int:
        """0; 3 for a run not to be trusted; 130 for an interrupted one. Warnings alone leave it at 0."""
        return {FINISHED: 0, INTERRUPTED: 130}.get(self.verdict, 3)

    def __repr__(self) -> str:
        """Say which run it is and how it ended; the fields hold the rest."""
        warned = f"{len(self.warnings)} warning{'' if len(self.warnings) == 1 else 's'}"
        return f"<Run {self.path}: {self.verdict}, {warned}>"

    def _repr_html_(self) -> str | None:
        """Show verdict, warnings, losses and the last preview in a notebook."""
        try:
            return for_notebook(RunFolder(self.path))
        except (OSError, ValueError, errors.UserError):
            return None  # The folder was moved or deleted: a notebook then shows the plain representation.


def train(
    images: Sequence[Stack],
    masks: Sequence[Stack] | None = None,
    config: Config | None = None,
    output: str | Path = "run",
    *,
    truth: Sequence[Stack] | None = None,
    axes: str | None = None,
    channels: Sequence[int] | None = None,
    voxel_size_um: tuple[float, float, float] | None = None,
    allow_missing_chunks: bool = False,
    overwrite: bool = False,
    resume: bool = False,
    progress: bool = True,
    command: str | None = None,
) -> Run:
    """Train a CycleGAN between image stacks and synthetic masks, or another method on stacks and their truth.

    Parameters
    ----------
    images : sequence of Volume, ndarray or path
        Stacks, one channel a class. Arrays are ZYX or ZYXC.
    masks : sequence of Volume, ndarray or path, optional
        Masks with one channel a class, 0 for background, not paired with the images. Without them they are drawn.
    config : Config, optional
        ``presets.for_this_machine()`` if not given.
    output : str or Path
        The run folder.
    truth : sequence of Volume, ndarray or path, optional
        The masks of the stacks, in their order, which ``config.method`` ``"unet"`` and ``"vox2vox"`` learn from (see
        ``presets.with_method``); no other method takes them.
    axes, channels, voxel_size_um
        How to read image files (see ``read_volume``); of masks and truths, the axes where a file does not tell its own.
    allow_missing_chunks : bool
        Take chunks that a zarr lacks for empty ones, of masks, too.
    overwrite : bool
        Replace a run that is there.
    resume : bool
        Go on from its newest checkpoint, or begin anew before the first one, with its own ``config.json``; only
        ``epochs``, ``max_minutes`` and ``devices`` may differ. However it had stopped, on a CPU it ends as if it never
        had.
    progress : bool
        Show a progress bar.
    command : str, optional
        What the manifest says the run was started by.

    Returns
    -------
    Run

    Raises
    ------
    UserError
        For stacks, settings or folders that cannot be used; nothing has been written then.
    ClusterError
        Where another worker of a cluster is gone; what this one has written stays.
    """
    output = Path(output)
    config = config or (None if resume else presets.for_this_machine())
    _check_method(config or _recorded_config(output), masks, truth)
    # On the disk of the run: a system's folder for temporary files may be a disk in memory.
    scratch_folder = next(place for place in (output, *output.absolute().parents) if place.is_dir())
    opening = {"scratch_folder": scratch_folder, "allow_missing_chunks": allow_missing_chunks}
    reading = {"axes": axes, "channels": channels, "voxel_size_um": voxel_size_um, **opening}

    def gather() -> Material:
        image_stacks = Stacks(images, **reading)
        given = masks if masks is not None else truth
        others = Stacks(given, axes_where_unclear=axes, **opening) if given is not None else None
        inputs = [
            manifests.input_entry(stack)
            for stack in [*image_stacks.given, *(others.given if others is not None else [])]
        ]
        preparing = prepare if truth is None else prepare_pairs
        return Material(
            inputs, lambda settled: preparing(image_stacks, others, settled, scratch_folder), image_stacks.grids
        )

    return train_on(gather, config, output, overwrite=overwrite, resume=resume, progress=progress, command=command)


def train_on(
    gather: Callable[[], Material],
    config: Config | None,
    output: Path,
    *,
    overwrite: bool,
    resume: bool,
    progress: bool,
    command: str | None,
) -> Run:
    """Train on whatever is gathered, from the beginning or on, to a run folder.

    Parameters
    ----------
    gather : callable
        Opens what is trained on, once the folder is known to be free.
    config : Config or None
        None goes on with that of the folder.
    output, overwrite, resume, progress, command
        As ``train`` takes them.
    """
    begun = time.monotonic()
    kernels.warn_if_late()
    begun_with = _recorded_config(output) if resume else None
    # A training begins, and goes on, with outlines as learned.
    config = (config or begun_with).replace({"inference.outline_levels": None})
    # Before TensorFlow computes anything, and before anything that may fail here and leave other workers waiting.
    distribution = choose(config.training)
    if distribution.is_chief:
        RunFolder.check(output, overwrite=overwrite, resume=resume)
    material = gather()
    inputs, grids = material.inputs, material.grids
    recorded = RunFolder.recorded(output) if resume else None
    if recorded is not None:
        _check_same_inputs(output, recorded[0], inputs)
    prepared = material.prepare(config)
    # What it holds open or in memory is not needed any more.
    del material
    if distribution.note is not None:
        prepared.notes.append(distribution.note)
    for note in prepared.notes:
        logger.info(note)
    if begun_with is not None:
        _check_resumable(output, begun_with, prepared.config)
    _check_alike(distribution, config, prepared)
    of_pairs = isinstance(prepared, PreparedPairs)
    trainer = SupervisedTrainer(prepared, distribution) if of_pairs else CycleGANTrainer(prepared, distribution)
    run = RunFolder(output, trainer.columns)
    course = trainer.beginning()
    if recorded is not None:
        trainer.recall(recorded[1])
    if resume:
        restored(trainer, run, course)
        _check_long_enough(prepared.config, course.clock)
    preparation = time.monotonic() - begun + (RunFolder.recorded_preparation(output) if resume else 0.0)
    manifest = manifests.beginning(prepared, trainer, inputs, command) | manifests.described_grids(grids)
    if distribution.is_chief:
        # Another training may have begun there while this one was prepared.
        RunFolder.check(output, overwrite=overwrite, resume=resume)
        run.save_config(prepared.config) if resume else run.create(prepared.config)
        run.write_manifest(manifest | manifests.running(preparation))
    with progress_bar("training", show=progress and distribution.is_chief, count=False) as on_progress:
        verdict = fit(trainer, run, on_progress, course, seconds_before=time.monotonic() - begun)
    failing, warnings = _conclude(trainer, run, course, verdict) if distribution.is_chief else (False, [])
    if verdict == FINISHED and distribution.of_chief(np.array(float(failing))):
        verdict = FAILING
    warnings = [*_cut_short(verdict, course.clock, prepared.config), *warnings]
    for warning in warnings:
        logger.warning("warning: %s", warning)
    finished = Run(output, prepared.config, verdict, tuple(warnings), distribution.worker)
    if distribution.is_chief:
        ended = {"verdict": verdict, "exit_status": finished.exit_status, "warnings": warnings}
        run.write_manifest(manifest | ended | manifests.ending(course, preparation, run.read_metrics()))
        write_report(run)
    return finished


def _recorded_config(output: Path) -> Config:
    RunFolder.check(output, overwrite=False, resume=True)
    return configuration.load(output / "config.json").replace({"inference.outline_levels": None})


def _check_method(config: Config, masks: Sequence[Stack] | None, truth: Sequence[Stack] | None) -> None:
    """Refuse masks or a truth that a method has no use for, and a truth that one lacks."""
    if config.method == "two-stage":
        raise errors.OptionError(
            "method", config.method, "train it with train_two_stage, or 'train --method two-stage'"
        )
    learns_from_truth = config.method != "cyclegan"
    if learns_from_truth and truth is None:
        raise errors.OptionError("--truth", None, f"give the masks of the stacks, which {config.method} learns from")
    if not learns_from_truth and truth is not None:
        raise errors.OptionError("--truth", str(truth), "leave it out: a CycleGAN learns without, and must not see it")
    if learns_from_truth and masks is not None:
        raise errors.OptionError("--masks", str(masks), f"leave it out: {config.method} learns from --truth alone")


def _check_same_inputs(output: Path, recorded: Sequence[dict[str, Any]], inputs: Sequence[dict[str, Any]]) -> None:
    """Compare the files given with those the run's manifest names; arrays have nothing to be compared by."""
    remedy = "give the stacks of its manifest.json in their order, or start a new run with another -o"
    if len(recorded) != len(inputs):
        raise errors.ModelError(output, f"was begun with {len(recorded)} stacks, not {len(inputs)}", remedy)
    for before, now in zip(recorded, inputs, strict=True):
        if None not in (before["sha256"], now["sha256"]) and before["sha256"] != now["sha256"]:
            reason = f"was begun with another {before['name']} than the {now['name']} given"
            raise errors.ModelError(output, reason, remedy)


def _check_resumable(output: Path, begun_with: Config, wanted: Config) -> None:
    """Compare two configurations with nothing left open: only the training's length and devices may differ."""
    free = {name: getattr(wanted.training, name) for name in ("epochs", "max_minutes", "devices")}
    if dataclasses.replace(begun_with, training=dataclasses.replace(begun_with.training, **free)) != wanted:
        raise errors.ModelError(
            output,
            "was begun with other settings or stacks",
            "only --epochs, --max-minutes and training.devices may differ when resuming",
        )


def _check_long_enough(config: Config, clock: Clock) -> None:
    """Refuse to end a run before the epoch it has come to."""
    if config.training.epochs < clock.epoch:
        remedy = f"the run has {clock.epoch} epochs behind it: give as many or more"
        raise errors.OptionError("--epochs", config.training.epochs, remedy)


def _check_alike(distribution: Distribution, config: Config, prepared: Prepared | PreparedPairs) -> None:
    """Refuse a cluster whose workers have prepared unlike trainings."""
    if distribution.n_workers > 1:
        distribution.check_alike(
            {
                "versions": (__version__, tf.__version__, keras.__version__),
                "settings": config.to_dict(),
                **{name: [_digest(one) for one in arrays] for name, arrays in prepared.arrays.items()},
                "precision": policy_for(config.training.mixed_precision),
            }
        )


def _digest(volume: np.ndarray) -> str:
    """Return the sha256 of an array, plane by plane."""
    digest = hashlib.sha256(repr(volume.shape).encode())
    for plane in volume:
        digest.update(np.ascontiguousarray(plane))
    return digest.hexdigest()


def _cut_short(verdict: str, clock: Clock, config: Config) -> list[str]:
    """Say so where the clock ended a training long before the schedule would have."""
    training = config.training
    planned = training.epochs * training.steps_per_epoch
    if verdict != FINISHED or training.max_minutes is None or clock.step >= SHORT * planned:
        return []
    return [
        f"the {training.max_minutes:g} minutes were up after {clock.step} of {planned} steps: so few usually give a "
        "poorer result; give --max-minutes more"
    ]


def _conclude(trainer: Trainer, run: RunFolder, course: Course, verdict: str) -> tuple[bool, list[str]]:
    """Finish and check the networks kept; return whether they are not to be trusted, and what is wrong."""
    networks = chosen_networks(trainer, run, course)
    if verdict == FINISHED:
        settled = trainer.finished(networks)
        run.save_networks(*networks)
        run.save_config(settled)
    severe, failing = trainer.checks(networks)
    returns = [f"went back from epoch {one.from_epoch} to {one.to_epoch}: {one.why}" for one in course.watch.returns]
    return severe, [*returns, *(f"stopped: {reason}" for reason in course.stopped_by), *failing]
