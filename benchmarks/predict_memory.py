"""How much memory and time a prediction takes as stacks get larger: a Markdown table.

    python benchmarks/predict_memory.py --folder SCRATCH
    python benchmarks/predict_memory.py --folder SCRATCH --shapes 61,2694,1981 --formats zarr --run RUN

Stacks of two channels of 16 bits, a rendered block again and again, as OME-Zarr and as TIFF (uncompressed, so that it
is mapped), are segmented by an untrained network of preset ``fast``, which takes what a trained one takes, or by a run
that is given; each ``predict`` is a process of its own, whose memory is looked at 50 times a second (see memory.py).
Masks are of the format of their stack. Linux only.
"""

from __future__ import annotations

import argparse
import math
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import tifffile
from memory import watched

from tfcyclegan3d import presets
from tfcyclegan3d.quiet_tensorflow import import_quietly
from tfcyclegan3d.synthesis.masks import synthesize_masks
from tfcyclegan3d.synthesis.microscope import CLEAN
from tfcyclegan3d.synthesis.rendering import render
from tfcyclegan3d.zarrs.chunks import plan_boxes
from tfcyclegan3d.zarrs.writing import create_zarr, write_box

SHAPES = ("61,673,991", "61,1347,991", "61,1347,1981", "61,2694,1981", "61,5388,1981")
BLOCK = (61, 256, 256)  # What stacks are tiled with, ZYX.
CHUNK = (16, 128, 128)
VOXEL_SIZE = (0.5, 0.25, 0.25)
CLASSES = ["golgi", "nuclei"]


def block_of_light() -> np.ndarray:
    """Return a rendered block, ZYXC uint16."""
    light = render(synthesize_masks(BLOCK).objects, CLEAN, np.random.default_rng(0))
    low, high = light.min(axis=(0, 1, 2)), light.max(axis=(0, 1, 2))
    return (60_000 * (light - low) / (high - low)).astype(np.uint16)


def write_stack(path: Path, shape: tuple[int, int, int], block: np.ndarray) -> None:
    """Write a stack made of blocks, part by part, as its suffix says."""

    def part(box: Sequence[slice]) -> np.ndarray:
        return block[np.ix_(*(np.arange(s.start, s.stop) % n for s, n in zip(box, block.shape[:3], strict=True)))]

    if path.suffix == ".zarr":
        chunk = tuple(map(min, CHUNK, shape))
        level = create_zarr(path, (*shape, len(CLASSES)), block.dtype, chunk, voxel_size_um=VOXEL_SIZE)
        for box in plan_boxes(shape, chunk, 2**24):
            write_box(level, box, part(box))
        return

    def planes() -> Iterator[np.ndarray]:
        for z in range(shape[0]):
            plane = part((slice(z, z + 1), slice(0, shape[1]), slice(0, shape[2])))[0]
            yield from (np.ascontiguousarray(plane[..., k]) for k in range(len(CLASSES)))

    stored = (shape[0], len(CLASSES), *shape[1:])
    options = {"photometric": "minisblack", "bigtiff": True, "metadata": {"axes": "ZCYX"}}
    tifffile.imwrite(path, planes(), shape=stored, dtype=block.dtype, **options)


def untrained(folder: Path, downsampling: Sequence[int]) -> Path:
    """Return a run folder of preset ``fast`` that holds what ``predict`` reads, with a network nobody trained."""
    import_quietly()
    from tfcyclegan3d.models.resnet_generator import resnet_generator

    config = presets.fast().replace({"classes": CLASSES, "preprocessing.downsampling": list(downsampling)})
    n, model = len(CLASSES), config.model
    folder.mkdir()
    resnet_generator(n, n, filters=model.filters, blocks=model.blocks, end_kernel=model.end_kernel).save(
        folder / "image_to_mask.keras"
    )
    config.save(folder / "config.json")
    return folder


def row(shape: tuple[int, int, int], form: str, run: Path, folder: Path, block: np.ndarray) -> str:
    """Write a stack, segment it, remove both, and return the row in Markdown."""
    stack, output = folder / f"stack.{form}", folder / "masks"
    write_stack(stack, shape, block)
    status, found = watched(
        ["predict", str(run), "--images", str(stack), "-o", str(output), "--format", form, "--quiet"]
    )
    if status != 0:
        raise SystemExit(f"{shape}, {form}: the prediction ended with status {status}")
    shutil.rmtree(output)
    shutil.rmtree(stack) if stack.is_dir() else stack.unlink()
    gib = math.prod(shape) * len(CLASSES) * 2 / 2**30
    size = f"{gib:.2f}" if gib >= 0.1 else f"{gib:.4f}"
    return (
        f"| {' x '.join(map(str, shape))} x {len(CLASSES)} | {size} | {form} "
        f"| {found['seconds']:.0f} | {found['RssAnon']:.2f} | {found['VmRSS']:.2f} |"
    )


def sides(text: str) -> tuple[int, ...]:
    """Return the numbers of ``Z,Y,X``."""
    return tuple(int(side) for side in text.split(","))


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shapes", nargs="+", type=sides, default=[*map(sides, SHAPES)], metavar="Z,Y,X")
    parser.add_argument("--formats", nargs="+", choices=("zarr", "tif"), default=("zarr", "tif"))
    parser.add_argument("--run", type=Path, help="a run of two classes, in place of the untrained network")
    parser.add_argument(
        "--downsampling", type=sides, default=(2, 2, 2), metavar="Z,Y,X", help="of the untrained network (2,2,2)"
    )
    parser.add_argument("--folder", type=Path, help="where to put stacks and masks (6 GiB), removed afterwards")
    options = parser.parse_args()
    block = block_of_light()
    print("| Z x Y x X x C | GiB | format | seconds | anonymous, GiB | resident, GiB |")
    print("| --- | ---: | --- | ---: | ---: | ---: |", flush=True)
    with tempfile.TemporaryDirectory(dir=options.folder) as scratch:
        folder = Path(scratch)
        run = options.run or untrained(folder / "run", options.downsampling)
        for shape in options.shapes:
            for form in options.formats:
                print(row(shape, form, run, folder, block), flush=True)


if __name__ == "__main__":
    main()
