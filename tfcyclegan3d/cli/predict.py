"""``tfcyclegan3d predict``: segment whole stacks with a trained model."""

from __future__ import annotations

import argparse
import glob
from collections import Counter
from pathlib import Path

from tfcyclegan3d.cli.arguments import add_output, add_reading_arguments

SUMMARY = "segment whole stacks with a trained model"
EXAMPLE = "tfcyclegan3d predict run --images stacks/ -o masks"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("model", type=Path, metavar="MODEL", help="a run folder written by 'train'")
    parser.add_argument("--images", nargs="+", required=True, metavar="PATH", help="stacks: files, folders or globs")
    parser.add_argument("--probabilities", action="store_true", help="write NAME_probability.tif too, in [0, 1]")
    parser.add_argument(
        "--threshold",
        type=float,
        metavar="P",
        help="probability above which a voxel is part of an object (the run's own, 0.5, if not given)",
    )
    add_reading_arguments(parser)
    add_output(parser, "folder to write NAME_mask.tif and a picture NAME_mask.png to, for every stack")


def run(options: argparse.Namespace) -> None:
    """Segment stack after stack, write each as soon as it is done, and say so."""
    from tfcyclegan3d import errors
    from tfcyclegan3d.cli.outputs import fresh_folder
    from tfcyclegan3d.quiet_tensorflow import import_quietly
    from tfcyclegan3d.volumes import find_images, stack_name

    if options.threshold is not None and not 0 < options.threshold < 1:
        raise errors.OptionError("--threshold", options.threshold, "give a probability between 0 and 1")
    paths = find_images(options.images)
    names = {path: stack_name(path) for path in paths}
    for path, name in names.items():
        if Counter(names.values())[name] > 1:
            raise errors.OptionError(
                "--images", str(path), f"several stacks are called {name}: predict them one by one"
            )
    kinds = ("mask.tif", "mask.png", "probability.tif")
    writes = tuple(f"{glob.escape(name)}_{kind}" for name in names.values() for kind in kinds)
    if not options.debug:
        import_quietly()
    with fresh_folder(options.output, options.overwrite, writes) as folder:
        for line in _segment(options, names, folder):
            print(line)


def _segment(options: argparse.Namespace, names: dict[Path, str], folder: Path):
    from tfcyclegan3d.colours import stack_colours
    from tfcyclegan3d.inference.pictures import overview
    from tfcyclegan3d.inference.predictor import load_model
    from tfcyclegan3d.progress import progress_bar
    from tfcyclegan3d.volumes import read_volume, write_volume

    model = load_model(options.model)
    threshold = model.config.inference.threshold if options.threshold is None else options.threshold
    colours = stack_colours(model.classes)
    for path, name in names.items():
        volume = read_volume(path, options.axes, options.channels, options.voxel_size)
        model.check(volume)  # Before there is a bar on stderr, where an error is one line.
        with progress_bar(name, not options.quiet) as on_progress:
            probabilities = model.predict(volume, lambda done, total, move=on_progress: move(done, total, "tiles"))
        mask = probabilities > threshold
        write_volume(folder / f"{name}_mask.tif", mask, colours)
        if options.probabilities:
            write_volume(folder / f"{name}_probability.tif", probabilities, colours)
        overview(volume, mask, model.classes).savefig(folder / f"{name}_mask.png", dpi=110)
        shares = ", ".join(
            f"{share:.1%} {label}" for label, share in zip(model.classes, mask.array.mean(axis=(0, 1, 2)), strict=True)
        )
        yield f"{options.output / (name + '_mask.tif')}: {shares}"
