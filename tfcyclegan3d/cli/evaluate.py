"""The command ``evaluate``: score predicted masks against their truth."""

from __future__ import annotations

import argparse
import json
import logging
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from tfcyclegan3d import errors
from tfcyclegan3d.cli.arguments import add_missing_chunks
from tfcyclegan3d.cli.outputs import fresh_folder

if TYPE_CHECKING:
    from tfcyclegan3d.evaluation.objects import ObjectScores
    from tfcyclegan3d.evaluation.overlap import Overlap
    from tfcyclegan3d.volumes import Volume

SUMMARY = "score predicted masks: voxel precision, recall and Dice per class, and objects"
EXAMPLE = "tfcyclegan3d evaluate --prediction masks/ --truth truth/ --json scores.json"

logger = logging.getLogger(__name__)

Score = TypeVar("Score")

FIGURES = ("dice", "precision", "recall")
OBJECT_HEADINGS = ("found", "true", "F1 @0.5", "F1 @0.75", "AP @0.5", "mean AP", "PQ @0.5", "merges", "splits")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this command's arguments to its parser."""
    parser.add_argument(
        "--prediction",
        nargs="+",
        required=True,
        metavar="PATH",
        help="predicted stacks: files, folders or globs; of a folder with NAME_mask or mask_* files, those alone",
    )
    parser.add_argument(
        "--truth",
        nargs="+",
        required=True,
        metavar="PATH",
        help="their truth, in the same order; of a folder with truth_* or mask_* files, those alone",
    )
    parser.add_argument(
        "--objects",
        action="store_true",
        help="score objects too: of folders, NAME_objects and objects_* files are taken where there are any; the "
        "objects of a mask of 0 and 255 are its connected parts",
    )
    parser.add_argument("--json", metavar="FILE", help="write the scores here too")
    parser.add_argument("--axes", help="order of the files' axes, for example ZCYX, where they do not say it")
    add_missing_chunks(parser)
    parser.add_argument("--truth-axes", metavar="AXES", help="order of the truth's axes, where it is not --axes")
    parser.add_argument(
        "--classes",
        metavar="NAMES",
        help="name of each channel's class, for example golgi,nuclei; without it, the names that predict, "
        "synthesize and simulate write into their files, else nuclei of one channel, and golgi,nuclei of two",
    )


def run(options: argparse.Namespace) -> None:
    """Score every pair of stacks, print a table and write it as JSON where wanted."""
    pairs = _pairs(options.prediction, options.truth, options.objects)
    class_names = _class_names(options.classes)
    with _json_file(options.json, options.overwrite) as write:
        axes = options.axes, options.truth_axes or options.axes
        fill = options.missing_chunks == "fill"
        class_names = class_names or _names_in_files(pairs, *axes, fill=fill)
        scores, objects = _score(pairs, *axes, class_names, fill=fill, with_objects=options.objects)
        means, object_means = _means(scores), _object_means(objects)
        write(_summary(pairs, scores, means, objects, object_means))
    print(_table(pairs, scores, means))
    if options.objects:
        print(f"\n{_object_table(pairs, objects, object_means)}")
    if options.json and not options.quiet:
        print(f"wrote {options.json}")


def _pairs(predictions: Sequence[str], truths: Sequence[str], objects: bool) -> list[tuple[Path, Path]]:
    """Return the files to compare, in the order given; folders in name order."""
    from tfcyclegan3d.finding_stacks import check_names, find_named

    predicted = find_named(predictions, *(["_objects$", "^objects_"] if objects else []), "_mask$", "^mask_")
    true = find_named(truths, *(["^objects_"] if objects else []), "^truth_", "^mask_")
    if len(predicted) != len(true):
        raise errors.OptionError(
            "--prediction and --truth",
            f"{len(predicted)} and {len(true)} stacks",
            "give as many stacks of one as of the other, in the same order",
        )
    check_names(predicted, true)
    return list(zip(predicted, true, strict=True))


