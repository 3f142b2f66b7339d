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
    objects, measures = analysis.objects, _measures(analysis)
    rows = []
    for class_name in analysis.classes:
        is_of_class = objects["class"] == class_name
        spreads = [_spread(values[is_of_class]) for values in measures.values()]
        rows.append([class_name, is_of_class.sum(), objects["touches_border"][is_of_class].sum(), *spreads])
    label, diameters = next(iter(measures.items()))
    is_whole = ~objects["touches_border"].astype(bool)
    figure = histograms(
        {name: diameters[is_whole & (objects["class"] == name)].to_numpy(float) for name in analysis.classes}, label
    )
    drawn = ""
    if figure is not None:
        picture = pages.embedded(figure, "diameters by class")
        drawn = f'<p>Of those that it does not cut:</p><div class="panels"><figure>{picture}</figure></div>'
    return pages.section(
        "How many, how large",
        "<p>Medians, and between which values half of the objects lie. The diameter is that of the ball of the same "
        "volume. Objects that the border cuts are measured as far as they are seen.</p>"
        + pages.columns(["class", "objects", "cut by the border", *measures], rows)
        + drawn,
    )


def _measures(analysis: Analysis) -> dict[str, pd.Series]:
    """Return what is told of each object, the diameter first, by what to call it."""
    objects, unit = analysis.objects, analysis.unit
    length, volume, cubed = ("µm", "µm³", "um3") if unit == "um" else ("voxels", "voxels", "voxels")
    thin = objects[f"minor_axis_{unit}"].astype(float)
    return {
        f"diameter, {length}": objects[f"diameter_{unit}"],
        f"volume, {volume}": objects[f"volume_{cubed}"],
        "sphericity": objects["sphericity"],
        "longest / thinnest axis": objects[f"major_axis_{unit}"].astype(float) / thin.where(thin > 0),
    }


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
