"""The demo: train on simulated stacks, segment one that was held out, and score it beside Otsu's threshold."""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tfcyclegan3d import errors
from tfcyclegan3d.colours import stack_colours
from tfcyclegan3d.config import Config
from tfcyclegan3d.evaluation.overlap import Overlap, evaluate
from tfcyclegan3d.inference.objects import diameters_of
from tfcyclegan3d.inference.pictures import overview
from tfcyclegan3d.inference.predictor import load_model
from tfcyclegan3d.objects.analysis import analyse, save
from tfcyclegan3d.objects.figures import rose_diagrams
from tfcyclegan3d.objects.instances import label_objects
from tfcyclegan3d.objects.pairing import FROM, TO
from tfcyclegan3d.progress import progress_bar
from tfcyclegan3d.synthesis.simulation import SimulatedStack, simulate_stack
from tfcyclegan3d.thresholding import otsu_mask
from tfcyclegan3d.training.distribution import cluster
from tfcyclegan3d.training.loop import FINISHED
from tfcyclegan3d.training.report import add_held_out, add_objects
from tfcyclegan3d.training.run import FAILING, Run, train
from tfcyclegan3d.training.run_folder import RunFolder
from tfcyclegan3d.volumes import Volume, write_volume

logger = logging.getLogger(__name__)

SHAPE = (56, 256, 256)
N_TRAINING_STACKS = 3
MAX_MINUTES = 7.0  # Unless the user says otherwise: installed and done within ten minutes, on slow machines too.
# Simulated apart from every seed a training draws its own masks with.
DATA_SEED = 20_230_611


@dataclass(frozen=True)
class Demo:
    """What the demo made.

    Parameters
    ----------
    run : Run
        The training.
    scores : dict
        By method (``"cyclegan"``, ``"otsu"``, ``"smoothed otsu"``), then by class.
    picture : Path or None
        PNG of the held-out stack, its mask and its truth; None, like empty scores, where the training did not come
        to its end.
    """

    run: Run
    scores: dict[str, dict[str, Overlap]]
    picture: Path | None

    @property
    def table(self) -> str:
        """The scores as text."""
        lines = [f"{'held-out stack':<16}{'class':<10}{'Dice':>8}{'precision':>11}{'recall':>9}"]
        for method, classes in self.scores.items():
            for name, score in classes.items():
                lines.append(f"{method:<16}{name:<10}{score.dice:>8.3f}{score.precision:>11.3f}{score.recall:>9.3f}")
        return "\n".join(lines)


def demo_stacks(seed: int) -> tuple[list[SimulatedStack], SimulatedStack]:
    """Return the training stacks and the one held out."""
    stacks = [simulate_stack(SHAPE, seed=(DATA_SEED, seed, i)) for i in range(N_TRAINING_STACKS + 1)]
    return stacks[:-1], stacks[-1]


def run_demo(
    output: str | Path,
    config: Config,
    *,
    overwrite: bool = False,
    resume: bool = False,
    progress: bool = True,
    command: str | None = None,
) -> Demo:
    """Train on simulated stacks without their truth, then segment and score the held-out one.

    Parameters
    ----------
    output, config, overwrite, resume, progress, command
        As ``train`` takes them. The folder also gets ``demo/``: the held-out stack, its truth, mask and scores,
        and its objects, one by one and in pairs.

    Raises
    ------
    UserError
        As ``train`` does.
    ClusterError
        Where ``TF_CONFIG`` names several workers.
    """
    n_workers, _ = cluster()
    if n_workers > 1:
        raise errors.ClusterError(
            f"TF_CONFIG names {n_workers} workers", "run the demo on one machine, without TF_CONFIG"
        )
    output = Path(output)
    RunFolder.check(output, overwrite=overwrite, resume=resume)
    if config.training.max_minutes is None:
        config = config.replace({"training.max_minutes": MAX_MINUTES})
    training, held_out = demo_stacks(config.seed)
    images = [Volume(stack.image.array, None, f"simulated_{i:03d}") for i, stack in enumerate(training)]
    run = train(images, None, config, output, overwrite=overwrite, resume=resume, progress=progress, command=command)
    if run.verdict not in (FINISHED, FAILING):
        return Demo(run, {}, None)
    with progress_bar("segmenting", progress) as on_progress:
        mask = load_model(output).segment(held_out.image, lambda done, total: on_progress(done, total, "tiles"))
    # Only here, after all training, does the truth come in.
    otsu = {sigma: otsu_mask(held_out.image.array, sigma) for sigma in (0.0, 1.0)}
    scores = {
        "cyclegan": evaluate(mask, held_out.truth, run.config.classes),
        "smoothed otsu": evaluate(otsu[1.0], held_out.truth, run.config.classes),
        "otsu": evaluate(otsu[0.0], held_out.truth, run.config.classes),
    }
    folder = output / "demo"
    with errors.writing(folder):
        folder.mkdir(exist_ok=True)
    for name, volume in (("stack", held_out.image), ("truth", held_out.truth > 0), ("mask", mask)):
        write_volume(folder / f"{name}.tif", volume, stack_colours(run.config.classes))
    figures = {
        method: {name: {"dice": s.dice, "precision": s.precision, "recall": s.recall} for name, s in classes.items()}
        for method, classes in scores.items()
    }
    with errors.writing(folder / "scores.json"):
        (folder / "scores.json").write_text(json.dumps(figures, indent=2) + "\n")
    picture = folder / "held_out.png"
    with errors.writing(picture):
        overview(held_out.image, mask, run.config.classes, held_out.truth).savefig(picture, dpi=110)
    demo = Demo(run, scores, picture)
    add_held_out(output, demo.table, picture)
    if {FROM, TO} <= set(run.config.classes):
        add_objects(output, *_objects(mask, held_out, run.config, folder))
    return demo


def _objects(mask: Volume, held_out: SimulatedStack, config: Config, folder: Path) -> tuple[list[str], Path]:
    """Return what is said of the held-out stack's objects, found and true, and a picture of both polarities.

    The folder also gets ``objects.tif`` and what ``measure`` writes.
    """
    diameters, spacing = diameters_of(config, mask.grid, {})
    numbers = [
        label_objects(mask.array[..., k], diameter=diameters.get(name), spacing=spacing)
        for k, name in enumerate(config.classes)
    ]
    labels = Volume(np.stack(numbers, axis=-1), mask.voxel_size_um, "found")
    truth = Volume(held_out.truth.objects, mask.voxel_size_um, "truth")
    found, true = (analyse(one, held_out.image, classes=config.classes) for one in (labels, truth))
    write_volume(folder / "objects.tif", labels, stack_colours(config.classes))
    save(found, folder, "stack", labels, held_out.image)
    rose = folder / "polarity.png"
    with errors.writing(rose):
        rose_diagrams({"found": found.pairs, "truth": true.pairs}).savefig(rose, dpi=110)
    return [*found.lines("found"), *true.lines("truth")], rose