def _class_names(classes: str | None) -> tuple[str, ...] | None:
    if classes is None:
        return None
    names = tuple(name.strip() for name in classes.split(","))
    if not all(names):
        raise errors.OptionError("--classes", classes, "give one name per channel, for example --classes golgi,nuclei")
    if len(set(names)) != len(names):
        raise errors.OptionError("--classes", classes, "give every class a name of its own")
    return names


def _names_in_files(
    pairs: Sequence[tuple[Path, Path]], axes: str | None, truth_axes: str | None, *, fill: bool
) -> tuple[str, ...] | None:
    """Return the names of the classes that all files which hold any agree on."""
    from tfcyclegan3d.stored_stacks import read_class_names
    from tfcyclegan3d.volumes import read_grid

    found: dict[tuple[str, ...], Path] = {}
    for pair in pairs:
        for path, its_axes in zip(pair, (axes, truth_axes), strict=True):
            n_channels = read_grid(path, its_axes, allow_missing_chunks=fill).n_channels
            names = read_class_names(path, n_channels)
            if names is not None:
                found.setdefault(names, path)
    if len(found) > 1:
        (one, path), (other, other_path) = list(found.items())[:2]
        raise errors.OptionError(
            "--prediction and --truth",
            f"{path.name} of {','.join(one)} and {other_path.name} of {','.join(other)}",
            "give stacks of the same classes in the same order, or say with --classes what the channels show",
        )
    return next(iter(found), None)


def _score(
    pairs: Sequence[tuple[Path, Path]],
    axes: str | None,
    truth_axes: str | None,
    class_names: tuple[str, ...] | None,
    *,
    fill: bool,
    with_objects: bool,
) -> tuple[list[dict[str, Overlap]], list[dict[str, ObjectScores]]]:
    """Return the scores of each class, and of its objects, one dictionary per pair; one pair is in memory at a time."""
    from tfcyclegan3d.contents import resembles_intensities
    from tfcyclegan3d.evaluation.objects import evaluate_objects
    from tfcyclegan3d.evaluation.overlap import evaluate
    from tfcyclegan3d.volumes import read_volume

    scores: list[dict[str, Overlap]] = []
    objects: list[dict[str, ObjectScores]] = []
    for prediction, truth in pairs:
        predicted = read_volume(prediction, axes=axes, allow_missing_chunks=fill)
        true = read_volume(truth, axes=truth_axes, allow_missing_chunks=fill)
        score = evaluate(predicted, true, class_names)
        for path, volume in ((prediction, predicted), (truth, true)):
            if resembles_intensities(volume):
                logger.warning(
                    "warning: %s: looks like an image, not like a mask or instance numbers; every voxel that is not 0 "
                    "was scored as object",
                    path,
                )
        if scores and score.keys() != scores[0].keys():
            raise errors.ChannelError(
                prediction,
                len(score),
                f"but the stacks before it have {len(scores[0])}",
                "give stacks of the same classes, or score them one by one",
            )
        scores.append(score)
        if with_objects:
            _say_masks(((prediction, predicted), (truth, true)))
            objects.append(evaluate_objects(predicted, true, names=class_names))
    return scores, objects


def _say_masks(volumes: Sequence[tuple[Path, Volume]]) -> None:
    """Say of which files objects are not numbered."""
    from tfcyclegan3d.evaluation.objects import is_mask

    for path, volume in volumes:
        if volume.array.any() and is_mask(volume):
            logger.warning("%s: holds a mask and no instance numbers; its connected parts were taken for objects", path)


def _means(scores: Sequence[dict[str, Overlap]]) -> dict[str, Overlap]:
    from tfcyclegan3d.evaluation.overlap import mean_overlap

    return {name: mean_overlap([score[name] for score in scores]) for name in scores[0]}


