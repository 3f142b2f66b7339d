"""The demo of a cross-validation: all methods on small simulated stacks, in minutes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tfcyclegan3d import errors, presets
from tfcyclegan3d.config import Config
from tfcyclegan3d.experiments import methods
from tfcyclegan3d.experiments.comparison_folder import CONTENTS, check_output
from tfcyclegan3d.experiments.cross_validation import CrossValidation, check_options, cross_validate
from tfcyclegan3d.experiments.data_layout import plain_layout
from tfcyclegan3d.experiments.folds import nested_folds
from tfcyclegan3d.synthesis.simulation import simulate_stack
from tfcyclegan3d.volumes import write_volume

SHAPE = (40, 160, 160)
N_STACKS = 3
MAX_MINUTES = 0.75  # Of each of twelve trainings, unless the user says otherwise.
DATA_SEED = 20_230_612
STACKS = "stacks"


def compare_on_simulated(
    output: str | Path,
    config: Config | None = None,
    *,
    changes: dict[str, object] | None = None,
    chosen: Sequence[str] = methods.METHODS,
    n_folds: int = 3,
    seeds: Sequence[int] = (0,),
    overwrite: bool = False,
    resume: bool = False,
    **how: object,
) -> CrossValidation:
    """Compare methods on three simulated stacks, which are written to ``stacks/`` in the folder.

    Parameters
    ----------
    output, config, changes, chosen, n_folds, seeds, overwrite, resume
        As ``cross_validate`` takes them; the preset is ``fast`` and each training takes 45 seconds if they do not say
        otherwise.
    **how
        What else ``cross_validate`` takes.

    Raises
    ------
    UserError
        As ``cross_validate`` does.
    """
    output = Path(output)
    check_options(chosen, seeds, changes or {})
    nested_folds(N_STACKS, n_folds)
    changes = {"training.max_minutes": MAX_MINUTES} | (changes or {})
    config = (config or presets.fast()).replace(changes)
    check_output(output, overwrite=overwrite, resume=resume, contents=(*CONTENTS, STACKS))
    folder = output / STACKS
    with errors.writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    for i in range(N_STACKS):
        simulated = simulate_stack(SHAPE, seed=(DATA_SEED, i))
        for name, volume in (("stack", simulated.image), ("truth", simulated.truth)):
            path = folder / f"{name}_{i:03d}.tif"
            if not (resume and path.exists()):
                write_volume(path, volume)
    return cross_validate(
        plain_layout([folder], [folder]),
        output,
        config,
        changes=changes,
        chosen=chosen,
        n_folds=n_folds,
        seeds=seeds,
        overwrite=overwrite,
        resume=resume,
        **how,
    )
