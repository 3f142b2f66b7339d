"""Full training state on disk: written whole or not at all, the last few kept."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import BinaryIO

import numpy as np

from tfcyclegan3d import errors

State = Mapping[str, object]
"""Variables by name; anything with ``numpy()`` and ``assign()``."""


def save_checkpoint(folder: Path, epoch: int, state: State, clock: Mapping[str, float], keep: int) -> Path:
    """Write ``epoch_NNNN.npz`` and delete all but the newest ``keep``.

    Parameters
    ----------
    folder : Path
        Made if missing.
    epoch : int
        Epochs finished.
    state : State
        Every variable the training would miss.
    clock : mapping of str to float
        Plain numbers to keep with it.
    keep : int
        At least 1.

    Raises
    ------
    OutputError
        Where it cannot be written; the older checkpoints are still there.
    """
    path = folder / f"epoch_{epoch:04d}.npz"
    unfinished = path.with_suffix(".unfinished")
    arrays = {name: variable.numpy() for name, variable in state.items()}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with unfinished.open("wb") as file:
            _write_arrays(file, arrays | {f"clock/{name}": np.array(value) for name, value in clock.items()})
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(path)
    except OSError as error:
        unfinished.unlink(missing_ok=True)
        raise errors.OutputError(path, error.strerror or error) from error
    for older in sorted(folder.glob("epoch_*.npz"), key=_epoch)[:-keep]:
        older.unlink()
    return path


def _write_arrays(file: BinaryIO, arrays: Mapping[str, np.ndarray]) -> None:
    """Write what ``numpy.savez`` would, which on a full disk leaves its archive open, to complain when collected."""
    with zipfile.ZipFile(file, "w") as archive:
        for name, array in arrays.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                np.lib.format.write_array(member, np.asarray(array), allow_pickle=False)


def load_checkpoint(path: Path, state: State) -> dict[str, float]:
    """Assign a checkpoint's values to the variables of ``state`` and return its clock.

    Raises
    ------
    ModelError
        For a damaged file, or one of other settings; no variable has been changed then.
    """
    remedy = "start again with --overwrite, or delete this file to resume from the one before it"
    try:
        with np.load(path) as file:
            stored = {name: file[name] for name in file.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, NotImplementedError, RuntimeError) as error:
        raise errors.ModelError(path, f"is a damaged checkpoint ({error})", remedy) from error
    clock = {name.removeprefix("clock/"): float(stored.pop(name)) for name in list(stored) if name.startswith("clock/")}
    differing = [
        name
        for name, variable in state.items()
        if name not in stored or tuple(stored[name].shape) != tuple(variable.shape)
    ]
    if differing or len(stored) != len(state):
        raise errors.ModelError(
            path,
            f"is a checkpoint of other settings ({(differing or ['extra values'])[0]} differs)",
            "resume with the settings the run began with, or start again with --overwrite",
        )
    for name, variable in state.items():
        variable.assign(stored[name])
    return clock


def latest_checkpoint(folder: Path) -> Path | None:
    """Return the newest checkpoint in a folder, if there is one."""
    return max(folder.glob("epoch_*.npz"), key=_epoch, default=None)


def _epoch(path: Path) -> int:
    """Return the epoch in a checkpoint's name; by name alone 10000 would come before 9999."""
    return int(path.stem.removeprefix("epoch_"))
