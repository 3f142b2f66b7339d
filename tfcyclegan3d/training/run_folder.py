"""The run folder: what a training leaves behind, and the only code that knows its file names."""

from __future__ import annotations

import csv
import hashlib
import json
import os
import platform
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf
from matplotlib.figure import Figure

from tfcyclegan3d import errors
from tfcyclegan3d.config import STAGE_ONE, Config
from tfcyclegan3d.training.previews import png_of
from tfcyclegan3d.training.tensorboard_log import TensorBoardLog
from tfcyclegan3d.version import __version__

CONTENTS = (
    "config.json",
    "manifest.json",
    "metrics.csv",
    "logs",
    "previews",
    "checkpoints",
    "image_to_mask.keras",
    "mask_to_image.keras",
    "report.html",
    "demo",
)
# A folder without any of these is no run.
MARKS = ("config.json", "manifest.json", f"{STAGE_ONE}/config.json")
UNFINISHED = ".unfinished-"


class RunFolder:
    """Write a run folder, file by file, each whole or not at all.

    Parameters
    ----------
    path : Path
        The folder.
    columns : sequence of str
        Columns of ``metrics.csv`` beside epoch, step, minutes, phase and seconds per step; not needed to read. A name
        may have its group in TensorBoard before a slash; without one it is a learning rate or a loss (``tag_of``).
    """

    def __init__(self, path: Path, columns: Sequence[str] = ()) -> None:
        self.path = path
        self.checkpoints = path / "checkpoints"
        self.metrics = path / "metrics.csv"
        self._columns = ["epoch", "step", "minutes", "phase", "seconds_per_step", *columns]
        self._tensorboard = TensorBoardLog(path / "logs")

    @staticmethod
    def check(path: Path, *, overwrite: bool, resume: bool) -> None:
        """Refuse a folder that holds a run, unless it is to be replaced or resumed.

        Raises
        ------
        OutputExistsError, OutputError, ModelError
        """
        in_the_way = next((place for place in (path, *path.parents) if place.exists()), path)
        if in_the_way.exists() and not in_the_way.is_dir():
            raise errors.OutputError(path, f"the file {in_the_way} is in the way of the folder")
        if resume:
            if not (path / "config.json").is_file():
                raise errors.ModelError(path, "holds no run to resume", "start one without --resume")
            return
        held = [name for name in CONTENTS if (path / name).exists()]
        if held and not overwrite:
            raise errors.OutputExistsError(path)
        if held and not any((path / name).is_file() for name in MARKS):
            raise errors.OutputError(path, f"it holds {held[0]}, which no training wrote")

    @staticmethod
    def recorded(path: Path) -> tuple[list[dict[str, Any]], list[str]] | None:
        """Return name and sha256 of each stack that a run was begun with, and what was said about them then.

        None stands for a run that ended before it could write that down, and before it had learned anything.

        Raises
        ------
        ModelError
            Where the manifest is missing or damaged.
        """
        manifest = path / "manifest.json"
        if not manifest.exists() and not any((path / "checkpoints").glob("*.npz")):
            return None
        try:
            content = json.loads(manifest.read_text())
            inputs = [{"name": str(entry["name"]), "sha256": entry["sha256"]} for entry in content["inputs"]]
            return inputs, [str(note) for note in content["notes"]]
        except (OSError, ValueError, KeyError, TypeError) as error:
            reason = f"has no readable manifest.json ({type(error).__name__}), which names its stacks"
            raise errors.ModelError(path, reason, "start again with --overwrite") from error

    @staticmethod
    def recorded_preparation(path: Path) -> float:
        """Return the seconds of preparation that earlier calls spent on a run, as far as its manifest says."""
        try:
            return 60 * float(RunFolder(path).read_manifest()["timings"]["preparation_minutes"])
        except (OSError, ValueError, KeyError, TypeError):
            return 0.0

    def create(self, config: Config) -> None:
        """Make the folder, empty of an earlier run, and begin one in it.

        The configuration is the first to go and the first to come, so that a process may die at any moment: a folder
        with a configuration can be resumed, and never mixes two runs. The manifest is the last to go: by it, what is
        left of a run can still be replaced.
        """
        with errors.writing(self.path):
            self.path.mkdir(parents=True, exist_ok=True)
            for name in sorted(CONTENTS, key=("config.json", *CONTENTS[2:], "manifest.json").index):
                old = self.path / name
                if old.is_dir():
                    shutil.rmtree(old)
                else:
                    old.unlink(missing_ok=True)
        self.save_config(config)
        self.forget_epochs_after(0)

    def save_config(self, config: Config) -> None:
        """Write ``config.json`` anew."""
        with whole(self.path / "config.json") as unfinished:
            config.save(unfinished)

    def log_epoch(
        self, epoch: int, step: int, minutes: float, phase: str, seconds_per_step: float, values: Mapping[str, float]
    ) -> None:
        """Append a row to ``metrics.csv`` and the same numbers to the TensorBoard log.

        Parameters
        ----------
        epoch, step, minutes
            Done so far.
        phase : str
            Of the training.
        seconds_per_step : float
            Of this epoch's steps.
        values : mapping of str to float
            By column; a column without a value stays empty in this row.
        """
        row = {"epoch": epoch, "step": step, "minutes": round(minutes, 3), "phase": phase}
        row |= {name: f"{value:.6g}" for name, value in {"seconds_per_step": seconds_per_step, **values}.items()}
        with whole(self.metrics) as unfinished:
            shutil.copyfile(self.metrics, unfinished)
            with unfinished.open("a", newline="") as file:
                csv.DictWriter(file, self._columns).writerow(row)
        scalars = {"minutes": minutes, "seconds_per_step": seconds_per_step, **values}
        self._tensorboard.write_scalars(epoch, {tag_of(name): value for name, value in scalars.items()})

    def forget_epochs_after(self, epoch: int) -> None:
        """Drop rows, previews and TensorBoard entries of epochs that are going to be written, and unfinished files."""
        with errors.writing(self.path):
            (self.path / "previews").mkdir(exist_ok=True)
            for folder in (self.path, self.path / "previews", self.checkpoints):
                for unfinished in folder.glob(f"{UNFINISHED}*"):
                    if unfinished.is_file():
                        unfinished.unlink()
        # Before the first epoch the process may have died before the file was there.
        rows = [row for row in self.read_metrics() if int(row["epoch"]) <= epoch] if epoch > 0 else []
        with whole(self.metrics) as unfinished, unfinished.open("w", newline="") as file:
            writer = csv.DictWriter(file, self._columns)
            writer.writeheader()
            writer.writerows(rows)
        for preview in self.previews():
            if int(preview.stem.removeprefix("epoch_")) > epoch:
                preview.unlink()
        self._tensorboard.forget_epochs_after(epoch)

    @property
    def has_networks(self) -> bool:
        """Whether a network has been saved, which follows the first checkpoint."""
        return any(self.path.glob("*.keras"))

    def read_metrics(self) -> list[dict[str, str]]:
        """Return the rows of ``metrics.csv``."""
        with self.metrics.open(newline="") as file:
            return list(csv.DictReader(file))

    def previews(self) -> list[Path]:
        """Return the previews, the first epoch's first."""
        return sorted(
            (self.path / "previews").glob("epoch_*.png"), key=lambda path: int(path.stem.removeprefix("epoch_"))
        )

    def save_preview(self, epoch: int, figure: Figure) -> None:
        """Write ``previews/epoch_NNNN.png``, and the same picture to the TensorBoard log."""
        with whole(self.path / "previews" / f"epoch_{epoch:04d}.png") as unfinished:
            png = png_of(figure)
            unfinished.write_bytes(png)
        self._tensorboard.write_preview(epoch, png)

    def save_networks(self, *networks: keras.Model) -> None:
        """Write networks, each to a file of its own name."""
        for network in networks:
            with whole(self.path / f"{network.name}.keras") as unfinished:
                network.save(unfinished)

    def read_manifest(self) -> dict[str, Any]:
        """Return what ``manifest.json`` holds.

        Raises
        ------
        OSError, ValueError
            Where it is missing or damaged.
        """
        return json.loads((self.path / "manifest.json").read_text())

    def write_manifest(self, content: Mapping[str, Any]) -> None:
        """Write ``manifest.json``."""
        with whole(self.path / "manifest.json") as unfinished:
            unfinished.write_text(json.dumps(content, indent=2) + "\n")


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """Give a place to write to, which becomes ``path`` once the block ends; what was there stays where it fails.

    Raises
    ------
    OutputError
        Where it cannot be written; nothing is left of it.
    """
    unfinished = path.with_name(f"{UNFINISHED}{path.name}")
    try:
        with errors.writing(path):
            yield unfinished
            unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)


def tag_of(column: str) -> str:
    """Return a column's name in TensorBoard, which shows together what has the same word before a slash."""
    if "/" in column:
        return column
    if column in ("minutes", "seconds_per_step"):
        return f"time/{column}"
    rate = column.removeprefix("learning_rate_")
    return f"learning_rates/{rate}" if rate != column else f"losses/{column}"


def machine() -> dict[str, Any]:
    """Describe what a run was made on."""
    return {
        "tfcyclegan3d": __version__,
        "tensorflow": tf.__version__,
        "keras": keras.__version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cpus": os.cpu_count(),
        "gpus": [device.name for device in tf.config.list_physical_devices("GPU")],
    }


def fingerprint(path: Path) -> str:
    """Return the sha256 of a file, in hexadecimal; of a folder, that of the names and sha256 of its files, in order."""
    digest = hashlib.sha256()
    if path.is_dir():
        names = sorted(one.relative_to(path).as_posix() for one in path.rglob("*") if one.is_file())
        for name in names:
            digest.update(f"{name}\0{fingerprint(path / name)}\n".encode(errors="surrogateescape"))
        return digest.hexdigest()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
