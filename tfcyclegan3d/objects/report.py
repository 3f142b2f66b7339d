"""A page a person reads to see what was found in one stack: how many objects, how large, where, and how they pair."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from tfcyclegan3d import pages
from tfcyclegan3d.objects.figures import histograms, numbers_beside, seen_from_above
from tfcyclegan3d.sources import Source

if TYPE_CHECKING:
    from tfcyclegan3d.objects.analysis import Analysis

# What is told of each class, by the column's name without its unit.
MEASURES = {
    "diameter": "diameter",
    "volume": "volume",
    "sphericity": "sphericity",
    "elongation": "longest / thinnest axis",
}


def report(
    analysis: Analysis, name: str, labels: Source, image: np.ndarray | None, pictures: Mapping[str, bytes]
) -> str:
    """Return the page, as HTML that needs no other file.

    Parameters
    ----------
    analysis : Analysis
        Of the stack.
    name : str
        Of the stack.
    labels : Source
        Instance numbers, read part by part.
    image : ndarray, YXC, optional
        What they were found in, as `figures.projection` gives it.
    pictures : mapping of str to bytes
        ``"rose"`` and ``"vectors"``, as PNG, where there are pairs.
    """
    said = "".join(f"<li>{html.escape(line.strip())}</li>" for line in analysis.lines(name))
    body = f"<ul>{said}</ul>" + _sizes(analysis) + _places(analysis, labels, image) + _directions(pictures)
    return pages.page(f"{name}: objects", f"Objects of {name}", body)


def _sizes(analysis: Analysis) -> str:
    """Tell how many objects there are and how large, class by class."""
    objects, unit = with_elongation(analysis), analysis.unit
    sign = "µm" if unit == "um" else "voxels"
    named = {"diameter": f"diameter, {sign}", "volume": "volume, µm³" if unit == "um" else "volume, voxels"}
    heads = ["class", "objects", "cut by the border", *(named.get(key, text) for key, text in MEASURES.items())]
    rows = []
    for class_name in analysis.classes:
        of_class = objects[objects["class"] == class_name]
        spreads = [_spread(of_class[column_of(key, unit)]) for key in MEASURES]
        rows.append([class_name, len(of_class), int(of_class["touches_border"].sum()), *spreads])
    whole = objects[~objects["touches_border"].astype(bool)]
    figure = histograms(
        {
            class_name: whole.loc[whole["class"] == class_name, column_of("diameter", unit)].to_numpy(float)
            for class_name in analysis.classes
        },
        f"diameter, {sign}",
    )
    drawn = ""
    if figure is not None:
        picture = pages.embedded(figure, "diameters by class")
        drawn = f'<p>Of those that it does not cut:</p><div class="panels"><figure>{picture}</figure></div>'
    return pages.section(
        "How many, how large",
        "<p>Medians, and between which values half of the objects lie. The diameter is that of the ball of the same "
        "volume. Objects that the border cuts are measured as far as they are seen.</p>"
        + pages.columns(heads, rows)
        + drawn,
    )


def with_elongation(analysis: Analysis) -> pd.DataFrame:
    """Return the table of objects, with how much longer than thick each is."""
    objects, unit = analysis.objects, analysis.unit
    thin = objects[f"minor_axis_{unit}"].to_numpy(float)
    long = objects[f"major_axis_{unit}"].to_numpy(float)
    with np.errstate(divide="ignore", invalid="ignore"):
        return objects.assign(elongation=np.where(thin > 0, long / thin, np.nan))


def column_of(measure: str, unit: str) -> str:
    """Return the column of a measure in the table of objects."""
    suffix = {"diameter": f"_{unit}", "volume": f"_{unit}3" if unit == "um" else f"_{unit}"}
    return measure + suffix.get(measure, "")


def _spread(values: pd.Series) -> str:
    known = values.to_numpy(float)
    known = known[np.isfinite(known)]
    if not len(known):
        return "–"
    low, middle, high = np.percentile(known, (25, 50, 75))
    low, middle, high = (f"{value:,.0f}" if value >= 100 else f"{value:.3g}" for value in (low, middle, high))
    return f"{middle} ({low} to {high})"


def _places(analysis: Analysis, labels: Source, under: np.ndarray | None) -> str:
    """Show which voxels are which object."""
    size = analysis.objects.attrs["voxel_size"] if analysis.unit == "um" else None
    numbers, step = seen_from_above(labels)
    figure = numbers_beside(numbers, analysis.classes, step, size, under, channels_of(analysis, under))
    return pages.section(
        "Which object is which",
        "<p>Objects as seen along Z, each in a colour of its own and with a white outline"
        + (", beside the mean of the images along Z. " if under is not None else ". ")
        + "Two that were taken for one, or one for two, are seen here.</p>"
        + pages.wide(pages.embedded(figure, "objects by number")),
    )


def channels_of(analysis: Analysis, image: np.ndarray | None) -> Sequence[str]:
    """Return what a projection's channels (YXC) are called: as the classes, where there are as many."""
    n_channels = 0 if image is None else image.shape[-1]
    return analysis.classes if n_channels == len(analysis.classes) else [f"channel_{k}" for k in range(n_channels)]


def _directions(pictures: Mapping[str, bytes]) -> str:
    """Show the pairs."""
    if not pictures:
        return ""
    rose = pages.embedded_png(pictures["rose"], "rose diagram of directions")
    return pages.section(
        "Pairs and polarity",
        "<p>In which direction in the plane the second of a pair lies from the first: the area of a sector counts the "
        "pairs, the arrow is their mean. Rayleigh's test asks how often directions without any preference agree as "
        "much.</p>"
        + f'<div class="panels"><figure>{rose}</figure></div>'
        + pages.wide(pages.embedded_png(pictures["vectors"], "vectors of the pairs over the stack")),
    )
