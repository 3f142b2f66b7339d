"""``tfcyclegan3d measure``: objects one by one, nucleus-Golgi pairs and polarity."""

from __future__ import annotations

import argparse
import logging
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tfcyclegan3d.cli.arguments import (
    add_missing_chunks,
    add_output,
    add_valley,
    check_valley,
    names,
    object_diameters,
    voxel_sides,
)

if TYPE_CHECKING:
    from tfcyclegan3d.objects.analysis import Analysis
    from tfcyclegan3d.sources import Source

SUMMARY = "measure objects: size, shape, place and brightness of each, pairs of nucleus and Golgi, polarity"
EXAMPLE = "tfcyclegan3d measure --prediction masks/ --images stacks/ -o objects"

SUFFIXES_OF_KINDS = ("_objects", "_mask", "_probability")
THRESHOLD = 0.5

logger = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument(
        "--labels",
        nargs="+",
        metavar="PATH",
        help="instance numbers, one channel a class: files, folders or globs; of a folder with NAME_objects or "
        "objects_* files, those alone",
    )
    what.add_argument(
        "--prediction",
        nargs="+",
        metavar="PATH",
        help="masks or probabilities, whose objects are numbered first; of a folder with NAME_mask files, those alone",
    )
    parser.add_argument("--images", nargs="+", metavar="PATH", help="their stacks, in the same order, for brightness")
    parser.add_argument(
        "--object-diameter",
        action="append",
        default=[],
        metavar="NAME=VALUE[um]",
        help="with --prediction: typical diameter of a class where it is thinnest, in voxels along X or in um; given "
        "again, or after a comma, for each further class (estimated where not given)",
    )
    parser.add_argument(
        "--threshold",
        type=float,
        metavar="P",
        help=f"with --prediction: probability above which a voxel is part of an object ({THRESHOLD} if not given); "
        "masks need none",
    )
    add_valley(parser, "--prediction")
    parser.add_argument(
        "--classes",
        type=names,
        metavar="NAME,NAME",
        help="name of each channel's class; without it, the names that predict, synthesize and simulate write into "
        "their files, else nuclei of one channel, and golgi,nuclei of two",
    )
    parser.add_argument(
        "--pairs",
        type=names,
        metavar="FROM,TO",
        help="classes to pair, vectors leading from one to the other (nuclei,golgi where both are there)",
    )
    parser.add_argument(
        "--max-distance",
        metavar="VALUE[um]",
        help="greatest distance between the centres of a pair, in the unit of the table or in um (if not given, the "
        "median diameter of the class that vectors lead from)",
    )
    parser.add_argument("--axes", help="order of the files' axes, for example ZCYX, where they do not say it")
    parser.add_argument("--image-axes", metavar="AXES", help="order of the images' axes, where it is not --axes")
    parser.add_argument(
        "--voxel-size",
        type=voxel_sides,
        metavar="Z,Y,X",
        help="of the stacks in um, where the files do not say it, or say it wrongly; unknown, lengths are in voxels",
    )
    parser.add_argument(
        "--format", choices=("csv", "parquet"), default="csv", help="of the tables of objects and pairs (csv)"
    )
    add_missing_chunks(parser)
    add_output(
        parser,
        "folder to write NAME_objects, NAME_pairs, NAME_report.html, pictures and napari's files to, for every stack",
    )


def run(options: argparse.Namespace) -> None:
    """Measure stack after stack, write all of it at the end, and say what was found."""
    from tfcyclegan3d.cli.outputs import fresh_folder
    from tfcyclegan3d.objects.analysis import ENDINGS
    from tfcyclegan3d.objects.tables import check_format
    from tfcyclegan3d.progress import progress_bar
    from tfcyclegan3d.synthesis.classes import taken_for

    _check(options)
    check_format(options.format)
    stacks = _stacks(options)
    images = _images(options.images, [*stacks.values()])
    endings = (*ENDINGS, *(("objects.tif", "objects.zarr") if options.prediction else ()))
    writes = tuple(re.escape(f"{name}_{ending}") for name in stacks for ending in endings)
    lines, written, assumed = [], [], []
    with fresh_folder(options.output, options.overwrite, writes) as folder:
        for (name, path), image in zip(stacks.items(), images, strict=True):
            with progress_bar(name, not options.quiet and options.prediction is not None) as on_progress:
                analysis, files = _measured(options, name, path, image, folder, on_progress)
            if _names(options, path, len(analysis.classes)) is None:
                assumed += taken_for(analysis.classes)
            lines += analysis.lines(name)
            written += [file.removeprefix(f"{name}_") for file in files]
    for note in dict.fromkeys(assumed):
        logger.info(note)
    lines.append(f"{options.output}: {_said(written)}")
    print("\n".join(lines))


def _check(options: argparse.Namespace) -> None:
    """Refuse options that cannot be used, or not together."""
    from tfcyclegan3d import errors

    if options.threshold is not None and not 0 < options.threshold < 1:
        raise errors.OptionError("--threshold", options.threshold, "give a probability between 0 and 1")
    check_valley(options.valley, "--prediction", options.prediction is not None)
    numbering = {"--object-diameter": ",".join(options.object_diameter) or None, "--threshold": options.threshold}
    for option, value in numbering.items():
        if value is not None and options.labels:
            raise errors.OptionError(option, value, "leave it out with --labels")
    if options.pairs is not None and len(options.pairs) != 2:
        raise errors.OptionError("--pairs", ",".join(options.pairs), "name two classes, for example nuclei,golgi")


