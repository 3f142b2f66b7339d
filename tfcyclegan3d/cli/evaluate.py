"""The command ``evaluate``: score predicted masks against their truth."""

from __future__ import annotations

import argparse
import glob
import json
import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from tfcyclegan3d import errors
from tfcyclegan3d.cli.arguments import add_missing_chunks
from tfcyclegan3d.cli.outputs import fresh_folder

if TYPE_CHECKING:
    from tfcyclegan3d.evaluation.overlap import Overlap

SUMMARY = "score predicted masks: voxel precision, recall and Dice per class"
EXAMPLE = "tfcyclegan3d evaluate --prediction masks/ --truth truth/ --json scores.json"

logger = logging.getLogger(__name__)

FIGURES = ("dice", "precision", "recall")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this command's arguments to its parser."""
    parser.add_argument(
        "--prediction",
        nargs="+",
        required=True,
        metavar="PATH",
        help="predicted stacks: files, folders or globs; of a folder with NAME_mask files, those alone",
    )
    parser.add_argument(
        "--truth",
        nargs="+",
        required=True,
        metavar="PATH",
        help="their truth, in the same order; of a folder with truth_* files, those alone",
    )
    parser.add_argument("--json", metavar="FILE", help="write the scores here too")
    parser.add_argument("--axes", help="order of the files' axes, for example ZCYX, where they do not say it")
    add_missing_chunks(parser)
    parser.add_argument("--truth-axes", metavar="AXES", help="order of the truth's axes, where it is not --axes")
    parser.add_argument(
        "--classes",
        metavar="NAMES",
        help="name of each channel's class, for example golgi,nuclei; without it, one channel is "
        "nuclei and two are golgi,nuclei",
    )


def run(options: argparse.Namespace) -> None:
    """Score every pair of stacks, print a table and write it as JSON where wanted."""
    pairs = _pairs(options.prediction, options.truth)
    class_names = _class_names(options.classes)
    with _json_file(options.json, options.overwrite) as write:
        axes = options.axes, options.truth_axes or options.axes
        scores = _score(pairs, *axes, class_names, fill=options.missing_chunks == "fill")
        means = _means(scores)
        write(_summary(pairs, scores, means))
    print(_table(pairs, scores, means))
    if options.json and not options.quiet:
        print(f"wrote {options.json}")


def _pairs(predictions: Sequence[str], truths: Sequence[str]) -> list[tuple[Path, Path]]:
    """Return the files to compare, in the order given; folders in name order."""
    predicted = _stacks(predictions, lambda path: "_mask." in path.name)
    true = _stacks(truths, lambda path: path.name.startswith("truth_"))
    if len(predicted) != len(true):
        raise errors.OptionError(
            "--prediction and --truth",
            f"{len(predicted)} and {len(true)} stacks",
            "give as many stacks of one as of the other, in the same order",
        )
    return list(zip(predicted, true, strict=True))


def _stacks(paths: Sequence[str], is_meant: Callable[[Path], bool]) -> list[Path]:
    """Expand paths to stacks; where one leads to several, some of them meant, leave its others out.

    The folders that ``predict`` and ``simulate`` write hold probabilities, images and labels beside the masks.
    """
    from tfcyclegan3d.volumes import find_stacks

    found: list[Path] = []
    for path in paths:
        stacks = find_stacks([path])
        found += [stack for stack in stacks if is_meant(stack)] or stacks
    return found


def _class_names(classes: str | None) -> tuple[str, ...] | None:
    if classes is None:
        return None
    names = tuple(name.strip() for name in classes.split(","))
    if not all(names):
        raise errors.OptionError("--classes", classes, "give one name per channel, for example --classes golgi,nuclei")
    if len(set(names)) != len(names):
        raise errors.OptionError("--classes", classes, "give every class a name of its own")
    return names


def _score(
    pairs: Sequence[tuple[Path, Path]],
    axes: str | None,
    truth_axes: str | None,
    class_names: tuple[str, ...] | None,
    *,
    fill: bool,
) -> list[dict[str, Overlap]]:
    """Return the scores of each class, one dictionary per pair; one pair is in memory at a time."""
    from tfcyclegan3d.evaluation.overlap import evaluate, resembles_intensities
    from tfcyclegan3d.volumes import read_volume

    scores: list[dict[str, Overlap]] = []
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
    return scores


def _means(scores: Sequence[dict[str, Overlap]]) -> dict[str, Overlap]:
    from tfcyclegan3d.evaluation.overlap import mean_overlap

    return {name: mean_overlap([score[name] for score in scores]) for name in scores[0]}


def _summary(
    pairs: Sequence[tuple[Path, Path]], scores: Sequence[dict[str, Overlap]], means: dict[str, Overlap]
) -> dict[str, object]:
    """Return what the JSON file holds: the means of each class, then the stacks."""
    stacks = [
        {"prediction": prediction.name, "truth": truth.name, "classes": _figures(score)}
        for (prediction, truth), score in zip(pairs, scores, strict=True)
    ]
    return {"classes": _figures(means), "stacks": stacks}


def _figures(score: dict[str, Overlap]) -> dict[str, dict[str, float]]:
    return {name: {figure: getattr(overlap, figure) for figure in FIGURES} for name, overlap in score.items()}


def _table(pairs: Sequence[tuple[Path, Path]], scores: Sequence[dict[str, Overlap]], means: dict[str, Overlap]) -> str:
    """Return an aligned table: each stack's classes where there are several stacks, then the means."""
    rows = [("stack", "class", "Dice", "precision", "recall")]
    labelled = [(prediction.name, score) for (prediction, _), score in zip(pairs, scores, strict=True)]
    for stack, score in [*labelled, (f"mean of {len(pairs)}", means)]:
        rows += [
            (stack, name, *(f"{getattr(overlap, figure):.4f}" for figure in FIGURES)) for name, overlap in score.items()
        ]
    if len(pairs) == 1:
        rows = [row[1:] for row in (rows[0], *rows[-len(means) :])]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    n_words = len(rows[0]) - len(FIGURES)
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
    with fresh_folder(target.parent, overwrite, writes=(glob.escape(target.name),)) as scratch:
        yield lambda content: (scratch / target.name).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
