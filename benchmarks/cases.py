"""The stacks that benchmarks train on and score with: simulated ones, and public ones of one class."""

from __future__ import annotations

import argparse
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import tfcyclegan3d as tc
from tfcyclegan3d.evaluation.objects import labels_of
from tfcyclegan3d.synthesis.microscope import CLEAN, HARD, Microscope

# One-class stacks: files below the data folder, typical diameter in voxels in the plane, voxel size in um where the
# file lacks it.
REAL = {
    "8-cell": ("qcanet/8_cell_stage_raw.tif", "qcanet/8_cell_stage_truth.tif", 16, None),
    "6001240": ("idr6001240/dapi_half.tif", "idr6001240/labels_half.tif", 17, (1.0, 0.72, 0.72)),
    "1135": ("gonuclear/1135_raw.tif", "gonuclear/1135_label.tif", 30, (0.284, 0.127, 0.127)),
}
# Simulated stacks: microscope, shape, how many are trained on. All have the same number of objects.
SIMULATED: dict[str, tuple[Microscope, tuple[int, int, int], int]] = {
    "simulated": (CLEAN, (56, 256, 256), 3),
    "simulated, hard": (HARD, (56, 256, 256), 3),
    "simulated, sparse": (HARD, (60, 512, 512), 1),
}


@dataclass(frozen=True)
class Case:
    """What is trained on, and what is scored with its truth.

    Parameters
    ----------
    images : list of Volume
        Trained on.
    scored : list of Volume
        Segmented and scored: held-out stacks of the simulated cases, the same stack of the others.
    truths : list of ndarray
        Of those scored, ZYXC bool; used for nothing but scores, and for the ceiling.
    trained_truths : list of ndarray
        Of those trained on, for the ceiling alone.
    objects : list of ndarray
        Of those scored, ZYXC int: the number of the object at each voxel.
    diameters : dict or None
        What the training is told of the objects.
    """

    images: list[tc.Volume]
    scored: list[tc.Volume]
    truths: list[np.ndarray]
    trained_truths: list[np.ndarray]
    objects: list[np.ndarray]
    diameters: dict[str, float] | None


def case_of(name: str, seed: int, data: Path | None, n_held_out: int = 1) -> Case:
    """Simulate or read the stacks of a case; the simulated ones differ from seed to seed."""
    if name in SIMULATED:
        microscope, shape, n_trained = SIMULATED[name]
        stacks = [
            tc.simulate_stack(shape, seed=(77, seed, i), microscope=microscope) for i in range(n_trained + n_held_out)
        ]
        volumes = [tc.Volume(stack.image.array, None, f"simulated_{i}") for i, stack in enumerate(stacks)]
        truths = [stack.truth.array > 0 for stack in stacks]
        objects = [stack.truth.objects for stack in stacks[n_trained:]]
        return Case(volumes[:n_trained], volumes[n_trained:], truths[n_trained:], truths[:n_trained], objects, None)
    image, truth, diameter, voxel_size_um = REAL[name]
    volume = tc.read_volume(data / image, voxel_size_um=voxel_size_um)
    numbers = labels_of(tc.read_volume(data / truth), "truth")
    truths = [numbers > 0]
    return Case([volume], [volume], truths, truths, [numbers], {"nuclei": diameter})


def names_of(data: Path | None) -> list[str]:
    """Return every case there is data for."""
    return [*SIMULATED, *(REAL if data else ())]


def parser_of(description: str | None, runs: str | None = "accuracy-runs") -> argparse.ArgumentParser:
    """Return a parser of where the public stacks are, and of where the runs of a benchmark that trains are."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    data = os.environ.get("TFCYCLEGAN3D_DATA")
    parser.add_argument("--data", type=Path, default=data and Path(data), help="folder of one-class stacks")
    if runs is not None:
        parser.add_argument("-o", "--output", type=Path, default=Path(runs), help="folder of runs")
    return parser
