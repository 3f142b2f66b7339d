"""Nested cross-validation: every method on the same folds, patches, seeds and budget; the paper's tables and figures.

A cell is one method in one fold with one seed. It is done as soon as its ``cell.json`` stands, after its masks; a cell
that fails leaves ``error.txt`` and does not keep the others from being done.
"""

from __future__ import annotations

import gc
import json
import logging
import traceback
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import keras
import numpy as np

from tfcyclegan3d import config as configuration
from tfcyclegan3d import errors, presets
from tfcyclegan3d.config import Config
from tfcyclegan3d.evaluation.overlap import evaluate, mask_of
from tfcyclegan3d.experiments import figures, methods, tables
from tfcyclegan3d.experiments.comparison_folder import RESULTS, Place, begin, cells_done, check_output
from tfcyclegan3d.experiments.comparison_settings import check_changes, check_seeds
from tfcyclegan3d.experiments.data_layout import LabelledStacks
from tfcyclegan3d.experiments.folds import Fold, nested_folds, of
from tfcyclegan3d.experiments.tables import Cell
from tfcyclegan3d.quiet_tensorflow import many_networks
from tfcyclegan3d.synthesis.classes import classes_of
from tfcyclegan3d.synthesis.masks import synthesize_masks
from tfcyclegan3d.synthesis.prior import Prior
from tfcyclegan3d.training.preparation import choose_downsampling, prepare
from tfcyclegan3d.training.run_folder import fingerprint, machine, whole
from tfcyclegan3d.volumes import Volume, check_image, read_volume, write_volume

logger = logging.getLogger(__name__)

FIGURE_DPI = 130


@dataclass(frozen=True)
class CrossValidation:
    """What a cross-validation has come to.

    Parameters
    ----------
    path : Path
        Its folder.
    cells : list of Cell
        Those done, of earlier calls too.
    failed : list of Place
        Those that failed; ``error.txt`` in their folders says why.
    interrupted : bool
        Whether the user stopped it.
    """

    path: Path
    cells: list[Cell]
    failed: list[Place]
    interrupted: bool

    @property
    def exit_status(self) -> int:
        """0; 3 where a cell failed; 130 where it was interrupted."""
        return 130 if self.interrupted else 3 if self.failed else 0

    @property
    def results(self) -> list[str]:
        """Names of the tables and figures that are there."""
        return [name for name in RESULTS if (self.path / name).exists()]


def cross_validate(
    stacks: LabelledStacks,
    output: str | Path,
    config: Config | None = None,
    *,
    changes: dict[str, object] | None = None,
    chosen: Sequence[str] = methods.METHODS,
    n_folds: int = 3,
    seeds: Sequence[int] = (0,),
    labelling_hours: float = tables.LABELLING_HOURS,
    overwrite: bool = False,
    resume: bool = False,
    progress: bool = True,
) -> CrossValidation:
    """Compare methods on stacks with their truth.

    Parameters
    ----------
    stacks : LabelledStacks
        At least as many as folds.
    output : str or Path
        Takes ``table1`` and ``table2`` (``.csv``, ``.md``), ``scores.csv`` (every cell), ``figure1.png``,
        ``figure3.png``, ``crossval.json`` (what was compared) and ``cells/``: run folder, masks and scores of each.
    config : Config, optional
        Of CycleGAN; ``presets.for_this_machine()`` if not given. Others take their networks and rates from
        ``presets.with_method``, and length, patches and grid from here.
    changes : dict, optional
        Settings by dotted key that hold for every method; not ``seed``, ``method`` or ``preset``.
    chosen : sequence of str
        Of ``methods.METHODS``.
    n_folds : int
        At least 3 (see ``nested_folds``).
    seeds : sequence of int
        Everything is trained once with each; thresholds, which draw nothing, once.
    labelling_hours : float
        What labelling one stack takes by hand, for Table I.
    overwrite : bool
        Replace a cross-validation that is there.
    resume : bool
        Go on with one that is there; its failed cells are tried again. With other ``chosen`` or ``seeds``, what they
        add is compared with what is there.
    progress : bool
        Show progress bars.

    Raises
    ------
    UserError
        For stacks, folds or folders that cannot be used, or a cross-validation of other stacks or settings to resume;
        nothing has been written then.
    """
    output = Path(output)
    check_options(chosen, seeds, changes or {})
    folds = nested_folds(len(stacks.images), n_folds)
    config = (config or presets.for_this_machine()).replace(changes or {})
    for method in chosen:
        methods.config_of(method, config, changes or {})  # What is wrong for one of them is said before any is trained.
    check_output(output, overwrite=overwrite, resume=resume)
    images = stacks.open_images()
    _check_values(images, stacks.open_truths())
    plan = _plan(stacks, config, changes or {}, chosen, folds, seeds)
    if config.preprocessing.downsampling is None:
        # One grid for every method and fold, chosen without a truth.
        factors = choose_downsampling([images[i] for i in folds[0].training], config)
        config = config.replace({"preprocessing.downsampling": factors})
    work = _Work(stacks, folds, config, changes or {}, output, progress)
    begin(output, plan, overwrite=overwrite, resume=resume)
    failed, interrupted = [], False
    for place in _places(chosen, folds, seeds):
        try:
            with many_networks():
                work.cell(place)
        except (methods.TrainingInterrupted, KeyboardInterrupt):
            interrupted = True
            break
        except Exception as error:  # Whatever one cell fails of, the others are still worth having.
            failed.append(place)
            _note_failure(place, output, error)
        _write_tables(output, cells_done(output), labelling_hours)
    cells = cells_done(output)
    if cells and not interrupted:
        _draw_figures(work, cells)
    return CrossValidation(output, cells, failed, interrupted)


