"""``tfcyclegan3d synthesize``: draw synthetic masks, with the objects they are made of."""

from __future__ import annotations

import argparse
import dataclasses
import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from tfcyclegan3d.cli.arguments import names, shape

if TYPE_CHECKING:
    from tfcyclegan3d.synthesis.masks import SyntheticMasks
    from tfcyclegan3d.synthesis.prior import Prior

SUMMARY = "draw synthetic masks to train on, no annotation needed"
EXAMPLE = "tfcyclegan3d synthesize --like images/ -o masks"

WRITES = ("mask_*.tif", "objects_*.tif", "prior.json", "masks.png")
N_PICTURED = 4


class Grid(NamedTuple):
    """The grid of one mask."""

    shape: tuple[int, int, int]
    voxel_size_um: tuple[float, float, float] | None = None
    n_channels: int | None = None


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    grid = parser.add_mutually_exclusive_group(required=True)
    grid.add_argument(
        "--like",
        nargs="+",
        metavar="IMAGE",
        help="draw one mask for each of these stacks (files, folders, globs): its shape and voxel size",
    )
    grid.add_argument("--shape", type=shape, metavar="Z,Y,X", help="draw masks of this shape, in voxels")
    parser.add_argument("--count", type=int, metavar="N", help="number of masks, with --shape (1 if not given)")
    parser.add_argument(
        "--prior",
        type=Path,
        metavar="FILE",
        help="what to draw, as JSON or YAML; start from a prior.json this command wrote "
        "(the paper's Golgi and nuclei if not given, nuclei alone for --like stacks of one channel)",
    )
    parser.add_argument(
        "--classes",
        type=names,
        metavar="NAME,NAME",
        help="classes of the prior to draw, in the order of the channels (all if not given)",
    )
    parser.add_argument("--axes", help="order of the --like files' dimensions, for example YXZC, if they do not say")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="DIR", help="folder to write to")


def run(options: argparse.Namespace) -> None:
    """Write the masks, their objects, the prior and a picture, and say so."""
    from rich.console import Console
    from rich.progress import Progress

    from tfcyclegan3d.cli.outputs import fresh_folder
    from tfcyclegan3d.synthesis.masks import synthesize_masks
    from tfcyclegan3d.synthesis.pictures import draw_masks
    from tfcyclegan3d.synthesis.prior import save_prior

    n_masks, grids = _grids(options)
    first = next(grids)
    prior = _prior(options, first.n_channels)
    grids = itertools.chain([first], grids)
    lines, pictured = [], []
    with (
        fresh_folder(options.output, options.overwrite, WRITES) as folder,
        Progress(console=Console(stderr=True), transient=True, disable=options.quiet) as progress,
    ):
        for index, grid in enumerate(progress.track(grids, total=n_masks, description="drawing masks")):
            masks = synthesize_masks(grid.shape, prior, (options.seed, index), grid.voxel_size_um)
            masks = dataclasses.replace(masks, name=f"mask_{index:03d}")
            _write(folder, index, masks, prior.class_names)
            lines.append(_described(options.output, masks, prior.class_names))
            pictured = [*pictured, masks][:N_PICTURED]
        save_prior(prior, folder / "prior.json")
        draw_masks(pictured, prior.class_names).savefig(folder / "masks.png", dpi=100)
    lines.append(f"{options.output}: {n_masks} mask{'s' if n_masks != 1 else ''} with objects, prior.json, masks.png")
    print("\n".join(lines))


def _grids(options: argparse.Namespace) -> tuple[int, Iterator[Grid]]:
    """Return how many masks are wanted, and their grids, each stack being read when its turn comes."""
    from tfcyclegan3d import errors, volumes

    if options.seed < 0:
        raise errors.OptionError("--seed", options.seed, "give a whole number of 0 or more")
    if options.shape is not None:
        count = 1 if options.count is None else options.count
        if count < 1:
            raise errors.OptionError("--count", count, "give at least 1")
        return count, itertools.repeat(Grid(options.shape), count)
    if options.count is not None:
        raise errors.OptionError("--count", options.count, "leave it out with --like, which draws one mask a stack")
    paths = volumes.find_stacks(options.like)
    stacks = (volumes.read_volume(path, options.axes) for path in paths)
    return len(paths), (Grid(stack.shape, stack.voxel_size_um, stack.n_channels) for stack in stacks)


def _prior(options: argparse.Namespace, n_channels: int | None) -> Prior:
    """Return the prior given, or else the paper's; of that, nuclei alone where the stacks have one channel."""
    from tfcyclegan3d.synthesis.prior import NUCLEI, NUCLEI_AND_GOLGI, load_prior

    if options.prior is not None:
        prior = load_prior(options.prior)
    else:
        prior = NUCLEI if n_channels == 1 and options.classes is None else NUCLEI_AND_GOLGI
    return prior if options.classes is None else prior.select(options.classes)


def _write(folder: Path, index: int, masks: SyntheticMasks, class_names: Sequence[str]) -> None:
    from tfcyclegan3d.colours import stack_colours
    from tfcyclegan3d.volumes import Volume, write_volume

    colours = stack_colours(class_names)
    write_volume(folder / f"{masks.name}.tif", masks > 0, colours)
    write_volume(folder / f"objects_{index:03d}.tif", Volume(masks.objects, masks.voxel_size_um), colours)


def _described(folder: Path, masks: SyntheticMasks, class_names: Sequence[str]) -> str:
    drawn = [one.class_name for one in masks.table]
    objects = ", ".join(f"{drawn.count(name)} {name}" for name in class_names)
    share = masks.array.any(axis=-1).mean()
    return f"{folder / masks.name}.tif: {' x '.join(str(side) for side in masks.shape)}, {objects}, {share:.1%} covered"
