"""What a run's ``manifest.json`` says: what ran, where and on what, how it ended and how long it took."""

from __future__ import annotations

import dataclasses
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tfcyclegan3d.micrometres import voxels_alike
from tfcyclegan3d.stacks import Stack
from tfcyclegan3d.training.course import Course
from tfcyclegan3d.training.pairs import PreparedPairs
from tfcyclegan3d.training.preparation import Prepared
from tfcyclegan3d.training.run_folder import fingerprint, machine
from tfcyclegan3d.training.trainer import Trainer
from tfcyclegan3d.version import __version__
from tfcyclegan3d.volumes import Grid


def input_entry(stack: Stack) -> dict[str, Any]:
    """Return what the manifest says of a stack: its name and, of a file, its sha256."""
    if isinstance(stack, str | Path):
        return {"name": Path(stack).name, "sha256": fingerprint(Path(stack))}
    return {"name": getattr(stack, "name", "array"), "sha256": None}


def described_grids(grids: Sequence[Grid]) -> dict[str, Any]:
    """Return what the manifest says of the images' grids: each, and the voxel size where all have the same."""
    each = [
        {"name": grid.name, "shape": list(grid.shape), "voxel_size_um": grid.voxel_size_um and [*grid.voxel_size_um]}
        for grid in grids
    ]
    first = each[0]["voxel_size_um"] if each else None
    sizes = [one["voxel_size_um"] for one in each]
    alike = first is not None and all(size is not None and voxels_alike(first, size, 1e-3) for size in sizes)
    return {"voxel_size_um": first if alike else None, "grids": each}


def beginning(
    prepared: Prepared | PreparedPairs, trainer: Trainer, inputs: list[dict[str, Any]], command: str | None
) -> dict[str, Any]:
    """Return what is known of a training when it begins: what ran where, on what.

    Parameters
    ----------
    prepared : Prepared or PreparedPairs
        What is trained on.
    trainer : Trainer
        With its devices and precision.
    inputs : list of dict
        An entry a stack (``input_entry``).
    command : str or None
        What started it; the process' own arguments if not given.
    """
    config = prepared.config
    return {
        "version": __version__,
        "command": command or " ".join(sys.argv),
        "preset": config.preset,
        "method": config.method,
        "seed": config.seed,
        "classes": list(config.classes),
        "inputs": inputs,
        "notes": prepared.notes,
        "machine": machine(),
        "masks_minutes": round(prepared.mask_seconds / 60, 3),
        "workers": trainer.distribution.n_workers,
        "devices": trainer.distribution.n_replicas,
        "policy": trainer.policy,
        "started": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }


def running(preparation_seconds: float) -> dict[str, Any]:
    """Return what the manifest says of a training that has not ended, or whose program was killed."""
    timings = {"preparation_minutes": round(preparation_seconds / 60, 3)}
    return {
        "verdict": "running",
        "exit_status": None,
        "warnings": [],
        "returns": [],
        "selected": None,
        "timings": timings,
    }


def ending(course: Course, preparation_seconds: float, rows: Sequence[dict[str, str]]) -> dict[str, Any]:
    """Return how far a training has come, what was chosen and how long it took.

    Parameters
    ----------
    course : Course
        Of the training.
    preparation_seconds : float
        Before its first step.
    rows : sequence of dict
        Of ``metrics.csv``.
    """
    clock, best = course.clock, course.selection.best
    preparation, total = preparation_seconds / 60, clock.seconds / 60
    return {
        "epochs": clock.epoch,
        "steps": clock.step,
        "selected": dataclasses.asdict(best) if best is not None else None,
        "returns": [dataclasses.asdict(one) for one in course.watch.returns],
        "timings": {
            "preparation_minutes": round(preparation, 3),
            "training_minutes": round(max(total - preparation, 0.0), 3),
            "total_minutes": round(total, 3),
            # Of the last epoch: the steps of a start cost less than those of the training proper.
            "seconds_per_step": float(rows[-1]["seconds_per_step"]) if rows else None,
        },
    }
