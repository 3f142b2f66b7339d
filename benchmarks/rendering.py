"""How fast rendered patches come: renderings and patches per second, as a Markdown table.

    python benchmarks/rendering.py --seconds 5

Each row draws patches as a training does, from volumes of the size the preset ``fast`` trains on (larger ones for
patches of 64^3). Rows are measured in turns, so that whatever else the machine does meets all of them alike.
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import os
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from tfcyclegan3d.patches import RenderedPatches
from tfcyclegan3d.preprocessing import CoarseObjects
from tfcyclegan3d.synthesis.masks import synthesize_masks
from tfcyclegan3d.synthesis.microscope import ANY, CLEAN, HARD
from tfcyclegan3d.synthesis.prior import NUCLEI, NUCLEI_AND_GOLGI

MICROSCOPES = {"ANY": ANY, "CLEAN": CLEAN, "HARD": HARD}
# Side of the patches, then the volumes' shape and the prior of as many classes as the patches have channels.
SIZES = {
    "32^3 x 1": (32, (32, 96, 96), NUCLEI),
    "32^3 x 2": (32, (32, 96, 96), NUCLEI_AND_GOLGI),
    "64^3 x 2": (64, (64, 128, 128), NUCLEI_AND_GOLGI),
}
PATCHES_PER_RENDERING = {"volume": 4, "patch": 1}
# How much finer the prior's grid is than the networks': nuclei become about 8 voxels across.
COARSER = 2.5
N_VOLUMES = 3
ROUNDS = 4


@dataclass
class Row:
    """One combination, and what was measured of it."""

    size: str
    microscope: str
    strengths_per: str
    n_threads: int
    source: RenderedPatches
    n_patches: int = 0
    seconds: float = 0.0
    next_index: int = field(default=0)

    def measure(self, seconds: float) -> None:
        """Draw patches for about so long, in whole batches."""
        batch = 4 * self.n_threads
        begin = time.perf_counter()
        with ThreadPoolExecutor(self.n_threads) as threads:
            while (passed := time.perf_counter() - begin) < seconds:
                list(threads.map(self.source.draw, range(self.next_index, self.next_index + batch)))
                self.next_index += batch
                self.n_patches += batch
        self.seconds += passed

    @property
    def line(self) -> str:
        """The row in Markdown."""
        rate = self.n_patches / self.seconds
        renderings = rate / PATCHES_PER_RENDERING[self.strengths_per]
        return (
            f"| {self.size} | {self.microscope} | {self.strengths_per} | {self.n_threads} "
            f"| {renderings:.1f} | {rate:.1f} |"
        )


def rows(sizes: Sequence[str], microscopes: Sequence[str], threads: Sequence[int]) -> list[Row]:
    """Return every combination, nothing of it measured yet."""
    found = []
    for size in sizes:
        side, shape, prior = SIZES[size]
        in_um = dataclasses.replace(prior, unit="um")
        masks = (synthesize_masks(shape, in_um, seed, (COARSER,) * 3) for seed in range(N_VOLUMES))
        objects = [CoarseObjects.of(one.objects, (1, 1, 1)) for one in masks]
        for name, per, n_threads in itertools.product(microscopes, PATCHES_PER_RENDERING, threads):
            source = RenderedPatches(
                objects, (side,) * 3, MICROSCOPES[name], (1.0, 99.8), (0,), PATCHES_PER_RENDERING[per], per
            )
            source.draw(0)
            found.append(Row(size, name, per, n_threads, source))
    return found


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=2.0, help="measured for each row (2 if not given)")
    parser.add_argument("--sizes", nargs="+", choices=list(SIZES), default=list(SIZES))
    parser.add_argument("--microscopes", nargs="+", choices=list(MICROSCOPES), default=list(MICROSCOPES))
    parser.add_argument("--threads", nargs="+", type=int, default=[1, 2])
    options = parser.parse_args(arguments)
    table = rows(options.sizes, options.microscopes, options.threads)
    for _ in range(ROUNDS):
        for row in table:
            row.measure(options.seconds / ROUNDS)
    print("| patches | microscope | strengths per | threads | renderings/s | patches/s |")
    print("| --- | --- | --- | ---: | ---: | ---: |")
    print("\n".join(row.line for row in table))


if __name__ == "__main__":
    main()