def _stacks(options: argparse.Namespace) -> dict[str, Path]:
    """Return the stacks to measure, by the name of their files."""
    from tfcyclegan3d import errors
    from tfcyclegan3d.finding_stacks import find_named, stack_name

    kind, meant = ("--labels", "_objects$|^objects_") if options.labels else ("--prediction", "_mask$")
    found: dict[str, Path] = {}
    for path in find_named(options.labels or options.prediction, meant):
        name = re.sub(rf"({'|'.join(SUFFIXES_OF_KINDS)})$", "", stack_name(path))
        if name in found:
            raise errors.OptionError(kind, str(path), f"several stacks are called {name}: measure them one by one")
        found[name] = path
    return found


def _images(paths: Sequence[str] | None, stacks: Sequence[Path]) -> Sequence[Path | None]:
    from tfcyclegan3d import errors
    from tfcyclegan3d.finding_stacks import check_names, find_images

    if paths is None:
        return [None] * len(stacks)
    found = find_images(paths)
    if len(found) != len(stacks):
        remedy = f"give one for each of the {len(stacks)} that are measured, in their order"
        raise errors.OptionError("--images", f"{len(found)} stacks", remedy)
    check_names(stacks, found)
    return found


def _measured(
    options: argparse.Namespace,
    name: str,
    path: Path,
    image_path: Path | None,
    folder: Path,
    on_progress: Callable[[int, int, str], None],
) -> tuple[Analysis, list[str]]:
    """Measure one stack, write its files into a folder, and return their names, too."""
    from tfcyclegan3d import errors
    from tfcyclegan3d.objects.analysis import analyse, check_pair, save
    from tfcyclegan3d.objects.measurements import class_names
    from tfcyclegan3d.sources import open_source
    from tfcyclegan3d.zarrs.folders import is_zarr

    reading = {"scratch_folder": folder, "allow_missing_chunks": options.missing_chunks == "fill"}
    labels, image = open_source(path, options.axes, None, options.voxel_size, **reading), None
    classes = class_names(_names(options, path, labels.grid.n_channels), labels.grid.n_channels, labels.grid.name)
    check_pair(options.pairs, classes)
    if options.labels:
        _warn_of_an_image(path, labels)
    if image_path is not None:
        image = open_source(image_path, options.image_axes or options.axes, None, options.voxel_size, **reading)
    size = labels.grid.voxel_size_um or (image.grid.voxel_size_um if image is not None else None)
    max_distance = _max_distance(options.max_distance, size)
    if max_distance is not None and len(classes) == 1:
        raise errors.OptionError("--max-distance", options.max_distance, f"{name} has one class, so nothing to pair")
    labels.grid = labels.grid._replace(voxel_size_um=size)
    files = []
    if options.prediction:
        files.append(f"{name}_objects{'.zarr' if is_zarr(path) else '.tif'}")
        labels = _number(options, labels, classes, folder, folder / files[0], on_progress)
    analysis = analyse(labels, image, size, classes, options.pairs, max_distance)
    files += save(analysis, folder, name, labels, image, options.format)
    return analysis, files


def _names(options: argparse.Namespace, path: Path, n_channels: int) -> tuple[str, ...] | None:
    """Return the names of the classes that were given, else those that the file holds."""
    from tfcyclegan3d.stored_stacks import read_class_names

    return options.classes or read_class_names(path, n_channels)


def _warn_of_an_image(path: Path, labels: Source) -> None:
    """Say of a stack that its middle planes look like an image, whose every value would be measured as an object."""
    from tfcyclegan3d.contents import resembles_intensities

    depth, height, width = labels.grid.shape
    middle = slice(max(0, depth // 2 - 1), depth // 2 + 2)
    if resembles_intensities(labels.read((middle, slice(0, height), slice(0, width)))):
        logger.warning(
            "warning: %s: looks like an image, not like instance numbers; every value but 0 was measured as an object",
            path,
        )


def _number(
    options: argparse.Namespace,
    source: Source,
    classes: Sequence[str],
    folder: Path,
    path: Path,
    on_progress: Callable[[int, int, str], None],
) -> Source:
    """Give numbers to the objects of a mask, write them and open what was written."""
    from tfcyclegan3d.objects.instances import VALLEY
    from tfcyclegan3d.objects.numbering import check_prediction, numbered
    from tfcyclegan3d.sources import open_source
    from tfcyclegan3d.synthesis.diameters import diameters_in_voxels

    check_prediction(source)
    diameters = diameters_in_voxels(object_diameters(options.object_diameter), classes, source.grid)
    with numbered(
        source,
        classes,
        diameters,
        folder,
        threshold=THRESHOLD if options.threshold is None else options.threshold,
        valley=VALLEY if options.valley is None else options.valley,
        on_block=lambda done, total: on_progress(done, total, "blocks"),
    ) as found:
        found.save(path)
    return open_source(path, scratch_folder=folder)


def _max_distance(text: str | None, voxel_size_um: tuple[float, float, float] | None) -> float | None:
    """Return the greatest distance of a pair in the table's unit."""
    from tfcyclegan3d import errors

    if text is None:
        return None
    in_um = text.strip().lower().endswith(("um", "\u00b5m", "\u03bcm"))
    try:
        length = float(text.strip()[:-2] if in_um else text)
    except ValueError:
        length = 0.0
    if not 0 < length < float("inf"):
        raise errors.OptionError("--max-distance", text, "give a length above 0, for example 12 or 5um")
    if in_um and voxel_size_um is None:
        raise errors.OptionError(
            "--max-distance", text, "give --voxel-size, too, or the distance in voxels, without um"
        )
    return length


def _said(endings: Sequence[str]) -> str:
    """Say which files the folder holds, each kind once."""
    for_napari = ("points.csv", "vectors.csv")
    return ", ".join(
        f"NAME_{ending}{' for napari' if ending in for_napari else ''}" for ending in dict.fromkeys(endings)
    )
