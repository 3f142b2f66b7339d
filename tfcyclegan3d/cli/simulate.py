"""``tfcyclegan3d simulate``: simulated two-channel stacks with their truth."""

from __future__ import annotations

import argparse

from tfcyclegan3d.cli.arguments import add_output, shape

SUMMARY = "build simulated two-channel stacks with their truth, to try and to test with"
EXAMPLE = "tfcyclegan3d simulate --count 3 --shape 56,256,256 -o simulated"

WRITES = ("stack_*.tif", "truth_*.tif", "objects_*.tif")


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
    parser.add_argument("--hard", action="store_true", help="dim objects, clutter, bleed-through and strong noise")
    add_output(parser, "folder to write to")


def run(options: argparse.Namespace) -> None:
    """Write the stacks, their truth and their numbered objects, and say so."""
    from tfcyclegan3d import errors
    from tfcyclegan3d.cli.outputs import fresh_folder
    from tfcyclegan3d.colours import stack_colours
    from tfcyclegan3d.progress import progress_bar
    from tfcyclegan3d.synthesis.microscope import CLEAN, HARD
    from tfcyclegan3d.synthesis.prior import NUCLEI_AND_GOLGI
    from tfcyclegan3d.synthesis.simulation import simulate_stack
    from tfcyclegan3d.volumes import Volume, write_volume

    if options.count < 1:
        raise errors.OptionError("--count", options.count, "give at least 1")
    if options.seed < 0:
        raise errors.OptionError("--seed", options.seed, "give a whole number of 0 or more")
    colours = stack_colours(NUCLEI_AND_GOLGI.class_names)
    with (
        fresh_folder(options.output, options.overwrite, WRITES) as folder,
        progress_bar("simulating", not options.quiet) as on_progress,
    ):
        for i in range(options.count):
            stack = simulate_stack(options.shape, microscope=HARD if options.hard else CLEAN, seed=(options.seed, i))
            write_volume(folder / f"stack_{i:03d}.tif", stack.image, colours)
            write_volume(folder / f"truth_{i:03d}.tif", stack.truth > 0, colours)
            write_volume(folder / f"objects_{i:03d}.tif", Volume(stack.truth.objects), colours)
            on_progress(i + 1, options.count, "")
    print(
        f"{options.output}: {options.count} stacks (stack_*.tif) with truth (truth_*.tif) and numbered objects "
        f"(objects_*.tif); channels {', '.join(NUCLEI_AND_GOLGI.class_names)}"
    )
