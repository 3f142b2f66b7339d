"""Everything that is told of one stack's objects, and the files it becomes."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from tfcyclegan3d import errors
from tfcyclegan3d.objects.figures import described, projection, rose_diagrams, vectors_over
from tfcyclegan3d.objects.measurements import Stack, class_names, measure_objects, opened
from tfcyclegan3d.objects.pairing import FROM, TO, Polarity, pair_objects, polarity
from tfcyclegan3d.objects.report import channels_of, report
from tfcyclegan3d.objects.tables import points_for_napari, save_table, vectors_for_napari

ENDINGS = ("objects.csv", "objects.parquet", "pairs.csv", "pairs.parquet", "points.csv")
ENDINGS += ("vectors.csv", "polarity.json", "rose.png", "vectors.png", "report.html")
PICTURES = ("rose", "vectors")


@dataclass(frozen=True, eq=False)
class Analysis:
    """What is known of a stack's objects.

    Parameters
    ----------
    objects : pandas.DataFrame
        Of `measure_objects`.
    classes : tuple of str
        All of them, those without an object among them.
    pairs : pandas.DataFrame, optional
        Of `pair_objects`, where there are two classes to pair.
    """

    objects: pd.DataFrame
    classes: tuple[str, ...]
    pairs: pd.DataFrame | None

    @property
    def unit(self) -> str:
        """Of lengths: ``"um"`` or ``"voxels"``."""
        return self.objects.attrs["unit"]

    @property
    def counts(self) -> dict[str, int]:
        """Number of the objects of each class."""
        return {name: int((self.objects["class"] == name).sum()) for name in self.classes}

    @property
    def polarity(self) -> Polarity | None:
        """Whether the pairs' directions agree."""
        return None if self.pairs is None else polarity(self.pairs)

    def lines(self, name: str) -> list[str]:
        """Say it in a few lines."""
        unit = "µm" if self.unit == "um" else self.unit
        known = "" if self.unit == "um" else "; lengths in voxels, as the voxel size is not known (--voxel-size)"
        counts = ", ".join(f"{count} {class_name}" for class_name, count in self.counts.items())
        said = [f"{name}: {counts}{known}"]
        if self.pairs is not None:
            alone = ", ".join(f"{n} {class_name}" for class_name, n in self.pairs.attrs["n_unpaired"].items() if n)
            within = f"{len(self.pairs)} pairs no longer than {self.pairs.attrs['max_distance']:.4g} {unit}"
            said.append(f"  {within}{f', without a partner {alone}' if alone else ''}; {described(self.polarity)}")
        return said


def analyse(
    labels: Stack,
    image: Stack | None = None,
    voxel_size_um: tuple[float, float, float] | None = None,
    classes: Sequence[str] | None = None,
    pair: tuple[str, str] | None = None,
    max_distance: float | None = None,
) -> Analysis:
    """Measure and pair the objects of a stack of instance numbers.

    Parameters
    ----------
    labels, image, voxel_size_um, classes
        As `measure_objects` takes them.
    pair : (str, str), optional
        Classes to pair, from the first to the second; nuclei and golgi where both are there, if not given.
    max_distance : float, optional
        As `pair_objects` takes it.

    Raises
    ------
    OptionError
        For a class to pair that is none of the stack's.
    UserError
        As `measure_objects` and `pair_objects` do.
    """
    source = opened(labels)
    names = class_names(classes, source.grid.n_channels, source.grid.name)
    wanted = pair or ((FROM, TO) if {FROM, TO} <= set(names) else None)
    check_pair(pair, names)
    objects = measure_objects(labels, image, voxel_size_um, names)
    pairs = None if wanted is None else pair_objects(objects, *wanted, max_distance=max_distance)
    return Analysis(objects, names, pairs)


def check_pair(pair: tuple[str, str] | None, classes: Sequence[str]) -> None:
    """Check that the classes to pair are some of a stack's.

    Raises
    ------
    OptionError
    """
    unknown = next((name for name in pair or () if name not in classes), None)
    if unknown is not None:
        held = "the only class is" if len(classes) == 1 else "the classes are"
        raise errors.OptionError(
            "--pairs", ",".join(pair or ()), f"{held} {', '.join(classes)}: name two of a stack's classes"
        )


def save(
    analysis: Analysis, folder: Path, name: str, labels: Stack, image: Stack | None = None, table_format: str = "csv"
) -> list[str]:
    """Write what is known of a stack into a folder, and return the names of the files.

    Parameters
    ----------
    analysis : Analysis
        What is known.
    folder : Path
        Existing.
    name : str
        Begins the files' names.
    labels, image
        The stack, to draw vectors over: over the image, else over the objects.
    table_format : {"csv", "parquet"}
        Of the tables of objects and pairs; napari's are CSV always.

    Raises
    ------
    OptionError, OutputError
    """
    tables = {f"objects.{table_format}": analysis.objects, "points.csv": points_for_napari(analysis.objects)}
    if analysis.pairs is not None:
        tables |= {f"pairs.{table_format}": analysis.pairs, "vectors.csv": vectors_for_napari(analysis.pairs)}
    for ending, table in tables.items():
        save_table(table, folder / f"{name}_{ending}")
    written = list(tables)
    source = opened(labels)
    seen = projection(opened(image)) if image is not None else None
    if analysis.pairs is not None:
        _save_polarity(analysis, folder, name, *(seen or projection(source, objects=True)))
        written += ["polarity.json", *(f"{kind}.png" for kind in PICTURES)]
    pictures = {kind: (folder / f"{name}_{kind}.png").read_bytes() for kind in PICTURES if f"{kind}.png" in written}
    page = report(analysis, name, source, None if seen is None else seen[0], pictures)
    with errors.writing(folder / f"{name}_report.html"):
        (folder / f"{name}_report.html").write_text(page, encoding="utf-8")
    written.append("report.html")
    return [f"{name}_{ending}" for ending in written]


def _save_polarity(analysis: Analysis, folder: Path, name: str, shown: np.ndarray, step: int) -> None:
    pairs = analysis.pairs
    kept = ("unit", "max_distance", "first", "second", "n_unpaired")
    summary = {"n_pairs": len(pairs)} | {key: pairs.attrs[key] for key in kept} | analysis.polarity.to_dict()
    # JSON has no NaN.
    plain = {key: None if value != value else value for key, value in summary.items()}
    with errors.writing(folder / f"{name}_polarity.json"):
        (folder / f"{name}_polarity.json").write_text(json.dumps(plain, indent=2) + "\n", encoding="utf-8")
    size = analysis.objects.attrs["voxel_size"] if analysis.unit == "um" else None
    vectors = vectors_over(shown, channels_of(analysis, shown), pairs, step, size, f"{name}: ")
    for kind, figure in zip(PICTURES, (rose_diagrams({name: pairs}), vectors), strict=True):
        with errors.writing(folder / f"{name}_{kind}.png"):
            figure.savefig(folder / f"{name}_{kind}.png", dpi=110)