def _object_means(objects: Sequence[dict[str, ObjectScores]]) -> dict[str, ObjectScores]:
    from tfcyclegan3d.evaluation.objects import mean_objects

    return {name: mean_objects([score[name] for score in objects]) for name in (objects[0] if objects else ())}


def _summary(
    pairs: Sequence[tuple[Path, Path]],
    scores: Sequence[dict[str, Overlap]],
    means: dict[str, Overlap],
    objects: Sequence[dict[str, ObjectScores]],
    object_means: dict[str, ObjectScores],
) -> dict[str, object]:
    """Return what the JSON file holds: the means of each class, then the stacks."""
    stacks = [
        {"prediction": prediction.name, "truth": truth.name, "classes": _figures(score, of_objects)}
        for (prediction, truth), score, of_objects in zip(pairs, scores, objects or [{}] * len(pairs), strict=True)
    ]
    return {"classes": _figures(means, object_means), "stacks": stacks}


def _figures(score: dict[str, Overlap], objects: dict[str, ObjectScores]) -> dict[str, dict[str, object]]:
    figures = {name: {figure: getattr(overlap, figure) for figure in FIGURES} for name, overlap in score.items()}
    for name, of_class in objects.items():
        figures[name]["objects"] = of_class.to_dict()
    return figures


def _table(pairs: Sequence[tuple[Path, Path]], scores: Sequence[dict[str, Overlap]], means: dict[str, Overlap]) -> str:
    """Return an aligned table: each stack's classes where there are several stacks, then the means."""
    rows = _rows(pairs, scores, means, lambda score: [f"{getattr(score, figure):.4f}" for figure in FIGURES])
    return _aligned(("Dice", "precision", "recall"), rows)


def _object_table(
    pairs: Sequence[tuple[Path, Path]], scores: Sequence[dict[str, ObjectScores]], means: dict[str, ObjectScores]
) -> str:
    """Return the same of objects."""

    def cells(score: ObjectScores) -> list[str]:
        half, most = score.at[0.5], score.at[0.75]
        shares = half.f1, most.f1, half.average_precision, score.mean_average_precision, half.panoptic_quality
        counts = score.n_predicted, score.n_true, score.merges, score.splits
        found, true, merges, splits = (f"{count:.4g}" for count in counts)
        return [found, true, *(f"{share:.4f}" for share in shares), merges, splits]

    return _aligned(OBJECT_HEADINGS, _rows(pairs, scores, means, cells))


def _rows(
    pairs: Sequence[tuple[Path, Path]],
    scores: Sequence[dict[str, Score]],
    means: dict[str, Score],
    cells: Callable[[Score], list[str]],
) -> list[tuple[str, ...]]:
    """Return the rows of a table, each with its stack where there are several, its class and its cells."""
    if len(pairs) == 1:
        return [(name, *cells(score)) for name, score in means.items()]
    labelled = [(prediction.name, score) for (prediction, _), score in zip(pairs, scores, strict=True)]
    return [
        (stack, name, *cells(of_class))
        for stack, score in [*labelled, (f"mean of {len(pairs)}", means)]
        for name, of_class in score.items()
    ]


def _aligned(headings: Sequence[str], rows: Sequence[tuple[str, ...]]) -> str:
    """Return rows of words and figures under their headings; those of the words are added."""
    n_words = len(rows[0]) - len(headings)
    rows = [(*("stack", "class")[-n_words:], *headings), *rows]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if k < n_words else cell.rjust(width)
            for k, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    )


@contextmanager
def _json_file(path: str | None, overwrite: bool) -> Iterator[Callable[[object], None]]:
    """Give a function that writes the file, which appears only once the block ends without an error."""
    if path is None:
        yield lambda _: None
        return
    target = Path(path)
    if target.is_dir():
        raise errors.OutputError(target, "a folder of that name is in the way of the file")
    with fresh_folder(target.parent, overwrite, writes=(re.escape(target.name),)) as scratch:
        yield lambda content: (scratch / target.name).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
