"""How much memory a training takes as stacks get larger and more: a Markdown table.

    python benchmarks/memory.py --limit 2

Each case is a training of tiny networks for a few steps in a process of its own, whose memory is looked at 50 times a
second. What counts is memory of the process alone ("anonymous"): the pages of files that are mapped are the system's
to drop. The last two cases run under a limit (RLIMIT_DATA) on what the process may ask for in anonymous memory, used or
not, which their stack is larger than. Linux only.
"""

from __future__ import annotations

import argparse
import re
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tifffile

from tfcyclegan3d.synthesis.masks import synthesize_masks
from tfcyclegan3d.synthesis.microscope import CLEAN
from tfcyclegan3d.synthesis.prior import NUCLEI
from tfcyclegan3d.synthesis.rendering import render

TINY = (
    *("model.filters=4", "model.blocks=1", "model.critic_filters=4", "model.critic_levels=2", "model.end_kernel=3"),
    *("training.patch_shape=[16,16,16]", "training.epochs=2", "training.start_fraction=0.5"),
    *("synthesis.n_masks=4", "inference.tile_shape=[16,16,16]", "inference.overlap=4"),
    *("preprocessing.downsampling=[1,2,2]", "training.steps_per_epoch=4", "training.mixed_precision=off"),
)
BLOCK = (64, 256, 256)  # What stacks are tiled with, ZYX.
TRAINED = (0, 3)  # 3: to the end, but networks this small are not to be trusted.
START = "import sys; from tfcyclegan3d.cli.main import main; sys.exit(main())"


@dataclass(frozen=True)
class Case:
    """Stacks, whether the prior is fitted to them, and the memory that the training may take."""

    n_stacks: int
    shape: tuple[int, int, int]
    compression: str | None = None
    fitted: bool = False
    limit_gib: float | None = None

    @property
    def gib(self) -> float:
        """All its voxels, which are of two bytes."""
        return self.n_stacks * float(np.prod(self.shape)) * 2 / 2**30


def cases(side_of_largest: int, most_stacks: int, limit_gib: float) -> list[Case]:
    """Return stacks of growing size, compressed ones, stacks of growing number, and the largest under a limit."""
    sized = [Case(1, (64, side, side)) for side in (256, 1024, 2896)]
    fitted = [Case(1, (64, side, side), fitted=True) for side in (256, 1024, 2896)]
    compressed = [Case(1, (64, side, side), "zlib") for side in (256, 2048)]
    numbers = sorted({1, 10, 100, most_stacks})
    many = [Case(n_stacks, (16, 128, 128)) for n_stacks in numbers]
    largest = (256, side_of_largest, side_of_largest)
    limited = [Case(1, largest, fitted=fit, limit_gib=limit_gib) for fit in (False, True)]
    return [*sized, *fitted, *compressed, *many, *limited]


def write_stack(path: Path, case: Case, block: np.ndarray) -> None:
    """Write a stack plane by plane."""
    z, y, x = case.shape
    repeats = [1, -(-y // block.shape[1]), -(-x // block.shape[2])]

    def planes() -> Iterator[np.ndarray]:
        for plane in range(z):
            yield np.tile(block[plane % len(block)], repeats[1:])[:y, :x]

    if case.compression is None:
        offset, _ = tifffile.imwrite(
            path, shape=case.shape, dtype=block.dtype, photometric="minisblack", bigtiff=True, returnoffset=True
        )
        with path.open("r+b") as file:
            file.seek(offset)
            for plane in planes():
                file.write(np.ascontiguousarray(plane).data)
        return
    tifffile.imwrite(
        path,
        planes(),
        shape=case.shape,
        dtype=block.dtype,
        photometric="minisblack",
        compression=case.compression,
        compressionargs={"level": 1},
        bigtiff=True,
    )


def measured(case: Case, images: Path, run: Path) -> dict[str, float]:
    """Train, and return the highest memory in GiB by its name in ``/proc``, and the seconds it took."""
    drawn = () if case.fitted else ("--object-diameter", "nuclei=16")
    settings = [word for setting in TINY for word in ("--set", setting)]
    status, found = watched(
        ["train", "--images", str(images), "-o", str(run), "--quiet", *drawn, *settings], case.limit_gib
    )
    if status not in TRAINED:
        raise SystemExit(f"{case}: the training ended with status {status}")
    return found


def watched(arguments: Sequence[str], limit_gib: float | None = None) -> tuple[int, dict[str, float]]:
    """Run a command of the package in a process of its own.

    Returns
    -------
    (int, dict of str to float)
        Its exit status; the highest memory in GiB by its name in ``/proc``, and the seconds it took.
    """

    def limit() -> None:
        if limit_gib is not None:
            n_bytes = int(limit_gib * 2**30)
            resource.setrlimit(resource.RLIMIT_DATA, (n_bytes, n_bytes))

    command = [sys.executable, "-c", START, *arguments]
    begin, highest = time.monotonic(), dict.fromkeys(("RssAnon", "VmRSS", "VmData"), 0.0)
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, preexec_fn=limit) as child:
        while child.poll() is None:
            try:
                status = Path(f"/proc/{child.pid}/status").read_text()
            except (FileNotFoundError, ProcessLookupError):
                continue
            for name in highest:
                if found := re.search(rf"^{name}:\s+(\d+) kB", status, re.MULTILINE):
                    highest[name] = max(highest[name], int(found[1]) / 2**20)
            time.sleep(0.02)
    return child.returncode, {**highest, "seconds": time.monotonic() - begin}


def row(case: Case, folder: Path, block: np.ndarray) -> str:
    """Make the stacks, train, remove the stacks; return the row in Markdown."""
    images, run = folder / "images", folder / "run"
    images.mkdir()
    for number in range(case.n_stacks):
        write_stack(images / f"stack_{number:04d}.tif", case, block)
    found = measured(case, images, run)
    shutil.rmtree(images)
    shutil.rmtree(run)
    size = f"{case.gib:.2f}" if case.gib >= 0.1 else f"{case.gib:.3f}"
    return (
        f"| {case.n_stacks} | {' x '.join(map(str, case.shape))} | {case.compression or 'none'} "
        f"| {'fitted' if case.fitted else 'given'} | {size} | {case.limit_gib or ''} "
        f"| {found['RssAnon']:.2f} | {found['VmData']:.2f} | {found['VmRSS']:.2f} | {found['seconds']:.0f} |"
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--largest", type=int, default=2896, help="side of the largest stack, of 256 planes")
    parser.add_argument("--stacks", type=int, default=1000, help="most stacks")
    parser.add_argument("--limit", type=float, default=2.0, help="memory the largest stack is trained in, GiB")
    parser.add_argument("--only", type=int, nargs="*", help="numbers of the rows to measure, from 0")
    parser.add_argument("--folder", type=Path, help="where to put stacks and runs (11 GiB), removed afterwards")
    options = parser.parse_args(arguments)
    masks = synthesize_masks(BLOCK, NUCLEI, 0)
    light = render(masks.objects, CLEAN, np.random.default_rng(0))[..., 0]
    block = (60_000 * (light - light.min()) / np.ptp(light)).astype(np.uint16)
    print("| stacks | Z x Y x X | compression | prior | GiB in all | limit | anonymous | limited by | with files | s |")
    print("| ---: | --- | --- | --- | ---: | ---: | ---: | ---: | ---: | ---: |")
    for number, case in enumerate(cases(options.largest, options.stacks, options.limit)):
        if options.only is None or number in options.only:
            with tempfile.TemporaryDirectory(dir=options.folder) as folder:
                print(row(case, Path(folder), block), flush=True)


if __name__ == "__main__":
    main()
