"""The run folder: what a training leaves behind, and the only code that knows its file names."""

from __future__ import annotations

import csv
import hashlib
import json
import os
import platform
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf
from matplotlib.figure import Figure

from tfcyclegan3d import errors
from tfcyclegan3d.config import Config
from tfcyclegan3d.training.previews import save_figure
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


class RunFolder:
    """Write a run folder, file by file, each whole or not at all.

    Parameters
    ----------
    path : Path
        The folder.
    loss_names : sequence of str
        Columns of ``metrics.csv`` beside epoch, step, minutes and phase.
    """

    def __init__(self, path: Path, loss_names: Sequence[str]) -> None:
        self.path = path
        self.checkpoints = path / "checkpoints"
        self.metrics = path / "metrics.csv"
        self._columns = ["epoch", "step", "minutes", "phase", *loss_names]
        self._writer = None

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
        if not overwrite and any((path / name).exists() for name in CONTENTS):
            raise errors.OutputExistsError(path)

    @staticmethod
    def recorded_inputs(path: Path) -> list[dict[str, Any]]:
        """Return name and sha256 of each stack that a run was begun with.

        Raises
        ------
        ModelError
            Where the manifest is missing or damaged.
        """
        try:
            inputs = json.loads((path / "manifest.json").read_text())["inputs"]
            return [{"name": str(entry["name"]), "sha256": entry["sha256"]} for entry in inputs]
        except (OSError, ValueError, KeyError, TypeError) as error:
            reason = f"has no readable manifest.json ({type(error).__name__}), which names its stacks"
            raise errors.ModelError(path, reason, "start again with --overwrite") from error

    def create(self, config: Config) -> None:
        """Make the folder, empty of an earlier run, and write the configuration."""
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            for name in CONTENTS:
                old = self.path / name
                if old.is_dir():
                    shutil.rmtree(old)
                else:
                    old.unlink(missing_ok=True)
            (self.path / "previews").mkdir()
            config.save(self.path / "config.json")
            with self.metrics.open("w", newline="") as file:
                csv.DictWriter(file, self._columns).writeheader()
        except OSError as error:
            raise errors.OutputError(self.path, error.strerror or error) from error

    def log_epoch(self, epoch: int, step: int, minutes: float, phase: str, losses: Mapping[str, float]) -> None:
        """Append a row to ``metrics.csv`` and the same numbers to the TensorBoard log."""
        row = {"epoch": epoch, "step": step, "minutes": round(minutes, 3), "phase": phase}
        row |= {name: f"{value:.6g}" for name, value in losses.items()}
        with self.metrics.open("a", newline="") as file:
            csv.DictWriter(file, self._columns).writerow(row)
        if self._writer is None:
            self._writer = tf.summary.create_file_writer(str(self.path / "logs"))
        with self._writer.as_default(step=epoch):
            for name, value in losses.items():
                tf.summary.scalar(f"losses/{name}", value)
        self._writer.flush()

    def forget_epochs_after(self, epoch: int) -> None:
        """Drop the rows and previews of epochs that a resumed training is going to repeat."""
        rows = [row for row in self.read_metrics() if int(row["epoch"]) <= epoch]
        unfinished = self.metrics.with_suffix(".unfinished")
        with unfinished.open("w", newline="") as file:
            writer = csv.DictWriter(file, self._columns)
            writer.writeheader()
            writer.writerows(rows)
        unfinished.replace(self.metrics)
        for preview in (self.path / "previews").glob("epoch_*.png"):
            if int(preview.stem.removeprefix("epoch_")) > epoch:
                preview.unlink()

    def read_metrics(self) -> list[dict[str, str]]:
        """Return the rows of ``metrics.csv``."""
        with self.metrics.open(newline="") as file:
            return list(csv.DictReader(file))

    def save_preview(self, epoch: int, figure: Figure) -> None:
        """Write ``previews/epoch_NNNN.png``."""
        save_figure(figure, self.path / "previews" / f"epoch_{epoch:04d}.png")

    def save_networks(self, image_to_mask: keras.Model, mask_to_image: keras.Model) -> None:
        """Write both generators."""
        for network in (image_to_mask, mask_to_image):
            unfinished = self.path / f".{network.name}.unfinished.keras"
            network.save(unfinished)
            unfinished.replace(self.path / f"{network.name}.keras")

    def write_manifest(self, content: Mapping[str, Any]) -> None:
        """Write ``manifest.json``."""
        unfinished = self.path / "manifest.unfinished"
        unfinished.write_text(json.dumps(content, indent=2) + "\n")
        unfinished.replace(self.path / "manifest.json")


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
    """Return the sha256 of a file, in hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
