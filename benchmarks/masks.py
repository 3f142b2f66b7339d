"""Time and memory of drawing synthetic masks: whole stacks, thousands of objects, and the published notebook's way.

python benchmarks/masks.py            # the tables of docs/performance.md
python benchmarks/masks.py --quick    # small ones, in seconds
"""

from __future__ import annotations

import argparse
import dataclasses
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence

import elasticdeform
import numpy as np
from scipy import ndimage

from tfcyclegan3d import NUCLEI, NUCLEI_AND_GOLGI
from tfcyclegan3d.synthesis.mask_files import write_masks
from tfcyclegan3d.synthesis.masks import synthesize_scene

# The sizes of the paper's three stacks.
STACKS = ((61, 2694, 1981), (61, 1981, 1500), (55, 1143, 1010))
QUICK_STACKS = ((61, 512, 512), (55, 400, 300))
N_PAIRS = 60
BOX = 128
# Voxels of a plane for each nucleus in the table of thousands, about 15 % full.
PLANE_PER_OBJECT = 1060


def write_stacks(stacks: Sequence[tuple[int, int, int]]) -> None:
    """Draw and write masks, object numbers and tables, as ``tfcyclegan3d synthesize`` does."""
    golgi, nuclei = NUCLEI_AND_GOLGI.objects
    golgi = dataclasses.replace(golgi, count=(N_PAIRS, N_PAIRS))
    prior = dataclasses.replace(NUCLEI_AND_GOLGI, objects=(golgi, nuclei))
    with tempfile.TemporaryDirectory() as folder:
        for index, shape in enumerate(stacks):
            write_masks(synthesize_scene(shape, prior, (0, index)), folder, index)


def as_the_notebook(shape: tuple[int, int, int], n_pairs: int, rng: np.random.Generator) -> np.ndarray:
    """Draw pairs as the published notebook does: each in a box of 128 x 128 pixels of the whole depth.

    The box is deformed and rotated as a whole, and then tried at random places until it overlaps nothing.
    """
    depth = shape[0]
    volume = np.zeros((*shape, 2), np.uint8)
    z, y, x = np.ogrid[:depth, :BOX, :BOX]
    middle = np.array([depth, BOX, BOX]) / 2
    for _ in range(n_pairs):
        radius = rng.integers(5, 9)
        a, b, c = rng.integers(17, 30), rng.integers(8, 13), rng.integers(8, 13)
        shifted = middle + rng.uniform(-6, 6, 3)
        golgi = (z - middle[0]) ** 2 + (y - middle[1]) ** 2 + (x - middle[2]) ** 2 < radius**2
        nucleus = ((z - shifted[0]) / c) ** 2 + ((y - shifted[1]) / b) ** 2 + ((x - shifted[2]) / a) ** 2 < 1
        box = [one.astype(np.float32) for one in (golgi, nucleus)]
        box = elasticdeform.deform_random_grid(box, sigma=0.75, points=3, axis=[(0, 1, 2)] * 2)
        angle = rng.integers(0, 180)
        pair = np.stack([ndimage.rotate(one, angle, axes=(1, 2), reshape=False) > 0.5 for one in box], axis=-1)
        _put_anywhere(volume, pair, rng)
    return volume


def _put_anywhere(volume: np.ndarray, pair: np.ndarray, rng: np.random.Generator) -> None:
    for _ in range(1000):
        y, x = (int(rng.integers(0, side - BOX + 1)) for side in volume.shape[1:3])
        here = volume[:, y : y + BOX, x : x + BOX]
        if not (here.any(axis=-1) & pair.any(axis=-1)).any():
            here |= pair.astype(np.uint8)
            return


def table_of_stacks(stacks: Sequence[tuple[int, int, int]], n_notebook_pairs: int) -> None:
    """Print seconds and peak memory of a process that writes all stacks, beside the notebook's way."""
    start = time.perf_counter()
    subprocess.run([sys.executable, __file__, "--write", *(",".join(map(str, shape)) for shape in stacks)], check=True)
    ours = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**20
    start = time.perf_counter()
    rng = np.random.default_rng(0)
    for shape in stacks:
        as_the_notebook(shape, n_notebook_pairs, rng)
    # Its time goes into the pairs, one like the other.
    notebook = (time.perf_counter() - start) * N_PAIRS / n_notebook_pairs
    sizes = ", ".join(" x ".join(map(str, shape)) for shape in stacks)
    print(f"{N_PAIRS} pairs in each of {sizes}\n")
    print("| way | seconds | peak memory, GiB |\n| --- | ---: | ---: |")
    print(f"| a process that draws and writes masks, numbers and tables | {ours:.1f} | {peak:.2f} |")
    print(
        f"| the published notebook's way, drawing alone ({n_notebook_pairs} pairs a stack timed) | {notebook:.1f} | |"
    )
    print(f"\nratio: {notebook / ours:.0f}\n")


def table_of_thousands(counts: Sequence[int]) -> None:
    """Print seconds for growing numbers of nuclei at one density, with one worker and with all."""
    print("| nuclei | volume | seconds, 1 worker | seconds, all workers | ms a nucleus |")
    print("| ---: | --- | ---: | ---: | ---: |")
    for count in counts:
        side = round(np.sqrt(count * PLANE_PER_OBJECT))
        prior = dataclasses.replace(NUCLEI, objects=(dataclasses.replace(NUCLEI.objects[0], count=(count, count)),))
        seconds = []
        for workers in (1, None):
            start = time.perf_counter()
            scene = synthesize_scene((61, side, side), prior, 0, workers=workers)
            seconds.append(time.perf_counter() - start)
        placed = len(scene.table)
        print(
            f"| {placed} | 61 x {side} x {side} | {seconds[0]:.2f} | {seconds[1]:.2f} "
            f"| {1000 * min(seconds) / placed:.2f} |"
        )


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="small stacks and few objects")
    parser.add_argument(
        "--notebook-pairs", type=int, help="drawn in each stack the notebook's way, which takes minutes"
    )
    parser.add_argument("--write", nargs="+", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.write:
        write_stacks([tuple(int(side) for side in text.split(",")) for text in options.write])
        return
    table_of_stacks(
        QUICK_STACKS if options.quick else STACKS, options.notebook_pairs or (2 if options.quick else N_PAIRS)
    )
    table_of_thousands((100, 200) if options.quick else (500, 1000, 2000, 4000))


if __name__ == "__main__":
    main()
