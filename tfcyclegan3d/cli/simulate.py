"""``tfcyclegan3d simulate``: simulated stacks with their truth."""

from __future__ import annotations

import argparse
import re
from pathlib import Path
from typing import TYPE_CHECKING

from tfcyclegan3d.cli.arguments import add_output, shape, voxel_sides

if TYPE_CHECKING:
    from tfcyclegan3d.synthesis.microscope import Microscope

SUMMARY = "build simulated stacks with their truth, to try and to test with"
EXAMPLE = "tfcyclegan3d simulate --count 3 --shape 56,256,256 -o simulated"

NUMBERED = ("stack_{}.tif", "truth_{}.tif", "objects_{}.tif", "objects_{}.csv")
WRITES = (
    *(re.escape(name).replace(r"\{\}", "[0-9]{3,}") for name in NUMBERED),
    r"microscope\.yaml",
    r"prior\.yaml",
)

MUCH_SATURATED = 0.02  # Of the voxels: more than bright debris makes.


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("--count", type=int, default=3, metavar="N", help="number of stacks (3 if not given)")
    parser.add_argument(
        "--shape",
        type=shape,
        default=(56, 256, 256),
        metavar="Z,Y,X",
        help="shape of each, in voxels (56,256,256 if not given)",
    )
    parser.add_argument(
        "--prior",
        type=Path,
        metavar="FILE",
        help="what to draw, as JSON or YAML, one channel a class; 'synthesize' writes one to start from "
        "(the paper's Golgi and nuclei if not given)",
    )
    microscope = parser.add_mutually_exclusive_group()
    microscope.add_argument(
        "--microscope",
        metavar="clean|hard|any|FILE.yaml",
        help="how it is seen: on a good day (if not given); dim, cluttered and noisy; by another microscope every "
        "stack; or as a file says, start from a microscope.yaml this command wrote",
    )
    microscope.add_argument(
        "--hard", action="store_const", const="hard", dest="microscope", help="short for --microscope hard"
    )
    parser.add_argument("--bits", type=int, choices=(8, 16), default=16, help="of a voxel (16 if not given)")
    parser.add_argument(
        "--voxel-size",
        type=voxel_sides,
        metavar="Z,Y,X",
        help="voxel size in um: written into the stacks, and needed by a prior in micrometres",
    )
    add_output(parser, "folder to write to")


def run(options: argparse.Namespace) -> None:
    """Write the stacks, their truth, their numbered objects and the microscope, and say so."""
    import numpy as np

    from tfcyclegan3d import errors
    from tfcyclegan3d.cli.outputs import fresh_folder
    from tfcyclegan3d.colours import stack_colours
    from tfcyclegan3d.progress import progress_bar
    from tfcyclegan3d.synthesis.microscope_file import save_microscope
    from tfcyclegan3d.synthesis.prior import NUCLEI_AND_GOLGI
    from tfcyclegan3d.synthesis.prior_file import load_prior, save_prior
    from tfcyclegan3d.synthesis.scene import save_table
    from tfcyclegan3d.synthesis.simulation import CAMERAS, simulate_stack
    from tfcyclegan3d.volumes import Volume, write_volume

    if options.count < 1:
        raise errors.OptionError("--count", options.count, "give at least 1")
    if options.seed < 0:
        raise errors.OptionError("--seed", options.seed, "give a whole number of 0 or more")
    prior = NUCLEI_AND_GOLGI if options.prior is None else load_prior(options.prior)
    microscope = _microscope(options.microscope or "clean")
    prior.check_fits(options.shape, prior.voxel_size(options.voxel_size))
    colours = stack_colours(prior.class_names)
    notes: list[str] = []
    with (
        fresh_folder(options.output, options.overwrite, WRITES) as folder,
        progress_bar("simulating", not options.quiet) as on_progress,
    ):
        for i in range(options.count):
            stack = simulate_stack(
                options.shape, prior, microscope, (options.seed, i), CAMERAS[options.bits], options.voxel_size
            )
            write_volume(folder / f"stack_{i:03d}.tif", stack.image, colours)
            write_volume(folder / f"truth_{i:03d}.tif", stack.truth > 0, colours, prior.class_names)
            objects = Volume(stack.truth.objects, options.voxel_size)
            write_volume(folder / f"objects_{i:03d}.tif", objects, colours, prior.class_names)
            save_table(stack.truth.scene, folder / f"objects_{i:03d}.csv", options.voxel_size)
            saturated = np.mean(stack.image.array == np.iinfo(stack.image.array.dtype).max)
            if saturated > MUCH_SATURATED:
                notes.append(f"stack_{i:03d}.tif: {saturated:.0%} of the voxels are saturated: lower the strengths")
            on_progress(i + 1, options.count, "")
        save_microscope(microscope, folder / "microscope.yaml")
        save_prior(prior, folder / "prior.yaml")
    print(*notes, sep="\n", end="\n" if notes else "")
    print(
        f"{options.output}: {options.count} stack{'s' if options.count != 1 else ''} (stack_*.tif) with truth "
        f"(truth_*.tif) and numbered objects (objects_*.tif and .csv), microscope.yaml, prior.yaml; "
        f"channels {', '.join(prior.class_names)}"
    )


def _microscope(text: str) -> Microscope:
    """Return the microscope of that name, or of that file."""
    from tfcyclegan3d import errors
    from tfcyclegan3d.synthesis.microscope import ANY, CLEAN, HARD
    from tfcyclegan3d.synthesis.microscope_file import load_microscope

    known = {"clean": CLEAN, "hard": HARD, "any": ANY}
    if text in known:
        return known[text]
    if Path(text).suffix.lower() not in (".yaml", ".yml", ".json"):
        raise errors.OptionError("--microscope", text, f"give {', '.join(known)}, or a file named .yaml")
    return load_microscope(text)