class _Work:
    """What all cells share."""

    def __init__(
        self,
        stacks: LabelledStacks,
        folds: Sequence[Fold],
        config: Config,
        changes: dict[str, object],
        output: Path,
        progress: bool,
    ) -> None:
        self.stacks, self.folds, self.output = stacks, folds, output
        self.config, self.changes = config, changes
        self.images, self.truths = stacks.open_images(), stacks.open_truths()
        self.classes = config.classes or classes_of(self.images.grids[0])
        self.given_masks = [*stacks.open_synthetic()] or None
        self._progress = progress

    def cell(self, place: Place) -> Cell:
        """Return a cell, done now unless it was before."""
        folder, fold = place.folder(self.output), self.folds[place.fold]
        done = folder / "cell.json"
        if not done.exists():
            logger.info("%s", place)
            folder.mkdir(parents=True, exist_ok=True)
            (folder / "error.txt").unlink(missing_ok=True)
            outcome = self._outcome(place, folder, fold)
            for mask in outcome.masks:
                write_volume(folder / f"{mask.name}_mask.tif", mask)
            cell = Cell(
                place.method,
                place.fold,
                place.seed,
                self._scores(outcome.masks, of(fold.test, self.truths)),
                outcome.training_minutes,
                outcome.mask_minutes,
                len(fold.training) + len(fold.validation) if place.method in methods.SUPERVISED else 0,
                outcome.verdict,
            )
            with whole(done) as unfinished:
                unfinished.write_text(json.dumps(asdict(cell), indent=1) + "\n")
            del outcome
            # Networks and graphs of one cell are of no use to the next.
            keras.backend.clear_session()
            gc.collect()
        return Cell(**json.loads(done.read_text()))

    def masks(self, place: Place) -> list[np.ndarray]:
        """Return the masks (ZYXC bool) that a cell wrote."""
        names = [one.name for one in of(self.folds[place.fold].test, self.images)]
        return [read_volume(place.folder(self.output) / f"{name}_mask.tif").array > 0 for name in names]

    def _outcome(self, place: Place, folder: Path, fold: Fold) -> methods.Outcome:
        """Let a method segment the test stacks; one that learns without labels is given no truth."""
        test = of(fold.test, self.images)
        if place.method in methods.SIGMAS:
            return methods.threshold(place.method, test)
        stage = methods.Stage(
            self.config.replace({"seed": place.seed}),
            self.changes,
            folder,
            self.stacks.axes,
            self.stacks.channels,
            self.stacks.allow_missing_chunks,
            self._progress,
        )
        training = of(fold.training, self.stacks.images)
        if place.method in methods.LABEL_FREE:
            cyclegan = Place("cyclegan", place.fold, place.seed).folder(self.output)
            run = cyclegan / "run" if (cyclegan / "cell.json").exists() else None
            return methods.learn_without_labels(place.method, training, self.given_masks, test, stage, run)
        training += of(fold.validation, self.stacks.images)
        truths = [self.truths[i] for i in (*fold.training, *fold.validation)]
        return methods.learn_from_truth(place.method, training, truths, len(fold.validation), test, stage)

    def _scores(self, masks: Sequence[Volume], truths: Sequence[Volume]) -> dict[str, dict[str, float]]:
        """Return means over the test stacks; the truth of test stacks is used here alone."""
        found = [evaluate(mask, truth, self.classes) for mask, truth in zip(masks, truths, strict=True)]
        return {
            name: {
                measure: float(np.mean([getattr(one[name], measure) for one in found])) for measure in tables.MEASURES
            }
            for name in self.classes
        }


