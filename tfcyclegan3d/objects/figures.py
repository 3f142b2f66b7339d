"""Pictures of objects and of their polarity, as the field draws it: rose diagrams, vectors over the projected stack."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from matplotlib.projections.polar import PolarAxes
from matplotlib.ticker import MaxNLocator
from skimage.segmentation import find_boundaries

from tfcyclegan3d import panels
from tfcyclegan3d.objects.pairing import Polarity, polarity
from tfcyclegan3d.sources import Source

# Okabe and Ito's colours, which the colour-blind tell apart (jfly.uni-koeln.de/color).
BLUE, VERMILION = "#0072B2", "#D55E00"
MANY = (BLUE, VERMILION, "#009E73", "#E69F00", "#56B4E9", "#CC79A7", "#F0E442")
N_SECTORS = 24
# Of the picture's width: arrows shorter than this on the whole are lengthened, all alike.
SHORTEST = 0.015
# Voxels along a side of a projection that is drawn.
MOST_DRAWN = 2000
# The same, of a panel of numbered objects.
MOST_OF_PANEL = 700
N_BINS = 24


def rose_diagrams(tables: dict[str, pd.DataFrame]) -> Figure:
    """Draw the azimuths of one or several tables of pairs side by side.

    Parameters
    ----------
    tables : dict of str to pandas.DataFrame
        Of `pair_objects`, by title.
    """
    figure = Figure(figsize=(4.6 * len(tables), 5.0), layout="constrained")
    axes = figure.subplots(1, len(tables), squeeze=False, subplot_kw={"projection": "polar"})[0]
    for axis, (title, pairs) in zip(axes, tables.items(), strict=True):
        _rose(axis, pairs["azimuth_degrees"].to_numpy(float), polarity(pairs), title)
    return figure


def vectors_over(
    image: np.ndarray,
    names: Sequence[str],
    pairs: pd.DataFrame,
    step: int = 1,
    voxel_size_um: Sequence[float] | None = None,
    title: str = "",
) -> Figure:
    """Draw the vectors of pairs as arrows over a projection of their stack.

    Parameters
    ----------
    image : ndarray, YXC
        Of `projection`.
    names : sequence of str
        Of its channels.
    pairs : pandas.DataFrame
        Of `pair_objects`.
    step : int
        Voxels of the stack, along Y and X, to one of the projection.
    voxel_size_um : (z, y, x), optional
        For the scale bar.
    title : str
        Begins the title.
    """
    height, width = image.shape[:2]
    # Room for at least the title on a narrow stack, no taller than a page.
    figure = Figure(figsize=(9, float(np.clip(9 * height / width, 3, 12)) + 0.8), layout="constrained")
    axis = figure.subplots()
    panels.show(axis, panels.display_range(image), names)
    starts = pairs[["start_x", "start_y"]].to_numpy(float) / step
    along = pairs[["end_x", "end_y"]].to_numpy(float) / step - starts
    factor = _lengthening(along, width)
    outline = [withStroke(linewidth=2.5, foreground="black")]
    for (x, y), (dx, dy) in zip(starts, factor * along, strict=True):
        arrow = {"arrowstyle": "-|>", "color": "white", "lw": 1.2, "shrinkA": 0, "shrinkB": 0, "mutation_scale": 9}
        axis.annotate("", (x + dx, y + dy), (x, y), arrowprops=arrow | {"path_effects": outline})
    axis.set(xlim=(-0.5, width - 0.5), ylim=(height - 0.5, -0.5))
    if voxel_size_um is not None:
        panels.scale_bar(axis, width, voxel_size_um[2] * step)
    longer = f", arrows drawn {factor:g} times as long" if factor > 1 else ""
    first, second = pairs.attrs.get("first", "nuclei"), pairs.attrs.get("second", "golgi")
    axis.set_title(f"{title}{len(pairs)} pairs, arrows from {first} to {second}{longer}; mean along z", fontsize=10)
    if image.shape[2] > 1:
        panels.legend(figure, names)
    return figure


def projection(source: Source, *, objects: bool = False) -> tuple[np.ndarray, int]:
    """Return the mean of a stack along Z, and how many voxels along Y and X make one of its pixels.

    Parameters
    ----------
    source : Source
        Read part by part.
    objects : bool
        Take instance numbers for a mask.

    Returns
    -------
    mean : ndarray of float64, YXC
        Every ``step``-th voxel along Y and X.
    step : int
    """
    depth, height, width = source.grid.shape
    step = max(1, -(-max(height, width) // MOST_DRAWN))
    total = np.zeros((-(-height // step), -(-width // step), source.grid.n_channels))
    for box in source.slabs():
        values = source.read(box)[:, -box[1].start % step :: step, -box[2].start % step :: step]
        here = tuple(slice(-(-part.start // step), -(-part.stop // step)) for part in box[1:])
        total[here] += (values > 0 if objects else values).sum(axis=0, dtype=np.float64)
    return total / depth, step


def seen_from_above(source: Source) -> tuple[np.ndarray, int]:
    """Return the number of the first object along Z, and how many voxels along Y and X make one of its pixels.

    Parameters
    ----------
    source : Source
        Instance numbers, read part by part.

    Returns
    -------
    numbers : ndarray of int, YXC
        0 where there is none.
    step : int
    """
    _, height, width = source.grid.shape
    step = max(1, -(-max(height, width) // MOST_OF_PANEL))
    seen = np.zeros((-(-height // step), -(-width // step), source.grid.n_channels), np.int64)
    for box in source.slabs():
        values = source.read(box)[:, -box[1].start % step :: step, -box[2].start % step :: step]
        first = np.take_along_axis(values, (values > 0).argmax(axis=0)[np.newaxis], axis=0)[0]
        here = tuple(slice(-(-part.start // step), -(-part.stop // step)) for part in box[1:])
        seen[here] = np.where(seen[here] > 0, seen[here], first)
    return seen, step


def numbers_beside(
    numbers: np.ndarray,
    names: Sequence[str],
    step: int = 1,
    voxel_size_um: Sequence[float] | None = None,
    image: np.ndarray | None = None,
    channels: Sequence[str] = (),
) -> Figure:
    """Draw numbered objects class by class, each in a colour of its own, beside the image they were found in.

    Parameters
    ----------
    numbers : ndarray of int, YXC
        Of `seen_from_above`.
    names : sequence of str
        Of the classes.
    step : int
        Voxels of the stack, along Y and X, to one of the picture.
    voxel_size_um : (z, y, x), optional
        For the scale bar.
    image : ndarray, YXC, optional
        Of `projection`.
    channels : sequence of str
        Names of the image's channels.
    """
    height, width = numbers.shape[:2]
    n_panels = len(names) + (image is not None)
    side = min(5.5, 16 / n_panels)
    figure = Figure(
        figsize=(side * n_panels, float(np.clip(side * height / width, 1.5, 9)) + 0.5), layout="constrained"
    )
    axes = list(figure.subplots(1, n_panels, squeeze=False)[0])
    if image is not None:
        panels.show(axes[0], panels.display_range(image), channels, "images, mean along z")
    palette = np.array([to_rgb(colour) for colour in MANY])
    for axis, of_class, name in zip(axes[-len(names) :], np.moveaxis(numbers, -1, 0), names, strict=True):
        colours = np.where((of_class > 0)[..., np.newaxis], palette[of_class % len(palette)], 0.0)
        colours[find_boundaries(of_class, mode="inner")] = 1.0
        axis.imshow(colours, interpolation="nearest")
        axis.set(xticks=[], yticks=[])
        axis.set_title(name, fontsize=10)
        if voxel_size_um is not None:
            panels.scale_bar(axis, width, voxel_size_um[2] * step)
    return figure


def histograms(values: dict[str, np.ndarray], label: str) -> Figure | None:
    """Draw how often which values occur, class by class; None where there is none.

    Parameters
    ----------
    values : dict of str to ndarray
        By class.
    label : str
        Of the values.
    """
    known = {name: some[np.isfinite(some)] for name, some in values.items()}
    known = {name: some for name, some in known.items() if len(some)}
    if not known:
        return None
    edges = np.histogram_bin_edges(np.concatenate(list(known.values())), N_BINS)
    figure = Figure(figsize=(4.8, 2.9), layout="constrained")
    axis = figure.subplots()
    for colour, (name, some) in zip(itertools.cycle(MANY), known.items(), strict=False):
        axis.hist(some, edges, label=name, color=colour, histtype="stepfilled", alpha=0.6)
    axis.set(xlabel=label, ylabel="objects", ylim=(0, None))
    axis.yaxis.set_major_locator(MaxNLocator(integer=True))
    axis.grid(alpha=0.3)
    if len(known) > 1:
        axis.legend(fontsize=8, framealpha=0.7)
    return figure


def _rose(axis: PolarAxes, azimuths: np.ndarray, summary: Polarity, title: str) -> None:
    """Draw a rose diagram in which areas, not radii, tell how many directions lie in a sector."""
    edges = np.radians(np.linspace(-180, 180, N_SECTORS + 1))
    counts, _ = np.histogram(np.radians(azimuths[np.isfinite(azimuths)]), edges)
    middles, width = (edges[:-1] + edges[1:]) / 2, edges[1] - edges[0]
    axis.bar(middles, np.sqrt(counts), width=width, color=BLUE, edgecolor="white", linewidth=0.8)
    # As the picture of the stack has it: Y points down.
    axis.set_theta_zero_location("E")
    axis.set_theta_direction(-1)
    most = max(1, int(counts.max(initial=0)))
    marks = sorted({most} | ({round(most / 4)} if most >= 4 else set()))
    axis.set_ylim(0, 1.08 * np.sqrt(most))
    axis.set_yticks(
        np.sqrt(marks),
        [str(mark) for mark in marks],
        fontsize=8,
        bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.6},
    )
    axis.set_xticks(np.radians([0, 90, 180, 270]), ["0° (x)", "90° (y)", "180°", "-90°"])
    axis.tick_params(axis="x", pad=9)
    if np.isfinite(summary.mean_azimuth_degrees):
        radius = summary.resultant_length * np.sqrt(most)
        mean = np.radians(summary.mean_azimuth_degrees)
        arrow = {"arrowstyle": "-|>", "color": VERMILION, "lw": 2.5, "shrinkA": 0, "shrinkB": 0}
        axis.annotate("", (mean, radius), (mean, 0), arrowprops=arrow)
    axis.set_title(f"{title}\n{described(summary)}", fontsize=10)


def described(summary: Polarity) -> str:
    """Say in a line how far directions agree."""
    if not summary.n:
        return "no vectors"
    if not np.isfinite(summary.p_value):
        return f"n = {summary.n}, all along Z"
    p = "p < 0.001" if summary.p_value < 0.001 else f"p = {summary.p_value:.3f}"
    return f"n = {summary.n}, mean resultant length {summary.resultant_length:.2f}, Rayleigh {p}"


def _lengthening(along: np.ndarray, width: int) -> float:
    """Return a whole factor by which arrows are seen."""
    if not len(along):
        return 1.0
    typical = float(np.median(np.hypot(*along.T)))
    return float(np.ceil(SHORTEST * width / typical)) if 0 < typical < SHORTEST * width else 1.0
