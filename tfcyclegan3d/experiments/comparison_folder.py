"""The folder of a cross-validation: its plan, which says whose the rest is, its cells, its tables and figures."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tfcyclegan3d import config as configuration
from tfcyclegan3d import errors
from tfcyclegan3d.experiments import methods
from tfcyclegan3d.experiments.tables import Cell
from tfcyclegan3d.training.run_folder import whole

PLAN = "crossval.json"
CELLS = "cells"
RESULTS = (
    "table1.csv",
    "table1.md",
    "table2.csv",
    "table2.md",
    "scores.csv",
    "scores.md",
    "figure1.png",
    "figure3.png",
)
CONTENTS = (PLAN, CELLS, *RESULTS)


@dataclass(frozen=True)
class Place:
    """Which cell: a method, the number of a fold (from 0), a seed."""

    method: str
    fold: int
    seed: int

    def folder(self, output: Path) -> Path:
        """Return where a cell's files stand."""
        return output / CELLS / f"fold_{self.fold + 1}" / f"{self.method}-seed_{self.seed}"

    def __str__(self) -> str:
        """Name it in messages."""
        return f"{self.method}, fold {self.fold + 1}, seed {self.seed}"


def check_output(output: Path, *, overwrite: bool, resume: bool, contents: Sequence[str] = CONTENTS) -> None:
    """Refuse a folder that holds what would be written, unless it is to be replaced or resumed.

    Cells are told by the plan, which is there before the first of them; without it they are somebody else's.

    Raises
    ------
    OutputExistsError, OutputError, ModelError
    """
    if output.exists() and not output.is_dir():
        raise errors.OutputError(output, "a file is in the way of the folder")
    if resume:
        _read_plan(output)
        return
    if not overwrite and any((output / name).exists() for name in contents):
        raise errors.OutputExistsError(output)
    if (output / CELLS).exists() and not (output / PLAN).exists():
        raise errors.OutputError(output, f"it holds {CELLS}, which no cross-validation wrote")


def begin(output: Path, plan: dict[str, Any], *, overwrite: bool, resume: bool) -> None:
    """Make the folder and write the plan, or check that it is that of the folder."""
    if resume:
        before = _read_plan(output)
        before |= {"config": _with_defaults(before.get("config"))}
        differing = [key for key in ("stacks", "folds", "config", "changes") if before.get(key) != plan[key]]
        if differing:
            raise errors.ModelError(
                output,
                f"was begun with other {' and '.join(differing)}",
                "only methods and seeds may differ when resuming; give the others as before, or another -o",
            )
        plan = plan | {key: [*dict.fromkeys([*before.get(key, ()), *plan[key]])] for key in ("methods", "seeds")}
    elif overwrite:
        _forget(output)
    with errors.writing(output):
        output.mkdir(parents=True, exist_ok=True)
    with whole(output / PLAN) as unfinished:
        unfinished.write_text(json.dumps(plan, indent=1) + "\n")


def _read_plan(output: Path) -> dict[str, Any]:
    try:
        return json.loads((output / PLAN).read_text())
    except (OSError, ValueError) as error:
        raise errors.ModelError(output, "holds no cross-validation to resume", "start it without --resume") from error


def _with_defaults(config: object) -> object:
    """Return a configuration of a plan with the settings that there were not yet when it was written."""
    try:
        return configuration.from_dict(config).to_dict()
    except (errors.UserError, TypeError, AttributeError):
        return config


def _forget(output: Path) -> None:
    """Delete what an earlier cross-validation wrote, but for its plan, which says until the end whose the rest is."""
    with errors.writing(output):
        if (output / CELLS).exists():
            # All at once: of what a kill left of them, cells would go on.
            with tempfile.TemporaryDirectory(prefix=".unfinished-", dir=output) as scratch:
                (output / CELLS).rename(Path(scratch) / CELLS)
        for name in RESULTS:
            (output / name).unlink(missing_ok=True)


def cells_done(output: Path) -> list[Cell]:
    """Return every cell that is done, of earlier calls too, in the order they are done in."""
    cells = [Cell(**json.loads(path.read_text())) for path in (output / CELLS).glob("fold_*/*/cell.json")]
    return sorted(cells, key=lambda cell: (cell.seed, cell.fold, methods.METHODS.index(cell.method)))
