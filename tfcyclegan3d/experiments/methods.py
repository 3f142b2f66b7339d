"""The methods that a cross-validation compares: from training and test stacks to the masks of the latter.

What learns without labels is handed no truth at all; what learns from a truth, that of its training and validation
stacks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tfcyclegan3d import presets
from tfcyclegan3d.config import STAGE_ONE, Config
from tfcyclegan3d.experiments.two_stage import train_two_stage
from tfcyclegan3d.inference.predictor import load_model
from tfcyclegan3d.thresholding import otsu_mask
from tfcyclegan3d.training.loop import INTERRUPTED
from tfcyclegan3d.training.pairs import check_sides
from tfcyclegan3d.training.run import Run, train
from tfcyclegan3d.training.run_folder import RunFolder
from tfcyclegan3d.volumes import Volume

SIGMAS = {"otsu": 0.0, "smoothed-otsu": 1.0}
LABEL_FREE = (*SIGMAS, "two-stage", "cyclegan")
SUPERVISED = ("unet", "vox2vox")
METHODS = (*SIGMAS, *SUPERVISED, "cyclegan", "two-stage")


class TrainingInterrupted(Exception):
    """A training that the user stopped, and that goes on when called again."""


@dataclass(frozen=True)
class Stage:
    """How a cell's trainings are run.

    Parameters
    ----------
    config : Config
        Of CycleGAN; what a method changes in it is ``presets.with_method``.
    changes : dict
        Settings that the user asked for, by dotted key, put over those of every method.
    folder : Path
        Of the cell; trainings are run folders in it, and go on where they had stopped.
    axes, channels
        How to read image files.
    allow_missing_chunks : bool
        Take chunks that a zarr lacks for empty ones.
    progress : bool
        Show progress bars.
    """

    config: Config
    changes: dict[str, object]
    folder: Path
    axes: str | None
    channels: Sequence[int] | None
    allow_missing_chunks: bool
    progress: bool

    @property
    def how(self) -> dict[str, Any]:
        """How trainings read stacks and show their progress, as ``train`` takes it."""
        return {
            "axes": self.axes,
            "channels": self.channels,
            "allow_missing_chunks": self.allow_missing_chunks,
            "progress": self.progress,
        }

    def config_of(self, method: str) -> Config:
        """Return a method's settings."""
        return config_of(method, self.config, self.changes)


def config_of(method: str, config: Config, changes: Mapping[str, object]) -> Config:
    """Return the settings of a method that is trained, changes put over them; those given where none is.

    Raises
    ------
    UserError
        For settings that do not go with the method.
    """
    if method in SIGMAS:
        return config
    config = presets.with_method(config, method).replace(changes)
    if method != "cyclegan":
        check_sides(config)
    return config


@dataclass(frozen=True)
class Outcome:
    """What a method made of the test stacks.

    Parameters
    ----------
    masks : list of Volume
        ZYXC bool, in the order of the test stacks.
    training_minutes, mask_minutes : float
        Spent on training, and on making synthetic masks.
    verdict : str
        Of the training; ``"finished"`` where there was none.
    """

    masks: list[Volume]
    training_minutes: float = 0.0
    mask_minutes: float = 0.0
    verdict: str = "finished"


def threshold(method: str, test: Sequence[Volume]) -> Outcome:
    """Segment by Otsu's threshold, raw (``"otsu"``) or after smoothing (``"smoothed-otsu"``)."""
    masks = [Volume(otsu_mask(one.array, SIGMAS[method]), one.voxel_size_um, one.name) for one in test]
    return Outcome(masks)


def learn_without_labels(
    method: str,
    training: Sequence[Path],
    masks: Sequence[Volume] | None,
    test: Sequence[Volume],
    stage: Stage,
    cyclegan_run: Path | None,
) -> Outcome:
    """Train ``"cyclegan"`` or ``"two-stage"`` on images alone and segment the test stacks.

    Parameters
    ----------
    method : str
        Which.
    training : sequence of Path
        Images.
    masks : sequence of Volume, optional
        Synthetic masks, which belong to no image; drawn without them.
    test : sequence of Volume
        Images.
    stage : Stage
        How.
    cyclegan_run : Path, optional
        A finished run on the same images with the same seed, which ``"two-stage"`` then need not train again.

    Raises
    ------
    TrainingInterrupted
        Where the user stopped it.
    """
    run_folder = stage.folder / "run"
    resume = _has_begun(run_folder)
    if method == "cyclegan":
        config = None if resume else stage.config_of(method)
        run = train(training, masks, config, run_folder, resume=resume, **stage.how)
        return _outcome(run, test)
    run = train_two_stage(
        training,
        stage.config_of("cyclegan"),
        run_folder,
        masks=masks,
        segmenter=None if resume else stage.config_of(method),
        cyclegan_run=cyclegan_run,
        resume=resume or _has_begun(run_folder / STAGE_ONE),
        **stage.how,
    )
    return _outcome(run, test, cyclegan_run or run_folder / STAGE_ONE)


def learn_from_truth(
    method: str,
    training: Sequence[Path],
    truths: Sequence[Volume],
    n_validation: int,
    test: Sequence[Volume],
    stage: Stage,
) -> Outcome:
    """Train ``"unet"`` or ``"vox2vox"`` on images and their truth, and segment the test stacks.

    Parameters
    ----------
    method : str
        Which.
    training, truths
        Images and their masks; the last ``n_validation`` validate.
    n_validation : int
        At least 1.
    test : sequence of Volume
        Images.
    stage : Stage
        How.

    Raises
    ------
    TrainingInterrupted
        Where the user stopped it.
    """
    run_folder = stage.folder / "run"
    resume = _has_begun(run_folder)
    config = None if resume else stage.config_of(method).replace({"supervised.n_validation": n_validation})
    run = train(training, None, config, run_folder, truth=truths, resume=resume, **stage.how)
    return _outcome(run, test)


def _has_begun(run_folder: Path) -> bool:
    return (run_folder / "config.json").is_file()


def _outcome(run: Run, test: Sequence[Volume], stage_one: Path | None = None) -> Outcome:
    if run.verdict == INTERRUPTED:
        raise TrainingInterrupted(str(run.path))
    manifests = [RunFolder(path).read_manifest() for path in (run.path, stage_one) if path is not None]
    model = load_model(run.path)
    return Outcome(
        [model.segment(one) for one in test],
        sum(one["timings"]["total_minutes"] - one["masks_minutes"] for one in manifests),
        manifests[0]["masks_minutes"],
        run.verdict,
    )