def _places(chosen: Sequence[str], folds: Sequence[Fold], seeds: Sequence[int]) -> Iterator[Place]:
    """Yield all cells: whole rounds of all methods and folds, one seed after the other."""
    in_order = [method for method in methods.METHODS if method in chosen]
    for seed in seeds:
        for fold in range(len(folds)):
            for method in in_order:
                if method not in methods.SIGMAS or seed == seeds[0]:
                    yield Place(method, fold, seed)


def check_options(chosen: Sequence[str], seeds: Sequence[int], changes: Mapping[str, object]) -> None:
    """Refuse methods and seeds that there are not, none of either, and settings that are a comparison's own.

    Raises
    ------
    OptionError
    """
    unknown = [name for name in chosen if name not in methods.METHODS]
    if unknown or not chosen:
        raise errors.OptionError("--methods", ",".join(unknown), f"choose among {','.join(methods.METHODS)}")
    check_seeds(seeds)
    check_changes(changes)


def _check_values(images: Sequence[Volume], truths: Sequence[Volume]) -> None:
    """Read every stack once, one at a time, so that a bad one is met before any training rather than in its fold.

    Raises
    ------
    UserError
    """
    for image in images:
        check_image(image)
    for truth in truths:
        mask_of(truth, "truth")


def _plan(
    stacks: LabelledStacks,
    config: Config,
    changes: dict[str, object],
    chosen: Sequence[str],
    folds: Sequence[Fold],
    seeds: Sequence[int],
) -> dict[str, object]:
    """Return what is compared, as ``crossval.json`` holds it; all but methods and seeds must agree to resume one."""
    entries = [
        {"image": image.name, "truth": truth.name, "sha256": [fingerprint(image), fingerprint(truth)]}
        for image, truth in zip(stacks.images, stacks.truths, strict=True)
    ]
    plan = {
        "methods": list(chosen),
        "seeds": list(seeds),
        "stacks": entries,
        "folds": [asdict(fold) for fold in folds],
        "config": config.to_dict(),
        "changes": changes,
        "machine": machine(),
    }
    return json.loads(json.dumps(plan))


def _note_failure(place: Place, output: Path, error: Exception) -> None:
    folder = place.folder(output)
    text = "".join(traceback.format_exception(error))
    (folder / "error.txt").write_text(text)
    logger.warning("%s failed: %s (%s)", place, error, folder / "error.txt")


def _write_tables(output: Path, cells: Sequence[Cell], labelling_hours: float) -> None:
    if not cells:
        return
    contents = {
        "table1": tables.table_one(cells, labelling_hours),
        "table2": tables.table_two(cells),
        "scores": tables.score_rows(cells),
    }
    for name, rows in contents.items():
        with whole(output / f"{name}.csv") as unfinished:
            unfinished.write_text(tables.as_csv(rows))
        with whole(output / f"{name}.md") as unfinished:
            unfinished.write_text(tables.as_markdown(rows))


def _draw_figures(work: _Work, cells: Sequence[Cell]) -> None:
    """Draw Figures 1 and 3 of the first test stack of the first fold, with the first seed of each method."""
    first = {}
    for cell in cells:
        if cell.fold == 0:
            first.setdefault(cell.method, Place(cell.method, cell.fold, cell.seed))
    if not first:
        return
    image, truth = work.images[work.folds[0].test[0]], work.truths[work.folds[0].test[0]]
    masks = {"truth": truth.array > 0}
    for method, place in first.items():
        masks[method] = work.masks(place)[0]
    drawn = {
        "figure1": figures.planes_figure(image, truth, _synthetic_mask(work, first, image), work.classes),
        "figure3": figures.renderings_figure(image, masks, work.classes),
    }
    for name, figure in drawn.items():
        with whole(work.output / f"{name}.png") as unfinished:
            figure.savefig(unfinished, format="png", dpi=FIGURE_DPI)


def _synthetic_mask(work: _Work, first: dict[str, Place], image: Volume) -> np.ndarray:
    """Return a synthetic mask (ZYXC) of the kind the CycleGAN of the first fold was trained on."""
    if work.given_masks:
        return work.given_masks[0].array
    if "cyclegan" in first:
        config = configuration.load(first["cyclegan"].folder(work.output) / "run" / "config.json")
        prior = Prior.from_dict(config.synthesis.prior)
    else:
        prior = prepare([image], None, work.config).prior
    return synthesize_masks(image.shape, prior, work.config.seed, image.voxel_size_um).array
