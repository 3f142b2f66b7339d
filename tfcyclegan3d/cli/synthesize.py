"""``tfcyclegan3d synthesize``: draw synthetic masks, with the objects they are made of."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tfcyclegan3d.cli.arguments import add_missing_chunks, add_reading_arguments, names, object_diameters, shape

if TYPE_CHECKING:
    from tfcyclegan3d.stacks import Stacks
    from tfcyclegan3d.synthesis.fitting import PriorFit
    from tfcyclegan3d.synthesis.prior import Prior
    from tfcyclegan3d.synthesis.scene import Scene
    from tfcyclegan3d.volumes import Grid

SUMMARY = "draw synthetic masks to train on, no annotation needed"
EXAMPLE = "tfcyclegan3d synthesize --like images/ --fit -o masks"

WRITES = (
    r"mask_[0-9]{3,}\.tif",
    r"objects_[0-9]{3,}\.tif",
    r"objects_[0-9]{3,}\.csv",
    r"prior\.json",
    r"prior\.yaml",
    r"masks\.png",
    r"fit\.json",
    r"beside_[0-9]{3,}\.png",
)
N_PICTURED = 4
# Where only a diameter is known: about as full as tissue is, and as a sparse culture.
FILL_WITHOUT_STACK = (0.05, 0.15)


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
    what = parser.add_argument_group("what to draw (without any: the paper's Golgi and nuclei, nuclei for one channel)")
    what.add_argument(
        "--prior",
        type=Path,
        metavar="FILE",
        help="as JSON or YAML; start from a prior.yaml this command wrote",
    )
    what.add_argument(
        "--fit",
        action="store_true",
        help="what the --like stacks show: size, elongation, density and pairing are estimated, without a label",
    )
    what.add_argument(
        "--object-diameter",
        action="append",
        default=[],
        metavar="NAME=VALUE[um]",
        help="objects of this typical diameter, in voxels along X or in um; given again, or after a comma, for each "
        "further class; with --like, classes left out are measured as by --fit",
    )
    what.add_argument(
        "--classes",
        type=names,
        metavar="NAME,NAME",
        help="classes to draw, in the order of the channels (all of the prior if not given)",
    )
    add_reading_arguments(parser)
    add_missing_chunks(parser)
    parser.add_argument(
        "--workers", type=int, metavar="N", help="threads to draw with (one a processor if not given); changes no mask"
    )
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="DIR", help="folder to write to")


def run(options: argparse.Namespace) -> None:
    """Write the masks, their objects, the prior and a picture, and say so."""
    from tfcyclegan3d.cli.outputs import fresh_folder
    from tfcyclegan3d.progress import progress_bar
    from tfcyclegan3d.synthesis.classes import taken_for
    from tfcyclegan3d.synthesis.diameters import TAKEN_FOR_ISOTROPIC
    from tfcyclegan3d.synthesis.mask_files import write_masks
    from tfcyclegan3d.synthesis.masks import synthesize_scene
    from tfcyclegan3d.synthesis.pictures import draw_masks
    from tfcyclegan3d.synthesis.prior_file import save_prior

    _check(options)
    lines, pictured = [], []
    with fresh_folder(options.output, options.overwrite, WRITES) as folder:
        grids = _grids(options)
        prior, fit = _prior(options, grids, folder)
        for grid in grids:
            _check_fits(prior, grid, options)
        with progress_bar("drawing masks", not options.quiet) as on_progress:
            for index, grid in enumerate(grids):
                scene = synthesize_scene(grid.shape, prior, (options.seed, index), grid.voxel_size_um, options.workers)
                write_masks(scene, folder, index, grid.voxel_size_um)
                lines += _described(options.output / f"mask_{index:03d}.tif", scene)
                if index < N_PICTURED:
                    pictured.append((f"mask_{index:03d}", scene, grid.voxel_size_um))
                on_progress(index + 1, len(grids), "")
        save_prior(prior, folder / "prior.json")
        save_prior(prior, folder / "prior.yaml", "\n".join(fit.lines) if fit else "")
        draw_masks(pictured).savefig(folder / "masks.png", dpi=100)
        if fit is not None:
            _save_fit(fit, [scene for _, scene, _ in pictured], options, folder)
    if fit is not None:
        lines = ["found in the stacks:", *(f"  {line}" for line in fit.lines), *lines]
    if options.like and options.classes is None and options.prior is None:
        lines += taken_for(prior.class_names)
    if options.like and any(grid.voxel_size_um is None for grid in grids):
        lines.append(TAKEN_FOR_ISOTROPIC)
    also = " fit.json, beside_*.png (stacks beside their masks)," if fit else ""
    lines.append(
        f"{options.output}: {len(grids)} mask{'s' if len(grids) != 1 else ''} with objects (.tif, .csv),{also} "
        "prior.yaml (.json), masks.png"
    )
    print("\n".join(lines))


def _check(options: argparse.Namespace) -> None:
    """Refuse options that cannot be used, or not together."""
    from tfcyclegan3d import errors

    if options.seed < 0:
        raise errors.OptionError("--seed", options.seed, "give a whole number of 0 or more")
    if options.workers is not None and options.workers < 1:
        raise errors.OptionError("--workers", options.workers, "give at least 1")
    if options.count is not None and options.like is not None:
        raise errors.OptionsClashError("--count", "--like", "leave it out: one mask is drawn a stack")
    if options.count is not None and options.count < 1:
        raise errors.OptionError("--count", options.count, "give at least 1")
    if options.fit and options.like is None:
        raise errors.OptionsClashError("--fit", "--shape", "give the stacks to fit to with --like, in place of --shape")
    for option, value in (("--axes", options.axes), ("--channels", options.channels)):
        if value is not None and options.like is None:
            raise errors.OptionsClashError(option, "--shape", "leave it out; --classes chooses what is drawn")
    if options.prior is not None and (options.fit or options.object_diameter):
        other = "--fit" if options.fit else "--object-diameter"
        raise errors.OptionsClashError("--prior", other, f"leave out {other}, which makes a prior, or --prior")


def _grids(options: argparse.Namespace) -> list[Grid]:
    """Return the grids of the masks."""
    from tfcyclegan3d import volumes

    if options.shape is not None:
        return [volumes.Grid(options.shape, 0, options.voxel_size, "the volume")] * (options.count or 1)
    return [volumes.read_grid(path, **_reading(options)) for path in volumes.find_images(options.like)]


def _reading(options: argparse.Namespace) -> dict[str, object]:
    return {
        "axes": options.axes,
        "channels": options.channels,
        "voxel_size_um": options.voxel_size,
        "allow_missing_chunks": options.missing_chunks == "fill",
    }


def _prior(options: argparse.Namespace, grids: Sequence[Grid], folder: Path) -> tuple[Prior, PriorFit | None]:
    """Return what to draw, and the fit it comes from, if any; what does not fit into memory goes to the folder."""
    from tfcyclegan3d.synthesis.prior import NUCLEI, NUCLEI_AND_GOLGI
    from tfcyclegan3d.synthesis.prior_file import load_prior

    known = object_diameters(options.object_diameter)
    # In the order of the paper's channels, whatever order they were given in.
    known = {name: known[name] for name in sorted(known, key=(*NUCLEI_AND_GOLGI.class_names, *known).index)}
    if options.fit or (known and options.like is not None and _lacks_some(options, grids[0], known)):
        fit = _fit(options, known, folder)
        return fit.prior, fit
    if known:
        return _prior_of_diameters(options, grids, known), None
    if options.prior is not None:
        prior = load_prior(options.prior)
    else:
        prior = NUCLEI if grids[0].n_channels == 1 and options.classes is None else NUCLEI_AND_GOLGI
    if options.classes is not None:
        prior = prior.select(options.classes)
    return prior, None


def _lacks_some(options: argparse.Namespace, grid: Grid, known: dict[str, str]) -> bool:
    """Tell whether a class has no diameter, so that it is measured, as in a training."""
    if options.classes is None:
        return len(known) < grid.n_channels
    return not known.keys() >= set(options.classes)


def _check_fits(prior: Prior, grid: Grid, options: argparse.Namespace) -> None:
    """Refuse a grid that the prior cannot be drawn on, or a stack of another number of channels."""
    from tfcyclegan3d import errors

    prior.check_fits(grid.shape, prior.voxel_size(grid.voxel_size_um))
    if options.like and grid.n_channels != len(prior.class_names) and options.classes is None:
        raise errors.ChannelError(
            grid.name,
            grid.n_channels,
            f"but the prior draws {len(prior.class_names)} classes ({', '.join(prior.class_names)})",
        )


def _stacks(options: argparse.Namespace, folder: Path) -> Stacks:
    from tfcyclegan3d.stacks import Stacks
    from tfcyclegan3d.volumes import find_images

    return Stacks(find_images(options.like), **_reading(options), scratch_folder=folder)


def _fit(options: argparse.Namespace, known: dict[str, str], folder: Path) -> PriorFit:
    from tfcyclegan3d.synthesis.fitting import fit_prior
    from tfcyclegan3d.volumes import check_image

    stacks = _stacks(options, folder)
    for stack in stacks:
        check_image(stack)
    return fit_prior(stacks, options.classes, known)


def _prior_of_diameters(options: argparse.Namespace, grids: Sequence[Grid], known: dict[str, str]) -> Prior:
    from tfcyclegan3d import errors
    from tfcyclegan3d.synthesis.diameters import diameters_in_voxels, prior_of_diameters

    missing = next((name for name in options.classes or () if name not in known), None)
    if missing is not None:
        given = ",".join(f"{name}={value}" for name, value in known.items())
        raise errors.OptionError(
            "--object-diameter",
            given,
            f"give one of {missing}, too: {given},{missing}=VALUE; without a stack none is measured",
        )
    diameters = diameters_in_voxels(known, tuple(known), grids[0], grids)
    prior = prior_of_diameters(diameters, dict.fromkeys(known, FILL_WITHOUT_STACK), grids[0].voxel_size_um)
    return prior if options.classes is None else prior.select(options.classes)


def _save_fit(fit: PriorFit, scenes: Sequence[Scene], options: argparse.Namespace, folder: Path) -> None:
    from tfcyclegan3d.synthesis.pictures import draw_beside

    (folder / "fit.json").write_text(json.dumps(fit.to_dict(), indent=2) + "\n", encoding="utf-8")
    for index, (scene, stack) in enumerate(zip(scenes, _stacks(options, folder), strict=False)):
        draw_beside(stack, scene).savefig(folder / f"beside_{index:03d}.png", dpi=100)


def _described(path: Path, scene: Scene) -> list[str]:
    """Say what a mask holds, and what of the prior's density could not be placed."""
    drawn = [one.class_name for one in scene.table]
    objects = ", ".join(f"{drawn.count(name)} {name}" for name in scene.class_names)
    lines = [f"{path}: {' x '.join(str(side) for side in scene.shape)}, {objects}"]
    return lines + [f"{path}: the volume is full: {shortfall}" for shortfall in scene.shortfalls]
