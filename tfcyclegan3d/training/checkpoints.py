"""Full training state on disk: written whole or not at all, the last few kept.

A checkpoint holds every variable and a record: a JSON document of all else that the training goes on from. Random
numbers and the place in the data need no entry, since both depend on the seed and the number of the step alone.
"""

from __future__ import annotations

import json
import os
import zipfile
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from tfcyclegan3d import errors
from tfcyclegan3d.training.run_folder import whole

State = Mapping[str, object]
"""Variables by name; anything with ``numpy()`` and ``assign()``."""

RECORD = "record"
# What reading a damaged archive raises; zipfile gives NotImplementedError for a method it does not know.
DAMAGED = (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, NotImplementedError, RuntimeError)


def save_checkpoint(
    folder: Path,
    epoch: int,
    state: State,
    record: Mapping[str, Any],
    keep: int,
    protected: Collection[int] = (),
    *,
    interrupted: bool = False,
) -> Path:
    """Write ``epoch_NNNN.npz``, or ``epoch_NNNN_interrupted.npz``, and delete older ones.

    A process that dies in between leaves the older ones, or one more than wanted.

    Parameters
    ----------
    folder : Path
        Made if missing.
    epoch : int
        Epochs finished.
    state : State
        Every variable the training would miss, none of them named ``record``.
    record : mapping
        Whatever else it would miss, as JSON: nested dictionaries with names for keys, lists, strings, numbers, None.
        Numbers come back as they were to the last bit, NaN and infinities too.
    keep : int
        How many of the newest to keep, at least 1.
    protected : collection of int
        Epochs whose checkpoints are kept however old.
    interrupted : bool
        Within the epoch after. It stands beside the checkpoints of whole epochs, until the next one of any kind.

    Raises
    ------
    OutputError
        Where it cannot be written; the older checkpoints are still there.
    """
    path = folder / f"epoch_{epoch:04d}{'_interrupted' if interrupted else ''}.npz"
    arrays = {name: variable.numpy() for name, variable in state.items()}
    arrays[RECORD] = np.frombuffer(json.dumps(record).encode(), np.uint8)
    with errors.writing(path):
        folder.mkdir(parents=True, exist_ok=True)
    with whole(path) as unfinished, unfinished.open("wb") as file:
        _write_arrays(file, arrays)
        file.flush()
        os.fsync(file.fileno())
    of_whole_epochs = [other for other in _in_order(folder) if not _order(other)[1]]
    kept = {path, *of_whole_epochs[-keep:], *(checkpoint_of(folder, one) for one in protected)}
    for other in _in_order(folder):
        if other not in kept:
            other.unlink()
    return path


def _write_arrays(file: BinaryIO, arrays: Mapping[str, np.ndarray]) -> None:
    """Write what ``numpy.savez`` would, which on a full disk leaves its archive open, to complain when collected."""
    with zipfile.ZipFile(file, "w") as archive:
        for name, array in arrays.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                np.lib.format.write_array(member, np.asarray(array), allow_pickle=False)


def load_checkpoint(path: Path, state: State) -> dict[str, Any]:
    """Assign a checkpoint's values to the variables of ``state`` and return its record.

    Raises
    ------
    ModelError
        For a damaged file, or one of other settings; no variable has been changed then.
    """
    try:
        with np.load(path) as file:
            stored = {name: file[name] for name in file.files}
        record = json.loads(stored.pop(RECORD).tobytes())
    except DAMAGED as error:
        raise errors.ModelError(path, f"is a damaged checkpoint ({error})", _remedy(path)) from error
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
    return record


def latest_checkpoint(folder: Path) -> Path | None:
    """Return the newest checkpoint in a folder, if there is one."""
    return max(folder.glob("epoch_*.npz"), key=_order, default=None)


def checkpoint_of(folder: Path, epoch: int) -> Path | None:
    """Return the checkpoint of the end of an epoch, if it has been kept."""
    path = folder / f"epoch_{epoch:04d}.npz"
    return path if path.is_file() else None


def forget_checkpoints_after(folder: Path, epoch: int) -> None:
    """Delete the checkpoints of later epochs, the newest first, and those within the epoch that follows."""
    for path in reversed(_in_order(folder)):
        if _order(path) > (epoch, False):
            path.unlink()


def read_arrays(path: Path, groups: Collection[str]) -> dict[str, list[np.ndarray]]:
    """Return the arrays of a checkpoint that belong to some groups of variables, in their order.

    Raises
    ------
    ModelError
        For a damaged file.
    """
    try:
        with np.load(path) as file:
            return {
                group: [file[name] for name in sorted(file.files) if name.startswith(f"{group}/")] for group in groups
            }
    except DAMAGED as error:
        raise errors.ModelError(path, f"is a damaged checkpoint ({error})", _remedy(path)) from error


def _remedy(damaged: Path) -> str:
    """Say what to do about a damaged checkpoint."""
    older = [path for path in _in_order(damaged.parent) if _order(path) < _order(damaged)]
    resume = f"delete this file to resume from {older[-1].name}, or " if older else ""
    return f"{resume}start again with --overwrite"


def _in_order(folder: Path) -> list[Path]:
    """Return the checkpoints in a folder, the oldest first."""
    return sorted(folder.glob("epoch_*.npz"), key=_order)


def _order(path: Path) -> tuple[int, bool]:
    """Return epochs finished and whether another was begun; by name alone 10000 would come before 9999."""
    epoch, _, interrupted = path.stem.removeprefix("epoch_").partition("_")
    return int(epoch), bool(interrupted)
