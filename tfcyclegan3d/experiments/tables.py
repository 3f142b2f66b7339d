"""The paper's Tables I and II from the scores and times of a cross-validation, beside the paper's own figures."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

MEASURES = ("dice", "precision", "recall")
# Table II of the paper: by method and class, (Dice, precision, recall). Never mixed with what is measured here.
PAPER_SCORES = {
    "unet": {"nuclei": (0.7756, 0.8055, 0.7773), "golgi": (0.6834, 0.7248, 0.7353)},
    "vox2vox": {"nuclei": (0.7947, 0.8079, 0.8077), "golgi": (0.5993, 0.6886, 0.6829)},
    "cyclegan": {"nuclei": (0.7807, 0.7497, 0.8433), "golgi": (0.6773, 0.6290, 0.8001)},
}
# Section III.D of the paper: what labelling a stack by hand takes.
LABELLING_HOURS = 84.0
# Table I of the paper, in hours: training, making masks, labelling a stack to train and one to validate on.
PAPER_HOURS = {
    "unet": (66 / 60, 0.0, 2 * LABELLING_HOURS),
    "vox2vox": (74 / 60, 0.0, 2 * LABELLING_HOURS),
    "cyclegan": (28.6, 40 / 60, 0.0),
}


@dataclass(frozen=True)
class Cell:
    """What one method reached in one fold with one seed.

    Parameters
    ----------
    method, fold, seed
        Which cell.
    scores : mapping of str to mapping of str to float
        By class, then by measure; means over the fold's test stacks.
    training_minutes, mask_minutes : float
        Spent on training, and on making synthetic masks.
    n_labelled : int
        Stacks whose truth was learned from or validated on.
    verdict : str
        How the training ended; ``"finished"`` where there was none.
    """

    method: str
    fold: int
    seed: int
    scores: Mapping[str, Mapping[str, float]]
    training_minutes: float
    mask_minutes: float
    n_labelled: int
    verdict: str = "finished"


Row = dict[str, object]


def score_rows(cells: Sequence[Cell]) -> list[Row]:
    """Return a row for each cell and class."""
    return [
        {"method": cell.method, "fold": cell.fold + 1, "seed": cell.seed, "class": kind}
        | {measure: values[measure] for measure in MEASURES}
        | {"training_minutes": cell.training_minutes, "mask_minutes": cell.mask_minutes, "verdict": cell.verdict}
        for cell in cells
        for kind, values in cell.scores.items()
    ]


def table_two(cells: Sequence[Cell]) -> list[Row]:
    """Return a row for each method and class: mean and standard deviation over folds and seeds, and the paper's.

    The deviation is the sample's, with one less than the cells in the denominator; of one cell there is none, and the
    paper gives none.
    """
    rows = []
    for method in _methods(cells):
        own = [cell for cell in cells if cell.method == method]
        for kind in own[0].scores:
            row: Row = {"method": method, "class": kind, "cells": len(own)}
            for k, measure in enumerate(MEASURES):
                values = [cell.scores[kind][measure] for cell in own]
                row[measure] = float(np.mean(values))
                row[f"{measure}_std"] = float(np.std(values, ddof=1)) if len(values) > 1 else None
                paper = PAPER_SCORES.get(method, {}).get(kind)
                row[f"{measure}_paper"] = paper[k] if paper else None
            rows.append(row)
    return rows


def table_one(cells: Sequence[Cell], labelling_hours: float = LABELLING_HOURS) -> list[Row]:
    """Return a row for each method: hours to train, to make masks, to label, in all, and how often that of the least.

    The least is that of the methods that train.

    Parameters
    ----------
    cells : sequence of Cell
        Means over folds and seeds are taken.
    labelling_hours : float
        What labelling one stack by hand takes; 84 in the paper (section III.D), an estimate and not measured here.
    """
    rows = []
    for method in _methods(cells):
        own = [cell for cell in cells if cell.method == method]
        training = float(np.mean([cell.training_minutes for cell in own])) / 60
        masks = float(np.mean([cell.mask_minutes for cell in own])) / 60
        labelling = labelling_hours * float(np.mean([cell.n_labelled for cell in own]))
        row: Row = {"method": method, "training_hours": training, "masks_hours": masks, "labelling_hours": labelling}
        row["total_hours"] = training + masks + labelling
        paper = PAPER_HOURS.get(method)
        row["total_hours_paper"] = sum(paper) if paper else None
        rows.append(row)
    least = min((row["total_hours"] for row in rows if row["training_hours"] > 0), default=None)
    for row in rows:
        row["times_the_least"] = row["total_hours"] / least if row["training_hours"] > 0 else None
    return rows


def as_csv(rows: Sequence[Row]) -> str:
    """Return rows as CSV; what is not known stays empty, and so does a table without rows."""
    if not rows:
        return ""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows({key: "" if value is None else value for key, value in row.items()} for row in rows)
    return text.getvalue()


def as_markdown(rows: Sequence[Row], digits: int = 3) -> str:
    """Return rows as a Markdown table; a mean has its standard deviation beside it, and no rows give no table."""
    if not rows:
        return ""
    keys = [key for key in rows[0] if not key.endswith("_std")]
    numeric = {key for key in keys if any(isinstance(row[key], int | float) for row in rows)}
    lines = ["| " + " | ".join(key.replace("_", " ") for key in keys) + " |"]
    lines.append("| " + " | ".join("---:" if key in numeric else "---" for key in keys) + " |")
    for row in rows:
        cells = [_text(row[key], row.get(f"{key}_std"), digits) for key in keys]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def _methods(cells: Sequence[Cell]) -> list[str]:
    return list(dict.fromkeys(cell.method for cell in cells))


def _text(value: object, deviation: object, digits: int) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.{digits}f}" + (f" ± {deviation:.{digits}f}" if isinstance(deviation, float) else "")
    return str(value)
