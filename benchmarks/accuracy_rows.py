"""The rows that accuracy.py has measured, in a CSV file that grows from machine to machine."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import numpy as np

MEASURES = ("dice", "precision", "recall")


@dataclass(frozen=True)
class Row:
    """Scores of one class by one training.

    Parameters
    ----------
    stack, configuration, seed
        What was trained.
    kind : str
        The class.
    dice, precision, recall : float
        Means over the stacks scored.
    minutes : float or None
        Of the training; None where it was a threshold, or a part of a training.
    verdict : str
        How the training ended.
    version : str
        Of the package, with the commit where it is known.
    """

    stack: str
    configuration: str
    seed: int
    kind: str
    dice: float
    precision: float
    recall: float
    minutes: float | None
    verdict: str
    version: str


class Rows:
    """A file of rows.

    Parameters
    ----------
    path : Path
        Made by the first row that is added.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def all(self) -> list[Row]:
        """Return every row of the file."""
        if not self._path.exists():
            return []
        with self._path.open(newline="") as file:
            return [
                Row(
                    **{key: one[key] for key in ("stack", "configuration", "kind", "verdict", "version")},
                    seed=int(one["seed"]),
                    **{key: float(one[key]) for key in MEASURES},
                    minutes=float(one["minutes"]) if one["minutes"] else None,
                )
                for one in csv.DictReader(file)
            ]

    def of(self, stack: str, configuration: str, seed: int | None = None) -> list[Row]:
        """Return the rows of a configuration and a stack, and of a seed if one is given."""
        return [
            row
            for row in self.all()
            if (row.stack, row.configuration) == (stack, configuration) and seed in (None, row.seed)
        ]

    def add(
        self,
        stack: str,
        configuration: str,
        seed: int,
        scores: Mapping[str, Mapping[str, float]],
        *,
        minutes: float | None,
        verdict: str,
        version: str,
    ) -> None:
        """Put scores (measures by class) at the end of the file, in one write."""
        is_new = not self._path.exists()
        with self._path.open("a", newline="") as file:
            writer = csv.DictWriter(file, [field.name for field in fields(Row)])
            if is_new:
                writer.writeheader()
            for kind, measures in scores.items():
                rounded = {name: round(measures[name], 4) for name in MEASURES}
                took = None if minutes is None else round(minutes, 1)
                row = Row(stack, configuration, seed, kind, **rounded, minutes=took, verdict=verdict, version=version)
                writer.writerow(asdict(row))


def table(rows: Rows, stacks: Sequence[str], configurations: Sequence[str]) -> Iterator[str]:
    """Yield the lines of a Markdown table: a row for each stack, class and configuration."""
    yield "| stack | class | configuration | seeds | Dice, mean | worst | precision | recall | minutes |"
    yield "| --- | --- | --- | ---: | ---: | ---: | ---: | ---: | ---: |"
    for stack in stacks:
        found = {configuration: rows.of(stack, configuration) for configuration in configurations}
        for kind in dict.fromkeys(row.kind for some in found.values() for row in some):
            for configuration, some in found.items():
                of_kind = [row for row in some if row.kind == kind]
                if not of_kind:
                    continue
                dice, precision, recall = ([getattr(row, name) for row in of_kind] for name in MEASURES)
                minutes = [row.minutes for row in of_kind if row.minutes is not None]
                ends = sorted({row.verdict for row in of_kind} - {"finished"})
                name = f"{configuration} ({', '.join(ends)})" if ends else configuration
                took = f"{np.mean(minutes):.1f}" if minutes else ""
                yield (
                    f"| {stack} | {kind} | {name} | {len(of_kind)} | {np.mean(dice):.3f} | {min(dice):.3f} | "
                    f"{np.mean(precision):.3f} | {np.mean(recall):.3f} | {took} |"
                )
