"""``tfcyclegan3d predict``: segment whole stacks with a trained model."""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from tfcyclegan3d.cli.arguments import (
    add_missing_chunks,
    add_output,
    add_reading_arguments,
    add_valley,
    check_valley,
    object_diameters,
    shape,
)
from tfcyclegan3d.micrometres import shown, voxels_alike

SUMMARY = "segment whole stacks with a trained model"
EXAMPLE = "tfcyclegan3d predict run --images stacks/ -o masks"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("model", type=Path, metavar="MODEL", help="a run folder of 'train', or a model of 'export'")
    parser.add_argument(
        "--images", nargs="+", required=True, metavar="PATH", help="stacks, TIFF or OME-Zarr: files, folders or globs"
    )
    parser.add_argument("--probabilities", action="store_true", help="write NAME_probability, too, in [0, 1]")
    parser.add_argument(
        "--objects", action="store_true", help="write NAME_objects, too: the mask with a number for each object"
    )
    parser.add_argument(
        "--object-diameter",
        action="append",
        default=[],
        metavar="NAME=VALUE[um]",
        help="with --objects: typical diameter of a class where it is thinnest, in voxels along X or in um; given "
        "again, or after a comma, for each further class (what the run was trained with, else estimated)",
    )
    add_valley(parser, "--objects")
    parser.add_argument(
        "--threshold",
        type=float,
        metavar="P",
        help="probability above which a voxel is part of an object (the run's own, 0.5, if not given)",
    )
    parser.add_argument(
        "--format",
        choices=("tif", "zarr"),
        default="tif",
        help="of masks and probabilities: TIFF (the default), or OME-Zarr for what is larger than memory",
    )
    parser.add_argument(
        "--flips",
        choices=("none", "plane", "all"),
        help="mean over mirror images: 4 passes (plane) or 8 (all) for steadier outlines (the run's own if not given)",
    )
    parser.add_argument(
        "--tile",
        type=shape,
        metavar="Z,Y,X",
        help="largest tile the network sees, on its own grid; what fits into memory if not given",
    )
    parser.add_argument(
        "--scheduler",
        metavar="tcp://HOST:PORT|local[:N]",
        help="let workers of Dask make the blocks: those of a scheduler that runs, or N processes on this machine; "
        "needs the extra 'distributed'",
    )
    parser.add_argument(
        "--check-seams",
        action="store_true",
        help="segment again by other tiles, say what share of the voxels of stack and mask differs, and draw where "
        "(NAME_seams.png)",
    )
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="inference.KEY=VALUE",
        help="another setting of the prediction, for example inference.halo=24",
    )
    add_reading_arguments(parser)
    add_missing_chunks(parser)
    add_output(parser, "folder to write NAME_mask and a picture NAME_mask.png to, for every stack")


