"""Time and memory of numbering and measuring the objects of a large stack, from zarr to table.

A stack of ellipsoids is written once, as instance numbers and as a mask; each task runs in a process of its own.

    python benchmarks/objects_scale.py --folder SCRATCH
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

from tfcyclegan3d.objects.measurements import measure_objects
from tfcyclegan3d.objects.numbering import numbered
from tfcyclegan3d.sources import open_source
from tfcyclegan3d.zarrs.writing import create_zarr, write_box

SHAPE = (61, 2694, 1981)
N_OBJECTS = 5000
SEMI_AXES = (8.0, 13.0, 17.0)
VOXEL_SIZE = (0.5, 0.25, 0.25)
SLAB = 384


def write_stacks(folder: Path, shape: tuple[int, int, int], n_objects: int, seed: int) -> int:
    """Write ``labels.zarr`` and ``mask.zarr`` with ellipsoids on a jittered grid, and return how many there are."""
    rng = np.random.default_rng(seed)
    step = np.sqrt(shape[1] * shape[2] / n_objects)
    rows, columns = (round(side / step) for side in shape[1:])
    y, x = np.meshgrid(
        *((np.arange(n) + 0.5) * side / n for n, side in zip((rows, columns), shape[1:], strict=True)), indexing="ij"
    )
    jitter = rng.uniform(-0.1, 0.1, (2, y.size)) * step
    centres = np.stack([rng.uniform(0.3, 0.7, y.size) * shape[0], y.ravel() + jitter[0], x.ravel() + jitter[1]], axis=1)
    axes = np.array(SEMI_AXES) * rng.uniform(0.8, 1.1, (len(centres), 3))
    chunks = (shape[0], 128, 128)
    labels = create_zarr(folder / "labels.zarr", (*shape, 1), np.uint16, chunks, voxel_size_um=VOXEL_SIZE)
    mask = create_zarr(folder / "mask.zarr", (*shape, 1), np.uint8, chunks, voxel_size_um=VOXEL_SIZE)
    for start in range(0, shape[1], SLAB):
        stop = min(start + SLAB, shape[1])
        slab = np.zeros((shape[0], stop - start, shape[2]), np.uint16)
        for number, (centre, semi) in enumerate(zip(centres, axes, strict=True), 1):
            low, high = np.floor(centre - semi).astype(int), np.ceil(centre + semi).astype(int) + 1
            low, high = np.maximum(low, (0, start, 0)), np.minimum(high, (shape[0], stop, shape[2]))
            if (low < high).all():
                grids = np.ogrid[tuple(slice(a, b) for a, b in zip(low, high, strict=True))]
                distance = sum(((g - c) / a) ** 2 for g, c, a in zip(grids, centre, semi, strict=True))
                here = slab[low[0] : high[0], low[1] - start : high[1] - start, low[2] : high[2]]
                here[distance <= 1] = number
        box = (slice(0, shape[0]), slice(start, stop), slice(0, shape[2]))
        write_box(labels, box, slab[..., np.newaxis])
        write_box(mask, box, ((slab > 0) * np.uint8(255))[..., np.newaxis])
    return len(centres)


def run_task(task: str, folder: Path) -> int:
    """Do one task and return the number of objects found."""
    if task == "measure":
        return len(measure_objects(folder / "labels.zarr"))
    with numbered(open_source(folder / "mask.zarr"), ("nuclei",), {"nuclei": 26.0}, folder) as found:
        found.save(folder / "numbered.tif")
        return found.counts["nuclei"]


def main() -> None:
    """Print a row for each task."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--shape", default=",".join(map(str, SHAPE)))
    parser.add_argument("--objects", type=int, default=N_OBJECTS)
    parser.add_argument("--task", choices=("measure", "number"), help="this one alone, in this process")
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    if options.task:
        start = time.perf_counter()
        n_found = run_task(options.task, options.folder)
        gib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        print(json.dumps({"found": n_found, "seconds": time.perf_counter() - start, "gib": gib}))
        return
    shape = tuple(int(side) for side in options.shape.split(","))
    n_objects = write_stacks(options.folder, shape, options.objects, 0)
    print(f"| {'x'.join(map(str, shape))}, {n_objects} objects | found | seconds | peak memory |")
    print("| --- | ---: | ---: | ---: |")
    for task in ("measure", "number"):
        command = [sys.executable, __file__, "--folder", str(options.folder), "--task", task]
        row = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        print(f"| {task} | {row['found']} | {row['seconds']:.0f} | {row['gib']:.2f} GiB |", flush=True)


if __name__ == "__main__":
    main()