def run(options: argparse.Namespace) -> None:
    """Segment stack after stack, write each as soon as it is done, and say so."""
    from tfcyclegan3d import errors
    from tfcyclegan3d.cli.outputs import folder_for
    from tfcyclegan3d.inference import spreading
    from tfcyclegan3d.quiet_tensorflow import import_quietly
    from tfcyclegan3d.volumes import find_images, stack_name

    if options.threshold is not None and not 0 < options.threshold < 1:
        raise errors.OptionError("--threshold", options.threshold, "give a probability between 0 and 1")
    scheduler = spreading.Scheduler.parse(options.scheduler) if options.scheduler else None
    if options.object_diameter and not options.objects:
        raise errors.OptionError("--object-diameter", options.object_diameter[0], "add --objects, or leave it out")
    check_valley(options.valley, "--objects", options.objects)
    changes, diameters = _changes(options), object_diameters(options.object_diameter)
    paths = find_images(options.images)
    names = {path: stack_name(path) for path in paths}
    for path, name in names.items():
        if Counter(names.values())[name] > 1:
            raise errors.OptionError(
                "--images", str(path), f"several stacks are called {name}: predict them one by one"
            )
    if not options.debug:
        import_quietly()

    from tfcyclegan3d.inference.predictor import load_model
    from tfcyclegan3d.inference.whole_stacks import (
        WORKSPACES,
        Wanted,
        names_of,
        refuse_existing,
        segment_stacks,
    )
    from tfcyclegan3d.progress import progress_bar

    wanted = Wanted(
        threshold=options.threshold,
        probabilities=options.probabilities,
        suffix=f".{options.format}",
        tile=options.tile,
        check_seams=options.check_seams,
        reading={
            "axes": options.axes,
            "channels": list(options.channels) if options.channels is not None else None,
            "voxel_size_um": list(options.voxel_size) if options.voxel_size is not None else None,
            "allow_missing_chunks": options.missing_chunks == "fill",
        },
        changes=changes,
        objects=diameters if options.objects else None,
        valley=options.valley,
    )
    if not options.overwrite and not (options.output / WORKSPACES).is_dir():
        for name in names.values():  # Before any work.
            refuse_existing(options.output, names_of(name))
    spread = spreading.workers(scheduler) if scheduler else nullcontext()
    with folder_for(options.output) as folder, spread as make:
        model = load_model(options.model, changes)
        _warn_of_training(options.model, paths, wanted.reading)

        def progress(title: str):
            return progress_bar(title, not options.quiet)

        for outcome in segment_stacks(
            model, options.model, paths, wanted, folder, progress, overwrite=options.overwrite, make=make
        ):
            shares = ", ".join(f"{share:.1%} {label}" for label, share in outcome.shares.items())
            before = ", was there" if outcome.was_there else ""
            if outcome.n_resumed:
                before = f", {outcome.n_resumed} blocks were there"
            print(f"{outcome.mask}: {shares}{_counted(outcome.counts)}{before}")
            if outcome.seams is not None:
                print(outcome.seams.text(model.classes))
            elif options.check_seams and not outcome.was_there:
                print("seams: the stack fits into one tile; nothing to compare")


def _warn_of_training(model: Path, paths: Sequence[Path], reading: dict[str, Any]) -> None:
    """Say so where a training has not come to its end, or its stacks had other voxels."""
    from tfcyclegan3d.training.run_folder import RunFolder
    from tfcyclegan3d.volumes import read_grid

    try:
        manifest = RunFolder(model).read_manifest()
        verdict, trained_on = manifest["verdict"], manifest.get("voxel_size_um")
    except (OSError, ValueError, KeyError, TypeError):  # A model without a training, such as an export.
        return
    if verdict in ("running", "interrupted"):
        said = f"its training is {verdict}, not finished; masks show what it knew so far"
        print(f"warning: {model}: {said}", file=sys.stderr)
    if trained_on is None:
        return
    reading = reading | {"allow_missing_chunks": True}  # Chunks are looked for later.
    grids = [read_grid(path, **reading) for path in paths]
    known = [grid for grid in grids if grid.voxel_size_um is not None]
    unlike = [grid for grid in known if not voxels_alike(trained_on, grid.voxel_size_um)]
    if unlike:
        others = f" and {len(unlike) - 1} more" if len(unlike) > 1 else ""
        print(
            f"warning: {unlike[0].name}{others}: voxels of {shown(unlike[0].voxel_size_um)}, in the training "
            f"{shown(trained_on)}: objects look larger or smaller than the network knows them; resample, or train anew",
            file=sys.stderr,
        )


def _counted(counts: dict[str, int] | None) -> str:
    return "" if counts is None else "; objects: " + ", ".join(f"{n} {label}" for label, n in counts.items())


def _changes(options: argparse.Namespace) -> dict[str, object]:
    """Return the settings that are to differ from the run's."""
    from tfcyclegan3d import config, errors

    changes = config.parse_assignments(options.set)
    for key in changes:
        if not key.startswith("inference."):
            raise errors.OptionError("--set", key, "give a setting of the prediction: inference.KEY=VALUE")
    return changes | ({"inference.flips": options.flips} if options.flips else {})
